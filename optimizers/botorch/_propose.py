"""From history to suggestions: the part of `botorch` that needs torch."""

import math
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions.errors import BotorchError
from botorch.models import ModelListGP, SingleTaskGP
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from sdl.optimizers._design import Design
from sdl.optimizers._history import History
from sdl.optimizers.botorch import _gp
from sdl.optimizers.botorch._search import Search
from sdl.optimizers.botorch._success import Success
from sdl.space import Categorical, Continuous, Objective, Point, Space

# At the first suggestion botorch 0.18 compiles a kernel with whatever C++ compiler there is: half a
# minute for nothing measurable at our sizes, numbers that depend on the machine, and a lock file
# that hangs every later process if this one is killed meanwhile. It is told that it has tried.
logei._load_attempted = True  # noqa: SLF001

SAMPLES = {1: 128, 2: 64}  # of the posterior, by number of objectives
SAMPLES_MANY = 32
STARTS_FILLED = 32  # starting points where each costs some linear programs
NEAR = 0.05  # of the unit range: spread of starting points around good trials


def propose(
    space: Space,
    objectives: Mapping[str, Objective],
    history: History,
    design: Design,
    n: int,
    *,
    seed: int,
    restarts: int,
    raw_samples: int,
    device: str,
) -> tuple[list[Point], dict[str, Any]]:
    """Return up to `n` suggestions and their provenance; fewer where no more can be made."""
    notes: list[str] = []
    points: list[Point] = []
    step = seed_of(seed, len(history))
    where = _device(device)
    made: dict[str, Any] = {"generator": "botorch", "device": str(where), "notes": notes}
    with reproducible(step, notes):
        try:
            x, y = _data(space, objectives, history, where)
            categories = _categories(space)
            models = _gp.fit_objectives(x, y, categories, notes)
            failed = _tensor(space, history.points("failed"), where)
            success = Success(x, failed, categories)
            pending = history.points("pending")
            acquisition, made["acquisition"] = _acquisition(models, x, y, objectives, step)
            made["model"] = _describe(models, success, objectives)
            search = Search(space, design, x)
            good = _good(space, history, y)
            excluded = {design.key(point) for point in history.points()}
            for index in range(n):
                if pending:
                    acquisition.set_X_pending(_tensor(space, pending, where))
                point = search.best(
                    acquisition,
                    success,
                    starts=_starts(space, design, good, raw_samples, step + index),
                    excluded=excluded,
                    restarts=restarts,
                    raw_samples=raw_samples,
                    notes=notes,
                )
                if point is None:
                    break
                points.append(point)
                pending = [*pending, point]
                excluded.add(design.key(point))
        except (BotorchError, *_gp.NUMERICAL) as error:
            notes.append(f"the model cannot be evaluated: {type(error).__name__}: {error}")
    if not points:
        made["generator"] = "sobol"
    return points, made


def leave_one_out(
    space: Space, objectives: Mapping[str, Objective], history: History, seed: int
) -> list[dict[str, Any]]:
    """See `BoTorch.leave_one_out`."""
    predictions: list[dict[str, Any]] = []
    with reproducible(seed_of(seed, len(history)), []):
        x, y = _data(space, objectives, history, torch.device("cpu"))
        models = _gp.fit_objectives(x, y, _categories(space), [])
        for (name, objective), part in zip(objectives.items(), models, strict=True):
            means, spreads = _gp.leave_one_out(part)
            rows = zip(
                history.ids("completed"), history.outcomes(name), means, spreads, strict=True
            )
            predictions += [
                {
                    "_id": trial,
                    "objective": name,
                    "observed": observed,
                    "mean": objective.sign * float(mean),
                    "sd": float(spread),
                }
                for trial, observed, mean, spread in rows
            ]
    return predictions


def seed_of(seed: int, count: int) -> int:
    """Mix the campaign's seed with the length of its history."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1)[0] >> 1)


@contextmanager
def reproducible(seed: int, notes: list[str]) -> Iterator[None]:
    """Seed every generator that torch, scipy and botorch draw from; put all back afterwards.

    One thread, since the number of threads changes how sums are rounded. Warnings go to `notes`.
    """
    threads, python, legacy = torch.get_num_threads(), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(python)
            np.random.set_state(legacy)
    kinds = sorted({warning.category.__name__ for warning in caught})
    if kinds:
        notes.append(f"warnings: {', '.join(kinds)}")


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _tensor(space: Space, points: list[Point], where: torch.device) -> Tensor:
    return torch.tensor(space.to_unit(points), dtype=torch.float64, device=where)


def _data(
    space: Space, objectives: Mapping[str, Objective], history: History, where: torch.device
) -> tuple[Tensor, Tensor]:
    """Return unit coordinates (n x d) and outcomes (n x m, more is better) of completed trials."""
    x = _tensor(space, history.points("completed"), where)
    columns = [
        torch.tensor(history.outcomes(name), dtype=torch.float64, device=where) * objective.sign
        for name, objective in objectives.items()
    ]
    return x, torch.stack(columns, -1)


def _categories(space: Space) -> list[int]:
    return [i for i, p in enumerate(space.parameters.values()) if isinstance(p, Categorical)]


def _acquisition(
    models: list[SingleTaskGP], x: Tensor, y: Tensor, objectives: Mapping[str, Objective], seed: int
) -> tuple[AcquisitionFunction, dict[str, Any]]:
    count = y.shape[-1]
    samples = SAMPLES.get(count, SAMPLES_MANY)
    sampler = SobolQMCNormalSampler(torch.Size([samples]), seed=seed)
    if count == 1:
        single = qLogNoisyExpectedImprovement(
            models[0], X_baseline=x, sampler=sampler, prune_baseline=True
        )
        return single, {"name": "qLogNoisyExpectedImprovement", "samples": samples}
    reference = _reference(y, objectives)
    several = qLogNoisyExpectedHypervolumeImprovement(
        ModelListGP(*models),
        ref_point=reference,
        X_baseline=x,
        sampler=sampler,
        prune_baseline=True,
        alpha=0.0 if count <= 4 else 10 ** (count - 8),  # the library's: approximate above four
    )
    signs = [objective.sign for objective in objectives.values()]
    return several, {
        "name": "qLogNoisyExpectedHypervolumeImprovement",
        "samples": samples,
        "reference_point": {
            name: sign * value
            for name, sign, value in zip(objectives, signs, reference.tolist(), strict=True)
        },
    }


def _reference(y: Tensor, objectives: Mapping[str, Objective]) -> Tensor:
    """Return the thresholds, and what the library infers from the front where there is none."""
    given = [math.nan if o.threshold is None else o.sign * o.threshold for o in objectives.values()]
    thresholds = torch.tensor(given).to(y)
    missing = thresholds.isnan()
    if not missing.any():
        return thresholds
    inferred = infer_reference_point(y[is_non_dominated(y)])
    return torch.where(missing, inferred, thresholds)


def _good(space: Space, history: History, y: Tensor) -> list[Point]:
    """Return the completed trials around which it is worth looking: the front, or the best few."""
    points = history.points("completed")
    if y.shape[-1] > 1:
        chosen = is_non_dominated(y).nonzero().flatten().tolist()
    else:
        chosen = y[:, 0].topk(min(4, len(points))).indices.tolist()
    return [points[index] for index in chosen if not space.check(points[index])]


def _starts(space: Space, design: Design, good: list[Point], count: int, seed: int) -> list[Point]:
    """Return allowed points: all of a small discrete space, else spread out and near good ones."""
    if design.everything is not None:
        return design.everything
    spread = Design(space, seed)
    wanted = count if spread.rejects else min(count, STARTS_FILLED)
    points = list(islice(spread.points(), wanted))
    continuous = [isinstance(p, Continuous) for p in space.parameters.values()]
    if not good or not any(continuous):
        return points
    generator = np.random.default_rng(seed)
    chosen = generator.integers(len(good), size=count // 4)
    units = space.to_unit(good)[chosen]
    units[:, continuous] += NEAR * generator.standard_normal(units[:, continuous].shape)
    return points + [p for p in space.from_unit(units) if not space.check(p)]


def _describe(
    models: list[SingleTaskGP], success: Success, objectives: Mapping[str, Objective]
) -> dict[str, Any]:
    parts = {
        name: {"class": type(part).__name__, "hyperparameters": _gp.hyperparameters(part)}
        for name, part in zip(objectives, models, strict=True)
    }
    if success.hyperparameters:
        parts["P(success)"] = {
            "class": "Laplace probit classifier",
            "hyperparameters": success.hyperparameters,
        }
    return parts
