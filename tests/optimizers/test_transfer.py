"""What earlier campaigns teach, and what is done against those that mislead."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdl.errors import ConfigError
from sdl.optimizers.adaptive import Adaptive, _kernel
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._outcome import Fits, Observed, Outcome
from sdl.optimizers.adaptive._transfer import (
    Earlier,
    Informed,
    Lessons,
    RelatedProcess,
    Weighing,
    learn,
    weigh,
)
from sdl.space import Objective, Space
from sdl.task import Task

Rows = NDArray[np.float64]
Function = Callable[[Rows], Rows]
NAMES = ("a", "b", "c")
SPACE = Space.model_validate({"parameters": {n: {"low": 0.0, "high": 1.0} for n in NAMES}})
TASK = Task.of(SPACE, {"y": Objective(direction="maximize")})
ENCODING = Encoding(TASK)
TARGET = 92.0
SEEDS = range(3)


def truth(u: Rows) -> Rows:
    """A yield in percent, best (100) at 0.7, 0.3, 0.5."""
    return 100.0 - 160.0 * np.square(u - [0.7, 0.3, 0.5]) @ [1.0, 0.7, 0.4]


def shifted(u: Rows) -> Rows:
    """The same chemistry on another bench: a little elsewhere, and scaled."""
    return 10.0 + 0.8 * truth(u - 0.04)


def negated(u: Rows) -> Rows:
    return -truth(u)


def record(u: Rows, y: float, number: Any, **more: Any) -> dict[str, Any]:
    point = dict(zip(NAMES, u.tolist(), strict=True))
    return {"_id": number, "_state": "completed", **point, "y": float(y), **more}


def earlier(function: Function, name: str = "before", n: int = 30, seed: int = 0) -> list[Any]:
    u = np.random.default_rng([seed, 5]).random((n, len(NAMES)))
    told = zip(u, function(u), strict=True)
    return [record(p, y, f"{name}/{k}", _campaign=name) for k, (p, y) in enumerate(told, 1)]


def campaign(before: list[Any], trials: int, seed: int, **options: Any) -> list[float]:
    """Return the best yield after each trial."""
    optimizer = Adaptive(TASK, seed=seed, **options)
    optimizer.ingest(before)
    best: list[float] = []
    for number in range(1, trials + 1):
        (point,) = optimizer.suggest(1)
        u = np.array([point[n] for n in NAMES], dtype=float)
        y = float(truth(u[None])[0])
        best.append(max(y, *best[-1:]) if best else y)
        optimizer.ingest([record(u, y, number)])
    return best


def first(best: list[float]) -> int:
    """The first trial that reached the target; one more than there are where none did."""
    return next((k for k, y in enumerate(best, 1) if y >= TARGET), len(best) + 1)


def own(n: int, seed: int = 1, function: Function = truth) -> Observed:
    u = np.random.default_rng(seed).random((n, len(NAMES)))
    nothing, none = np.full(n, np.nan), np.zeros(n)
    groups, dimension = ENCODING.groups, ENCODING.dimension
    return Observed(torch.tensor(u), function(u), nothing, none, groups, dimension)


def lessons(*functions: Function) -> Lessons:
    taken = {f"r{k}": own(25, k, function) for k, function in enumerate(functions)}
    return learn(taken, Fits())


# -- the model ------------------------------------------------------------------------------------


def test_the_posterior_is_that_of_one_joint_gaussian_process() -> None:
    taught, seen = lessons(shifted, negated), own(5)
    weighing = Weighing(np.array([0.8, 0.3]), 0.2, 0.01)
    gp = RelatedProcess.of(taught, weighing, seen)
    h = taught.h
    parts = [s.gp.data.z for s in taught.sources] + [seen.z]
    z = torch.cat(parts) / h.length
    shape = _kernel.correlation(_kernel.squared_distance(z, z), h.kind)
    c = [w * s.scale / taught.scale for w, s in zip((0.8, 0.3), taught.sources, strict=True)]
    total = c[0] ** 2 + c[1] ** 2 + 0.2
    between = torch.tensor([[1.0, 0.0, c[0]], [0.0, 1.0, c[1]], [c[0], c[1], total]]).double()
    which = torch.repeat_interleave(torch.arange(3), torch.tensor([len(p) for p in parts]))
    covariance = h.signal * between[which][:, which] * shape
    noise = torch.where(which == 2, 0.01, h.noise).double()
    inverse = torch.linalg.inv(covariance + noise.diag())
    mine = (which == 2).double()
    y = torch.cat([s.centred for s in taught.sources] + [torch.tensor(seen.y) / taught.scale])
    level = (mine @ inverse @ y) / (mine @ inverse @ mine)
    at = torch.rand(7, len(NAMES), generator=torch.Generator().manual_seed(0)).double()
    cross = _kernel.correlation(_kernel.squared_distance(at / h.length, z), h.kind)
    cross = h.signal * between[2][which] * cross
    wanted = taught.scale * (level + cross @ inverse @ (y - level * mine))
    spread = (h.signal * total - (cross @ inverse * cross).sum(1)).sqrt() * taught.scale
    mean, sd = gp.posterior(at)
    torch.testing.assert_close(mean, wanted, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(sd, spread, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gp.mean(at), mean)


def test_leaving_one_out_is_fitting_without_it() -> None:
    taught, seen = lessons(shifted), own(6)
    weighing = Weighing(np.array([0.9]), 0.1, 0.01)
    means, _ = RelatedProcess.of(taught, weighing, seen).leave_one_out()
    assert len(means) == 6
    without = RelatedProcess.of(taught, weighing, seen.only(np.array([0, 1, 2, 4, 5])))
    torch.testing.assert_close(means[3], without.mean(seen.z[3:4])[0], rtol=1e-5, atol=1e-5)


def test_a_pending_outcome_counts_as_one_that_is_known() -> None:
    taught, seen = lessons(shifted), own(6)
    weighing = Weighing(np.array([0.9]), 0.1, 0.01)
    at, rest = torch.rand(4, 3).double(), np.arange(5)
    fewer = RelatedProcess.of(taught, weighing, seen.only(rest))
    y = (torch.tensor(seen.y[5:]) - fewer.data.offset) / fewer.data.scale
    conditioned = fewer.conditioned(seen.z[5:], y)
    whole = RelatedProcess.of(taught, weighing, seen)
    for one, other in zip(conditioned.posterior(at), whole.posterior(at), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    several = fewer.conditioned(seen.z[5:], y[:, None].repeat(1, 3))
    torch.testing.assert_close(several.mean(at)[:, 2], whole.mean(at), rtol=1e-6, atol=1e-6)


# -- what it is worth -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_eight_trials_tell_a_helpful_campaign_from_a_misleading_one(seed: int) -> None:
    taught = lessons(shifted, negated)
    helpful, misleading = weigh(taught, own(8, seed), [0.5, 0.5]).weights
    assert misleading < 0.1
    assert helpful > 0.7


def test_where_no_campaign_is_of_use_the_model_is_the_usual_one() -> None:
    seen, fits = own(10), Fits()
    plain = Outcome(seen, fits)
    none = Earlier(TASK, ENCODING, earlier(negated), fits)
    assert none.informed("y", 1.0, seen, plain) is plain
    assert none.weights["y"]["before"] < 0.1
    some = Earlier(TASK, ENCODING, earlier(shifted), fits)
    assert isinstance(some.informed("y", 1.0, seen, plain), Informed)


def test_a_minimized_outcome_is_learned_as_well() -> None:
    seen, fits = own(8), Fits()
    turned = Earlier(TASK, ENCODING, earlier(lambda u: -shifted(u)), fits)
    model = turned.informed("y", -1.0, seen, Outcome(seen, fits))
    assert turned.weights["y"]["before"] > 0.7
    assert isinstance(model, Informed)


# -- campaigns ------------------------------------------------------------------------------------


def test_a_helpful_campaign_saves_more_than_half_of_the_trials() -> None:
    alone = [first(campaign([], 12, seed)) for seed in SEEDS]
    helped = [first(campaign(earlier(shifted, seed=seed), 12, seed)) for seed in SEEDS]
    assert sum(helped) < 0.5 * sum(alone)


def test_a_misleading_campaign_costs_less_than_three_trials() -> None:
    alone = [first(campaign([], 14, seed)) for seed in SEEDS]
    misled = [first(campaign(earlier(negated, seed=seed), 14, seed)) for seed in SEEDS]
    assert np.mean(misled) < np.mean(alone) + 3.0


def test_whoever_does_not_want_it_gets_what_there_is_without_it() -> None:
    before = earlier(shifted)
    alone = campaign([], 3, 0)
    assert campaign(before, 3, 0, transfer=False) == alone
    assert campaign(before, 3, 0) != alone
    with pytest.raises(ConfigError, match="transfer must be true, false or a list of names"):
        Adaptive(TASK, seed=0, transfer=7)  # type: ignore[arg-type]


ASK = """
import json, sys
from sdl.optimizers.adaptive import Adaptive
from sdl.task import Task
told = json.load(sys.stdin)
optimizer = Adaptive(Task.model_validate(told["task"]), seed=3)
optimizer.ingest(told["points"])
print(json.dumps(optimizer.suggest(2)))
"""


def test_the_same_history_gives_the_same_points_in_a_new_process_and_told_bit_by_bit() -> None:
    u = np.random.default_rng(2).random((4, len(NAMES)))
    mine = [record(p, y, k) for k, (p, y) in enumerate(zip(u, truth(u), strict=True), 1)]
    points = [*earlier(shifted), *earlier(negated, "other"), *mine]
    told = json.dumps({"task": TASK.model_dump(mode="json"), "points": points})
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=told,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | threads,
    )
    assert done.returncode == 0, done.stderr
    optimizer = Adaptive(TASK, seed=3)
    optimizer.ingest(points[:-2])
    optimizer.suggest(1)
    optimizer.ingest(points[-2:])
    assert optimizer.suggest(2) == json.loads(done.stdout)
