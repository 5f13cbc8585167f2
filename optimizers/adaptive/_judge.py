"""How far the models of `adaptive` can be trusted, and what they have learned, as JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from sdl.optimizers._history import History
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._gaussian import NUMERICAL
from sdl.optimizers.adaptive._models import Models
from sdl.optimizers.adaptive._outcome import Outcome
from sdl.optimizers.adaptive._propose import Asked, Proposer
from sdl.optimizers.adaptive._relevance import relevance

Units = NDArray[np.float64]

FEWEST = 3  # completed trials of which there is something to say
ALONG = 41  # places of a slice
SIDE = 21  # places along each side of a grid
WIDE = float(norm.ppf(0.975))


def judge(proposer: Proposer, history: History) -> dict[str, Any]:
    """Judge the models of a history; see `sdl.suggest.Judges`.

    Slices show what is expected of a trial without its noise, with 95 % bands, all other
    parameters as in the best trial and contexts as they were last.

    :return: empty where there is no model yet, or one that cannot be evaluated.
    """
    if len(history.ids("completed")) < FEWEST:
        return {}
    with one_thread():
        try:
            return _judged(proposer, history)
        except NUMERICAL as error:
            return {"notes": [f"the model cannot be evaluated: {type(error).__name__}: {error}"]}


@contextmanager
def one_thread() -> Iterator[None]:
    """How sums are rounded depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _judged(proposer: Proposer, history: History) -> dict[str, Any]:
    models = proposer.models(history)
    task, encoding = proposer.task, models.encoding
    outcomes = {**models.objectives, **models.constrained}
    found: dict[str, Any] = {"notes": list(models.notes), "relevance": {}, "slices": {}}
    found["grids"] = {}
    best, number = best_trial(proposer, models, history)
    (point,) = encoding.points(best[None])
    found["best"] = {"trial": number, "parameters": point}
    found["predictions"] = [p for name in outcomes for p in predictions(models, name)]
    for name, model in outcomes.items():
        sign = sign_of(models, name)
        relevant = relevance(model, encoding, proposer.seed)
        found["relevance"][name] = relevant
        found["slices"][name] = _slices(model, sign, encoding, best)
        ranked = sorted(task.space.names, key=lambda n: -(relevant[n]["total"] or 0.0))
        if len(ranked) > 1:
            found["grids"][name] = _grid(model, sign, encoding, best, ranked[0], ranked[1])
    if not task.space.boxed:
        found["notes"].append(
            "relevance takes parameters as independent of each other, over their whole ranges; "
            "the constraints are not heeded"
        )
    return found


def sign_of(models: Models, name: str) -> float:
    """Return by what outcomes are multiplied so that more is better in the model."""
    return models.task.objectives[name].sign if name in models.objectives else 1.0


def best_trial(proposer: Proposer, models: Models, history: History) -> tuple[Units, Any]:
    """Return the unit coordinates of the trial with the best expectation among those that are
    likely feasible (of several objectives, of one on the front), and its number; without any, of
    the last.
    """
    _, good, _ = Asked(models, proposer.task, [], {}, history, proposer.seed).target()
    best = good[0] if len(good) else models.units[-1]
    row = int(np.abs(models.units - best).sum(1).argmin())
    return models.units[row].copy(), models.completed[row]["_id"]


def predictions(models: Models, name: str) -> list[dict[str, Any]]:
    """Predict each measurement of an outcome from the others (see `sdl.suggest.Predicts`)."""
    model: Outcome = {**models.objectives, **models.constrained}[name]
    sign = sign_of(models, name)
    mean, sd = (t.cpu().numpy() for t in model.gp.leave_one_out())
    middle, spread = model.unwarped(mean, sd)
    y = model.observed.y
    z = (model.warp(y) - mean) / sd
    density = norm.logpdf(z) - np.log(sd) + model.warp.log_slope(y)
    records = [models.completed[i] for i in models.rows(name)]
    return [
        {
            "_id": record["_id"],
            "objective": name,
            "observed": float(record[name]),
            "mean": sign * float(middle[i]),
            "sd": float(spread[i]),
            "z": sign * float(z[i]),
            "log_density": float(density[i]),
        }
        for i, record in enumerate(records)
        if model.observed.censored[i] == 0  # of others the truth is not known
    ]


# -- what was learned ------------------------------------------------------------------------------


def _expected(model: Outcome, sign: float, encoding: Encoding, units: Units) -> dict[str, Any]:
    """Medians and 95 % bands at unit coordinates, in the outcome's units."""
    with torch.no_grad():
        mean, sd = model.gp.posterior(encoding.embed(encoding.tensor(units)))
    mean, sd = mean.cpu().numpy(), sd.cpu().numpy()
    low, middle, high = (sign * model.warp.back(mean + k * WIDE * sd) for k in (-1.0, 0.0, 1.0))
    if sign < 0:
        low, high = high, low
    return {"mean": middle, "low": low, "high": high}


def _slices(
    model: Outcome, sign: float, encoding: Encoding, best: Units
) -> dict[str, dict[str, list[Any]]]:
    found = {}
    for column in range(encoding.chosen):
        places = _places(encoding, column, ALONG, best)
        units = np.repeat(best[None], len(places), 0)
        units[:, column] = places
        expected = _expected(model, sign, encoding, units)
        found[encoding.names[column]] = {
            "at": _values(encoding, units, column),
            **{key: _plain(values) for key, values in expected.items()},
        }
    return found


def _grid(
    model: Outcome, sign: float, encoding: Encoding, best: Units, across: str, up: str
) -> dict[str, Any]:
    columns = [encoding.names.index(name) for name in (across, up)]
    xs, ys = (_places(encoding, column, SIDE, None) for column in columns)
    units = np.repeat(best[None], len(xs) * len(ys), 0)
    units[:, columns[0]] = np.tile(xs, len(ys))
    units[:, columns[1]] = np.repeat(ys, len(xs))
    middle = _expected(model, sign, encoding, units)["mean"].reshape(len(ys), len(xs))
    return {
        "x": across,
        "y": up,
        "xs": _values(encoding, units[: len(xs)], columns[0]),
        "ys": _values(encoding, units[:: len(xs)], columns[1]),
        "mean": [_plain(row) for row in middle],
    }


def _places(encoding: Encoding, column: int, most: int, best: Units | None) -> Units:
    """Unit coordinates along a parameter: levels, or evenly spread, the best trial's among them."""
    levels = encoding.levels.get(column)
    if levels is None:
        places = np.linspace(0.0, 1.0, most)
    elif len(levels) <= most:
        return levels
    else:
        places = levels[np.unique(np.linspace(0, len(levels) - 1, most).round().astype(int))]
    return places if best is None else np.unique(np.append(places, best[column]))


def _values(encoding: Encoding, units: Units, column: int) -> list[Any]:
    name = encoding.names[column]
    return [point[name] for point in encoding.points(units)]


def _plain(values: Units) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
