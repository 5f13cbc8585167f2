"""`kill -9` of runtimes on real wires: the short form of `python -m benchmarks.torture`."""

import sys
from pathlib import Path

import pytest

from sdl.judging import Judgement
from tests.torture import others
from tests.torture.bench import bench
from tests.torture.kills import Boundary, Torment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="PTYs, and kill -9"),
]

CHOSEN: list[Boundary] = [
    (1, "after intent"),  # the heater is set
    (2, "done"),  # a pump's rate
    (4, "before intent"),  # a dose, while others begin theirs
    (7, "after intent"),
    (10, "after act"),
    (14, "after intent"),  # a dose, alone
    (14, "after act"),
    (16, "after act"),  # a spectrum is measured, and not read
    (18, "done"),
    (30, "before intent"),
    (31, "after intent"),
    (43, "after act"),  # a reading, while doses are given
]


def clean(said: Judgement) -> None:
    assert said.findings == []
    assert said.doses >= 10
    assert said.readings >= 18
    assert set(said.states) == {"completed"}


def test_kills_at_boundaries_repeat_and_skip_no_dose_and_lose_no_reading(tmp_path: Path):
    with bench(tmp_path, watchdog=False) as place:
        torment = Torment(place, seed=1)
        torment.open = list(CHOSEN)
        torment.at_boundaries()
        said = torment.judge()
    assert torment.toll.kills == len(CHOSEN)
    assert torment.toll.doubts == []
    clean(said)


def test_doses_that_the_watchdog_has_stopped_are_made_whole(tmp_path: Path):
    with bench(tmp_path, watchdog=True) as place:
        torment = Torment(place, seed=1)
        torment.while_dosing("solvent_pump", 2)
        said = torment.judge()
    assert torment.toll.doubts == []
    assert said.pieces >= 1
    clean(said)


def test_a_full_disk_and_a_second_runtime_change_nothing(tmp_path: Path):
    with bench(tmp_path, watchdog=False) as place:
        torment = Torment(place, seed=1)
        others.full_disk(torment, [(10, "after intent")])
        others.two_runtimes(torment, 1)
        said = torment.judge()
    assert torment.toll.doubts == []
    clean(said)
