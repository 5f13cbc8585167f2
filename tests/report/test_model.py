"""What the report says of a model: whether to trust it, what it learned, why, what is left."""

import copy
from typing import Any

import pytest

from sdl.errors import OptimizerError
from sdl.report.findings import gather
from sdl.report.fit import Fit, Judged
from sdl.report.model import learned, reasons
from sdl.report.page import render
from sdl.suggest.calibration import Prediction

INDEX = {"first": 0.6, "first_low": 0.5, "first_high": 0.7}
INDEX |= {"total": 0.8, "total_low": 0.7, "total_high": 0.9}
JUDGEMENT: dict[str, Any] = {
    "best": {"trial": 2, "parameters": {"temperature": 60.0, "solvent": "water"}},
    "relevance": {
        "yield_": {
            "solvent": {"lengthscale": 3.0, **dict.fromkeys(INDEX, 0.01)},
            "temperature": {"lengthscale": 0.3, **INDEX},
        }
    },
    "slices": {
        "yield_": {
            "temperature": {
                "at": [30.0, 60.0, 120.0],
                "mean": [1.0, 5.0, 2.0],
                "low": [0.0, 4.0, 1.0],
                "high": [2.0, 6.0, 3.0],
            },
            "solvent": {
                "at": ["ethanol", "water", "toluene"],
                "mean": [1.0, 5.0, 2.0],
                "low": [0.0, 4.0, 1.0],
                "high": [2.0, 6.0, 3.0],
            },
        }
    },
    "grids": {
        "yield_": {
            "x": "temperature",
            "y": "catalyst",
            "xs": [30.0, 120.0],
            "ys": [0.001, 1.0, 10.0],
            "mean": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        }
    },
}
WHY = {"expected": {"yield_": {"mean": 41.5, "sd": 2.0}}, "distance_to_nearest": 0.05}
FORECAST = {"completed": 3, "expected_gain": 0.25, "of": "yield_", "units": "%", "doubt": ""}


def page(begin: Any) -> str:
    campaign = begin(objectives=1)
    for _ in range(4):
        campaign.trial(suggestion={"generator": "mine", "why": WHY, "forecast": FORECAST})
    findings = gather(campaign.journal, "screen")
    rows = [Prediction(t.number, float(t.number), 0.0, 0.1) for t in findings.trials] * 3
    return render(findings, Judged([Fit(rows, "yield_")], "", learned(JUDGEMENT)))


def test_all_that_was_learned_is_on_the_page(begin: Any) -> None:
    text = page(begin)
    for said in (
        "80.0 % <span",
        "(70.0 to 90.0)",
        "pale 1 %, dark 6 %",
        "all others as in trial 2",
        "expects yield_ 41.5 ± 2 %; refines what is known",
        "the best next trial is expected to gain 0.25 % of yield_",
    ):
        assert said in text
    assert text.index(">temperature</td><td") < text.index(">solvent</td><td")  # by relevance
    assert text.count('class="cell"') == 6


def test_an_overconfident_model_is_said_to_be_one(begin: Any) -> None:
    text = page(begin)
    assert "The model is too sure of itself: 0 of 12 outcomes within 50 % intervals" in text
    assert "0 to 24.2 %" in text  # the interval of a share of none of 12


def test_the_newest_reasons_come_first(begin: Any) -> None:
    campaign = begin(objectives=1)
    campaign.trial(suggestion={"why": WHY})
    campaign.trial(suggestion={"why": "a person wanted it"})
    campaign.trial(suggestion={"generator": "sobol"})
    found = reasons(gather(campaign.journal, "screen"))
    assert [t.number for t, _ in found] == [2, 1]
    assert found[0][1] == "a person wanted it"


NAN = float("nan")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("slices", "yield_", "temperature", "low"), [0.0, NAN, 1.0]),
        (("slices", "yield_", "temperature", "low"), [0.0, 1.0]),
        (("grids", "yield_", "mean"), [[1.0, 2.0], [3.0, NAN], [5.0, 6.0]]),
        (("grids", "yield_", "mean"), [[1.0, 2.0]]),
        (("relevance", "yield_", "temperature", "total"), "much"),
        (("relevance", "yield_"), None),
    ],
)
def test_what_is_no_judgement_is_refused(path: tuple[str, ...], value: object) -> None:
    wrong = copy.deepcopy(JUDGEMENT)
    inner: Any = wrong
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(OptimizerError, match="not usable"):
        learned(wrong)
