"""What `adaptive` says of its models: calibration, relevance, slices, forecasts."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sdl.optimizers.adaptive import Adaptive
from sdl.optimizers.adaptive._forecast import forecast
from sdl.optimizers.adaptive._gaussian import GaussianProcess
from sdl.optimizers.adaptive._judge import judge
from sdl.optimizers.adaptive._simulate import Simulated, simulate
from sdl.space import Objective, Space
from sdl.stoprule import StopRule
from sdl.suggest.calibration import Calibration, Prediction, calibrations
from sdl.task import OutcomeConstraint, Task

Function = Callable[[NDArray[np.float64]], float]


def task(d: int, direction: Any = "minimize", **more: Any) -> Task:
    space = Space.model_validate(
        {"parameters": {f"x{k}": {"low": 0.0, "high": 1.0} for k in range(d)}}
    )
    return Task.of(space, {"y": Objective(direction=direction)}, **more)


def told(asked: Task, function: Function, n: int, *, noise: float = 0.0, seed: int = 1) -> Adaptive:
    """Trials spread evenly over the space."""
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    rows = qmc.Sobol(asked.space.dimension, rng=seed).random(64)[:n]
    optimizer = Adaptive(asked, seed=seed)
    optimizer.ingest(
        [
            {
                "_id": k,
                "_state": "completed",
                **{f"x{j}": float(v) for j, v in enumerate(row)},
                "y": function(row) + noise * rng.standard_normal(),
            }
            for k, row in enumerate(rows)
        ]
    )
    return optimizer


def judged(optimizer: Adaptive) -> dict[str, Any]:
    found = judge(optimizer._proposer, optimizer._history)
    json.dumps(found, allow_nan=False)  # it goes between processes
    return found


def forecasted(optimizer: Adaptive, **wanted: Any) -> dict[str, Any]:
    points = optimizer.suggest(1)
    found = forecast(optimizer._proposer, optimizer._history, points, wanted)
    json.dumps(found, allow_nan=False)
    return found


def bowl(x: NDArray[np.float64]) -> float:
    return 10.0 * float(np.square(x - 0.3).sum())


def two_of_five(x: NDArray[np.float64]) -> float:
    return float(np.sin(5 * x[1]) + 2.0 * (x[3] - 0.4) ** 2)


def drawn(seed: int, d: int) -> Function:
    """A function such as models believe in: a sum of many waves (Rahimi and Recht 2007)."""
    rng = np.random.default_rng(seed)
    slopes, phases = rng.standard_normal((200, d)) / 0.4, rng.uniform(0, 2 * np.pi, 200)
    return lambda x: float(np.cos(slopes @ x + phases) @ np.ones(200)) / 10.0


def test_leave_one_out_of_a_function_it_believes_in_is_calibrated() -> None:
    rows: list[dict[str, Any]] = []
    for seed in range(3):
        rows += judged(told(task(2), drawn(seed, 2), 24, noise=0.05, seed=seed))["predictions"]
    found = calibrations(rows)["y"]
    assert len(found) == 72
    assert found.doubt == ""
    assert found.rmse < 0.5 * (found.rmse_of_mean or 0.0)


def test_a_model_made_overconfident_is_flagged() -> None:
    optimizer = told(task(2), drawn(1, 2), 24, noise=0.3)
    model = optimizer._proposer.models(optimizer._history).objectives["y"]
    sure = dataclasses.replace(model.h, noise=1e-5, signal=0.05 * model.h.signal)
    model.gp = GaussianProcess(model.gp.data, sure)
    means, sds = model.leave_one_out()
    rows = zip(model.observed.y, means, sds, strict=True)
    found = Calibration([Prediction(k, *map(float, row)) for k, row in enumerate(rows)])
    assert "too sure of itself" in found.doubt


def test_predictions_are_in_the_outcomes_units_and_direction() -> None:
    rows = judged(told(task(2), bowl, 16))["predictions"]
    for row in rows:
        assert row["z"] * (row["observed"] - row["mean"]) >= 0
    assert np.mean([abs(r["observed"] - r["mean"]) for r in rows]) < 1.0


def test_relevance_finds_the_two_active_of_five_parameters() -> None:
    relevant = judged(told(task(5), two_of_five, 48))["relevance"]["y"]
    totals = {name: told_of["total"] for name, told_of in relevant.items()}
    assert sorted(totals, key=lambda n: -totals[n])[:2] == ["x1", "x3"]
    assert totals["x1"] > 0.6
    assert max(totals["x0"], totals["x2"], totals["x4"]) < 0.05
    assert relevant["x1"]["lengthscale"] < relevant["x0"]["lengthscale"]
    for told_of in relevant.values():
        assert told_of["total_low"] <= told_of["total"] <= told_of["total_high"]


def test_sobol_indices_of_an_additive_function_are_those_known() -> None:
    # y = x0 + 2 x1: variances 1/12 and 4/12
    relevant = judged(told(task(2), lambda x: float(x[0] + 2 * x[1]), 16))["relevance"]["y"]
    assert relevant["x0"]["first"] == pytest.approx(0.2, abs=0.03)
    assert relevant["x1"]["total"] == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_slices_go_through_the_best_trial(direction: str) -> None:
    found = judged(told(task(2, direction), bowl, 24))
    best, at = found["best"]["parameters"], found["slices"]["y"]
    for name in ("x0", "x1"):
        along = at[name]
        place = int(np.argmin(np.abs(np.array(along["at"]) - best[name])))
        value = bowl(np.array([best["x0"], best["x1"]]))
        assert along["at"][place] == pytest.approx(best[name])
        assert along["mean"][place] == pytest.approx(value, abs=0.15)
        assert along["low"][place] <= along["mean"][place] <= along["high"][place]
    assert len(found["grids"]["y"]["mean"]) == len(found["grids"]["y"]["ys"])


def test_it_answers_the_same_in_another_optimizer_with_the_same_history() -> None:
    first, second = (told(task(2), bowl, 10) for _ in range(2))
    wanted = {"of": 0.1, "until": {"y": 0.01}, "expected_gain": 0.1, "trials": 20}
    assert judged(first) == judged(second)
    assert forecasted(first, **wanted) == forecasted(second, **wanted)


def test_constrained_outcomes_are_judged_too_and_infeasible_gain_counts_for_nothing() -> None:
    asked = task(1, outcome_constraints={"heat": OutcomeConstraint(high=1.0)})
    optimizer = Adaptive(asked, seed=1)
    rows = [{"_id": k, "_state": "completed", "x0": k / 9} for k in range(10)]
    optimizer.ingest([{**r, "y": 1 - r["x0"], "heat": 4 * r["x0"]} for r in rows])
    assert set(judged(optimizer)["slices"]) == {"y", "heat"}
    assert forecasted(optimizer)["expected_gain"] < 0.05  # all that is better is too hot


def test_too_few_trials_are_said_and_nothing_breaks() -> None:
    optimizer = told(task(2), bowl, 2)
    assert judged(optimizer) == {}
    assert "too few" in forecasted(optimizer)["cannot_say"]


def test_a_noisy_plateau_does_not_end_at_trial_5() -> None:
    rule = StopRule(expected_gain=0.5, probability=0.5, of=2.0, after=3)
    for seed in range(2):
        said = []
        for n in (4, 5):
            flat = told(task(2), lambda _: 0.0, n, noise=1.0, seed=seed)
            said.append(forecasted(flat, **rule.wanted()))
        assert rule.done(said, 2) == ""


def test_what_is_left_shrinks_as_a_bowl_is_known() -> None:
    few, many = (forecasted(told(task(2), bowl, n), of=0.05) for n in (8, 40))
    assert many["expected_gain"] < 0.3 * few["expected_gain"]
    assert many["regret_bound"] < 0.3 * few["regret_bound"]
    assert many["probability"] <= few["probability"]


def test_simulated_campaigns_count_trials_as_chance_has_it() -> None:
    # five places that tell nothing of each other, the best trial last: a geometric distribution
    covariance = np.diag([1.0, 1.0, 1.0, 1.0, 1.0, 1e-9])
    known = Simulated(np.zeros(6), covariance, noise=1e-6, likely=np.ones(6))
    made = simulate(known, draws=4000, trials=5, seed=1, target=1.2).to_target
    chance = 0.11507  # of a standard normal number above 1.2
    for n in (1, 3, 5):
        assert np.mean(made <= n) == pytest.approx(1 - (1 - chance) ** n, abs=0.025)
    half = Simulated(np.zeros(6), covariance, noise=1e-6, likely=np.full(6, 0.5))
    made = simulate(half, draws=4000, trials=1, seed=1, target=1.2).to_target
    assert np.mean(made <= 1) == pytest.approx(chance / 2, abs=0.015)


def test_the_forecast_holds_the_truth_on_a_known_function_most_of_the_time() -> None:
    inside = said = 0
    for seed in range(5):
        function = drawn(seed, 2)
        spread = [function(x) for x in np.random.default_rng(0).random((500, 2))]
        target = float(np.quantile(spread, 0.02))
        optimizer = told(task(2), function, 10, seed=seed)
        if min(p["y"] for p in optimizer._history.records()) <= target:
            continue
        found = forecasted(optimizer, until={"y": target}, trials=20)["trials_to_target"]
        if "cannot_say" in found:
            continue
        said += 1
        needed = trials_to(optimizer, function, target, 20)
        low, high = found["low"] or 99, found["high"] or 99
        inside += low <= needed <= high
    assert said >= 3
    assert inside >= 0.6 * said


def trials_to(optimizer: Adaptive, function: Function, target: float, most: int) -> int:
    for number in range(1, most + 1):
        (point,) = optimizer.suggest(1)
        y = function(np.array([point["x0"], point["x1"]]))
        optimizer.ingest([{"_id": 100 + number, "_state": "completed", **point, "y": y}])
        if y <= target:
            return number
    return 99
