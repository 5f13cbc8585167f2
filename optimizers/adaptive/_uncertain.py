"""Gaussian processes that differ as much as the data leave open: hyperparameters are not known.

With few trials one best fit is far too sure of itself. Here hyperparameters are drawn from their
posterior: from a Student distribution around its mode (Laplace's approximation of its width),
weighted and drawn again (sampling importance resampling: Rubin 1988). What trials vary by is
believed less than in a fit: those of a campaign crowd where outcomes are alike.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sdl.optimizers.adaptive import _gaussian
from sdl.optimizers.adaptive._gaussian import Data, GaussianProcess, Hyperparameters

Numbers = NDArray[np.float64]

SHARP = 200  # trials from which on the fit is taken as it is
DRAWN = 256  # proposals; fewer where trials are many
WORK = 12_000  # trials times proposals
LEAST = 48
FREEDOM = 5  # degrees of, of the proposals' Student distribution
WIDER = 1.3  # than Laplace's approximation
SIGNAL_SPREAD = 1.25  # of the logarithm of the signal variance, instead of the fit's prior
KIND = "matern"  # the rougher kernel promises less knowledge between trials
STEP = 1e-3  # of logarithms, for the curvature


def uncertain(gp: GaussianProcess, seed: int, count: int) -> list[GaussianProcess]:
    """Return `count` processes of the same data, of equal weight; or the one, if data are many.

    :raises RuntimeError, ValueError: none of them can be evaluated.
    """
    data = gp.data
    if len(data) >= SHARP or count <= 1:
        return [gp]
    start, _ = _gaussian.fit(data, replace(gp.h, kind=KIND), 25)
    mode = _logarithms(start)
    rng = np.random.default_rng(seed)
    factor = WIDER * _width(data, start, mode)
    many = max(min(DRAWN, WORK // len(data)), LEAST)
    normals = rng.standard_normal((many, len(mode)))
    stretch = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, size=many))
    drawn = mode + (normals * stretch[:, None]) @ factor.T
    drawn = np.clip(drawn, *_bounds(len(mode)))
    squares = np.square(normals * stretch[:, None]).sum(1)
    density = -0.5 * (FREEDOM + len(mode)) * np.log1p(squares / FREEDOM)
    value = np.array([_value(data, start, at) for at in drawn])
    weight = value - density
    share = np.exp(weight - weight.max())
    if not np.isfinite(share).all() or not share.sum() > 0:
        return [gp]
    # systematic: each is drawn as often as its weight says, to within one
    places = (rng.random() + np.arange(count)) / count
    picks = np.searchsorted(np.cumsum(share / share.sum()), places).clip(0, many - 1)
    return [GaussianProcess(data, _hyperparameters(start, drawn[i])) for i in picks]


def _value(data: Data, like: Hyperparameters, at: Numbers) -> float:
    try:
        value, _ = _gaussian.log_posterior(data, _hyperparameters(like, at))
    except _gaussian.NUMERICAL:
        return -math.inf
    return value + _relaxed(at)[0]


def _relaxed(at: Numbers) -> tuple[float, float]:
    """What a wider prior of the signal variance changes of the log posterior, and of its slope."""
    centre, spread = _gaussian.SIGNAL_PRIOR
    off, precision = at[-2] - centre, 1 / spread**2 - 1 / SIGNAL_SPREAD**2
    return 0.5 * precision * off**2, precision * off


def _width(data: Data, like: Hyperparameters, mode: Numbers) -> Numbers:
    """Return a factor of the inverse curvature at the mode; no direction wider than the prior."""
    rows = []
    for k in range(len(mode)):
        step = np.zeros_like(mode)
        step[k] = STEP
        up, down = (_slope(data, like, mode + s * step) for s in (1.0, -1.0))
        rows.append((down - up) / (2 * STEP))
    curvature = np.array(rows)
    values, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    least = 1.0 / _gaussian.LENGTH_SPREAD**2
    return vectors / np.sqrt(np.maximum(values, least))


def _slope(data: Data, like: Hyperparameters, at: Numbers) -> Numbers:
    _, slope = _gaussian.log_posterior(data, _hyperparameters(like, at))
    slope = slope.copy()
    slope[-2] += _relaxed(at)[1]
    return slope


def _logarithms(h: Hyperparameters) -> Numbers:
    lengths = h.length.log().cpu().numpy()
    return np.concatenate([lengths, [math.log(h.signal), math.log(h.noise)]])


def _hyperparameters(like: Hyperparameters, at: Numbers) -> Hyperparameters:
    length = torch.tensor(np.exp(at[:-2]), dtype=torch.float64, device=like.length.device)
    return replace(like, length=length, signal=math.exp(at[-2]), noise=math.exp(at[-1]))


def _bounds(count: int) -> tuple[Numbers, Numbers]:
    low, high = np.full(count, _gaussian.BOUNDS_LENGTH[0]), np.full(count, 7.0)
    low[-2:], high[-2:] = (-4.0, math.log(_gaussian.LOWEST_NOISE)), (6.0, 2.0)
    return low, high
