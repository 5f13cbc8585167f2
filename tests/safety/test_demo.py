"""The demo's own rules, on its twin: they leave it alone, and hold when the sensor is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sdl import Lab
from sdl.bench import Bench
from sdl.clock import new_loop
from sdl.errors import UnsafeError
from sdl.instrument import Effect
from sdl.safety.action import Action
from sdl.safety.guard import Guard

LAB = Path(__file__).parents[2] / "examples" / "flow_chemistry" / "lab.yaml"
HEAT = Action("set", "heater", 80.0, Effect.ABSOLUTE, "snar-flow/1", 1)


def run(test: Callable[[Bench, Guard, list[str]], Awaitable[None]]) -> None:
    async def live() -> None:
        lab = Lab.load(LAB).twin()
        async with lab.open() as bench:
            trips: list[str] = []
            guard = Guard(
                lab.safety, lab.inventory, bench, balances=dict[str, float], on_trip=trips.append
            )
            await guard.start()
            try:
                await test(bench, guard, trips)
            finally:
                await guard.shut_down()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(live())


def test_half_a_day_of_heating_trips_nothing() -> None:
    async def test(bench: Bench, guard: Guard, trips: list[str]) -> None:
        await asyncio.sleep(3600)
        await guard.check(HEAT, ["heater"])
        await asyncio.sleep(12 * 3600)
        await guard.check(HEAT, ["heater"])
        assert trips == []

    run(test)


def test_a_sensor_that_goes_offline_refuses_and_trips() -> None:
    async def test(bench: Bench, guard: Guard, trips: list[str]) -> None:
        await asyncio.sleep(3610)  # it has just told its values, and will in 295 s again
        await guard.check(HEAT, ["heater"])
        bench.find("bench_air")._board._hear_will("tele/bench/LWT", b"Offline", False)
        with pytest.raises(UnsafeError, match=r"bench_air\.temperature: .*offline"):
            await guard.check(HEAT, ["heater"])
        await asyncio.sleep(12)
        assert len(trips) == 1

    run(test)
