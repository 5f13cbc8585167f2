"""Whether a model's uncertainty is honest: judged by predictions of what it has not seen.

Leave-one-out predictions are compared with what was measured (Rasmussen and Williams 2006, section
5.4.2; probability integral transform: Gneiting, Balabdaoui and Raftery 2007).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

LEVELS = (0.5, 0.8, 0.95)
BINS = 10  # of the histogram
FEWEST = 8  # predictions below which nothing is said: chance rules
DOUBT = 0.05  # chance that an honest model is called dishonest, on each side
STANDARD = NormalDist()


@dataclass(frozen=True)
class Prediction:
    """What a model that did not see a trial says of its outcome, in the outcome's units."""

    trial: int
    observed: float
    mean: float
    sd: float
    residual: float | None = None
    """In the model's own standard deviations, where its scale is not the outcome's."""
    density: float | None = None
    """Logarithm of the predictive density, in the outcome's units."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Prediction":
        """Read a row as `sdl.suggest.Predicts` has it.

        :raises KeyError, TypeError, ValueError: it is none.
        """
        numbers = [float(row[key]) for key in ("observed", "mean", "sd")]
        more = [None if row.get(k) is None else float(row[k]) for k in ("z", "log_density")]
        if not all(math.isfinite(v) for v in (*numbers, *more) if v is not None):
            raise ValueError("a number is not finite")
        if numbers[2] < 0:
            raise ValueError(f"a standard deviation is below 0: {numbers[2]:g}")
        return cls(int(row["_id"]), *numbers, *more)

    @property
    def z(self) -> float:
        """The standardised residual: of an honest model a standard normal number."""
        if self.residual is not None:
            return self.residual
        off = self.observed - self.mean
        return off / self.sd if self.sd > 0 else math.copysign(math.inf, off) if off else 0.0

    @property
    def pit(self) -> float:
        """The predicted probability of less than was observed: of an honest model uniform."""
        return STANDARD.cdf(self.z)

    @property
    def log_density(self) -> float:
        if self.density is not None:
            return self.density
        if self.sd <= 0:
            return -math.inf
        return -0.5 * self.z**2 - math.log(self.sd) - 0.5 * math.log(2 * math.pi)

    def within(self, level: float) -> bool:
        """Whether the outcome lies in the central interval that should hold this share."""
        return abs(self.z) <= STANDARD.inv_cdf((1 + level) / 2)


@dataclass(frozen=True)
class Coverage:
    """How many of `n` outcomes lie in intervals that should hold a share `level` of them."""

    level: float
    inside: int
    n: int

    @property
    def share(self) -> float:
        return self.inside / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval (Wilson 1927)."""
        z, p, n = STANDARD.inv_cdf(0.975), self.share, self.n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(middle - half, 0.0), min(middle + half, 1.0)

    @property
    def too_few(self) -> bool:
        """Whether chance hardly explains how few there are: the model is too sure."""
        return _binomial(self.n, self.level, range(self.inside + 1)) < DOUBT / len(LEVELS)

    @property
    def too_many(self) -> bool:
        """Whether chance hardly explains how many there are: the model is too cautious."""
        return _binomial(self.n, self.level, range(self.inside, self.n + 1)) < DOUBT / len(LEVELS)


@dataclass(frozen=True)
class Calibration:
    """All leave-one-out predictions of one outcome; at least one."""

    predictions: Sequence[Prediction]

    def __len__(self) -> int:
        return len(self.predictions)

    @cached_property
    def coverage(self) -> tuple[Coverage, ...]:
        """Of `LEVELS`."""
        n = len(self)
        return tuple(Coverage(v, sum(p.within(v) for p in self.predictions), n) for v in LEVELS)

    @property
    def histogram(self) -> list[int]:
        """How many predictions have their PIT in each of `BINS` equal bins."""
        counts = [0] * BINS
        for p in self.predictions:
            counts[min(int(p.pit * BINS), BINS - 1)] += 1
        return counts

    @property
    def log_density(self) -> float:
        """Mean log predictive density: greater is better; -inf where something was impossible."""
        return math.fsum(p.log_density for p in self.predictions) / len(self)

    @property
    def rmse(self) -> float:
        """Root mean square error, in the outcome's units."""
        return _root_mean_square([p.observed - p.mean for p in self.predictions])

    @property
    def rmse_of_mean(self) -> float | None:
        """That of a model that always says the mean of all others; None of one prediction."""
        n = len(self)
        if n < 2:
            return None
        mean = math.fsum(p.observed for p in self.predictions) / n
        # leaving one out of a mean: its residual grows by n / (n - 1)
        return _root_mean_square([(p.observed - mean) * n / (n - 1) for p in self.predictions])

    @property
    def useful(self) -> bool:
        """Whether the model predicts better than the mean does."""
        plain = self.rmse_of_mean
        return plain is not None and self.rmse < plain

    @property
    def overconfident(self) -> bool:
        return len(self) >= FEWEST and any(c.too_few for c in self.coverage)

    @property
    def cautious(self) -> bool:
        return len(self) >= FEWEST and any(c.too_many for c in self.coverage)

    @property
    def doubt(self) -> str:
        """Why the model's uncertainty should not be relied on; empty: nothing speaks against it."""
        if len(self) < FEWEST:
            return f"{len(self)} predictions are too few to judge the model (at least {FEWEST})"
        if self.overconfident:
            return f"the model is too sure of itself: {self.in_numbers}"
        if not self.useful:
            return "the model predicts no better than the mean of all trials"
        return ""

    @property
    def verdict(self) -> str:
        """The whole judgement in one sentence."""
        if self.doubt:
            return self.doubt
        if self.cautious:
            return f"the model is more cautious than it need be: {self.in_numbers}"
        return f"nothing speaks against the model's uncertainty: {self.in_numbers}"

    @property
    def in_numbers(self) -> str:
        return ", ".join(
            f"{c.inside} of {c.n} outcomes within {100 * c.level:g} % intervals"
            for c in self.coverage
        )


def calibrations(rows: Sequence[Mapping[str, Any]]) -> dict[str, Calibration]:
    """Sort predictions by outcome.

    :raises KeyError, TypeError, ValueError: a row is not what `sdl.suggest.Predicts` promises.
    """
    found: dict[str, list[Prediction]] = {}
    for row in rows:
        found.setdefault(str(row["objective"]), []).append(Prediction.of(row))
    return {name: Calibration(predictions) for name, predictions in found.items()}


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(v * v for v in values) / len(values))


def _binomial(n: int, p: float, counts: range) -> float:
    """The chance of one of these counts; through logarithms, since n may be thousands."""
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in counts)
    terms = (
        math.exp(way + k * math.log(p) + (n - k) * math.log1p(-p))
        for k, way in zip(counts, ways, strict=True)
    )
    return math.fsum(terms)
