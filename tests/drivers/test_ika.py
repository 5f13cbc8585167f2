"""What is special about an IKA plate: silence, watchdogs, a heater that goes off by itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from ophyd_async.core import NotConnectedError

from sdl import clock
from sdl.clock import new_loop
from sdl.drivers.ika import IkaPlate
from sdl.endpoints import memory_wire
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.simulators.ika import SimulatedIka
from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.world import World
from sdl.wires import StreamWire


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=clock.monotonic)
        self.plate = HotPlate(self)
        self.parts = {"plate": self.plate}

    def step(self, t: float, dt: float) -> None:
        self.plate.step(dt, 22.0)


class Tried:
    def __init__(self, driver: IkaPlate, simulator: SimulatedIka, line: Faulty, wire: Any) -> None:
        self.driver, self.simulator, self.line, self.wire = driver, simulator, line, wire

    @property
    def part(self) -> HotPlate:
        part = self.simulator._part
        assert isinstance(part, HotPlate)
        return part


@asynccontextmanager
async def tried(kind: type[SimulatedIka], **options: Any) -> AsyncIterator[Tried]:
    shared = {k: options[k] for k in ("status", "probe", "model") if k in options}
    simulator = kind(Bench().plate, rng=np.random.default_rng(1), **shared)
    line = Faulty(simulator)
    async with memory_wire(IkaPlate.delivered, [line]) as wire:
        driver = IkaPlate(wire, name="plate", **options)  # type: ignore[arg-type]
        await driver.connect()
        yield Tried(driver, simulator, line, wire)


def on_a_plate(
    story: Callable[[Tried], Awaitable[None]],
    kind: type[SimulatedIka] = SimulatedIka,
    **options: Any,
) -> None:
    async def run() -> None:
        async with tried(kind, **options) as bench:
            await story(bench)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_the_medium_is_brought_to_the_setpoint_and_held() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(60.0)
        await asyncio.sleep(300)
        assert bench.part.medium == pytest.approx(60.0, abs=1.5)

    on_a_plate(story, probe=True, settle=60.0)


def test_a_watchdog_that_is_armed_is_fed_by_every_exchange_and_by_nothing_else() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.arm_watchdog(20)
        await bench.driver.set(60.0)
        for _ in range(30):
            await bench.driver.temperature.get_value()
            await asyncio.sleep(4)
        assert bench.part.aimed == 60.0
        await asyncio.sleep(25)
        assert bench.part.aimed == 0.0
        assert bench.simulator.warning

    on_a_plate(story, tolerance=2.0, settle=0.0)


def test_after_a_fall_back_a_plate_heats_again_when_it_is_told_to() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.arm_watchdog(20)
        await asyncio.sleep(30)
        assert bench.simulator.warning
        await bench.driver.set(50.0)
        assert bench.part.aimed == 50.0
        await asyncio.sleep(30)  # it is armed as it was
        assert bench.simulator.warning

    on_a_plate(story, tolerance=2.0, settle=0.0)


def test_a_heater_that_went_off_by_itself_is_a_fault() -> None:
    async def story(bench: Tried) -> None:
        setting = asyncio.ensure_future(_ended(bench.driver.set(200.0)))
        await asyncio.sleep(30)
        bench.simulator.begin("watchdog expiry")
        with pytest.raises(FaultError, match=r"set 200 degC: the heater is off: .*Er02"):
            await setting
        with pytest.raises(FaultError, match="START_1: it stays off"):
            await bench.driver.set(200.0)

    on_a_plate(story, watchdog=1)


def test_a_setpoint_that_start_puts_to_zero_is_set_again() -> None:
    class Forgetful(SimulatedIka):
        def _switch(self, which: str, on: bool) -> None:
            super()._switch(which, on)
            self._temperature = 0.0

    async def story(bench: Tried) -> None:
        await bench.driver.set(40.0)
        assert bench.part.aimed == 40.0

    on_a_plate(story, Forgetful, tolerance=2.0, settle=0.0)


def test_a_stop_that_is_heard_though_nothing_is_answered_is_carried_out_and_is_an_error() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(60.0)
        await bench.driver.speed.set(500)
        bench.line.plan(Fault("silence", 1, seconds=1000.0))
        with pytest.raises(NoReplyError):
            await bench.driver.temperature.get_value()
        with pytest.raises(NoReplyError):
            await bench.driver.make_safe()
        assert (bench.part.power, bench.part.stirring) == (0.0, 0.0)

    on_a_plate(story, tolerance=2.0, settle=0.0)


def test_a_stop_is_carried_out_though_all_that_is_answered_is_rubbish() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(60.0)
        await bench.driver.speed.set(500)

        async def mumble(data: bytes) -> None:
            await bench.simulator._line.write(b"\xff\xfe" * 5 + b"\r\n")

        bench.simulator.say = mumble  # type: ignore[method-assign]
        with pytest.raises(NoReplyError):
            await bench.driver.temperature.get_value()
        with pytest.raises(NoReplyError):
            await bench.driver.make_safe()
        assert (bench.part.power, bench.part.stirring) == (0.0, 0.0)

    on_a_plate(story, tolerance=2.0, settle=0.0)


def test_what_is_too_near_to_its_safety_temperature_is_refused_and_changes_nothing() -> None:
    async def story(bench: Tried) -> None:
        bench.simulator._safety = 200.0
        with pytest.raises(RefusedError, match=r"160 was not taken: it holds 0; .* is 200 degC"):
            await bench.driver.set(160.0)
        assert bench.part.power == 0

    on_a_plate(story)


def test_a_plate_without_status_is_driven_by_its_setpoints() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.set(40.0)
        await bench.driver.speed.set(300)
        await bench.driver.make_safe()
        assert (bench.part.power, bench.part.stirring, bench.part.aimed) == (0.0, 0.0, 0.0)

    on_a_plate(story, status=False, tolerance=2.0, settle=0.0)


def test_halt_holds_the_temperature_there_is_and_goes_on_stirring() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.speed.set(300)
        setting = asyncio.ensure_future(_ended(bench.driver.set(200.0)))
        await asyncio.sleep(60)
        await bench.driver.stop()
        with pytest.raises(InstrumentError, match="stopped"):
            await setting
        assert bench.part.aimed == pytest.approx(bench.part.temperature, abs=5.0)
        assert bench.part.stirring == 300

    on_a_plate(story)


def test_between_two_commands_lies_a_tenth_of_a_second() -> None:
    async def story(bench: Tried) -> None:
        await bench.driver.speed.set(300)
        log = [entry for entry in bench.wire.log if entry.direction != "discarded"]
        pairs = itertools.pairwise(log)
        gaps = [b.time - a.time for a, b in pairs if b.direction == "sent"]
        assert min(gaps) >= 0.1 - 1e-6

    on_a_plate(story)


def test_what_no_plate_can_do_is_said_at_once() -> None:
    async def story(bench: Tried) -> None:
        wrong: dict[str, Any] = {"max_temperature": 400.0, "safe_speed": 20, "watchdog": 3}
        with pytest.raises(ConfigError) as said:
            IkaPlate(bench.wire, **wrong)
        assert len(said.value.problems) == 3
        with pytest.raises(RefusedError, match="10 is outside 20 to 1500 s"):
            await bench.driver.arm_watchdog(10)

    on_a_plate(story)


async def _ended(status: Any) -> None:
    await status


def test_a_plate_that_does_not_know_its_status_says_how_to_describe_it() -> None:
    async def run() -> None:
        simulator = SimulatedIka(Bench().plate, rng=np.random.default_rng(1), status=False)
        async with memory_wire(IkaPlate.delivered, [simulator]) as wire:
            assert isinstance(wire, StreamWire)
            with pytest.raises(NotConnectedError, match=r"STATUS_1: .* `status: false`"):
                await IkaPlate(wire, name="plate").connect()
            await IkaPlate(wire, status=False, name="plate").connect()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_nobody_on_the_line_is_one_error_that_names_the_port() -> None:
    async def run() -> None:
        async with memory_wire(IkaPlate.delivered, []) as wire:
            assert isinstance(wire, StreamWire)
            with pytest.raises(NoReplyError, match=r"plate: IN_NAME: .*serial:///dev/ttyUSB0"):
                await IkaPlate(wire, name="plate").connect()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
