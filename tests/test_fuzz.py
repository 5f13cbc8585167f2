"""Fuzzing in short: a few hundred damaged replies and requests for each instrument on the shelf.

The long form, a million of each, is `benchmarks/fuzz.py`.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl.errors import InstrumentError
from sdl.instrument import Instrument, poll_r
from sdl.simulators.simulated import LineSimulator
from sdl.testing import Rig, Subject, Truth
from sdl.testing.fuzzing import fuzz_replies, fuzz_requests, requests_of
from sdl.wires import StreamWire, until

FILE = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
CASES = {"replies": 300, "requests": 300, "parsers": 2000}
MOVED_AWAY = ("TestVici", "TestInjectionValve")  # they keep the ID that they were told


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


fuzz = loaded()


def check(part: str, name: str) -> Any:
    (task,) = fuzz.tasks(part, name, CASES[part], seed=1)
    tally = fuzz._run(task)
    assert not tally.failures, f"{task.line}\n{tally.failures[0]}"
    assert tally.cases >= CASES[part]
    return tally


@pytest.mark.parametrize("name", fuzz.on_streams())
def test_no_damaged_reply_is_taken_for_a_value_and_every_reading_ends(name: str) -> None:
    assert check("replies", name).errors > 0


@pytest.mark.parametrize("name", fuzz.on_streams())
def test_a_simulator_lives_through_any_request_and_is_found_again(name: str) -> None:
    assert not check("requests", name).estranged or name in MOVED_AWAY


@pytest.mark.parametrize("name", fuzz.parsers())
def test_a_parser_gives_a_value_or_says_that_it_is_none(name: str) -> None:
    check("parsers", name)


# The fuzzer itself


class Level:
    level = 5.0


class Tank(LineSimulator):
    """Says its level when asked; dies of a request that it does not know, if it is brittle."""

    def __init__(self, part: Level, *, brittle: bool = False) -> None:
        super().__init__(rng=np.random.default_rng(1))
        self._part, self._brittle = part, brittle

    def answer(self, request: bytes) -> bytes:
        if self._brittle and request not in (b"L\r", b"V\r"):
            raise KeyError(request)
        return b"%.3f\r" % self._part.level if request == b"L\r" else b"tank\r"


class Believer(Instrument):
    """Takes whatever ends with a CR for the level."""

    def __init__(self, wire: StreamWire) -> None:
        self.level = poll_r(float, self._level, source="level", units="mm")
        super().__init__(wire, name="tank")

    async def identify(self) -> str:
        return (await self.ask(b"V\r")).decode("latin-1")

    async def make_safe(self) -> None: ...

    async def ask(self, request: bytes) -> bytes:
        assert isinstance(self.wire, StreamWire)
        return await self.wire.ask(request, until(b"\r"))

    async def _level(self) -> float:
        try:
            return float(await self.ask(b"L\r"))
        except ValueError as error:
            raise InstrumentError("tank", "no number") from error


class Trusting(Believer):
    """Does not even look whether it is a number."""

    async def _level(self) -> float:
        return float(await self.ask(b"L\r"))


def tank(driver: type[Believer], *, brittle: bool = False) -> Subject:
    def rig() -> Rig:
        part = Level()
        return Rig(Tank(part, brittle=brittle), part)

    return Subject(
        driver=driver,
        rig=rig,
        url="serial:///dev/ttyUSB0?baudrate=9600",
        identity="tank",
        truths={"level": Truth(lambda part: part.level, units="mm")},
        change=lambda part, n: setattr(part, "level", 5.0 + n),
    )


def test_a_driver_that_believes_a_short_number_is_found() -> None:
    (failure,) = fuzz_replies(tank(Believer), 1, 2000).failures
    assert "level was read as" in failure


def test_a_driver_that_raises_what_is_no_error_of_ours_is_found() -> None:
    (failure,) = fuzz_replies(tank(Trusting), 1, 2000).failures
    assert "raised ValueError" in failure


def test_the_same_seed_is_the_same_failure() -> None:
    one, other = (fuzz_replies(tank(Believer), 3, 2000).failures for _ in range(2))
    assert one == other


def test_a_simulator_that_dies_of_a_request_is_found() -> None:
    asked = requests_of(tank(Believer))
    assert not fuzz_requests(tank(Believer), 1, 100, asked=asked).failures
    (failure,) = fuzz_requests(tank(Believer, brittle=True), 1, 100, asked=asked).failures
    assert "it died: KeyError" in failure
