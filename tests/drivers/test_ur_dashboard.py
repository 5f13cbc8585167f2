"""The arm's driver on its simulator: a program is played once, and what stops it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.drivers.ur_dashboard import UrDashboard
from sdl.drivers.ur_dashboard.words import MODE, SAFETY, STATE, VERSION, frame
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.tcp import memory_wire
from sdl.errors import FaultError, GarbledError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Effect, Reconcilable, Verdict
from sdl.simulators.parts.robot_arm import RobotArm
from sdl.simulators.ur_dashboard import SimulatedUrDashboard
from sdl.testing import StillWorld

PROGRAMS = {"pick.urp": 20.0, "place.urp": 30.0}


@dataclass
class Cell:
    arm: RobotArm
    robot: SimulatedUrDashboard
    line: Faulty
    driver: UrDashboard


@asynccontextmanager
async def cell(**options: Any) -> AsyncIterator[Cell]:
    arm = RobotArm(StillWorld(), programs=PROGRAMS)
    robot = SimulatedUrDashboard(arm, rng=np.random.default_rng(1), **{"powered": True, **options})
    line: Any = Faulty(robot)
    async with memory_wire(UrDashboard.delivered, [line]) as wire:
        driver = UrDashboard(wire, name="arm")
        await driver.connect()
        yield Cell(arm, robot, line, driver)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story())


async def ended(status: Any) -> None:
    await status


def test_a_program_is_relative() -> None:
    assert UrDashboard.effect is Effect.RELATIVE
    assert issubclass(UrDashboard, Reconcilable)


@pytest.mark.parametrize("kind", ["lost reply", "stale reply", "garbled reply", "double reply"])
def test_a_program_is_played_once_whatever_becomes_of_its_reply(kind: str) -> None:
    async def story() -> None:
        for at in range(1, 16):
            async with cell() as c:
                c.line.plan(Fault(kind, at))
                await c.driver.set("pick.urp")
                assert (c.arm.begun, c.arm.done) == (["pick.urp"], ["pick.urp"]), f"exchange {at}"

    run(story)


def test_a_program_whose_request_to_play_was_lost_is_not_asked_for_again() -> None:
    async def story() -> None:
        errors = 0
        for at in range(1, 16):
            async with cell() as c:
                c.line.plan(Fault("lost request", at))
                try:
                    await c.driver.set("pick.urp")
                except NoReplyError:
                    errors += 1
                    assert c.arm.begun == []
                else:
                    assert c.arm.begun == ["pick.urp"]
        assert errors == 1

    run(story)


def test_a_protective_stop_is_a_fault_and_is_unlocked_after_five_seconds() -> None:
    async def story() -> None:
        async with cell() as c:
            playing = asyncio.ensure_future(ended(c.driver.set("pick.urp")))
            await asyncio.sleep(5.0)
            c.robot.protective_stop()
            with pytest.raises(FaultError, match="safety: PROTECTIVE_STOP, after"):
                await playing
            with pytest.raises(RefusedError, match="until 5s after occurrence"):
                await c.driver.unlock()
            with pytest.raises(FaultError, match="PROTECTIVE_STOP"):
                await c.driver.set("pick.urp")
            await asyncio.sleep(5.0)
            await c.driver.unlock()
            await c.driver.set("pick.urp")
            assert c.arm.done == ["pick.urp"]

    run(story)


def test_a_halt_stops_the_program() -> None:
    async def story() -> None:
        async with cell() as c:
            playing = asyncio.ensure_future(ended(c.driver.set("pick.urp")))
            await asyncio.sleep(5.0)
            await c.driver.halt()
            assert not c.arm.playing
            with pytest.raises(InstrumentError, match="told to stop"):
                await playing
            assert c.arm.done == []

    run(story)


def test_in_local_mode_nothing_is_played_and_after_it_one_connects_anew() -> None:
    async def story() -> None:
        async with cell() as c:
            c.robot.remote = False
            with pytest.raises(RefusedError, match="switch it to remote control"):
                await c.driver.set("pick.urp")
            c.robot.remote = True
            await c.driver.set("pick.urp")
            assert c.arm.done == ["pick.urp"]

    run(story)


def test_a_halt_in_local_mode_says_that_it_runs() -> None:
    async def story() -> None:
        async with cell() as c:
            c.arm.start("place.urp")
            c.robot.remote = False
            with pytest.raises(FaultError, match=r"it runs: .*local mode"):
                await c.driver.halt()

    run(story)


def test_power_is_switched_on_with_its_brakes_and_off() -> None:
    async def story() -> None:
        async with cell(powered=False) as c:
            with pytest.raises(FaultError, match="robot mode POWER_OFF"):
                await c.driver.set("pick.urp")
            await c.driver.power.set(True)
            assert c.robot.mode == "RUNNING"
            await c.driver.power.set(False)
            assert c.robot.mode == "POWER_OFF"
            c.robot.emergency_stop(True)
            with pytest.raises(FaultError, match="ROBOT_EMERGENCY_STOP"):
                await c.driver.power.set(True)

    run(story)


def test_a_cb3_is_asked_what_it_knows() -> None:
    async def story() -> None:
        async with cell(version="3.9.1.64192 (Jul 31 2019)", remote=False) as c:
            assert await c.driver.identify() == "PolyScope 3.9.1.64192"
            assert await c.driver.remote.get_value()
            assert await c.driver.safety.get_value() == "NORMAL"
            await c.driver.set("pick.urp")
            assert c.arm.done == ["pick.urp"]

    run(story)


def test_what_became_of_a_program_is_told_as_far_as_it_can_be_known() -> None:
    async def story() -> None:
        async with cell() as c:
            mark = await c.driver.mark("set", "pick.urp")
            found = await c.driver.reconcile("set", "pick.urp", mark)
            assert found.verdict is Verdict.NOT_DONE
            c.robot.program = "pick.urp"  # another process has played it, and died
            c.arm.start("pick.urp")
            with pytest.raises(RefusedError, match="another program is playing"):
                await c.driver.mark("set", "pick.urp")
            found = await c.driver.reconcile("set", "pick.urp", mark)
            assert found.verdict is Verdict.DONE
            found = await c.driver.reconcile("set", "pick.urp", mark)
            assert found.verdict is Verdict.UNKNOWN

    run(story)


@given(st.binary(max_size=80))
def test_what_is_no_reply_is_garbled_and_nothing_worse(said: bytes) -> None:
    for pattern in (MODE, SAFETY, STATE, VERSION):
        try:
            length = frame(pattern)(said)
        except GarbledError:
            continue
        assert length is None
