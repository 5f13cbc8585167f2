"""What one outcome is expected to be: data, warp and Gaussian process, fitted to each other.

Up to 64 trials fits of some sizes start from the prior, the others from that of the next smaller
such size; fits of more trials start from that of half as many. So a fit is a function of the
history alone, and costs little where the optimum has hardly moved. What was fitted is kept in
memory, so that in a campaign that goes on only the newest step is done.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdl.optimizers.adaptive import _gaussian, _kernel, _warp
from sdl.optimizers.adaptive._gaussian import Data, GaussianProcess, Hyperparameters
from sdl.optimizers.adaptive._warp import Warp

CHOSEN_UP_TO = 64  # trials from which on kernel and warp are kept as they are
SURE = 1.0  # gain for which a function counts as smooth, which makes a model sure of itself
WORTH = 4.0  # gain of log evidence for which a warp is taken
FIT_MOST = 512  # trials to which hyperparameters are fitted
STEPS_NEXT = 25  # of a fit that starts at that of half the data
STEPS_LAST = 8  # of one that starts close by
ROUNDS = 4  # of imputing censored outcomes
FAR = 3.0  # standard deviations from its prediction: an outlier, if the evidence says so too
GAIN = 8.0  # of log evidence
GRID = (8, 12, 16, 24, 32, 48, 64)
LEVELS = [round(CHOSEN_UP_TO * 1.05**k) for k in range(250)]  # up to more than 10^7


@dataclass(frozen=True)
class Tuned:
    warp: Warp
    h: Hyperparameters
    evidence: float


class Fits:
    """What was fitted lately, by the digest of its data."""

    def __init__(self, most: int = 256) -> None:
        self._kept: OrderedDict[bytes, Tuned] = OrderedDict()
        self._most = most

    def get(self, key: bytes) -> Tuned | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: bytes, tuned: Tuned) -> Tuned:
        self._kept[key] = tuned
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return tuned


@dataclass(frozen=True)
class Observed:
    """An outcome of `n` trials, more is better.

    `z`: embedded, n x D. `y`: n. `variance`: n, squared units, NaN where the noise is unknown.
    `censored`: n, -1 where the truth lies below `y`, +1 above, else 0.
    """

    z: Tensor
    y: NDArray[np.float64]
    variance: NDArray[np.float64]
    censored: NDArray[np.float64]
    groups: Tensor
    dimension: int
    warped: bool = True
    """Whether a warp may be taken: it changes what an improvement is worth."""

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: int) -> "Observed":
        return self.only(np.arange(n))

    def only(self, rows: NDArray[np.int64]) -> "Observed":
        at = torch.as_tensor(rows, device=self.z.device)
        return replace(
            self,
            z=self.z[at],
            y=self.y[rows],
            variance=self.variance[rows],
            censored=self.censored[rows],
        )

    def data(self, warp: Warp) -> Data:
        """Warped outcomes; known noise goes along with the warp's slope."""
        known = self.variance * np.exp(2.0 * warp.log_slope(self.y))
        like = {"dtype": torch.float64, "device": self.z.device}
        y, variance = torch.tensor(warp(self.y), **like), torch.tensor(known, **like)
        return Data(self.z, self.groups, y, self.dimension, variance)

    def digest(self) -> bytes:
        import hashlib

        told = hashlib.sha256(self.z.cpu().numpy().tobytes())
        for part in (self.y, self.variance, self.censored):
            told.update(part.tobytes())
        told.update(bytes([self.warped]))
        return told.digest()


def tune(observed: Observed, fits: Fits) -> Tuned:
    """Choose kernel and warp, and fit hyperparameters.

    Above `CHOSEN_UP_TO` trials that is done anew at every twentieth more of them; in between, new
    trials are conditioned on.
    """
    if len(observed) > CHOSEN_UP_TO:
        observed = observed.first(max(level for level in LEVELS if level <= len(observed)))
    if len(observed) > FIT_MOST:
        rows = np.linspace(0, len(observed) - 1, FIT_MOST).astype(int)
        observed = observed.only(np.unique(rows))
    key = observed.digest()
    if (known := fits.get(key)) is not None:
        return known
    n = len(observed)
    if n > CHOSEN_UP_TO:
        start = tune(observed.first(n // 2), fits)
        return fits.put(key, _follow(observed, start, STEPS_NEXT))
    smaller = [size for size in GRID if size <= n]
    if not smaller or smaller[-1] == n:
        return fits.put(key, _choose(observed))
    return fits.put(key, _follow(observed, tune(observed.first(smaller[-1]), fits), STEPS_LAST))


def _follow(observed: Observed, start: Tuned, steps: int) -> Tuned:
    warp = start.warp if start.warp.plain else _warp.fitted(observed.y) or Warp()
    h, value = _gaussian.fit(observed.data(warp), start.h, steps)
    return Tuned(warp, h, value)


def _choose(observed: Observed) -> Tuned:
    """Fit each kind of kernel, with and without a warp, from the prior; keep the likeliest."""
    warps = [Warp()]
    if observed.warped and (warp := _warp.fitted(observed.y)) is not None:
        warps.append(warp)
    best: Tuned | None = None
    for warp in warps:
        data = observed.data(warp)
        slope = float(warp.log_slope(observed.y).sum()) - len(data) * math.log(data.scale)
        for kind in _kernel.KINDS:
            cold = _gaussian.prior(observed.dimension, observed.z, kind)
            h, value = _gaussian.fit(data, cold)
            value += slope
            worth = 0.0 if best is None or warp.plain == best.warp.plain else WORTH
            worth += SURE if kind == "gaussian" else 0.0
            if best is None or value > best.evidence + worth:
                best = Tuned(warp, h, value)
    assert best is not None
    return best


class Outcome:
    """A fitted model of one outcome.

    :param observed: at least one trial.
    """

    def __init__(self, observed: Observed, fits: Fits, *, outliers: bool = True) -> None:
        self.observed = observed
        self.outliers: list[int] = []
        tuned = tune(observed, fits)
        if (observed.censored != 0).any():
            observed, tuned = _imputed(observed, tuned)
        if outliers:
            observed, tuned, self.outliers = _without_outliers(observed, tuned)
        self._seen = observed
        self.warp, self.h = tuned.warp, tuned.h
        self.gp = GaussianProcess(observed.data(tuned.warp), tuned.h)

    def to_model(self, y: float) -> float:
        """Warp an outcome into the model's units."""
        return float(self.warp(np.array([y]))[0])

    def leave_one_out(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predict each observation from the others: means and standard deviations, n each.

        Warped back, the mean is the median, and the deviation half the distance between the
        quantiles at one deviation on each side.
        """
        mean, sd = (t.cpu().numpy() for t in self.gp.leave_one_out())
        return self.unwarped(mean, sd)

    def unwarped(
        self, mean: NDArray[np.float64], sd: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.warp.plain:
            return mean, sd
        low, middle, high = (self.warp.back(mean + k * sd) for k in (-1.0, 0.0, 1.0))
        return middle, (high - low) / 2.0

    def described(self, names: tuple[str, ...]) -> dict[str, Any]:
        told: dict[str, Any] = {"class": "Gaussian process", **self.h.described(names)}
        if not self.warp.plain:
            told["warp"] = {"family": "Yeo-Johnson", "power": self.warp.power}
        told["noise_sd"] = float(f"{self.gp.noise:.4g}")
        if self.outliers:
            told["outliers"] = self.outliers
        return told


def _imputed(observed: Observed, tuned: Tuned) -> tuple[Observed, Tuned]:
    """Replace censored outcomes by what is expected beyond their bound, given all others."""
    bound, side = tuned.warp(observed.y), observed.censored
    inside = side == 0
    spread = float(np.std(bound)) or 1.0
    y = bound.copy()
    for _ in range(ROUNDS):
        data = observed.data(Warp())
        data.y = (torch.tensor(y, device=data.z.device) - data.offset) / data.scale
        now = Data(data.z, data.groups, torch.tensor(y).to(data.z), data.dimension)
        mean, sd = (t.cpu().numpy() for t in GaussianProcess(now, tuned.h).leave_one_out())
        a = side * (bound - mean) / sd  # how far the bound lies on the side of the truth
        hazard = np.exp(-0.5 * a**2 - 0.5 * math.log(2 * math.pi) - _log_ndtr(-a))
        expected = mean + side * sd * hazard
        beyond = np.clip(side * (expected - bound), 0.0, 3.0 * spread)
        y = np.where(inside, bound, bound + side * beyond)
    filled = replace(observed, y=tuned.warp.back(y), censored=np.zeros_like(side))
    h, value = _gaussian.fit(filled.data(tuned.warp), tuned.h, STEPS_LAST)
    return filled, Tuned(tuned.warp, h, value)


def _log_ndtr(x: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import log_ndtr

    return log_ndtr(x)


def _without_outliers(observed: Observed, tuned: Tuned) -> tuple[Observed, Tuned, list[int]]:
    """Give outcomes that all others contradict a noise of their own, as the evidence demands.

    Ament et al. 2024, "Robust Gaussian processes via relevance pursuit", one point at a time.
    """
    found: list[int] = []
    n = len(observed)
    if n < 12 or n > FIT_MOST:
        return observed, tuned, found
    while len(found) < n // 10 + 1:
        data = observed.data(tuned.warp)
        gp = GaussianProcess(data, tuned.h)
        mean, sd = (t.cpu().numpy() for t in gp.leave_one_out())
        off = (tuned.warp(observed.y) - mean) / sd
        off[found] = 0.0
        worst = int(np.abs(off).argmax())
        if abs(off[worst]) < FAR:
            break
        variance = observed.variance.copy()
        slope = math.exp(2.0 * float(tuned.warp.log_slope(observed.y[worst : worst + 1])[0]))
        variance[worst] = (off[worst] * sd[worst]) ** 2 / slope
        without = replace(observed, variance=variance)
        try:
            before, _ = _gaussian.log_posterior(data, tuned.h)
            unfitted, _ = _gaussian.log_posterior(without.data(tuned.warp), tuned.h)
            if unfitted - before < 0.6 * GAIN:  # fitting would not make up for the rest
                break
            h, value = _gaussian.fit(without.data(tuned.warp), tuned.h, STEPS_NEXT)
        except _gaussian.NUMERICAL:
            break
        if value - before < GAIN:
            break
        observed, tuned = without, Tuned(tuned.warp, h, value)
        found.append(worst)
    return observed, tuned, found
