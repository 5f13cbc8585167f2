"""What earlier campaigns teach: the part of `adaptive` that begins with more than nothing.

The target outcome is, up to a constant, a weighted sum of what the earlier campaigns' posteriors
say and of a deviation of its own, a Gaussian process with their length scales:

    f(z) = a + sum_i w_i g_i(z) + r(z),   g_i ~ GP | trials of campaign i,   w_i >= 0.

So the target's covariance holds what the earlier campaigns do not know either, and its trials teach
the earlier posteriors nothing back: a hierarchical Gaussian process, as in Tighineanu et al. 2022,
"Transfer learning with Gaussian processes for Bayesian optimization".

Weights are averages over hypotheses ("campaign i says it, times 0.75", …, "none says anything"),
each as probable as the target's own trials make it: a misleading campaign's weight goes to zero,
and once no campaign is worth anything the model is the usual one, to the last digit.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from sdl.optimizers._history import History, number
from sdl.optimizers.adaptive import _gaussian, _kernel, _warp
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._gaussian import (
    JITTER,
    NUMERICAL,
    Data,
    GaussianProcess,
    Hyperparameters,
)
from sdl.optimizers.adaptive._outcome import WORTH, Fits, Observed, Outcome, Tuned
from sdl.optimizers.adaptive._warp import Warp
from sdl.task import Task

CAMPAIGN = "_campaign"
"""Key of a point that was not this campaign's: which it was of."""

MOST_CAMPAIGNS = 8
MOST_POINTS = 80  # of one earlier campaign; of more the best, and some of all the rest
LEAST_POINTS = 3
MOST_WEIGHED = 64  # own trials by which the others are weighed
FACTORS = ((0.5, 0.2), (0.75, 0.25), (1.0, 0.35), (1.5, 0.2))  # of a relative, how probable
DEVIATIONS = (0.01, 0.05, 0.25, 1.0)  # variance of the own part, of the earlier campaigns'
ALONE = (0.1, 0.3, 1.0, 3.0, 9.0)  # the same where no campaign says anything
TRUST = 0.5  # prior probability that one does
NOISES = (1.0, 4.0, 16.0)  # noise of the target, of the earlier campaigns'

MARGIN = 1.0  # of log density, by which the usual model must foretell better
LEAST_FORETOLD = 5  # own trials from which on that is asked
WORTHLESS = 0.1  # sum of weights below which earlier campaigns are left alone
FIRST_STEPS, MORE_STEPS = 50, 15  # of fitting
LOG_NOISE = (math.log(_gaussian.LOWEST_NOISE), 2.0)
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """One earlier campaign's posterior of one outcome, warped as all are."""

    name: str
    gp: GaussianProcess

    @property
    def scale(self) -> float:
        return self.gp.data.scale

    @property
    def level(self) -> float:
        """What it expects far from all its trials."""
        return self.gp.data.offset + self.scale * float(self.gp._mean)  # noqa: SLF001

    @property
    def centred(self) -> Tensor:
        """Standardised outcomes about that."""
        return self.gp._y - self.gp._mean  # noqa: SLF001

    @property
    def inverse(self) -> Tensor:
        """Of the Cholesky factor of its trials' covariance."""
        return self.gp._inverse  # noqa: SLF001


@dataclass(frozen=True)
class Lessons:
    """What all earlier campaigns say of one outcome. `scale`: a typical one of their spreads."""

    sources: tuple[Source, ...]
    warp: Warp
    h: Hyperparameters
    scale: float


@dataclass(frozen=True)
class Weighing:
    """What the lessons are worth. `weights`: R, 1 for the same function, up to a constant.

    `own` and `noise`: variances of deviation and measurement, of `Lessons.scale` squared.
    """

    weights: NDArray[np.float64]
    own: float
    noise: float

    def by_name(self, lessons: Lessons) -> dict[str, float]:
        names = [source.name for source in lessons.sources]
        return {n: round(float(w), 3) for n, w in zip(names, self.weights, strict=True)}


class Earlier:
    """Earlier campaigns' trials as one task's optimizer is told of them.

    :param points: completed trials with `_campaign`, and `_similarity` (0 to 1) where it is known.
    :param fits: memory of what was fitted before; changes speed only.
    """

    def __init__(
        self, task: Task, encoding: Encoding, points: Sequence[Record], fits: Fits
    ) -> None:
        self._task, self._encoding, self._fits = task, encoding, fits
        self._records: dict[str, list[dict[str, Any]]] = {}
        for name in list(dict.fromkeys(str(p[CAMPAIGN]) for p in points))[:MOST_CAMPAIGNS]:
            usable = History(task)
            usable.ingest([p for p in points if p[CAMPAIGN] == name])
            if len(records := usable.records("completed")) >= LEAST_POINTS:
                self._records[name] = records
        self._similarity = {
            n: float(r[0].get("_similarity", 1.0)) for n, r in self._records.items()
        }
        self._lessons: dict[str, Lessons | None] = {}
        self.weights: dict[str, dict[str, float]] = {}
        """Of each outcome that was modelled: what each campaign is worth."""

    def __bool__(self) -> bool:
        return bool(self._records)

    @cached_property
    def allowed(self) -> list[dict[str, Any]]:
        """All usable points that may be tried now as well."""
        space = self._task.space
        everything = [record for records in self._records.values() for record in records]
        return [r for r in everything if not space.check({n: r[n] for n in space.names})]

    def informed(
        self,
        name: str,
        sign: float,
        observed: Observed | None,
        plain: Outcome | None,
        *,
        warped: bool = True,
    ) -> Outcome | None:
        """Return the model of an outcome with what was learned before.

        :param observed: the target's own trials; None where there is none.
        :param plain: their model without any help; returned where help is worth nothing.
        :param warped: whether a warp may be taken (see `Observed`).
        """
        lessons = self._learned(name, sign, warped)
        if lessons is None:
            return plain
        seen = observed if plain is None else plain._seen  # noqa: SLF001
        prior = [self._similarity[s.name] for s in lessons.sources]
        try:
            weighing = weigh(lessons, seen, prior)
            self.weights[name] = weighing.by_name(lessons)
            if plain is not None and weighing.weights.sum() < WORTHLESS:
                return plain
            informed = Informed(lessons, weighing, seen, plain)
            if plain is None or _foretold(plain) <= _foretold(informed) + MARGIN:
                return informed
        except NUMERICAL:
            pass  # the usual model is there, or there is none
        self.weights[name] = dict.fromkeys((s.name for s in lessons.sources), 0.0)
        return plain

    def _learned(self, name: str, sign: float, warped: bool) -> Lessons | None:
        if name not in self._lessons:
            gathered = {
                campaign: self._observed(records, name, sign, warped)
                for campaign, records in self._records.items()
            }
            enough = {
                c: o for c, o in gathered.items() if len(o) >= LEAST_POINTS and np.ptp(o.y) > 0
            }
            self._lessons[name] = learn(enough, self._fits) if enough else None
        return self._lessons[name]

    def _observed(
        self, records: Sequence[Record], name: str, sign: float, warped: bool
    ) -> Observed:
        measured = [r for r in records if math.isfinite(number(r.get(name)))]
        y = sign * np.array([float(r[name]) for r in measured])
        kept = _thinned(y)
        measured = [measured[i] for i in kept]
        units = self._encoding.units(measured)
        for column in range(self._encoding.chosen, self._encoding.dimension):
            unknown = 0.0 if self._encoding.is_choice(column) else 0.5
            units[:, column] = np.nan_to_num(units[:, column], nan=unknown)
        z = self._encoding.embed(self._encoding.tensor(units))
        variance = np.square([number(r.get(f"{name}_sd")) for r in measured]).astype(float)
        return Observed(
            z,
            y[kept],
            variance,
            np.zeros(len(measured)),
            self._encoding.groups,
            self._encoding.dimension,
            warped,
        )


def _thinned(y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of too many trials to keep: the best half, and some of all the rest."""
    if len(y) <= MOST_POINTS:
        return np.arange(len(y))
    order = np.argsort(-y, kind="stable")
    rest = np.linspace(MOST_POINTS // 2, len(y) - 1, MOST_POINTS - MOST_POINTS // 2).astype(int)
    return np.sort(np.concatenate([order[: MOST_POINTS // 2], order[rest]]))


def _foretold(model: Outcome) -> float:
    """Return the log density of the target's trials, each as all others foretell it."""
    seen = model._seen  # noqa: SLF001
    if len(seen) < LEAST_FORETOLD:
        return 0.0
    mean, sd = (t.cpu().numpy() for t in model.gp.leave_one_out())
    off = (model.warp(seen.y) - mean) / sd
    density = -0.5 * np.square(off) - np.log(sd) + model.warp.log_slope(seen.y)
    return float(density.sum())


# -- what the earlier campaigns say ---------------------------------------------------------------


def learn(observed: Mapping[str, Observed], fits: Fits) -> Lessons:
    """Fit one kernel and warp to all earlier campaigns, each with a mean and spread of its own."""
    told = hashlib.sha256(b"lessons")
    for name, one in observed.items():
        told.update(name.encode() + one.digest())
    tuned = fits.get(told.digest()) or fits.put(told.digest(), _tuned(list(observed.values())))
    sources = tuple(
        Source(name, GaussianProcess(one.data(tuned.warp), tuned.h))
        for name, one in observed.items()
    )
    spreads = [s.scale for s in sources]
    return Lessons(sources, tuned.warp, tuned.h, math.exp(np.mean(np.log(spreads))))


def _tuned(observed: Sequence[Observed]) -> Tuned:
    y = np.concatenate([one.y for one in observed])
    warps = [Warp()]
    if observed[0].warped and (warp := _warp.fitted(y)) is not None:
        warps.append(warp)
    dimension = observed[0].dimension
    best: Tuned | None = None
    for warp, kind in product(warps, _kernel.KINDS):
        start = _gaussian.prior(dimension, observed[0].z, kind)
        start = start if best is None else replace(best.h, kind=kind)
        steps = FIRST_STEPS if best is None else MORE_STEPS
        datas = [one.data(warp) for one in observed]
        h, value = _fit_together(datas, start, steps)
        value += sum(float(warp.log_slope(one.y).sum()) for one in observed)
        value -= sum(len(data) * math.log(data.scale) for data in datas)
        worth = 0.0 if best is None or warp.plain == best.warp.plain else WORTH
        if best is None or value > best.evidence + worth:
            best = Tuned(warp, h, value)
    assert best is not None  # there is a kind at least
    return best


def _fit_together(
    datas: Sequence[Data], start: Hyperparameters, steps: int
) -> tuple[Hyperparameters, float]:
    """Climb the summed log evidence of independent campaigns, and the log prior once."""
    device = datas[0].z.device
    dimension = datas[0].dimension
    centre, spread = _gaussian._prior(dimension)  # noqa: SLF001
    surplus = len(datas) - 1

    def hyperparameters(at: NDArray[np.float64]) -> Hyperparameters:
        length = torch.tensor(np.exp(at[:-2]), dtype=torch.float64, device=device)
        return replace(start, length=length, signal=math.exp(at[-2]), noise=math.exp(at[-1]))

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        off = (at - centre) / spread
        total, slope = 0.5 * surplus * float(off @ off), surplus * off / spread
        try:
            for data in datas:
                value, by = _gaussian.log_posterior(data, hyperparameters(at))
                total, slope = total + value, slope + by
        except NUMERICAL:
            return 1e10, np.zeros_like(at)
        if not math.isfinite(total) or not np.isfinite(slope).all():
            return 1e10, np.zeros_like(at)
        return -total, -slope

    first = np.append(start.length.log().cpu().numpy(), np.log([start.signal, start.noise]))
    found = minimize(
        loss,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[_gaussian.BOUNDS_LENGTH] * dimension + [(-4.0, 4.0), LOG_NOISE],
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-6, "gtol": 1e-3},
    )
    return hyperparameters(found.x), -float(found.fun)


# -- what that is worth ---------------------------------------------------------------------------


def weigh(lessons: Lessons, observed: Observed | None, prior: Sequence[float]) -> Weighing:
    """Average over hypotheses of which campaign says something, by the target's own trials.

    :param observed: of the target; None where there is none: then the prior decides.
    :param prior: how probable each campaign is to be of use, relative to the others.
    """
    weights, own, log_prior = _hypotheses(np.asarray(prior, dtype=float))
    noise = lessons.h.noise
    if observed is None or len(observed) < 2:
        share = _softmax(log_prior)
        return Weighing(share @ weights, float(np.exp(share @ np.log(own))), noise)
    known = _Known(lessons, observed)
    share = _softmax(log_prior + known.evidence(weights, own, np.full(len(own), noise)))
    mean = share @ weights
    grid = np.array(list(product((*DEVIATIONS, *ALONE), NOISES)))
    alike = np.repeat(mean[None], len(grid), 0)
    best = int(known.evidence(alike, grid[:, 0], grid[:, 1] * noise).argmax())
    return Weighing(mean, float(grid[best, 0]), float(grid[best, 1]) * noise)


def _hypotheses(
    prior: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (H x R), variances of the own part, and log prior probabilities (H each)."""
    count = len(prior)
    rows: list[tuple[NDArray[np.float64], float, float]] = [
        (np.zeros(count), own, (1.0 - TRUST) / len(ALONE)) for own in ALONE
    ]
    shares = prior / prior.sum()
    alternatives = [(np.eye(count)[i], shares[i]) for i in range(count)]
    if count > 1:  # all together say more than each
        alternatives = [(w, 0.5 * p) for w, p in alternatives] + [(shares, 0.5)]
    for (direction, p), (factor, q), own in product(alternatives, FACTORS, DEVIATIONS):
        rows.append((factor * direction, own, TRUST * p * q / len(DEVIATIONS)))
    weights, own, probable = zip(*rows, strict=True)
    return np.array(weights), np.array(own), np.log(np.array(probable))


def _softmax(logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.exp(logarithms - logarithms.max())
    return share / share.sum()


class _Known:
    """The lessons at the target's own trials, standardised: `n` outcomes, R campaigns."""

    def __init__(self, lessons: Lessons, observed: Observed) -> None:
        n = len(observed)
        if n > MOST_WEIGHED:
            observed = observed.only(np.unique(np.linspace(0, n - 1, MOST_WEIGHED).astype(int)))
        data = _standardised(observed, lessons)
        scaled = data.scaled(lessons.h.length)
        squared = _kernel.squared_distance(scaled, scaled)
        self._shape = lessons.h.signal * _kernel.correlation(squared, lessons.h.kind)
        ratios = [s.scale / lessons.scale for s in lessons.sources]
        gps = [s.gp for s in lessons.sources]
        z = data.z
        means = [(gp.mean(z) - gp.data.offset) / lessons.scale for gp in gps]
        self._means = torch.stack(means)
        covariances = [r * r * gp.covariance(z, z) for r, gp in zip(ratios, gps, strict=True)]
        self._covariances = torch.stack(covariances)
        self._data = data

    def evidence(
        self, weights: NDArray[np.float64], own: NDArray[np.float64], noise: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the log evidence of H hypotheses, the constant integrated out."""
        data, like = self._data, self._shape
        w, r, s = (
            torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (weights, own, noise)
        )
        n = len(data)
        covariance = (w.square() @ self._covariances.reshape(len(self._covariances), -1)).reshape(
            -1, n, n
        )
        covariance = covariance + r[:, None, None] * self._shape
        every = torch.where(data.unknown, s[:, None], data.known)
        covariance.diagonal(dim1=1, dim2=2).add_(every + 1e-6)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        residual = data.y - w @ self._means
        sides = torch.stack([torch.ones_like(residual), residual], -1)
        solved = torch.linalg.solve_triangular(factor, sides, upper=False)
        ones, rest = solved[..., 0], solved[..., 1]
        weight = ones.square().sum(1)
        square = rest.square().sum(1) - (ones * rest).sum(1).square() / weight
        half = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        value = -0.5 * square - half - 0.5 * weight.log()
        value = torch.where(failed == 0, value, torch.full_like(value, -1e10))
        return value.cpu().numpy()


def _standardised(observed: Observed, lessons: Lessons) -> Data:
    """The target's outcomes, warped and scaled as the earlier campaigns' are."""
    data = observed.data(lessons.warp)
    ratio = data.scale / lessons.scale
    data.y, data.known = data.y * ratio, data.known * ratio**2
    data.scale = lessons.scale
    return data


# -- the model that comes of it -------------------------------------------------------------------


class RelatedProcess(GaussianProcess):
    """A posterior given the target's own trials and those of the earlier campaigns.

    Points of all stand in one list, the target's last; how strongly two covary is their distance's
    correlation times a factor of their campaigns.

    :param data: all points; standardised outcomes of the earlier campaigns about their means.
    :param factors: of each point, the covariance of its campaign with the target.
    :param own: which points are the target's (1) and which are not (0).
    :param inverse: of the Cholesky factor of all points' covariance.
    """

    def __init__(
        self,
        data: Data,
        h: Hyperparameters,
        factors: Tensor,
        own: Tensor,
        inverse: Tensor,
        y: Tensor | None = None,
    ) -> None:
        self.data, self.h = data, h
        self._z = data.scaled(h.length)
        self._noise = data.noise(h.noise)
        self._own, self._root = own, inverse
        self._y = data.y if y is None else y
        row = inverse.T @ (inverse @ own)
        total = float(row @ own)
        self._mean = (row @ self._y) / total if total > 0 else 0.0 * self._y[0]
        several = self._y.ndim > 1
        centred = self._y - (own[:, None] if several else own) * self._mean
        weights = inverse.T @ (inverse @ centred)
        # the factors are put where distances need not know of them: a covariance with the target
        # is `signal * correlation` for all points then, as everything else takes it to be
        share = factors / h.signal
        self._factors = factors
        self._weights = weights * (share[:, None] if several else share)
        self._inverse = inverse * share

    @classmethod
    def of(
        cls, lessons: Lessons, weighing: Weighing, observed: Observed | None
    ) -> "RelatedProcess":
        """Join the lessons that have a weight, and the target's own trials."""
        worth = float(weighing.weights.sum())
        kept = [
            (s, float(w) * s.scale / lessons.scale)
            for s, w in zip(lessons.sources, weighing.weights, strict=True)
            if w > 0.02 * worth
        ]
        rel = lessons.h  # of all but the target
        signal = rel.signal * (sum(c * c for _, c in kept) + weighing.own)
        h = replace(rel, signal=signal, noise=weighing.noise)
        z = torch.cat([s.gp.data.z for s, _ in kept])
        factors = torch.cat([torch.full_like(s.centred, c * rel.signal) for s, c in kept])
        y = torch.cat([s.centred for s, _ in kept])
        like = lessons.sources[0].gp.data
        first = _joined(z, y, like, lessons.scale, _level(lessons, weighing))
        inverse = torch.block_diag(*(s.inverse for s, _ in kept))
        alone = cls(first, h, factors, torch.zeros_like(y), inverse)
        if observed is None:
            return alone
        own = _standardised(observed, lessons)
        first.offset = own.offset
        return alone.extended(own.z, own.y, own.noise(h.noise), torch.ones_like(own.y))

    def conditioned(self, z: Tensor, y: Tensor) -> "RelatedProcess":
        """Return the posterior after outcomes at new points (see `GaussianProcess`)."""
        # without trials of its own the target has no constant that draws could be about
        own = torch.full_like(z[:, 0], 1.0 if bool(self._own.any()) else 0.0)
        return self.extended(z, y, torch.full_like(z[:, 0], self.h.noise), own)

    def extended(self, z: Tensor, y: Tensor, noise: Tensor, own: Tensor) -> "RelatedProcess":
        """Return the posterior after outcomes (standardised) of the target at new points."""
        scaled = z / self.h.length[self.data.groups]
        cross = self._cross(z) @ self._inverse.T
        squared = _kernel.squared_distance(scaled, scaled)
        block = self.h.signal * _kernel.correlation(squared, self.h.kind)
        block.diagonal().add_(noise + JITTER * self.h.signal)
        lower = torch.linalg.cholesky(block - cross @ cross.T)
        eye = torch.eye(len(z), dtype=z.dtype, device=z.device)
        corner = torch.linalg.solve_triangular(lower, eye, upper=False)
        n, k = len(self.data), len(z)
        inverse = torch.zeros(n + k, n + k, dtype=z.dtype, device=z.device)
        inverse[:n, :n], inverse[n:, n:] = self._root, corner
        inverse[n:, :n] = -corner @ (cross @ self._root)
        before = self._y
        if y.ndim > before.ndim:
            before = before[:, None].expand(-1, y.shape[1])
        elif before.ndim > y.ndim:
            y = y[:, None].expand(-1, before.shape[1])
        outcomes = torch.cat([before, y])
        first = outcomes if outcomes.ndim == 1 else outcomes[:, 0]
        data = _joined(
            torch.cat([self.data.z, z]), first, self.data, self.data.scale, self.data.offset
        )
        factors = torch.cat([self._factors, torch.full_like(z[:, 0], self.h.signal)])
        return RelatedProcess(data, self.h, factors, torch.cat([self._own, own]), inverse, outcomes)

    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Predict each of the target's observations from all others (see `GaussianProcess`).

        Unlike there, the constant is estimated from the others too.
        """
        precision = self._root.T @ self._root
        row = precision @ self._own
        precision = precision - row[:, None] * row / (row @ self._own)
        mine = self._own > 0
        variance = 1.0 / precision.diagonal()[mine].clamp_min(1e-12)
        mean = self._y[mine] - (precision @ self._y)[mine] * variance
        scale = self.data.scale
        return self.data.offset + scale * mean, scale * variance.sqrt()


def _joined(z: Tensor, y: Tensor, like: Data, scale: float, offset: float) -> Data:
    data = Data(z, like.groups, y, like.dimension)
    data.y, data.scale, data.offset = y, scale, offset
    return data


def _level(lessons: Lessons, weighing: Weighing) -> float:
    """What the target's mean is taken to be before its first trial: the others', weighed."""
    return float(np.average([s.level for s in lessons.sources], weights=weighing.weights))


class Informed(Outcome):
    """A model of one outcome with lessons; the same to look at as one without."""

    def __init__(
        self,
        lessons: Lessons,
        weighing: Weighing,
        observed: Observed | None,
        plain: Outcome | None,
    ) -> None:
        self.observed = self._seen = _nothing(lessons) if observed is None else observed
        self.outliers = [] if plain is None else plain.outliers
        self.warp = lessons.warp
        self.gp = RelatedProcess.of(lessons, weighing, observed)
        self.h = self.gp.h


def _nothing(lessons: Lessons) -> Observed:
    """No trials at all."""
    like, none = lessons.sources[0].gp.data, np.zeros(0)
    return Observed(like.z[:0], none, none, none, like.groups, like.dimension)
