"""What every driver must do, and what the newname does besides."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl import Lab
from sdl.errors import FaultError, InstrumentError
from sdl.plugins import load
from sdl.testing import (
    Conformance,
    Rig,
    Setting,
    StillWorld,
    Subject,
    Tried,
    Truth,
    on_virtual_time,
    tried,
)

HERE = Path(__file__).resolve().parents[1]

Driver: Any = load("drivers", "newname", HERE)
Simulator: Any = load("simulators", "newname", HERE)
Bath: Any = load("worlds", "newname_bench:Bath", HERE)
parse_celsius: Any = load("drivers", "newname:parse_celsius", HERE)


def rig() -> Rig:
    bath = Bath(StillWorld(), time_constant=2.0)
    return Rig(Simulator(bath, rng=np.random.default_rng(1), noise=0.0), bath)


def change(bath: Any, n: int) -> None:
    """Put the bath into its n-th state, at rest: all signals differ between n and n + 1."""
    bath.setpoint, bath.filled = 30.0 + n % 50, n % 2 == 0
    bath.running = n % 2 == 0
    bath.temperature = bath.setpoint


# FILL IN 15: what is true of your instrument, what can be set, and what the world shows of it
SUBJECT = Subject(
    driver=lambda wire: Driver(wire, longest=60.0, name="newname"),
    rig=rig,
    url=Driver.delivered,
    transcript=HERE / "tests" / "transcripts" / "newname.yaml",
    identity=r"TB-20, firmware 1\.40",
    truths={
        "temperature": Truth(lambda bath: bath.temperature, within=0.06, units="degC"),
        "setpoint": Truth(lambda bath: bath.setpoint, units="degC"),
        "running": Truth(lambda bath: bath.running),
        "alarm": Truth(lambda bath: "" if bath.filled else "liquid level too low"),
    },
    change=change,
    settings=[
        Setting(
            37.0,
            took=lambda bath: bath.running and bath.setpoint == 37.0,
            refused=(-30.1, 151.0, float("nan")),
        ),
        Setting(
            12.3,
            took=lambda bath: bath.setpoint == 12.3,
            signal="setpoint",
            refused=(-30.1, 151.0),
        ),
    ],
    safe=lambda bath: not bath.running,
)


class TestNewName(Conformance):
    subject = SUBJECT


# FILL IN 16: what is special about your instrument


@pytest.mark.parametrize(
    ("register", "celsius"), [(0, 0.0), (235, 23.5), (0xFFAB, -8.5), (0x8000, -3276.8)]
)
def test_a_register_is_an_int16_in_tenths_of_a_degree(register: int, celsius: float) -> None:
    assert parse_celsius(register) == celsius


def test_a_set_that_is_stopped_ends_and_the_bath_stays_where_it_is() -> None:
    async def story(bench: Tried) -> None:
        going = asyncio.ensure_future(_ended(bench.driver.set(90.0)))
        await asyncio.sleep(2.0)
        await bench.driver.stop()
        with pytest.raises(InstrumentError, match="stopped, or set anew"):
            await going
        there = bench.part.temperature
        await asyncio.sleep(30.0)
        assert bench.part.temperature == pytest.approx(there, abs=1.0)
        assert 25.0 < there < 85.0

    _on_a_bench(story)


def test_too_little_water_on_the_way_is_a_fault() -> None:
    async def story(bench: Tried) -> None:
        going = asyncio.ensure_future(_ended(bench.driver.set(90.0)))
        await asyncio.sleep(2.0)
        bench.part.filled = False
        with pytest.raises(FaultError, match="liquid level too low"):
            await going

    _on_a_bench(story)


def test_it_works_in_its_lab_on_the_twin() -> None:
    async def run() -> None:
        lab = Lab.load(HERE / "newname_lab.yaml").twin()
        async with lab.open() as bench:
            await bench.find("newname").set(40.0)
            there = await bench.find("newname.temperature").get_value()
            assert there == pytest.approx(40.0, abs=0.3)

    on_virtual_time(run())


def _on_a_bench(story: Any) -> None:
    async def run() -> None:
        async with tried(SUBJECT) as bench:
            await story(bench)

    on_virtual_time(run())


async def _ended(status: Any) -> None:
    await status
