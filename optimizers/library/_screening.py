"""Choosing rows of a library: every row is scored, however many there are.

The score is log expected improvement over the best posterior mean of a trial, plus log P(success)
where trials have failed. A pass over the library, chunk by chunk, in float32, keeps a short list of
the rows that score best; the list is scored again in float64, which decides. Two bounds spare work
and lose nothing: a variance bounded from a few combinations of the trials, and P(success) bounded
by its mean, say which rows cannot reach the short list; these need no exact variance.

A batch is chosen greedily: each pick is believed to give its posterior mean. That lowers variances
and may raise the incumbent, so no score ever rises; the best of the short list is the best of the
library as long as it beats the score that ended the list. Where it does not, the library is gone
through again. So a batch costs what one proposal costs, and is what scoring all rows after every
pick would give, ties and differences below `SLACK` aside.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sdl.optimizers.library._gp import Floats, log_expected_improvement
from sdl.optimizers.library._model import Features, Model, Rows, Trials, digits, positive
from sdl.optimizers.library._start import spread

SHORT_LIST = 4096  # rows scored again in float64
LONGEST_LIST = 8 * SHORT_LIST  # where a batch needs more
SLACK = 0.01  # of a log score: how much better the best row outside of the short list may be
COMBINATIONS = 24  # of trials, that bound the variance


@dataclass(frozen=True)
class Chosen:
    """Rows to try next, and why."""

    rows: list[int]
    why: list[dict[str, Any]]
    """Of each row: expected value and uncertainty, log expected improvement, P(success), the most
    similar trial."""

    made: dict[str, Any] = field(default_factory=dict)
    """How all of them were chosen, as JSON."""


def choose(
    features: Features,
    trials: Trials,
    n: int,
    *,
    seed: int = 0,
    popcount: str = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
) -> Chosen:
    """Return the `n` rows to try next, none of them tried or pending; fewer where no more are left.

    Without an outcome they are spread over the library.

    :param trials: rows from 0; outcomes finite.
    :param popcount: how bits are counted (see `_tanimoto.counting`); the result is the same.
    :param device: "cuda" goes through the library on a GPU; float32 there, too.
    """
    excluded = np.unique(np.array(trials.rows, np.int64))
    n = min(n, features.rows - len(excluded))
    if n <= 0:
        return Chosen([], [], {"generator": "none is left"})
    if not trials.completed:
        picks = spread(features, trials, n, seed=seed, popcount=popcount)
        return Chosen(picks, [{} for _ in picks], {"generator": "spread over the library"})
    model = Model.of(trials.most_telling(), features, popcount)
    picks, why, passes, most = [], [], 0, SHORT_LIST
    while len(picks) < n:
        if picks:
            model, most = model.believing(picks), LONGEST_LIST
        taken = np.union1d(excluded, np.array(picks, np.int64))
        rows, ceiling = short_list(features, model, taken, most, device)
        _pick(model, features, rows, ceiling, n, picks, why)
        passes += 1
    made = {
        "generator": "log expected improvement, of all rows",
        "model": model.described(),
        "passes": passes,
    }
    return Chosen(picks, why, made)


def short_list(
    features: Features, model: Model, taken: Rows, most: int, device: str = "cpu"
) -> tuple[Rows, float]:
    """Go through the library once.

    :param taken: rows that may not be chosen, increasing.
    :return: the rows that score best, increasing; and the score that no other row exceeds, but for
        the errors of float32: -inf where the list has all rows.
    """
    if device == "cuda":
        from sdl.optimizers.library import _cuda as _screening_cuda

        return _screening_cuda.short_list(features, model, taken, most)
    scores, best = Scores(model), _Best(most)
    columns = 2 * len(model.trials.rows)
    for start, chunk in features.chunks(min(max(2**19 // columns, 256), 8192)):
        kept, scored = scores(model.correlation(chunk), best.floor)
        fresh = ~np.isin(kept + start, taken[(taken >= start) & (taken < start + len(chunk))])
        best.take(kept[fresh] + start, scored[fresh])
    return best.ended()


class Scores:
    """Scores of chunks of rows: float32 copies of what one pass over the library multiplies with.

    :param model: what the trials say.
    """

    def __init__(self, model: Model) -> None:
        self._model, outcome = model, model.outcome
        count, trials = len(outcome.weights), len(model.trials.rows)
        self._all_variances = trials <= 2 * COMBINATIONS
        bounding = outcome.whiten.T if self._all_variances else outcome.leading(COMBINATIONS)
        first = np.zeros((trials, 1 + bounding.shape[1]))
        first[:count, 0], first[:, 1:] = outcome.weights, bounding
        self._first = _single(first)
        self._whiten = _single(outcome.whiten.T)

    def __call__(
        self, correlations: NDArray[np.float32], floor: float
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return which rows of a chunk may score above `floor`, and their scores.

        :param correlations: of the chunk's rows with the trials, m x k.
        """
        outcome, success = self._model.outcome, self._model.success
        products = correlations @ self._first
        mean = products[:, 0].astype(np.float64) + outcome.hyperparameters.mean
        gain = self._improvement(mean, products[:, 1:])  # not less than it is
        if success is None:
            kept = np.flatnonzero(gain > floor)
            return kept, self._exactly(correlations, kept, mean, gain)
        ended = success.sharpened(correlations[:, self._model.ended])
        latent = (ended @ _single(success.weights)).astype(np.float64) + success.mean
        kept = np.flatnonzero(gain + success.bound(latent) > floor)
        roots = ended[kept] @ _single(success.whiten.T)
        likely = success.log_probability(latent[kept], _squared(roots))
        return kept, likely + self._exactly(correlations, kept, mean, gain)

    def _exactly(
        self, correlations: NDArray[np.float32], kept: Rows, mean: Floats, gain: Floats
    ) -> Floats:
        """Return log expected improvements of some rows from all trials, not from a bound."""
        if self._all_variances:
            return gain[kept]
        return self._improvement(mean[kept], correlations[kept] @ self._whiten)

    def _improvement(self, mean: Floats, roots: NDArray[np.float32]) -> Floats:
        scale = self._model.outcome.scale
        sd = np.sqrt(positive(scale - _squared(roots), scale))
        return log_expected_improvement(mean, sd, self._model.incumbent)


def _single(array: Floats) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _squared(roots: NDArray[np.float32]) -> Floats:
    """Return the sums of squares of the rows."""
    return np.einsum("ij,ij->i", roots, roots).astype(np.float64)


class _Best:
    """The rows with the largest scores so far; among equal ones the first."""

    def __init__(self, most: int) -> None:
        self._most, self.floor = most, -math.inf
        self._rows: list[Rows] = []
        self._scores: list[Floats] = []
        self._count = 0

    def take(self, rows: Rows, scores: Floats) -> None:
        above = scores > self.floor
        self._rows.append(rows[above])
        self._scores.append(scores[above])
        self._count += int(above.sum())
        if self._count > 2 * self._most:
            self._cut()

    def _cut(self) -> None:
        rows, scores = np.concatenate(self._rows), np.concatenate(self._scores)
        if len(rows) > self._most:
            order = np.argsort(-scores, kind="stable")[: self._most]
            self.floor = float(scores[order[-1]])
            order.sort()
            rows, scores = rows[order], scores[order]
        self._rows, self._scores, self._count = [rows], [scores], len(rows)

    def ended(self) -> tuple[Rows, float]:
        self._cut()
        return self._rows[0], self.floor


def _pick(
    model: Model,
    features: Features,
    rows: Rows,
    ceiling: float,
    n: int,
    picks: list[int],
    why: list[dict[str, Any]],
) -> None:
    """Pick from a short list until there are `n`, or until another row may be better."""
    short = features.take(rows)
    correlations = model.correlation(short).astype(np.float64)
    log_success, mean, variance, roots = model.scores(correlations)
    outcome, incumbent = model.outcome, model.incumbent
    noise = outcome.hyperparameters.noise
    free = np.ones(len(rows), bool)
    for pick in range(len(rows)):
        gain = log_expected_improvement(mean, np.sqrt(variance), incumbent)
        score = np.where(free, gain + log_success, -np.inf)
        place = int(score.argmax())
        if len(picks) == n or (pick > 0 and score[place] < ceiling - SLACK):
            return
        free[place] = False
        picks.append(int(rows[place]))
        expected, uncertain = model.outcome_units(float(mean[place]), float(variance[place]))
        why.append(
            {
                "mean": digits(expected),
                "sd": digits(uncertain),
                "log_expected_improvement": digits(gain[place]),
                "success": digits(math.exp(log_success[place])),
                "nearest": model.nearest(correlations[place]),
            }
        )
        like = model.to_row(int(rows[place]))(short)[:, 0].astype(np.float64)
        joint = outcome.scale * like - roots @ roots[place]
        root = joint / math.sqrt(variance[place] + noise)
        roots = np.column_stack([roots, root])
        variance = positive(variance - np.square(root), outcome.scale)
        incumbent = max(incumbent, float(mean[place]))
