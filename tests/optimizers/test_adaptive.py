"""`adaptive` on the tasks that laboratories have: what it must survive, heed and find."""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers.adaptive import Adaptive
from sdl.optimizers.sobol import Sobol
from sdl.space import Point
from sdl.task import Task

UNIT = {"low": 0.0, "high": 1.0}
SQUARE: dict[str, Any] = {"a": UNIT, "b": UNIT}
DOWN: dict[str, Any] = {"y": {"direction": "minimize"}}
QUICK: dict[str, Any] = {"raw_samples": 64, "restarts": 2}
Outcome = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def task(parameters: Mapping[str, Any], objectives: Any = None, **more: Any) -> Task:
    kept = ("constraints", "mixtures", "candidates")
    space = {"parameters": parameters, **{k: more.pop(k) for k in kept if k in more}}
    return Task.model_validate({"space": space, "objectives": objectives or DOWN, **more})


def bowl(p: Mapping[str, Any]) -> dict[str, float]:
    return {"y": (p["a"] - 0.3) ** 2 + (p["b"] - 0.8) ** 2}


def told(points: list[Point], outcome: Outcome, first: int = 0) -> list[dict[str, Any]]:
    history = []
    for number, p in enumerate(points, first):
        found = outcome(p)
        state = "failed" if found is None else "completed"
        history.append({"_id": number, "_state": state, **p, **(found or {})})
    return history


def start(t: Task, outcome: Outcome = bowl, n: int = 9) -> list[dict[str, Any]]:
    return told(Sobol(t, seed=1).suggest(n), outcome)


def ask(
    t: Task, history: list[dict[str, Any]], n: int = 1, context: Any = None, **options: Any
) -> tuple[list[Point], dict[str, Any]]:
    optimizer = Adaptive(t, seed=5, **{**QUICK, **options})
    optimizer.ingest(history)
    points = optimizer.suggest(n, **(context or {}))
    assert [mistake for p in points for mistake in t.space.check(p)] == []
    return points, optimizer.provenance


def campaign(t: Task, outcome: Outcome, n: int, **options: Any) -> list[dict[str, Any]]:
    optimizer = Adaptive(t, seed=5, **{**QUICK, **options})
    history: list[dict[str, Any]] = []
    for number in range(n):
        new = told(optimizer.suggest(1), outcome, number)
        optimizer.ingest(new)
        history += new
    return history


# -- it finds what there is to find ---------------------------------------------------------------


def test_a_bowl_is_found_sooner_than_by_sobol() -> None:
    t = task(SQUARE)
    ours = min(p["y"] for p in campaign(t, bowl, 12))
    assert ours < 1e-4 < min(p["y"] for p in start(t, n=12))


def test_what_fails_is_avoided_and_the_optimum_beside_it_is_found() -> None:
    def half(p: Mapping[str, Any]) -> dict[str, float] | None:
        return None if p["a"] > 0.35 else bowl(p)

    history = campaign(task(SQUARE), half, 22)
    failed = [p["_state"] == "failed" for p in history]
    assert sum(failed[12:]) <= 3 < sum(failed)
    assert min(p["y"] for p in history if "y" in p) < 1e-3


def test_each_cause_of_failure_is_learned_by_itself() -> None:
    history = start(task(SQUARE), n=20)
    for p in history:
        if p["a"] > 0.7:
            p |= {"_state": "failed", "_cause": "guard"}
        elif p["b"] < 0.2:
            p |= {"_state": "failed", "_cause": "rejected"}
    _, made = ask(task(SQUARE), history)
    assert {"P(not guard)", "P(not rejected)"} <= made["model"].keys()
    assert made["why"][0]["p_feasible"] > 0.5


def test_an_outcome_constraint_is_kept() -> None:
    t = task(SQUARE, outcome_constraints={"z": {"high": 0.2}})
    history = campaign(t, lambda p: {**bowl(p), "z": p["a"]}, 16)
    feasible = [p for p in history if p["z"] <= 0.2]
    best = min(p["y"] for p in feasible)
    assert best == pytest.approx(0.01, rel=0.1)  # where a is 0.2


def test_where_nothing_is_feasible_yet_it_looks_for_what_is() -> None:
    t = task(SQUARE, outcome_constraints={"z": {"high": 0.1}})
    history = told(
        [{"a": a, "b": b} for a in (0.5, 0.7, 0.9) for b in (0.2, 0.6)],
        lambda p: {**bowl(p), "z": p["a"]},
    )
    (point,), made = ask(t, history)
    assert made["acquisition"]["name"] == "log P(feasible)"
    assert float(point["a"]) < 0.2


def test_two_objectives_spread_over_the_front() -> None:
    t = task(
        SQUARE,
        {
            "y": {"direction": "minimize", "threshold": 1.0},
            "z": {"direction": "minimize", "threshold": 1.0},
        },
    )

    def both(p: Mapping[str, Any]) -> dict[str, float]:
        return {"y": p["a"] ** 2 + p["b"], "z": (p["a"] - 1) ** 2 + p["b"]}

    history = campaign(t, both, 18)
    front = [p for p in history if p["b"] < 0.02]
    assert len(front) >= 6
    assert max(p["a"] for p in front) - min(p["a"] for p in front) > 0.6


def test_desirabilities_make_one_goal_of_several() -> None:
    wishes = {
        "y": {"direction": "minimize", "desirability": {"worst": 1.0, "best": 0.0}},
        "z": {"direction": "maximize", "desirability": {"worst": 0.0, "best": 1.0}},
    }
    t = task(SQUARE, wishes)
    history = campaign(t, lambda p: {"y": p["a"] ** 2, "z": p["a"] - (p["b"] - 0.5) ** 2}, 14)
    best = max(history, key=lambda p: max(1 - p["y"], 0) * max(p["z"], 0))
    assert best["a"] == pytest.approx(math.sqrt(1 / 3), abs=0.06)
    assert best["b"] == pytest.approx(0.5, abs=0.1)


def test_a_mixture_of_few_components_is_found() -> None:
    amounts = dict.fromkeys("abcd", UNIT)
    mixture = {"of": list("abcd"), "total": 1.0, "at_most": 2, "minimum": 0.1}
    t = task(amounts, mixtures=[mixture])
    history = campaign(t, lambda p: {"y": (p["b"] - 0.7) ** 2 + (p["d"] - 0.3) ** 2}, 22)
    assert min(p["y"] for p in history) < 2e-3


@pytest.mark.parametrize(
    "constraints",
    [["a + b <= 1"], ["a + b == 1"], ["a**2 + b**2 <= 0.5"], ["a*b >= 0.1", "a <= b"]],
    ids=["linear", "equation", "nonlinear", "product"],
)
def test_known_constraints_are_kept(constraints: list[str]) -> None:
    t = task(SQUARE, constraints=constraints)
    points, made = ask(t, start(t), 3)
    assert made["generator"] == "adaptive"
    assert len(points) == 3


def test_only_rows_of_a_table_are_suggested(tmp_path: Path) -> None:
    rows = [(a, b) for a in (0.0, 0.3, 0.5) for b in (0.1, 0.8, 0.9)]
    file = tmp_path / "rows.csv"
    file.write_text("a,b,other\n" + "\n".join(f"{a},{b},x" for a, b in rows))
    t = task(SQUARE, candidates={"file": str(file)})
    history = campaign(t, bowl, 9)
    assert sorted((p["a"], p["b"]) for p in history) == sorted(rows)
    assert min(p["y"] for p in history[:7]) == 0.0


def test_mixed_spaces_are_searched_in_all_their_parameters() -> None:
    t = task(
        {
            "a": UNIT,
            "c": {"choices": list("uvwxyz")},
            "k": {"type": "integer", "low": 0, "high": 50},
            "o": {"values": [1, 2, 5, 10]},
        }
    )

    def y(p: Mapping[str, Any]) -> dict[str, float]:
        return {"y": (p["a"] - 0.4) ** 2 + abs(p["k"] - 20) / 50 + (p["c"] != "x") + p["o"] / 10}

    best = min(campaign(t, y, 35), key=lambda p: p["y"])
    assert (best["c"], best["o"]) == ("x", 1)
    assert best["y"] < 0.16


# -- what is known is heeded ----------------------------------------------------------------------


def test_a_context_moves_the_optimum() -> None:
    t = task(SQUARE, contexts={"humidity": {"low": 0.0, "high": 100.0}})
    rng = np.random.default_rng(0)
    history = []
    for n, p in enumerate(Sobol(t, seed=1).suggest(24)):
        h = float(rng.uniform(0, 100))
        y = (float(p["a"]) - h / 100) ** 2 + 0.1 * float(p["b"])
        history.append({"_id": n, "_state": "completed", **p, "humidity": h, "y": y})
    for humidity in (20.0, 80.0):
        (point,), _ = ask(t, history, context={"humidity": humidity})
        assert point["a"] == pytest.approx(humidity / 100, abs=0.15)


def test_a_cheap_fidelity_is_used_where_it_tells_enough() -> None:
    words: dict[str, Any] = {"parameter": "f", "target": 1.0}
    parameters = {**SQUARE, "f": {"values": [0.5, 1.0]}}

    def y(p: Mapping[str, Any]) -> dict[str, float]:
        return {"y": bowl(p)["y"] + 0.02 * (1 - p["f"]) * p["a"]}

    for costs, expected in (({"0.5": 1.0, "1.0": 20.0}, 0.5), ({"0.5": 1.0, "1.0": 1.0}, 1.0)):
        t = task(parameters, fidelity={**words, "costs": costs})
        (point,), _ = ask(t, start(t, y, 14))
        assert point["f"] == expected


def test_a_dear_change_is_made_less() -> None:
    def moved(costs: dict[str, Any]) -> float:
        t = task({"a": {"low": 0.0, "high": 500.0}, "b": UNIT}, costs=costs)
        history = start(t, lambda p: {"y": math.sin(p["a"] / 50) + p["b"]}, 8)
        (point,), _ = ask(t, history)
        return abs(float(point["a"]) - history[-1]["a"])

    assert moved({"change": {"a": 100.0}}) < moved({})


def test_known_noise_is_believed() -> None:
    t = task({"a": UNIT})
    points: list[Point] = [{"a": a} for a in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    sure = told(points, lambda p: {"y": -p["a"], "y_sd": 1e-3})
    unsure = [p | ({"y": -9.0, "y_sd": 30.0} if p["a"] == 0.2 else {}) for p in sure]
    optimizer = Adaptive(t, seed=5, **QUICK)
    optimizer.ingest(unsure)
    predicted = {p["_id"]: p for p in optimizer.leave_one_out()}
    assert predicted[2]["mean"] == pytest.approx(-0.4, abs=0.1)


def test_a_censored_outcome_is_not_taken_at_its_word() -> None:
    t = task({"a": UNIT}, {"y": {"direction": "maximize"}})
    points: list[Point] = [{"a": a / 10} for a in range(11)]
    saturated = told(
        points, lambda p: {"y": min(p["a"], 0.6), "y_censored": 1.0 if p["a"] > 0.6 else 0.0}
    )
    plain = [{k: v for k, v in p.items() if k != "y_censored"} for p in saturated]
    _, told_plain = ask(t, plain[:10])
    _, told_censored = ask(t, saturated[:10])
    best = [made["acquisition"]["best_mean"] for made in (told_plain, told_censored)]
    assert best[1] > best[0] + 0.03


def test_an_outlier_is_heeded_less_and_named() -> None:
    t = task(SQUARE)
    history = start(t, n=20)
    history[7]["y"] += 40.0
    _, made = ask(t, history)
    assert any("trials 7 contradict all others" in note for note in made["notes"])
    _, believed = ask(t, history, outliers=False)
    assert not any("contradict" in note for note in believed["notes"])


def test_a_sharp_optimum_without_noise_is_no_outlier() -> None:
    t = task(SQUARE)
    history = start(t, lambda p: {"y": -math.exp(-30 * bowl(p)["y"])}, 24)
    history += told([{"a": 0.3, "b": 0.8}], lambda p: {"y": -1.0}, 24)
    _, made = ask(t, history)
    assert not any("contradict" in note for note in made["notes"])


def test_a_partial_result_counts_for_what_was_measured() -> None:
    t = task(SQUARE, outcome_constraints={"z": {"high": 0.2}})
    history = start(t, lambda p: {**bowl(p), "z": p["a"]}, 12)
    for p in history[::2]:
        del p["z"]
    _, made = ask(t, history)
    assert made["history"]["completed"] == 12
    assert {"y", "z"} <= made["model"].keys()


def test_what_is_pending_is_not_suggested_again() -> None:
    t = task(SQUARE)
    history = start(t, n=12)
    (first,), _ = ask(t, history)
    (second,), made = ask(t, [*history, {"_id": 12, "_state": "pending", **first}])
    assert made["acquisition"]["pending"] == 1
    assert math.dist(first.values(), second.values()) > 1e-3  # pyright: ignore[reportArgumentType]


# -- it survives ----------------------------------------------------------------------------------

SAME = [{"_id": n, "_state": "completed", "a": 0.5, "b": 0.5, "y": 1.0} for n in range(8)]


@pytest.mark.parametrize(
    "outcome",
    [
        lambda p: {"y": 5.0},
        lambda p: {"y": [math.nan, math.inf, -math.inf, 1.0, 2.0][int(p["a"] * 50) % 5]},
        lambda p: {"y": math.nan},
        lambda p: None,
        lambda p: {"y": "broken"},
    ],
    ids=["constant", "nan and infinities", "only nan", "all failed", "no numbers"],
)
def test_odd_outcomes_end_in_a_proposal(outcome: Outcome) -> None:
    points, _ = ask(task(SQUARE), start(task(SQUARE), outcome, 12), 2)
    assert len(points) == 2


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e12, 1e300])
def test_the_scale_of_outcomes_does_not_matter(size: float) -> None:
    t = task(SQUARE)
    (point,), made = ask(t, start(t, lambda p: {"y": bowl(p)["y"] * size}, 12))
    assert made["generator"] == "adaptive"
    assert math.dist((point["a"], point["b"]), (0.3, 0.8)) < 0.1  # pyright: ignore


@pytest.mark.parametrize("history", [[], SAME[:1], SAME], ids=["none", "one", "duplicates"])
def test_little_history_ends_in_a_proposal(history: list[dict[str, Any]]) -> None:
    points, _ = ask(task(SQUARE), history, 3)
    assert len(points) == 3


def test_an_exhausted_space_is_repeated_and_says_so() -> None:
    t = task({"c": {"choices": ["x", "y", "z"]}})
    history = start(t, lambda p: {"y": float("xyz".index(p["c"]))}, 3)
    points, made = ask(t, history, 2)
    assert len(points) == 2
    assert "every point of the space was tried" in made["notes"][-1]


def test_contradictory_constraints_are_one_clear_error() -> None:
    t = task(SQUARE, constraints=["a**2 + b**2 <= -1"])
    with pytest.raises(OptimizerError, match=r"no point was found that keeps .*a\*\*2"):
        ask(t, [])


def test_ten_thousand_trials_are_no_obstacle() -> None:
    t = task(SQUARE)
    rng = np.random.default_rng(0)
    points: list[Point] = [{"a": float(a), "b": float(b)} for a, b in rng.random((10_000, 2))]
    (point,), made = ask(t, told(points, bowl))
    assert any("a local model" in note for note in made["notes"])
    assert math.dist((point["a"], point["b"]), (0.3, 0.8)) < 0.1  # pyright: ignore


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"restart": 3}, "unknown option restart; options are: initial"),
        ({"restarts": 0}, "restarts must be a whole number from 1"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"outliers": "no"}, "outliers must be true or false"),
    ],
)
def test_a_wrong_option_is_one_clear_error(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Adaptive(task(SQUARE), seed=0, **options)


# -- proposals are a function of the history ------------------------------------------------------


def test_told_bit_by_bit_it_suggests_the_same_as_told_at_once() -> None:
    t = task(SQUARE)
    history = start(t, n=30)
    grown = Adaptive(t, seed=5, **QUICK)
    for p in history:
        grown.ingest([{**p, "_state": "pending"}])
        grown.ingest([p])
        if p["_id"] % 7 == 6:
            grown.suggest(1)
    fresh = Adaptive(t, seed=5, **QUICK)
    fresh.ingest(history[::-1])
    assert grown.suggest(2) == fresh.suggest(2)
    assert grown.provenance == fresh.provenance


def test_two_processes_suggest_the_same() -> None:
    code = (
        "import json; from tests.optimizers.test_adaptive import *\n"
        "t = task(SQUARE)\n"
        "print(json.dumps(ask(t, start(t, n=14), 2)[0]))"
    )
    made = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert made[0].stdout == made[1].stdout != ""


def test_the_task_is_checked_without_torch() -> None:
    code = (
        "import sys; from tests.optimizers.test_adaptive import task, SQUARE, Adaptive\n"
        "Adaptive(task(SQUARE), seed=1)\n"
        "print([m for m in ('torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
