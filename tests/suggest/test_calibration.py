"""Whether a model's uncertainty is honest, said from its leave-one-out predictions."""

import math
import random

import pytest

from sdl.suggest.calibration import Calibration, Coverage, Prediction, calibrations


def predictions(n: int, claimed: float, seed: int = 1) -> Calibration:
    """Outcomes that stray by 1 from what is predicted, with a standard deviation as claimed."""
    draw = random.Random(seed)
    means = [draw.gauss(0.0, 3.0) for _ in range(n)]
    rows = [Prediction(k, m + draw.gauss(0.0, 1.0), m, claimed) for k, m in enumerate(means)]
    return Calibration(rows)


def test_an_honest_model_is_not_blamed() -> None:
    blamed = [predictions(60, 1.0, seed).doubt for seed in range(20)]
    assert sum(map(bool, blamed)) <= 1
    (_, _, wide) = predictions(400, 1.0).coverage
    assert wide.interval[0] < 0.95 < wide.interval[1]


def test_an_overconfident_model_is_flagged_with_its_numbers() -> None:
    for seed in range(10):
        judged = predictions(25, 0.4, seed)
        assert judged.overconfident
        assert "too sure of itself" in judged.doubt
        assert "of 25 outcomes within 95 % intervals" in judged.doubt


def test_a_cautious_model_is_called_so_but_is_not_in_doubt() -> None:
    judged = predictions(40, 3.0)
    assert judged.doubt == ""
    assert "more cautious than it need be" in judged.verdict


def test_a_model_no_better_than_the_mean_is_in_doubt() -> None:
    draw = random.Random(2)
    rows = [Prediction(k, draw.gauss(0, 1), draw.gauss(0, 1), 1.5) for k in range(30)]
    assert "no better than the mean" in Calibration(rows).doubt


def test_of_few_predictions_nothing_is_said() -> None:
    assert "too few to judge" in predictions(7, 0.01).doubt


def test_the_histogram_of_overconfidence_has_high_ends() -> None:
    counts = predictions(200, 0.3).histogram
    assert sum(counts) == 200
    assert counts[0] + counts[-1] > 100


def test_numbers_are_those_of_the_textbook() -> None:
    judged = Calibration([Prediction(1, 1.0, 1.5, 0.5), Prediction(2, 3.0, 3.0, 2.0)])
    assert judged.rmse == pytest.approx(math.sqrt(0.125))
    assert judged.rmse_of_mean == pytest.approx(2.0)  # each is predicted as the other
    norm = 0.5 * math.log(2 * math.pi)
    assert judged.log_density == pytest.approx((-0.5 - math.log(0.5) - math.log(2.0)) / 2 - norm)
    assert judged.predictions[0].pit == pytest.approx(0.158655, abs=1e-5)
    # Wilson 1927: 8 of 10
    assert Coverage(0.95, 8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_residual_in_the_models_own_scale_counts_more_than_the_outcomes() -> None:
    row = {"_id": 1, "objective": "y", "observed": 5.0, "mean": 0.0, "sd": 1.0, "z": 0.5}
    (judged,) = calibrations([row]).values()
    assert judged.predictions[0].z == 0.5


@pytest.mark.parametrize(
    "wrong", [{"sd": -1.0}, {"mean": math.nan}, {"observed": "much"}, {"z": math.inf}]
)
def test_what_is_no_prediction_is_refused(wrong: dict[str, object]) -> None:
    row = {"_id": 1, "objective": "y", "observed": 1.0, "mean": 1.0, "sd": 1.0, **wrong}
    with pytest.raises((TypeError, ValueError)):
        calibrations([row])
