"""What is special about a JULABO: remote control, silent settings, alarms in its status."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl import clock
from sdl.clock import new_loop
from sdl.drivers.julabo import Julabo
from sdl.drivers.julabo.commands import parse_number
from sdl.endpoints import memory_wire
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.simulators.julabo import SimulatedJulabo
from sdl.simulators.parts.bath import Bath
from sdl.simulators.world import World
from sdl.wires import StreamWire

USB = "tcp://device-server:4001"  # a line that takes no time


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=clock.monotonic)
        self.bath = Bath(self)
        self.parts = {"bath": self.bath}

    def step(self, t: float, dt: float) -> None:
        self.bath.step(dt, 22.0)


class Tried:
    def __init__(self, driver: Julabo, simulator: SimulatedJulabo, line: Faulty, wire: Any) -> None:
        self.driver, self.simulator, self.line, self.wire = driver, simulator, line, wire

    @property
    def part(self) -> Bath:
        part = self.simulator._part
        assert isinstance(part, Bath)
        return part


def on_a_bath(
    story: Callable[[Tried], Awaitable[None]],
    simulated: dict[str, Any] | None = None,
    url: str = Julabo.delivered,
    **options: Any,
) -> None:
    async def run() -> None:
        given = {"rng": np.random.default_rng(1), **(simulated or {})}
        line = Faulty(SimulatedJulabo(Bench().bath, **given))
        async with memory_wire(url, [line]) as wire:
            driver = Julabo(wire, name="bath", **options)  # type: ignore[arg-type]
            await driver.connect()
            await story(Tried(driver, line.device, line, wire))

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_it_heats_and_it_cools() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(40.0)
        assert bench.part.temperature == pytest.approx(40.0, abs=0.3)
        await bench.driver.set(-5.0)
        assert bench.part.temperature == pytest.approx(-5.0, abs=0.3)
        assert bench.part.stage == 2

    on_a_bath(story)


def test_what_hangs_on_it_is_tempered_with_the_external_sensor() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.external_control.set(1)
        await bench.driver.set(40.0)
        assert bench.part.vessel == pytest.approx(40.0, abs=0.5)

    on_a_bath(story, {"external": True}, external=True, tolerance=0.4, settle=60.0)


def test_a_setting_that_it_was_not_asked_to_obey_is_refused_with_the_way_out() -> None:
    async def story(bench: Tried) -> None:
        with pytest.raises(RefusedError, match=r"MANUAL STOP.*switch remote control on"):
            await bench.driver.set(40.0)
        assert bench.part.aimed == 20.0

    on_a_bath(story, {"remote": False})


def test_an_alarm_on_the_way_is_a_fault_with_its_meaning_unless_it_is_to_be_ignored() -> None:
    async def story(bench: Tried) -> None:
        setting = asyncio.ensure_future(_ended(bench.driver.set(90.0)))
        await asyncio.sleep(20)
        bench.simulator.raise_alarm(-1)
        with pytest.raises(FaultError, match=r"-01 LOW LEVEL ALARM.*too little liquid"):
            await setting

    async def ignored(bench: Tried) -> None:
        await bench.driver.low_warning.set(30.0)  # below which it begins
        await bench.driver.set(40.0)

    on_a_bath(story)
    on_a_bath(ignored, ignored_status=(-4,))
    with pytest.raises(FaultError, match="-04"):
        on_a_bath(ignored)


def test_what_it_refuses_is_refused_in_its_words() -> None:
    async def story(bench: Tried) -> None:
        with pytest.raises(RefusedError, match=r"-11 VALUE TOO LARGE.*it holds 20"):
            await bench.driver.set(300.0)
        assert bench.part.stage == 0

    on_a_bath(story, max_temperature=400.0)


def test_the_pauses_that_it_needs_are_kept() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(22.3)
        log = [entry for entry in bench.wire.log if entry.direction != "discarded"]
        pairs = [(a, b) for a, b in itertools.pairwise(log) if b.direction == "sent"]
        after_out = [b.time - a.time for a, b in pairs if a.data.startswith(b"out")]
        assert min(after_out) >= 0.25
        assert min(b.time - a.time for a, b in pairs) >= 0.01
        assert bench.wire.health.failures == 0

    on_a_bath(story, {"usb": True}, url=USB)


def test_made_safe_it_stands_still_whatever_alarms_it_has() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.running.set(True)
        bench.simulator.alarm = -40
        await bench.driver.make_safe()
        assert bench.part.stage == 0

    on_a_bath(story)


def test_made_safe_it_can_go_on_cooling() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(60.0)
        await bench.driver.make_safe()
        assert (bench.part.aimed, bench.part.stage) == (10.0, 2)

    on_a_bath(story, safe_temperature=10.0)


def test_a_stop_that_is_heard_though_nothing_is_answered_is_carried_out_and_is_an_error() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.running.set(True)
        bench.line.plan(Fault("silence", 1, seconds=1000.0))
        with pytest.raises(NoReplyError):
            await bench.driver.temperature.get_value()
        with pytest.raises(NoReplyError):
            await bench.driver.make_safe()
        assert bench.part.stage == 0

    on_a_bath(story)


def test_a_stop_is_carried_out_though_all_that_is_answered_is_rubbish() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.running.set(True)

        async def mumble(data: bytes) -> None:
            await bench.simulator._line.write(b"\xff\xfe" * 5 + b"\r\n")

        bench.simulator.say = mumble  # type: ignore[method-assign]
        with pytest.raises(NoReplyError):
            await bench.driver.temperature.get_value()
        with pytest.raises(NoReplyError):
            await bench.driver.make_safe()
        assert bench.part.stage == 0

    on_a_bath(story)


def test_one_that_somebody_runs_at_its_panel_cannot_be_made_safe() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.running.set(True)
        bench.simulator.begin("local mode")
        with pytest.raises(FaultError, match=r"it does not stop: .*-09"):
            await bench.driver.make_safe()

    on_a_bath(story)


def test_halt_holds_the_temperature_there_is() -> None:
    async def story(bench: Tried) -> None:
        setting = asyncio.ensure_future(_ended(bench.driver.set(-15.0)))
        await asyncio.sleep(300)
        await bench.driver.stop()
        with pytest.raises(InstrumentError, match="stopped"):
            await setting
        assert bench.part.aimed == pytest.approx(bench.part.temperature, abs=1.0)

    on_a_bath(story)


def test_a_corio_cd_is_asked_for_no_more_than_it_knows() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(30.0)
        assert not hasattr(bench.driver, "pump_stage")
        assert await bench.driver.status.get_value() == "03 REMOTE START"

    on_a_bath(story, {"full": False}, full=False)


def test_what_no_circulator_can_do_is_said_at_once() -> None:
    async def story(bench: Tried) -> None:
        for wrong in ({"decimals": 3}, {"min_temperature": 100.0}, {"safe_temperature": 99.0}):
            with pytest.raises(ConfigError):
                Julabo(bench.wire, **wrong)  # type: ignore[arg-type]

    on_a_bath(story)


async def _ended(status: Any) -> None:
    await status


def test_a_blank_before_a_number_is_no_harm() -> None:
    assert parse_number(b" 21.37\r\n") == "21.37"
    with pytest.raises(GarbledError):
        parse_number(b"2 1.37\r\n")


def test_nobody_on_the_line_is_one_error_that_names_the_port() -> None:
    async def run() -> None:
        async with memory_wire(Julabo.delivered, []) as wire:
            assert isinstance(wire, StreamWire)
            with pytest.raises(NoReplyError, match=r"bath: version: .*serial:///dev/ttyUSB0"):
                await Julabo(wire, name="bath").connect()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
