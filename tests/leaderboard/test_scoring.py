"""Scores against values computed by hand."""

from typing import Any

import pytest

from sdl.leaderboard import scoring
from sdl.leaderboard.problems import Known
from sdl.leaderboard.scoring import Scale
from sdl.leaderboard.statistics import geometric_mean, mean, means, quantile, ranks
from sdl.space import Continuous, Objective, Space
from sdl.task import OutcomeConstraint, Task

SPACE = Space(parameters={"x": Continuous(low=0, high=1)})


def known(directions: dict[str, Any], constraints: Any = None, **more: Any) -> Known:
    objectives = {n: Objective(direction=d) for n, d in directions.items()}
    task = Task(space=SPACE, objectives=objectives, outcome_constraints=constraints or {})
    return Known(task, 4, 1, **more)


def trial(measured: dict[str, float] | None, truth: dict[str, float] | None = None) -> Any:
    return {"parameters": {}, "outcomes": measured, "truth": truth or measured}


def test_a_trace_is_the_truth_of_what_looks_best_and_feasible() -> None:
    task = known({"y": "minimize"}, {"c": OutcomeConstraint(high=0.0)})
    trials = [
        trial(None),
        trial({"y": 1.0, "c": 1.0}),  # infeasible
        trial({"y": 5.0, "c": 0.0}, {"y": 6.0, "c": 0.0}),
        trial({"y": 5.5, "c": 0.0}, {"y": 2.0, "c": 0.0}),  # better in truth, but looks worse
        trial({"y": 4.0, "c": 0.0}, {"y": 7.0, "c": 0.0}),  # looks better
    ]
    assert scoring.trace(task, trials, {}) == [None, None, 6.0, 6.0, 7.0]
    assert scoring.failures(trials) == 1
    assert scoring.violations(task, trials) == 1


def test_several_objectives_are_judged_by_hypervolume() -> None:
    task = known({"a": "maximize", "b": "minimize"})
    trials = [trial({"a": 1.0, "b": 1.0}), trial(None), trial({"a": 3.0, "b": 2.0})]
    # from a = 0, b = 4: 1 x 3, then 3 x 2 besides, of which 1 x 2 was there
    assert scoring.trace(task, trials, {"a": 0.0, "b": 4.0}) == [3.0, 3.0, 7.0]
    assert scoring.worst(task, [trials]) == {"a": 1.0, "b": 2.0}


def test_the_scale_leads_from_the_mean_start_to_the_optimum() -> None:
    found = scoring.scale(known({"y": "minimize"}, optimum=0.0), [[10.0, 4.0], [6.0, 2.0]], None)
    assert (found.start, found.goal, found.sign) == (8.0, 0.0, -1.0)
    assert found.target == pytest.approx(0.4)  # 95 % of the way
    assert found.share(2.0) == 0.75
    assert found.reached([9.0, 3.0, 2.0, 1.0], 2.0) == 3
    assert found.reached([9.0, 3.0], 2.0) is None


def test_without_an_optimum_the_best_of_all_jobs_is_the_goal() -> None:
    found = scoring.scale(known({"y": "maximize"}), [[1.0, 4.0], [3.0, 12.0]], 5.0)
    assert (found.start, found.goal, found.target) == (2.0, 12.0, 5.0)


def test_factors_on_a_table_compare_with_drawing_rows_by_chance() -> None:
    # 100 rows, 5 of them the best; of 40 draws 2 are expected to be, the second after 2 x 101 / 6
    tops = [0.0, 0.2, 0.2, 0.4, 0.4, 0.6] + [0.6] * 34
    found = scoring.factors_of_table(tops, rows=100, best=5)
    assert found.acceleration == pytest.approx(2 * 101 / 6 / 4)
    assert found.enhancement == pytest.approx(0.6 / (40 / 100))
    nothing = scoring.factors_of_table([0.0] * 40, 100, 5)
    assert nothing.acceleration == pytest.approx(2 * 101 / 6 / 41)
    assert nothing.enhancement == 0.0


def test_factors_elsewhere_compare_with_the_median_of_random_search() -> None:
    scale = Scale(-1.0, start=10.0, goal=0.0, target=None, budget=4)
    random = [[10.0, 9.0, 6.0, 6.0], [10.0, 8.0, 8.0, 8.0], [10.0, 7.0, 5.0, 2.0]]
    # its median trace is 10, 8, 6, 6: it reaches 6 with trial 3, 40 % of the way
    found = scoring.factors([10.0, 1.0, 1.0, 1.0], random, scale)
    assert found.acceleration == pytest.approx(3 / 2)
    assert found.enhancement == pytest.approx(0.9 / 0.4)
    never = scoring.factors([10.0, 9.0, 9.0, 9.0], random, scale)
    assert never.acceleration == pytest.approx(3 / 5)  # counts as reached with trial 5
    assert scoring.factors([10.0], random, scale) == scoring.Factors(None, None)  # cut short


def test_a_row_that_is_tried_twice_is_found_once() -> None:
    rows = [{"parameters": {"x": k}, "top": top} for k, top in ((1, True), (1, True), (2, False))]
    assert scoring.tops(rows, 2) == [0.5, 0.5, 0.5]


def test_few_seeds_have_the_interval_of_student() -> None:
    found = mean([1.0, 2.0, 3.0, None])
    assert found is not None
    assert (found.mean, found.n) == (2.0, 3)
    assert found.high == pytest.approx(2.0 + 4.302653 * 1.0 / 3**0.5, abs=1e-5)
    assert not found.sure
    alone = mean([1.0])
    assert alone is not None
    assert alone.low is None


def test_many_seeds_are_resampled_always_in_the_same_way() -> None:
    values = [[float(k % 7)] for k in range(100)]
    (one,), (two,) = means(values), means(values)
    assert one == two
    assert one.low is not None
    assert one.high is not None
    assert one.high - one.mean == pytest.approx(1.96 * 2.0 / 10, rel=0.15)  # sd 2.0


def test_ratios_have_a_geometric_mean() -> None:
    found = geometric_mean([0.5, 2.0])
    assert found is not None
    assert found.mean == pytest.approx(1.0)


def test_ranks_share_ties_and_put_nothing_last() -> None:
    assert ranks([0.5, 0.9, 0.5, None, None]) == [2.5, 1.0, 2.5, 4.5, 4.5]
    assert quantile([4.0, 1.0, 2.0], 0.75) == 3.0
