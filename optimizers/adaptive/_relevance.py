"""Which parameters matter: variance-based sensitivity of a model's mean.

First-order indices say how much of the variance a parameter explains by itself, total ones how much
is lost without it, interactions included (Saltelli et al. 2010, table 2, rows b and f). Parameters
vary independently over their whole ranges: constraints between them are not heeded.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc

from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._outcome import Outcome

Units = NDArray[np.float64]
Function = Callable[[Units], Units]

MOST = 1024  # rows of a sample, a power of 2
LEAST = 64
EVALUATIONS = 40_000  # of the mean, altogether
RESAMPLES = 200
TAILS = (2.5, 97.5)
CHUNK = 4096


def mean_of(model: Outcome, encoding: Encoding) -> Function:
    """Return the posterior mean as a function of unit coordinates, n x c to n: the model's units
    turned back into the outcome's, more is better.
    """

    def function(units: Units) -> Units:
        with torch.no_grad():
            parts = [
                model.gp.mean(encoding.embed(encoding.tensor(units[i : i + CHUNK])))
                for i in range(0, len(units), CHUNK)
            ]
        return model.warp.back(torch.cat(parts).cpu().numpy())

    return function


def relevance(model: Outcome, encoding: Encoding, seed: int) -> dict[str, dict[str, Any]]:
    """Return for each parameter and context its length scale and Sobol indices.

    :return: name → `lengthscale` (of the range; of choices, of the distance between any two),
        `first` and `total` (each with its bootstrap's 95 % interval: `first_low`, `first_high`, …);
        indices are None where the mean is flat.
    """
    found = indices(mean_of(model, encoding), encoding, seed)
    lengths = model.h.length.tolist()
    return {
        name: {"lengthscale": _short(length), **indices_of_it}
        for name, length, indices_of_it in zip(encoding.names, lengths, found, strict=True)
    }


def indices(function: Function, encoding: Encoding, seed: int) -> list[dict[str, float | None]]:
    """Return the Sobol indices of each column."""
    d = encoding.dimension
    n = 2 ** int(math.log2(min(max(EVALUATIONS // (d + 2), LEAST), MOST)))
    drawn = qmc.Sobol(2 * d, scramble=True, rng=seed).random(n)
    a, b = (_levelled(half, encoding) for half in (drawn[:, :d], drawn[:, d:]))
    at_a, at_b = function(a), function(b)
    centre = float(np.mean(np.concatenate([at_a, at_b])))
    at_a, at_b = at_a - centre, at_b - centre
    rng = np.random.default_rng(seed)
    picks = rng.integers(n, size=(RESAMPLES, n))
    found = []
    for column in range(d):
        mixed = a.copy()
        mixed[:, column] = b[:, column]
        found.append(_of_one(at_a, at_b, function(mixed) - centre, picks))
    return found


def _of_one(a: Units, b: Units, mixed: Units, picks: NDArray[np.int64]) -> dict[str, float | None]:
    squares = 0.5 * (a**2 + b**2)
    if not float(squares.mean()) > 1e-20 * max(float(np.abs(mixed).max()) ** 2, 1e-300):
        names = ("first", "first_low", "first_high", "total", "total_low", "total_high")
        return dict.fromkeys(names)
    parts = {"first": b * (mixed - a), "total": 0.5 * (a - mixed) ** 2}
    spread = squares[picks].mean(1)
    found: dict[str, float | None] = {}
    for name, part in parts.items():
        value = float(part.mean() / squares.mean())
        resampled = part[picks].mean(1) / np.maximum(spread, 1e-300)
        low, high = np.percentile(resampled, TAILS)
        found |= {name: _index(value), f"{name}_low": _index(low), f"{name}_high": _index(high)}
    return found


def _levelled(units: Units, encoding: Encoding) -> Units:
    """Put what is not continuous on its levels, each as likely."""
    found = units.copy()
    for column, levels in encoding.levels.items():
        found[:, column] = levels[(units[:, column] * len(levels)).astype(int)]
    for column in range(encoding.chosen, encoding.dimension):
        if encoding.is_choice(column):
            count = len(encoding.columns[encoding.names[column]].choices)
            found[:, column] = (units[:, column] * count).astype(int)
    return found


def _index(value: float) -> float:
    """Estimates stray beyond what an index can be."""
    return _short(min(max(float(value), 0.0), 1.0))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
