"""Means of a few numbers with honest intervals, ranks, and paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
FEW = 10  # below as many numbers a bootstrap's interval is too narrow: Student's t is used
RESAMPLES = 2000
SEED = 20210525


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % confidence interval; of one number there is no interval."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def mean(values: Sequence[float | None]) -> Mean | None:
    """Return the mean of those that are numbers; None where there are none."""
    numbers = [v for v in values if v is not None]
    if not numbers:
        return None
    return means([[v] for v in numbers])[0]


def means(rows: Sequence[Sequence[float]]) -> list[Mean]:
    """Return the mean of each column; rows (one a seed) are resampled whole.

    Intervals are percentiles of a bootstrap with a fixed seed (Efron 1979), and Student's t for
    fewer than `FEW` rows.
    """
    import numpy as np

    values = np.array(rows, dtype=float)
    n, middle = len(values), values.mean(axis=0)
    if n < 2:
        return [Mean(float(m), None, None, n) for m in middle]
    if n < FEW:
        from scipy.stats import t

        half = t.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=0, ddof=1) / math.sqrt(n)
        low, high = middle - half, middle + half
    else:
        draws = np.random.default_rng(SEED).integers(0, n, size=(RESAMPLES, n))
        weights = np.stack([np.bincount(row, minlength=n) for row in draws]) / n
        resampled = weights @ values
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.quantile(resampled, tails, axis=0)
    ends = zip(middle.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Mean(m, a, b, n) for m, a, b in ends]


def geometric_mean(values: Sequence[float | None]) -> Mean | None:
    """Return the mean of ratios: twice and half as much cancel each other. They are above 0."""
    found = mean([None if v is None else math.log(v) for v in values])
    if found is None:
        return None
    low, high = (None if v is None else math.exp(v) for v in (found.low, found.high))
    return Mean(math.exp(found.mean), low, high, found.n)


def ranks(scores: Sequence[float | None]) -> list[float]:
    """Rank scores, the greatest first; ties share the mean of their places, None is last."""
    keys = [-math.inf if s is None else s for s in scores]
    return [
        1 + sum(other > key for other in keys) + (sum(other == key for other in keys) - 1) / 2
        for key in keys
    ]


def median(values: Sequence[float]) -> float | None:
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return a quantile, interpolated linearly; None of no numbers."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    left = math.floor(place)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (ordered[right] - ordered[left]) * (place - left)
