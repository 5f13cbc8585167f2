"""The Grbl driver on its simulator: stops, homing, alarms, and what its reports are worth."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.clock import monotonic, new_loop
from sdl.drivers.grbl import Grbl
from sdl.drivers.grbl.messages import (
    answer_frame,
    hello_frame,
    parse_report,
    parse_settings,
    report_frame,
)
from sdl.endpoints.pty import memory_wire
from sdl.errors import ConfigError, FaultError, GarbledError, InstrumentError, RefusedError
from sdl.instrument import Effect, StopPolicy
from sdl.simulators.grbl import SimulatedGrbl
from sdl.simulators.parts.gantry import Gantry
from sdl.testing import StillWorld

START = (-100.0, -80.0, -20.0)


@dataclass
class Bench:
    gantry: Gantry
    grbl: SimulatedGrbl
    driver: Grbl
    wire: Any


@asynccontextmanager
async def bench(
    *, homed: bool = True, settings: Mapping[int, float] | None = None, **part: Any
) -> AsyncIterator[Bench]:
    gantry = Gantry(StillWorld(), position=START, **part)
    grbl = SimulatedGrbl(gantry, rng=np.random.default_rng(1), settings=settings)
    if homed:
        grbl.at(START)
    async with memory_wire(Grbl.delivered, [grbl]) as wire:
        yield Bench(gantry, grbl, Grbl(wire, name="gantry"), wire)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story())


def test_it_is_absolute_and_a_stopped_plan_stops_it() -> None:
    assert (Grbl.effect, Grbl.stop_policy) == (Effect.ABSOLUTE, StopPolicy.STOP)


def test_a_halt_on_the_way_keeps_the_position() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.connect()
            move = asyncio.ensure_future(_ended(b.driver.set((-10.0, -10.0, -5.0))))
            await asyncio.sleep(2.0)
            began = monotonic()
            await b.driver.halt()
            assert monotonic() - began < 1.0
            with pytest.raises(InstrumentError, match="told to stop"):
                await move
            assert (b.grbl.state, b.gantry.speed) == ("Idle", 0.0)
            assert np.allclose(b.grbl.position, b.gantry.position)
            assert -95.0 < b.gantry.position[0] < -15.0
            await b.driver.set((-50.0, -50.0, -5.0))
            assert np.allclose(b.gantry.position, (-50.0, -50.0, -5.0))

    run(story)


def test_a_halt_at_rest_sends_no_reset() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.connect()
            await b.driver.halt()
            assert not any(e.data == b"\x18" for e in b.wire.log if e.direction == "sent")

    run(story)


def test_making_it_safe_ends_a_program_of_somebody_else_and_its_spindle() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.connect()
            for line in (b"M3 S700\n", b"G1 X-10 F300\n", b"G1 X-90\n"):
                await b.wire.send(line)
                await asyncio.sleep(0.2)
            assert (b.grbl.state, b.grbl.spindle) == ("Run", 700.0)
            await b.driver.make_safe()
            assert (b.grbl.state, b.grbl.spindle, b.gantry.speed) == ("Idle", 0.0, 0.0)
            assert np.allclose(b.grbl.position, b.gantry.position)

    run(story)


def test_homing_finds_the_switches_and_unlocks_it() -> None:
    async def story() -> None:
        async with bench(homed=False) as b:
            await b.driver.connect()
            with pytest.raises(FaultError, match="home it"):
                await b.driver.set(START)
            await b.driver.home()
            assert np.allclose(b.gantry.position, (-1.0, -1.0, -1.0))
            assert await b.driver.x.get_value() == -1.0
            await b.driver.set(START)
            assert np.allclose(b.gantry.position, START)

    run(story)


def test_a_stop_ends_homing() -> None:
    async def story() -> None:
        async with bench(homed=False) as b:
            await b.driver.connect()
            homing = asyncio.ensure_future(b.driver.home())
            await asyncio.sleep(2.5)
            assert b.grbl.state == "Home"
            await b.driver.halt()
            with pytest.raises(InstrumentError, match="told to stop"):
                await homing
            assert (b.grbl.state, b.gantry.speed) == ("Alarm", 0.0)

    run(story)


def test_a_switch_that_is_never_found_is_a_fault() -> None:
    async def story() -> None:
        low, high = (-1e4, -1e4, -1e4), (1e4, 1e4, 1e4)
        async with bench(homed=False, low=low, high=high) as b:
            await b.driver.connect()
            with pytest.raises(FaultError, match="alarm 9: homing did not find"):
                await b.driver.home()

    run(story)


def test_a_limit_switch_on_the_way_is_a_fault_and_a_reset_makes_it_speak_again() -> None:
    async def story() -> None:
        async with bench(low=(-300.0, -200.0, -30.0)) as b:
            await b.driver.connect()
            with pytest.raises(FaultError, match="alarm 1: a limit switch was hit"):
                await b.driver.set((-100.0, -80.0, -50.0))
            assert b.gantry.position[2] == pytest.approx(-30.0)
            await b.driver.make_safe()
            assert await b.driver.state.get_value() == "Alarm"

    run(story)


def test_a_door_that_is_opened_on_the_way_is_a_fault() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.connect()
            move = asyncio.ensure_future(_ended(b.driver.set((-10.0, -10.0, -5.0))))
            await asyncio.sleep(1.0)
            b.grbl.begin("local mode")
            with pytest.raises(FaultError, match="its door was opened"):
                await move

    run(story)


def test_after_a_loss_of_power_no_position_is_believed_until_it_is_homed() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.connect()
            move = asyncio.ensure_future(_ended(b.driver.set((-10.0, -10.0, -5.0))))
            await asyncio.sleep(1.0)
            b.grbl.power_cycle()
            with pytest.raises(FaultError, match="lost its power"):
                await move
            with pytest.raises(FaultError, match="its position is not known"):
                await b.driver.x.get_value()
            await b.driver.home()
            assert await b.driver.x.get_value() == -1.0

    run(story)


@pytest.mark.parametrize("setting", [{13: 1}, {10: 0}])
def test_a_machine_that_reports_inches_or_work_coordinates_is_refused(
    setting: dict[int, float],
) -> None:
    async def story() -> None:
        async with bench(settings=setting) as b:
            with pytest.raises((ConfigError, GarbledError), match=r"\$13=|MPos|agree"):
                await b.driver.connect()

    run(story)


def test_the_lab_may_allow_less_than_the_machine() -> None:
    async def story() -> None:
        async with bench() as b:
            driver = Grbl(b.wire, low=(-250.0, -150.0, -40.0), high=(-10.0, 0.0, 0.0), name="g")
            await driver.connect()
            for place in ((-260.0, 0.0, 0.0), (-5.0, 0.0, 0.0), (-20.0, 0.0, 1.0)):
                with pytest.raises(RefusedError, match="allowed is"):
                    await driver.check_value(place)
            await driver.check_value((-20.0, -1.0, -1.0))

    run(story)


def test_reports_that_lost_a_digit_do_not_agree_with_whole_ones() -> None:
    whole = parse_report("<Jog|MPos:-123.456,-10.000,-5.000|FS:600,0>\r\n")
    later = parse_report("<Jog|MPos:-123.956,-10.000,-5.000|FS:600,0|WCO:0.000,0.000,0.000>\r\n")
    maimed = parse_report("<Jog|MPos:-13.456,-10.000,-5.000|FS:600,0>\r\n")
    slower = parse_report("<Jog|MPos:-123.456,-10.000,-5.000|FS:60,0>\r\n")
    assert whole.agrees(later, 0.05)
    assert not whole.agrees(maimed, 0.05)
    assert not whole.agrees(slower, 0.05)


@given(st.text(alphabet="<>|:,.-0123456789IdleMPosFSJogok\r\n$=[]GCMVERALARM", max_size=80))
def test_what_is_no_message_is_garbled_and_nothing_worse(text: str) -> None:
    for parse in (parse_report, parse_settings):
        with pytest.raises(GarbledError):
            parse(text + "?")
    for frame in (report_frame, answer_frame(r"\$.*"), hello_frame):
        try:
            length = frame(text.encode())
        except GarbledError:
            continue
        assert length is None or 0 < length <= len(text)


async def _ended(status: Any) -> None:
    await status
