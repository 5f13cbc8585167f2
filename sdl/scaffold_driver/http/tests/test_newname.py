"""What every driver must do, and what the newname does besides."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdl import Lab
from sdl.errors import FaultError, GarbledError, InstrumentError
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
from sdl.wires.http import HttpRefusedError

HERE = Path(__file__).resolve().parents[1]

Driver: Any = load("drivers", "newname", HERE)
Simulator: Any = load("simulators", "newname", HERE)
Bath: Any = load("worlds", "newname_bench:Bath", HERE)
parse: Any = load("drivers", "newname:parse", HERE)
State: Any = load("drivers", "newname:State", HERE)
FILE = HERE / "tests" / "transcripts" / "newname.yaml"
TRANSCRIPT = yaml.safe_load(FILE.read_text("utf-8"))


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
    identity=r"TB-20, firmware \d\.\d\d",
    truths={
        "temperature": Truth(lambda bath: bath.temperature, within=0.006, units="degC"),
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
            12.34,
            took=lambda bath: bath.setpoint == 12.34,
            signal="setpoint",
            refused=(-30.1, 151.0),
        ),
    ],
    safe=lambda bath: not bath.running,
)


class TestNewName(Conformance):
    subject = SUBJECT


def by_name(exchange: dict[str, Any]) -> str:
    return exchange["name"]


@pytest.mark.parametrize("exchange", TRANSCRIPT["exchanges"], ids=by_name)
def test_the_simulator_answers_as_the_transcript_says(exchange: dict[str, Any]) -> None:
    async def story(bench: Tried) -> None:
        for name, value in exchange.get("state", {}).items():
            setattr(bench.part, name, value)
        assert await _asked(bench, exchange) == exchange["answer"]

    _on_a_bench(story, connect=False)


@pytest.mark.parametrize("exchange", [e for e in TRANSCRIPT["exchanges"] if "do" in e], ids=by_name)
def test_the_driver_speaks_as_the_transcript_says(exchange: dict[str, Any]) -> None:
    async def story(bench: Tried) -> None:
        for name, value in exchange.get("state", {}).items():
            setattr(bench.part, name, value)
        do = exchange["do"]
        if "set" in do:
            await getattr(bench.driver, do["set"]).set(do["to"])
        elif "read" in do:
            assert await getattr(bench.driver, do["read"]).get_value() == do["is"]
        else:
            assert await getattr(bench.driver, do["call"])() == do.get("is")
        assert exchange["ask"] in _sent(bench)

    _on_a_bench(story)


# FILL IN 16: what is special about your instrument


@pytest.mark.parametrize(
    "answer",
    [
        b'{"temperature": "23.45", "setpoint": 25.0, "running": false, "alarm": ""}',
        b'{"temperature": NaN, "setpoint": 25.0, "running": false, "alarm": ""}',
        b'{"temperature": true, "setpoint": 25.0, "running": false, "alarm": ""}',
        b'{"temperature": 23.45, "setpoint": 25.0, "running": 0, "alarm": ""}',
        b'{"setpoint": 25.0, "running": false, "alarm": ""}',
        b'{"temperature": 23.',
        b"[]",
        b"",
    ],
)
def test_what_is_no_answer_never_becomes_a_value(answer: bytes) -> None:
    with pytest.raises(GarbledError):
        parse(answer, State)


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


def _on_a_bench(story: Any, *, connect: bool = True) -> None:
    async def run() -> None:
        async with tried(SUBJECT, connect=connect) as bench:
            await story(bench)

    on_virtual_time(run())


async def _ended(status: Any) -> None:
    await status


async def _asked(bench: Tried, exchange: dict[str, Any]) -> Any:
    """Ask the simulator; return what it answers, or the status with which it refuses."""
    method, path, *data = exchange["ask"].split(" ", 2)
    try:
        answer = await bench.wire.ask(method, path, data=json.loads(*data) if data else None)
    except HttpRefusedError as refusal:
        return refusal.status
    return answer.json()


def _sent(bench: Tried) -> list[str]:
    """All that was sent, as the transcript writes it."""
    return [entry.data.decode() for entry in bench.wire.log if entry.direction == "sent"]
