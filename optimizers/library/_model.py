"""What trials say about any row of a library: expected outcome, uncertainty, P(success)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdl.optimizers.library._gp import (
    Correlation,
    Floats,
    Hyperparameters,
    Outcome,
    SquaredExponential,
    Success,
    distances,
    fit,
)
from sdl.optimizers.library._tanimoto import Tanimoto, counting

MOST_TRIALS = 1000  # that a model is made of; of more the best half and the newest are
FIT_TRIALS = 300  # that hyperparameters are fitted to
LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)  # length scales tried, times the median distance


Rows = NDArray[np.int64]


class Features(Protocol):
    """The rows of a library (`sdl.library`), or of an array (`InMemory`)."""

    rows: int
    width: int

    @property
    def packed(self) -> bool:
        """Whether rows are fingerprints, eight bits to a byte; else they are numbers."""
        ...

    def take(self, rows: Any) -> NDArray[Any]: ...

    def chunks(self, size: int) -> Iterator[tuple[int, NDArray[Any]]]: ...


class InMemory:
    """Features in an array: uint8 (packed fingerprints) or standardised numbers.

    :param array: rows x width.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.packed = array.dtype == np.uint8
        self._array = array if self.packed else array.astype(np.float32)
        self.rows, self.width = array.shape

    def take(self, rows: Any) -> NDArray[Any]:
        return self._array[np.asarray(rows, dtype=np.int64)]

    def chunks(self, size: int) -> Iterator[tuple[int, NDArray[Any]]]:
        for start in range(0, self.rows, size):
            yield start, self._array[start : start + size]


@dataclass(frozen=True)
class Trials:
    """What was tried, by row; a row may stand more than once."""

    completed: Sequence[int] = ()
    outcomes: Sequence[float] = ()
    """Of the completed ones; more is better."""

    succeeded: Sequence[bool] | None = None
    """Of each completed one, whether its outcomes kept the constraints; None: all did."""

    failed: Sequence[int] = ()
    pending: Sequence[int] = ()
    noise: Sequence[float] | None = None
    """Standard deviation of each outcome where it is known, else NaN."""

    @property
    def rows(self) -> list[int]:
        """All of them, in the order of a model's columns: completed, pending, failed."""
        return [*self.completed, *self.pending, *self.failed]

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Of the completed, then the failed ones, whether they succeeded."""
        kept = [True] * len(self.completed) if self.succeeded is None else self.succeeded
        return np.array([*kept, *([False] * len(self.failed))], bool)

    def most_telling(self) -> "Trials":
        """Return at most `MOST_TRIALS` of each kind: of the completed the best half, the newest."""
        chosen = np.arange(len(self.completed))
        if len(chosen) > MOST_TRIALS:
            ranked = np.argsort(-np.asarray(self.outcomes), kind="stable")
            best = ranked[: MOST_TRIALS // 2]
            rest = np.setdiff1d(chosen, best)[-(MOST_TRIALS - len(best)) :]
            chosen = np.sort(np.concatenate([best, rest]))
        return Trials(
            [self.completed[i] for i in chosen],
            [self.outcomes[i] for i in chosen],
            None if self.succeeded is None else [self.succeeded[i] for i in chosen],
            self.failed[-MOST_TRIALS:],
            self.pending,
            None if self.noise is None else [self.noise[i] for i in chosen],
        )


class Model:
    """What the trials say about any row.

    Columns of a correlation are the completed, the pending, then the failed trials. The failed ones
    are believed to give their posterior mean, as the pending ones: another trial beside one that
    failed would most likely tell as little, and P(success) alone forgets that too slowly.
    """

    def __init__(
        self,
        features: Features,
        trials: Trials,
        found: Hyperparameters,
        popcount: str,
        scaling: tuple[float, float],
    ) -> None:
        self._features, self.trials, self._popcount = features, trials, popcount
        self._found, self._scaling = found, scaling
        reference = features.take(trials.rows)
        self.correlation = correlation(reference, found.lengthscale, popcount)
        square = self.correlation(reference).astype(np.float64)
        n, pending = len(trials.completed), len(trials.pending)
        y = (np.asarray(trials.outcomes) - scaling[0]) / scaling[1]
        noise = np.full(len(square), np.nan)
        if trials.noise is not None:
            noise[:n] = np.square(np.asarray(trials.noise) / scaling[1])
        self.outcome = Outcome(found, square, y, noise)
        self.success: Success | None = None
        self.ended = np.r_[0:n, n + pending : len(square)]  # columns of what succeeded or failed
        self.incumbent = self.outcome.incumbent
        if not trials.labels.all():
            self.success = Success(square[np.ix_(self.ended, self.ended)], trials.labels)
            self.incumbent = self._best_that_succeeded(square)

    def _best_that_succeeded(self, square: Floats) -> float:
        """Return the largest mean of a trial that kept the constraints, or is believed to.

        Where there is none, nearly anything is an improvement: the smallest of all.
        """
        means = self.outcome.mean(square)
        fine = np.ones(len(means), bool)
        fine[self.ended] = self.trials.labels
        return float(means[fine].max() if fine.any() else means.min())

    @classmethod
    def of(cls, trials: Trials, features: Features, popcount: str = "auto") -> "Model":
        """Fit a model to trials, at least one of which completed."""
        outcomes = np.asarray(trials.outcomes, np.float64)
        size = float(np.abs(outcomes).max()) or 1.0
        centre = float((outcomes / size).mean()) * size
        sd = float((outcomes / size - centre / size).std()) * size
        scaling = (centre, sd if sd > 1e-9 * abs(centre) and sd > 0 else size)
        fitted = np.arange(len(outcomes))
        if len(fitted) > FIT_TRIALS:
            fitted = np.linspace(0, len(outcomes) - 1, FIT_TRIALS).round().astype(np.int64)
        found = _fit(
            features.take(np.asarray(trials.completed)[fitted]),
            (outcomes[fitted] - scaling[0]) / scaling[1],
            popcount,
        )
        return cls(features, trials, found, popcount, scaling)

    def believing(self, picks: Sequence[int]) -> "Model":
        """Return the same model with more trials pending; the incumbent counts their means."""
        old = self.trials
        pending = [*old.pending, *(row for row in picks if row not in old.pending)]
        told = replace(old, pending=pending)
        return Model(self._features, told, self._found, self._popcount, self._scaling)

    def scores(self, correlations: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return log P(success), means, variances and their roots, exactly."""
        roots = self.outcome.roots(correlations)
        variance = positive(self.outcome.scale - np.square(roots).sum(1), self.outcome.scale)
        return self.log_success(correlations), self.outcome.mean(correlations), variance, roots

    def log_success(self, correlations: Floats) -> Floats:
        if self.success is None:
            return np.zeros(len(correlations))
        ended = self.success.sharpened(correlations[:, self.ended])
        taken = np.square(ended @ self.success.whiten.T).sum(1)
        return self.success.log_probability(self.success.mean + ended @ self.success.weights, taken)

    def nearest(self, row_correlations: Floats) -> dict[str, Any]:
        """Say which trial resembles a row most."""
        place = int(row_correlations.argmax())
        return {
            "row": int(self.trials.rows[place]),
            "correlation": digits(row_correlations[place]),
        }

    def outcome_units(self, mean: float, variance: float) -> tuple[float, float]:
        """Return mean and standard deviation in the outcome's units."""
        centre, scale = self._scaling
        return centre + scale * mean, scale * math.sqrt(variance)

    def leave_one_out(self) -> tuple[Floats, Floats]:
        """Predict each completed trial from the others: means and standard deviations."""
        mean, sd = self.outcome.leave_one_out()
        return self._scaling[0] + self._scaling[1] * mean, self._scaling[1] * sd

    def described(self) -> dict[str, Any]:
        found, packed = self._found, self._features.packed
        said: dict[str, Any] = {
            "covariance": "tanimoto" if packed else "squared exponential",
            "outputscale": digits(found.outputscale),
            "noise": digits(found.noise),
            "mean": digits(found.mean),
            "trials": len(self.trials.completed),
        }
        if found.lengthscale is not None:
            said["lengthscale"] = digits(found.lengthscale)
        if packed:
            said["popcount"] = counting(self._popcount)
        if self.success is not None:
            said["success"] = {
                "failed": len(self.trials.failed),
                "amplitude": self.success.amplitude,
                "power": 2**self.success.doublings,
            }
        return said

    def to_row(self, row: int) -> Correlation:
        """Return correlations with one more row."""
        return correlation(self._features.take([row]), self._found.lengthscale, self._popcount)


def digits(number: Any) -> float:
    return float(f"{float(number):.6g}")


def positive(variance: Floats, scale: float) -> Floats:
    return np.maximum(variance, 1e-10 * scale)


def correlation(reference: NDArray[Any], length: float | None, popcount: str) -> Correlation:
    if length is None:
        return Tanimoto(reference, popcount)
    return SquaredExponential(reference, length)


def _fit(reference: NDArray[Any], y: Floats, popcount: str) -> Hyperparameters:
    if reference.dtype == np.uint8:
        similarity = Tanimoto(reference, popcount)(reference).astype(np.float64)
        return fit(lambda _: similarity, None, y)
    apart = distances(reference)
    typical = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    return fit(
        lambda length: np.exp(-0.5 * np.square(apart / (length or typical))),
        [typical * share for share in LENGTHS],
        y,
    )
