"""Earlier campaigns are found in a journal, ranked, and told in the present campaign's words."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sdl.errors import ConfigError
from sdl.journal import Journal, Trial, TrialState
from sdl.kinship import points_of, relatives, told_before

SPEC: dict[str, Any] = {
    "plan": "flow_reaction",
    "fixed": {"solvent": "DMF"},
    "parameters": {
        "temperature": {"type": "continuous", "low": 30.0, "high": 120.0, "units": "degC"},
        "time": {"type": "continuous", "low": 0.5, "high": 50.0, "scale": "log", "units": "min"},
        "base": {"type": "categorical", "choices": ["DBU", "TEA", "K2CO3"]},
    },
    "objectives": {"yield_": {"direction": "maximize", "units": "%"}},
    "budget": {"trials": 30},
}
POINT = {"temperature": 60.0, "time": 5.0, "base": "DBU"}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "journal.db", rederivable=True) as opened:
        yield opened


def spec(**changes: Any) -> dict[str, Any]:
    """The present campaign's specification with some of its parameters, or sections, changed."""
    words = copy.deepcopy(SPEC)
    for key, value in changes.items():
        if key in words["parameters"]:
            words["parameters"][key] |= value
        else:
            words[key] = value
    return words


def begin(journal: Journal, name: str, words: Mapping[str, Any], *, twin: bool = False) -> None:
    journal.add_campaign(name, words, lab="bench", twin=twin, versions={}, time=100.0)


def do(journal: Journal, name: str, point: Mapping[str, Any], value: float = 1.0) -> Trial:
    (trial,) = journal.suggest(name, [(point, {})], time=100.0)
    for state in (TrialState.APPROVED, TrialState.RUNNING):
        trial = journal.move(trial, state, time=100.0, who="test")
    return end(journal, trial, value)


def end(journal: Journal, trial: Trial, value: float) -> Trial:
    outcomes = {"yield_": value, "purity": 99.0}
    return journal.move(trial, TrialState.COMPLETED, time=100.0, who="test", outcomes=outcomes)


def earlier(
    journal: Journal,
    name: str,
    words: Mapping[str, Any],
    *,
    trials: int = 20,
    twin: bool = False,
    **place: Any,
) -> None:
    begin(journal, name, words, twin=twin)
    for k in range(trials):
        do(journal, name, {**POINT, "temperature": 40.0 + k, **place}, float(k))


def names(journal: Journal) -> list[str]:
    return [r.campaign for r in relatives(journal, "now")]


def test_the_most_similar_comes_first_and_what_has_nothing_in_common_is_left_out(
    journal: Journal,
) -> None:
    grams = {"yield_": {"direction": "maximize", "units": "g"}}
    other = {"ph": {"type": "continuous", "low": 1.0, "high": 14.0}}
    earlier(journal, "unrelated", spec(parameters=other), temperature=1.0)
    earlier(journal, "other-units", spec(temperature={"units": "degF"}))
    earlier(journal, "other-outcome-units", spec(objectives=grams))
    earlier(journal, "other-outcome", spec(objectives={"cost": {"direction": "minimize"}}))
    earlier(journal, "other-plan", spec(plan="batch_reaction"))
    earlier(journal, "neighbour", spec(temperature={"low": 50.0, "high": 150.0}))
    earlier(journal, "few", spec(), trials=3)
    earlier(journal, "too-few", spec(), trials=2)
    earlier(journal, "same", spec())
    begin(journal, "now", spec())
    assert names(journal) == ["same", "neighbour", "other-plan", "few"]
    found = relatives(journal, "now")
    assert found[0].similarity == pytest.approx(20 / 25)
    assert found[0].differs == ()
    assert found[1].differs == ("temperature has another range",)
    assert [r.campaign for r in relatives(journal, "now", most=2)] == ["same", "neighbour"]
    assert relatives(journal, "now") == found


def test_only_trials_that_had_ended_when_the_campaign_began_count_whatever_the_clocks_say(
    journal: Journal,
) -> None:
    earlier(journal, "before", spec(), trials=4)
    (running,) = journal.suggest("before", [(POINT, {})], time=0.0)
    running = journal.move(running, TrialState.APPROVED, time=0.0, who="test")
    running = journal.move(running, TrialState.RUNNING, time=0.0, who="test")
    begin(journal, "now", spec())
    told = points_of(relatives(journal, "now"))
    assert [p["_id"] for p in told] == [f"before/{n}" for n in (1, 2, 3, 4)]
    end(journal, running, 7.0)  # at the very second at which `now` began
    do(journal, "before", POINT)
    earlier(journal, "after", spec())
    earlier_budget = spec(budget={"trials": 99})  # a second revision is no second beginning
    begin(journal, "now", earlier_budget)
    assert points_of(relatives(journal, "now")) == told


def test_a_point_stands_in_the_present_words_or_not_at_all(journal: Journal) -> None:
    words = spec(base={"choices": ["DBU", "TEA", "NaH"]}, temperature={"high": 400.0})
    begin(journal, "wide", words)
    for value in (30.0, 90.0, 150.0):
        do(journal, "wide", {**POINT, "temperature": value}, value)
    do(journal, "wide", {**POINT, "temperature": 399.0})  # too far off to tell anything
    do(journal, "wide", {**POINT, "base": "NaH"})  # none of the present choices
    begin(journal, "now", spec())
    (found,) = relatives(journal, "now")
    assert [p["temperature"] for p in found.points] == [30.0, 90.0, 150.0]
    assert found.points[0] == {
        "_id": "wide/1",
        "_state": "completed",
        "_campaign": "wide",
        "_similarity": found.similarity,
        **POINT,
        "temperature": 30.0,
        "yield_": 30.0,
    }


def test_what_was_fixed_there_is_a_place_and_what_is_fixed_here_a_condition(
    journal: Journal,
) -> None:
    hot = spec(fixed={"temperature": 80.0, "solvent": "DMF"})
    del hot["parameters"]["temperature"]
    begin(journal, "hot", hot)
    for k in range(5):
        do(journal, "hot", {"time": 1.0 + k, "base": "TEA"})
    nowhere = spec(fixed={})
    del nowhere["parameters"]["temperature"]
    begin(journal, "nowhere", nowhere)
    for _ in range(5):
        do(journal, "nowhere", {"time": 5.0, "base": "TEA"})
    screen = spec(fixed={})
    screen["parameters"]["solvent"] = {"type": "categorical", "choices": ["DMF", "DMSO"]}
    begin(journal, "screen", screen)
    for k in range(8):
        do(journal, "screen", {**POINT, "solvent": "DMSO" if k % 2 else "DMF"})
    flow = spec()
    flow["parameters"]["flow"] = {"type": "continuous", "low": 0.0, "high": 10.0}
    begin(journal, "flow", flow)
    for k in range(11):
        do(journal, "flow", {**POINT, "flow": float(k)})
    begin(journal, "now", spec(fixed={"solvent": "DMF", "flow": 4.0}))
    found = {r.campaign: r for r in relatives(journal, "now")}
    assert found.keys() == {"hot", "screen", "flow"}
    assert [p["_id"] for p in found["flow"].points] == [f"flow/{n}" for n in (4, 5, 6)]
    assert {p["temperature"] for p in found["hot"].points} == {80.0}
    assert [p["_id"] for p in found["screen"].points] == [f"screen/{n}" for n in (1, 3, 5, 7)]
    assert all("solvent" not in p for p in found["screen"].points)


def test_a_twin_counts_less_and_is_marked(journal: Journal) -> None:
    earlier(journal, "twin", spec(), twin=True)
    earlier(journal, "real", spec())
    begin(journal, "now", spec())
    real, twin = relatives(journal, "now")
    assert (real.campaign, real.twin) == ("real", False)
    assert (twin.campaign, twin.twin) == ("twin", True)
    assert twin.similarity < real.similarity


def test_named_campaigns_alone_count_and_a_name_that_is_none_is_told(journal: Journal) -> None:
    earlier(journal, "one", spec())
    earlier(journal, "two", spec())
    begin(journal, "now", spec())
    assert [r.campaign for r in relatives(journal, "now", only=["one"])] == ["one"]
    assert {p["_campaign"] for p in told_before(journal, "now", ["two"])} == {"two"}
    assert {p["_campaign"] for p in told_before(journal, "now")} == {"one", "two"}
    assert told_before(journal, "now", False) == []
    with pytest.raises(ConfigError, match=r"tow is no earlier campaign .* are: one, two"):
        relatives(journal, "now", only=["tow"])


def test_a_specification_that_cannot_be_read_any_more_is_no_relative(journal: Journal) -> None:
    earlier(journal, "odd", {**spec(), "parameters": {"temperature": {"type": "quaternion"}}})
    earlier(journal, "bare", {"plan": "flow_reaction"})
    earlier(journal, "same", spec())
    begin(journal, "now", spec())
    assert names(journal) == ["same"]
