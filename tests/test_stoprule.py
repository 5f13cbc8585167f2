"""When a campaign is done because hardly anything is left to be gained."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sdl.journal import Journal
from sdl.stoprule import StopRule, in_words
from tests import soft_lab

JUDGED = """
from sdl.optimizers.adaptive import Adaptive


class judged(Adaptive):
    def forecast(self, points, wanted):
        from sdl.optimizers.adaptive._forecast import forecast

        return forecast(self._proposer, self._history, points, wanted)
"""


def forecast(completed: int, gain: float, **more: Any) -> dict[str, Any]:
    return {"completed": completed, "expected_gain": gain, "of": "y", "units": "%", **more}


RULE = StopRule(expected_gain=0.5, after=5)


def test_a_rule_must_hold_twice_with_a_result_between() -> None:
    low, lower = forecast(6, 0.4), forecast(7, 0.3)
    assert RULE.done([low], 2) == ""
    assert RULE.done([low, {**low}], 2) == ""  # two suggestions from the same results
    assert RULE.done([low, forecast(7, 0.9)], 2) == ""
    assert RULE.done([forecast(6, 0.9), lower], 2) == ""
    assert RULE.done([low, lower], 2) == (
        "the best next trial promises 0.3 % more of y, less than 0.5 %"
    )


def test_nothing_ends_before_its_time() -> None:
    assert RULE.done([forecast(3, 0.0), forecast(4, 0.0)], 2) == ""
    assert StopRule(expected_gain=0.5).least(2) == 10
    assert StopRule(expected_gain=0.5).least(9) == 20


@pytest.mark.parametrize("more", [{"doubt": "too sure"}, {"cannot_say": "no model"}])
def test_a_model_in_doubt_ends_nothing(more: dict[str, str]) -> None:
    assert RULE.done([forecast(6, 0.0, **more), forecast(7, 0.0, **more)], 2) == ""


def test_probability_and_cost_are_rules_of_their_own() -> None:
    chance = StopRule(probability=0.05, of=0.1, after=3)
    assert "with probability 0.01, less than 0.05" in chance.holds(
        forecast(9, 9.0, probability=0.01), 2
    )
    assert chance.holds(forecast(9, 0.0, probability=0.2), 2) == ""
    assert chance.holds(forecast(9, 0.0), 2) == ""  # nobody said
    worth = StopRule(gain_per_cost=0.1, after=3)
    assert "for a unit of cost" in worth.holds(forecast(9, 9.0, gain_per_cost=0.01), 2)


def test_a_rule_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs one of"):
        StopRule()
    with pytest.raises(ValidationError, match="`probability` is, which is missing"):
        StopRule(expected_gain=1.0, of=0.5)


def test_a_forecast_is_said_with_its_interval() -> None:
    ahead = {"target": 92.0, "median": 6, "low": 2, "high": None, "within": 20}
    said = in_words(forecast(9, 0.3, regret_bound=2.0, trials_to_target=ahead))
    assert said == (
        "the best next trial is expected to gain 0.3 % of y; at most about 2 % is left; about 6 "
        "trials (80 % interval 2 to more than 20) until y reaches 92 %"
    )
    assert "cannot be said: too few" in in_words(
        forecast(9, 0.3, trials_to_target={"cannot_say": "too few"})
    )


def test_a_campaign_on_a_bowl_ends_before_its_budget_and_says_why(tmp_path: Path) -> None:
    text = soft_lab.CAMPAIGN.replace("{use: sobol}", "{use: judged}").replace(
        "budget: {trials: 6}", "budget: {trials: 60}\nstop: {expected_gain: 0.5}"
    )
    campaign, lab = soft_lab.load(tmp_path, campaign=text)
    (tmp_path / "optimizers").mkdir()
    (tmp_path / "optimizers" / "judged.py").write_text(JUDGED)
    results = campaign.run_blocking(lab)
    assert 10 <= len(results) < 40
    assert max(row["y"] for row in results) > -2.0
    with Journal.open(tmp_path / "twin.db", readonly=True) as journal:
        ended = [n.text for n in journal.notes(campaign="heating") if n.text.startswith("ended")]
        forecasts = [t.suggestion["forecast"] for t in journal.trials("heating")]
    assert "the best next trial promises" in ended[-1]
    assert forecasts[-1]["expected_gain"] < 0.5  # the first of the two in a row
