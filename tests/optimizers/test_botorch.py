import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdl.errors import ConfigError
from sdl.optimizers.botorch import BoTorch, _gp, _search
from sdl.optimizers.botorch._success import Success
from sdl.optimizers.sobol import Sobol
from sdl.space import Objective, Point, Space
from sdl.task import Task

UNIT = {"low": 0.0, "high": 1.0}
UP = {"y": Objective(direction="maximize")}
DOWN = {"y": Objective(direction="minimize")}
FAST: dict[str, Any] = {"restarts": 2, "raw_samples": 32}


def space(parameters: dict[str, Any], *constraints: str) -> Space:
    return Space.model_validate({"parameters": parameters, "constraints": list(constraints)})


SQUARE = space({"a": UNIT, "b": UNIT})


def campaign(
    optimizer: type,
    s: Space,
    wanted: Mapping[str, Objective],
    outcome: Callable[[Any], dict[str, float] | None],
    n: int,
    **options: Any,
) -> tuple[list[dict[str, Any]], Any]:
    history: list[dict[str, Any]] = []
    asked = None
    for trial in range(n):
        asked = optimizer(Task.of(s, wanted), seed=5, **options)
        asked.ingest(history)
        point = asked.suggest(1)[0]
        assert s.check(point) == []
        y = outcome(point)
        state = "failed" if y is None else "completed"
        history.append({"_id": trial, "_state": state, **point, **(y or {})})
    return history, asked


def told(points: list[Point], outcome: Callable[[Any], float]) -> list[dict[str, Any]]:
    return [{"_id": i, "_state": "completed", **p, "y": outcome(p)} for i, p in enumerate(points)]


def bowl(p: Any) -> float:
    return (p["a"] - 0.3) ** 2 + (p["b"] - 0.8) ** 2


def start(s: Space = SQUARE, n: int = 8) -> list[dict[str, Any]]:
    return told(Sobol(Task.of(s, DOWN), seed=1).suggest(n), bowl)


def ask(
    s: Space,
    wanted: Mapping[str, Objective],
    history: list[dict[str, Any]],
    n: int = 1,
    **more: Any,
) -> tuple[list[Point], BoTorch]:
    optimizer = BoTorch(Task.of(s, wanted), seed=5, **{**FAST, **more})
    optimizer.ingest(history)
    return optimizer.suggest(n), optimizer


def test_one_objective_beats_sobol() -> None:
    best = {
        kind: min(t["y"] for t in campaign(kind, SQUARE, DOWN, lambda p: {"y": bowl(p)}, 12)[0])
        for kind in (Sobol, BoTorch)
    }
    assert best[BoTorch] < 1e-3 < best[Sobol]


def branin_currin(p: Any) -> dict[str, float]:
    u, v = p["a"], p["b"]
    a, b = 15 * u - 5, 15 * v
    y = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2
    y += 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10
    z = (1 - math.exp(-1 / (2 * v)) if v > 1e-12 else 1) * (
        2300 * u**3 + 1900 * u**2 + 2092 * u + 60
    )
    return {"y": y, "z": z / (100 * u**3 + 500 * u**2 + 4 * u + 20)}


def hypervolume(history: list[dict[str, Any]]) -> float:
    area, best = 0.0, 6.0
    for y, z in sorted((t["y"], t["z"]) for t in history if t["y"] < 18):
        if z < best:
            area, best = area + (18 - y) * (best - z), z
    return area


def test_two_objectives_beat_sobol() -> None:
    wanted = {
        "y": Objective(direction="minimize", threshold=18),
        "z": Objective(direction="minimize", threshold=6),
    }
    ours, optimizer = campaign(BoTorch, SQUARE, wanted, branin_currin, 16, **FAST)
    theirs, _ = campaign(Sobol, SQUARE, wanted, branin_currin, 16)
    assert hypervolume(ours) > 40 > 2 * hypervolume(theirs)  # of 59.36
    assert optimizer.provenance["acquisition"]["reference_point"] == {"y": 18, "z": 6}


def test_a_missing_threshold_is_inferred_on_the_worse_side() -> None:
    wanted = {
        "y": Objective(direction="minimize"),
        "z": Objective(direction="maximize", threshold=1),
    }
    history = [{**t, "z": t["a"] * 3} for t in start()]
    reference = ask(SQUARE, wanted, history)[1].provenance["acquisition"]["reference_point"]
    assert reference["z"] == 1
    assert reference["y"] > min(t["y"] for t in history)


def test_the_same_history_gives_the_same_suggestion_in_any_order() -> None:
    history = [*start(), {"_id": 8, "_state": "failed", "a": 0.1, "b": 0.1}]
    torch.manual_seed(1)
    first = ask(SQUARE, DOWN, history, 2)[0]
    torch.manual_seed(2)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    assert ask(SQUARE, DOWN, history[::-1], 2)[0] == first
    assert torch.rand(1) == drawn  # the caller's generators are left as they were


def test_a_point_told_again_replaces_the_earlier() -> None:
    history = start()
    optimizer = BoTorch(Task.of(SQUARE, DOWN), seed=5, **FAST)
    optimizer.ingest([{**t, "_state": "pending"} for t in history])
    optimizer.ingest(history)
    assert optimizer.suggest(1) == ask(SQUARE, DOWN, history)[0]


def test_pending_points_are_not_suggested_again() -> None:
    history = start(n=12)
    first = ask(SQUARE, DOWN, history)[0][0]
    second = ask(SQUARE, DOWN, [*history, {"_id": 12, "_state": "pending", **first}])[0][0]
    assert np.ptp(SQUARE.to_unit([first, second]), axis=0).max() > 1e-3


def test_a_batch_holds_distinct_points() -> None:
    points = ask(SQUARE, DOWN, start(), 4)[0]
    assert len({tuple(np.round(list(p.values()), 3)) for p in points}) == 4  # type: ignore[arg-type]


def test_failed_trials_keep_it_out_of_where_they_failed() -> None:
    def outcome(p: Any) -> dict[str, float] | None:
        return None if p["a"] > 0.5 else {"y": bowl(p) + 2 - 2 * p["a"]}  # best at a = 1

    history, optimizer = campaign(BoTorch, SQUARE, DOWN, outcome, 18, **FAST)
    modelled = history[6:]
    assert all(t["a"] < 0.6 for t in modelled)  # it feels for the edge and goes no further
    assert min(t["y"] for t in modelled if t["_state"] == "completed") < 1.1  # the best: 1.04
    assert "P(success)" in optimizer.provenance["model"]


def test_p_success_separates_a_region_and_forgives_a_stray() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 2, generator=generator, dtype=torch.float64)
    bad = x[:, 0] > 0.6
    region = Success(x[~bad], x[bad], [])
    probe = torch.tensor([[0.2, 0.5], [0.9, 0.5]], dtype=torch.float64)
    low, high = region.log_probability(probe).exp().tolist()
    assert low > 0.9
    assert high < 0.1
    stray = Success(x[1:], x[:1], [])
    assert stray.log_probability(probe).exp().min() > 0.8


@pytest.mark.parametrize(
    ("parameters", "constraints"),
    [
        ({"a": UNIT, "b": {"low": 1e-3, "high": 10.0, "scale": "log"}}, ["a + b <= 2"]),
        ({"a": UNIT, "b": UNIT, "c": UNIT}, ["a + b + c == 1"]),
        ({"a": UNIT, "b": UNIT, "n": {"type": "integer", "low": 0, "high": 30}}, ["b + n >= 2.5"]),
        ({"a": UNIT, "b": UNIT, "o": {"values": [0.1, 0.5, 3]}}, ["a + o <= 1.2"]),
        ({"a": UNIT, "b": UNIT, "n": {"type": "integer", "low": 0, "high": 5}}, ["a*10 + n == 6"]),
        ({"a": UNIT, "b": UNIT, "c": {"choices": ["x", "y", "z"]}}, []),
        ({"a": UNIT, "b": {"type": "integer", "low": 0, "high": 10**6}}, []),
    ],
    ids=["log", "equality", "integer", "ordinal", "tied integer", "categorical", "many levels"],
)
def test_every_kind_of_parameter_keeps_its_constraints(
    parameters: dict[str, Any], constraints: list[str]
) -> None:
    s = space(parameters, *constraints)
    history = told(Sobol(Task.of(s, DOWN), seed=1).suggest(9), bowl)
    points, optimizer = ask(s, DOWN, history, 2)
    assert [s.check(p) for p in points] == [[], []]
    assert optimizer.provenance["generator"] == "botorch"
    assert not any("not optimized" in note for note in optimizer.provenance["notes"])


def test_a_discrete_space_is_tried_out_without_repeats() -> None:
    s = space({"n": {"type": "integer", "low": 0, "high": 4}, "c": {"choices": ["x", "y"]}})
    history, _ = campaign(
        BoTorch,
        s,
        DOWN,
        lambda p: {"y": (p["n"] - 2) ** 2 + (p["c"] == "x")},
        10,
        initial=6,
        **FAST,
    )
    assert len({(t["n"], t["c"]) for t in history}) == 10
    points, optimizer = ask(s, DOWN, history)
    assert s.check(points[0]) == []
    assert "repeated" in optimizer.provenance["notes"][-1]


@pytest.mark.parametrize(
    "history",
    [
        [{"_id": i, "_state": "failed", "a": 0.5, "b": 0.5} for i in range(20)],
        [{"_id": 0, "_state": "completed", "a": 0.5, "b": 0.5, "y": 1.0}],
        [{"_id": i, "_state": "completed", "a": 0.5, "b": 0.5, "y": 1.0} for i in range(12)],
        [{"_id": i, "_state": "completed", "a": 0.5, "b": 0.5, "y": 1e9 * i} for i in range(12)],
        [{"_id": i, "_state": "completed", "a": i / 12, "b": 0.5, "y": 0.0} for i in range(12)],
        [{"_id": i, "_state": "completed", "a": 9.0 + i, "b": 0.5, "y": i} for i in range(12)],
        [{"_id": i, "_state": "completed", "y": i} for i in range(12)],
    ],
    ids=["all failed", "one", "one twelve times", "contradictory", "constant", "outside", "gone"],
)
def test_a_poor_history_is_no_error(history: list[dict[str, Any]]) -> None:
    points, optimizer = ask(SQUARE, DOWN, history, 2)
    assert [SQUARE.check(p) for p in points] == [[], []]
    assert points[0] != points[1]
    optimizer.leave_one_out()


def test_numerical_trouble_is_survived_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(*_: Any, **__: Any) -> None:
        raise _gp.ModelFittingError("singular")

    monkeypatch.setattr(_gp, "fit_gpytorch_mll", singular)
    notes = ask(SQUARE, DOWN, start())[1].provenance["notes"]
    assert any("prior's hyperparameters" in note for note in notes)
    monkeypatch.setattr(_search, "optimize_acqf", singular)
    points, optimizer = ask(SQUARE, DOWN, start())
    assert any("not optimized" in note for note in optimizer.provenance["notes"])
    assert optimizer.provenance["generator"] == "botorch"
    monkeypatch.setattr(_gp, "_model", singular)
    points, optimizer = ask(SQUARE, DOWN, start())
    assert SQUARE.check(points[0]) == []
    assert optimizer.provenance["generator"] == "sobol"


def test_provenance_says_how_a_suggestion_was_made() -> None:
    made = ask(SQUARE, DOWN, start())[1].provenance
    assert made["generator"] == "botorch"
    assert made["seed"] == 5
    assert made["history"] == {"completed": 8, "failed": 0, "pending": 0}
    assert made["versions"]["botorch"]
    assert len(made["model"]["y"]["hyperparameters"]["covar_module.lengthscale"]) == 2
    early = ask(SQUARE, DOWN, start(n=3))[1].provenance
    assert (early["generator"], early["notes"]) == ("sobol", ["initial design: 3 of 6 trials"])


def test_leave_one_out_predicts_each_trial_from_the_others() -> None:
    history = start(n=20)
    optimizer = ask(SQUARE, DOWN, history)[1]
    predictions = optimizer.leave_one_out()
    assert [p["_id"] for p in predictions] == list(range(20))
    observed, mean, sd = (np.array([p[k] for p in predictions]) for k in ("observed", "mean", "sd"))
    assert observed.tolist() == [t["y"] for t in history]
    assert np.corrcoef(observed, mean)[0, 1] > 0.95  # a bowl is easy
    assert (np.abs(observed - mean) < 4 * sd).all()
    assert not np.allclose(observed, mean, rtol=1e-3, atol=0)  # the trial itself was left out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"restart": 3}, "unknown option restart; options are: initial"),
        ({"initial": 1}, "initial must be a whole number from 2"),
        ({"raw_samples": "many"}, "raw_samples must be a whole number"),
        ({"restarts": True}, "restarts must be"),
        ({"device": "gpu"}, "auto, cpu or cuda"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        BoTorch(Task.of(SQUARE, UP), seed=0, **options)


def test_nothing_is_compiled_at_the_first_suggestion(tmp_path: Path) -> None:
    """A compiler's half minute, and the lock that a killed process leaves, are not for a lab."""
    code = (
        "from botorch.acquisition.multi_objective import logei\n"
        "from sdl.optimizers.botorch import _propose\n"
        "logei._try_load_fused_kernel()\n"
        "assert logei._C is None\n"
    )
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=100)
    assert list(tmp_path.iterdir()) == []
