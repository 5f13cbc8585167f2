"""Lines that fail in the middle of trials, short form of what `benchmarks/torture.py` does."""

import math
from pathlib import Path

import pytest

from sdl.endpoints.faults import Fault
from sdl.judging import Dose, Judgement, judge_pump
from tests.torture.mishaps import Planned, Worlds

BAD: list[str] = ["lost request", "lost reply", "late reply", "double reply", "garbled reply"]
RUNS = (62, 121, 190, 280)  # exchanges in the middle of doses, more or less


def ran(folder: Path, plans: list[Planned]) -> tuple[Worlds, Judgement]:
    worlds = Worlds(folder, [*plans])
    worlds.run()
    return worlds, worlds.told().judgement


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_exchange_is_got_over(tmp_path: Path, kind: str):
    worlds, said = ran(tmp_path, [Planned("pumps", Fault(kind, at)) for at in RUNS])
    assert worlds.happened == len(RUNS)
    assert said.findings == []
    assert said.states == {"completed": len(RUNS)}


def test_a_cut_wire_or_lost_power_ends_in_a_cause_and_never_in_a_wrong_dose(tmp_path: Path):
    cut = [Planned("pumps", Fault("cut", at, seconds=60.0)) for at in RUNS[:2]]
    power = [Planned("pumps", Fault("event", at), power_cycle=True) for at in RUNS[:2]]
    worlds, said = ran(tmp_path, cut + power)
    assert worlds.happened == 4
    assert said.findings == []
    assert said.states["failed"] + said.states["abandoned"] >= 2
    assert said.states["abandoned"] == len(worlds.doubts)  # they were in doubt, and given up
    assert said.states.total() == 4 + len(worlds.doubts)


@pytest.mark.parametrize("kind", ["lost reply", "garbled reply"])
def test_a_bad_exchange_with_the_heater_changes_no_dose(tmp_path: Path, kind: str):
    _, said = ran(tmp_path, [Planned("heater", Fault(kind, at)) for at in (8, 20, 40)])
    assert said.findings == []


# -- the judge itself -----------------------------------------------------------------------------

ASKED = [Dose(1, 4, -5.0, whole=True), Dose(1, 9, 3.0, whole=True), Dose(1, 11, 2.0, whole=True)]


def judged(moves: list[float], doses: list[Dose] = ASKED) -> Judgement:
    said = Judgement()
    judge_pump(said, "pump", doses, moves)
    return said


def test_doses_that_were_given_whole_or_in_pieces_are_right():
    assert judged([-5.0, 3.0, 2.0]).clean
    assert judged([-1.25, -3.751, 3.0, 1.0, 1.0]).clean


@pytest.mark.parametrize(
    "moves", [[-5.0, -5.0, 3.0, 2.0], [-5.0, 3.0, 3.0, 2.0], [-5.0, 3.0, 2.0, 0.5]]
)
def test_a_dose_too_many_is_seen(moves: list[float]):
    assert judged(moves).repeated


@pytest.mark.parametrize("moves", [[-5.0, 3.0], [3.0, 2.0], [-5.0, 2.0], [-5.0, 3.0, 1.5]])
def test_a_dose_too_few_is_seen(moves: list[float]):
    assert judged(moves).skipped


def test_a_dose_that_never_ended_is_seen():
    assert not judged([-5.0, 3.0, math.nan]).clean


def test_of_a_dose_in_doubt_anything_up_to_all_may_have_moved():
    doubtful = [*ASKED[:2], Dose(1, 11, 2.0, whole=False)]
    assert judged([-5.0, 3.0], doubtful).clean
    assert judged([-5.0, 3.0, 0.7], doubtful).clean
    assert not judged([-5.0, 3.0, 2.7], doubtful).clean
