"""What is special about the Zaber driver; the rest is in tests/conformance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.drivers.zaber import Zaber
from sdl.drivers.zaber.lines import parse
from sdl.endpoints.pty import memory_wire
from sdl.errors import FaultError, GarbledError, InstrumentError, RefusedError
from sdl.simulators.parts.carriage import Carriage
from sdl.simulators.zaber import SimulatedZaber
from sdl.testing import StillWorld

MICROSTEP = 0.000047625  # mm

Story = Callable[[Zaber, Carriage, SimulatedZaber, Any], Awaitable[Any]]


def with_stage(story: Story, *, homed: bool = True, connect: bool = True, **options: Any) -> None:
    async def run() -> None:
        part = Carriage(StillWorld(), travel_mm=50.8, position_mm=10.0)
        simulator = SimulatedZaber(
            part, rng=np.random.default_rng(1), microstep=MICROSTEP, homed=homed
        )
        async with memory_wire(Zaber.delivered, [simulator]) as wire:
            stage = Zaber(wire, microstep=MICROSTEP, name="stage", **options)
            if connect:
                await stage.connect()
            await story(stage, part, simulator, wire)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_a_stage_without_a_reference_has_no_position_and_is_not_moved() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        with pytest.raises(FaultError, match="WR: no reference position: home it"):
            await stage.position.get_value()
        with pytest.raises(FaultError, match="home it"):
            await stage.set(5.0)
        assert part.position == 10.0
        await stage.home()
        assert part.position == 0.0
        await stage.set(5.0)
        assert part.position == pytest.approx(5.0, abs=1e-4)

    with_stage(story, homed=False, connect=False, checksum=False)


def test_it_homes_itself_only_where_it_must_and_may() -> None:
    async def lost(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        assert part.position == 0.0
        assert await stage.status.get_value() == "idle"

    async def known(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        assert part.position == 10.0

    with_stage(lost, homed=False, home=True)
    with_stage(known, homed=True, home=True)


def test_alerts_between_replies_are_passed_over() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        await simulator.say(b"!01 1 IDLE --:B2\r\n")
        reading = asyncio.ensure_future(stage.position.get_value())
        await asyncio.sleep(0.0005)  # the question is on its way
        await simulator.say(b"!01 1 IDLE --:B2\r\n#01 1 a line of help\r\n")
        assert await reading == pytest.approx(10.0, abs=1e-4)
        sent = [entry.data for entry in wire.log if entry.direction == "sent"]
        assert sum(b"get pos" in each for each in sent) == 2  # one of them on connecting

    with_stage(story)


def test_a_movement_that_is_halted_ends_in_an_error_where_it_stands() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        moving = asyncio.ensure_future(_ended(stage.set(40.0)))
        await asyncio.sleep(2.0)
        await stage.halt()
        assert not part.moving
        with pytest.raises(InstrumentError, match="stopped, or sent elsewhere"):
            await moving
        assert 10.0 < part.position < 40.0

    with_stage(story)


def test_a_newer_setting_takes_the_place_of_the_older() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        older = asyncio.ensure_future(_ended(stage.set(40.0)))
        await asyncio.sleep(2.0)
        await stage.set(12.0)
        with pytest.raises(InstrumentError, match="sent elsewhere"):
            await older
        assert part.position == pytest.approx(12.0, abs=1e-4)

    with_stage(story)


def test_a_stall_is_a_fault_until_somebody_connects_anew() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        part.blocked = True
        with pytest.raises(FaultError, match="FS: stalled and stopped"):
            await stage.set(20.0)
        part.blocked = False
        with pytest.raises(FaultError, match="FS"):
            await stage.set(20.0)
        await stage.connect(force_reconnect=True)
        await stage.set(20.0)
        assert part.position == pytest.approx(20.0, abs=1e-4)

    with_stage(story)


def test_its_limits_are_those_of_the_stage_and_of_the_lab() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        for outside in (4.0, 60.0):
            with pytest.raises(RefusedError, match=r"outside 5 to 50\.8 mm"):
                await stage.set(outside)

    with_stage(story, limits=(5.0, 100.0))


def test_a_reply_without_the_checksum_that_it_should_have_is_not_believed() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        simulator._settings["comm.checksum"] = "0"
        with pytest.raises(GarbledError, match="stage: get pos"):
            await stage.position.get_value()

    with_stage(story)


def test_a_rejection_says_why() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        await stage._talk.ask(1, "tools parking park")
        with pytest.raises(RefusedError, match="rejected: PARKED: it is parked"):
            await stage.set(20.0)

    with_stage(story)


def test_its_speed_is_in_millimetres() -> None:
    async def story(stage: Zaber, part: Carriage, simulator: SimulatedZaber, wire: Any) -> None:
        await stage.speed.set(10.0)
        assert await stage.speed.get_value() == pytest.approx(10.0, rel=1e-4)
        began = asyncio.get_running_loop().time()
        await stage.set(30.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.3)

    with_stage(story)


@pytest.mark.parametrize(
    "line",
    [
        b"@01 1 05 OK IDLE -- 123:A5\r\n",
        b"@01 1 05 OK IDLE -- 12\xb3\r\n",
        b"@01 1 05 OK IDLE --\r\n",
        b"/1 1 05 get pos:2D\n@01 1 05 OK IDLE -- 0\r\n",
        b"",
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(line: bytes) -> None:
    with pytest.raises(GarbledError):
        parse(line)


async def _ended(status: Any) -> None:
    await status


def test_an_answer_may_end_with_a_line_feed_alone() -> None:
    assert parse(b"@01 1 07 OK IDLE -- 5\n").data == "5"

    class Bare(SimulatedZaber):
        async def say(self, data: bytes) -> None:
            await super().say(data.replace(b"\r\n", b"\n"))

    async def run() -> None:
        part = Carriage(StillWorld(), travel_mm=50.8, position_mm=10.0)
        rng = np.random.default_rng(1)
        simulator = Bare(part, rng=rng, microstep=MICROSTEP, homed=True)
        async with memory_wire(Zaber.delivered, [simulator]) as wire:
            stage = Zaber(wire, microstep=MICROSTEP, name="stage")
            await stage.connect()
            await stage.set(12.0)
            assert abs(part.position - 12.0) < 0.01

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
