"""Exact Gaussian process regression, made for many small problems: few operations, no autograd.

Outcomes are standardised here. Hyperparameters are length scales (one a group of columns), signal
variance and noise variance; the mean is a constant, estimated along (generalised least squares).
Priors: length scales grow with the square root of the dimension (Hvarfner, Hellsten and Nardi
2024), noise is small unless the data say otherwise.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from sdl.optimizers.adaptive import _kernel

STEPS = 60  # of L-BFGS from a cold start
JITTER = 1e-8  # of the signal variance; what Cholesky needs
LENGTH_CENTRE = 0.5  # length scale at 6 dimensions, of the unit range
LENGTH_SPREAD = math.sqrt(3.0)  # of the logarithm of a length scale
NOISE_PRIOR = (-7.0, 2.0)  # of the logarithm of the noise variance
SIGNAL_PRIOR = (0.0, 0.1)  # of the logarithm of the signal variance
LOWEST_NOISE = 1e-6
BOUNDS_LENGTH = (math.log(5e-3), math.log(1e3))
NUMERICAL = (RuntimeError, ValueError, ArithmeticError)  # what torch raises on singular matrices


@dataclass(frozen=True)
class Hyperparameters:
    """Of standardised outcomes. `length`: one a group; variances of signal and noise."""

    length: Tensor
    signal: float
    noise: float
    kind: str = "matern"

    def described(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return them as JSON."""
        lengths = {n: float(f"{v:.4g}") for n, v in zip(names, self.length.tolist(), strict=True)}
        return {
            "kernel": self.kind,
            "lengthscale": lengths,
            "signal_variance": float(f"{self.signal:.4g}"),
            "noise_variance": float(f"{self.noise:.4g}"),
        }


def prior(dimension: int, like: Tensor, kind: str = "matern") -> Hyperparameters:
    """Return the hyperparameters at which the priors are centred."""
    length = math.exp(_length_mean(dimension))
    return Hyperparameters(torch.full((dimension,), length).to(like), 1.0, math.exp(-5.0), kind)


def _length_mean(dimension: int) -> float:
    return math.log(LENGTH_CENTRE) + 0.5 * math.log(dimension / 6)


class Data:
    """Embedded inputs and standardised outcomes.

    :param z: n x D.
    :param groups: of the D columns, from 0 to the dimension less 1.
    :param y: n, in the outcome's own units.
    :param variance: n, known noise variances in squared units; NaN where the noise is unknown.
    """

    def __init__(
        self, z: Tensor, groups: Tensor, y: Tensor, dimension: int, variance: Tensor | None = None
    ) -> None:
        self.z, self.groups, self.dimension = z, groups, dimension
        size = float(y.abs().max()) or 1.0  # squares of huge or tiny numbers have no value
        self.offset = float((y / size).mean()) * size
        spread = float((y / size).std()) * size if len(y) > 1 else 0.0
        same = spread <= 1e-15 * abs(self.offset)
        self.scale = spread if spread > 0 and not same else size
        self.y = torch.zeros_like(y) if same else (y - self.offset) / self.scale
        known = (
            torch.full_like(self.y, math.nan)
            if variance is None
            else variance / self.scale / self.scale
        )
        self.unknown = known.isnan()
        self.known = torch.where(self.unknown, torch.zeros_like(known), known)

    def __len__(self) -> int:
        return len(self.y)

    def noise(self, noise: float) -> Tensor:
        """Return the noise variance of each point."""
        return torch.where(self.unknown, torch.full_like(self.y, noise), self.known)

    def scaled(self, length: Tensor) -> Tensor:
        return self.z / length[self.groups]


def log_posterior(data: Data, h: Hyperparameters) -> tuple[float, NDArray[np.float64]]:
    """Return the log evidence plus log prior, and its slope by the logarithms of (length, signal,
    noise), by Rasmussen and Williams (2006), equation 5.9.
    """
    z = data.scaled(h.length)
    squared = _kernel.squared_distance(z, z)
    shape, by_squared = _kernel.both(squared, h.kind)
    covariance = h.signal * shape
    noise = data.noise(h.noise)
    covariance.diagonal().add_(noise + JITTER * h.signal)
    factor = torch.linalg.cholesky(covariance)
    inverse = torch.cholesky_inverse(factor)
    row = inverse.sum(0)
    mean = float(row @ data.y) / float(row.sum())
    residual = data.y - mean
    weights = inverse @ residual
    n = len(data)
    value = -0.5 * float(residual @ weights) - float(factor.diagonal().log().sum())
    value -= 0.5 * n * math.log(2 * math.pi)
    inner = weights[:, None] * weights - inverse
    w = inner * (h.signal * by_squared)
    by_column = 2.0 * (w.sum(1) @ z.square()) - 2.0 * (z * (w @ z)).sum(0)
    by_length = torch.zeros(data.dimension, dtype=z.dtype, device=z.device)
    by_length.index_add_(0, data.groups, -by_column)
    by_signal = 0.5 * float((inner * shape).sum()) * h.signal
    by_noise = 0.5 * float(inner.diagonal()[data.unknown].sum()) * h.noise
    slope = np.concatenate([by_length.cpu().numpy(), [by_signal, by_noise]])
    at = np.concatenate([h.length.log().cpu().numpy(), [math.log(h.signal), math.log(h.noise)]])
    centre, spread = _prior(data.dimension)
    off = (at - centre) / spread
    return value - 0.5 * float(off @ off), slope - off / spread


def _prior(dimension: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centre = np.full(dimension + 2, _length_mean(dimension))
    spread = np.full(dimension + 2, LENGTH_SPREAD)
    centre[-2:], spread[-2:] = zip(SIGNAL_PRIOR, NOISE_PRIOR, strict=True)
    return centre, spread


def fit(data: Data, start: Hyperparameters, steps: int = STEPS) -> tuple[Hyperparameters, float]:
    """Climb the log posterior from `start`; return the hyperparameters there, and its value."""
    device = data.z.device

    def hyperparameters(at: NDArray[np.float64]) -> Hyperparameters:
        length = torch.tensor(np.exp(at[:-2]), dtype=torch.float64, device=device)
        return replace(start, length=length, signal=math.exp(at[-2]), noise=math.exp(at[-1]))

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        try:
            value, slope = log_posterior(data, hyperparameters(at))
        except NUMERICAL:
            return 1e10, np.zeros_like(at)
        if not math.isfinite(value) or not np.isfinite(slope).all():
            return 1e10, np.zeros_like(at)
        return -value, -slope

    lengths = start.length.log().cpu().numpy()
    first = np.concatenate([lengths, [math.log(start.signal), math.log(start.noise)]])
    bounds = [BOUNDS_LENGTH] * data.dimension + [(-4.0, 4.0), (math.log(LOWEST_NOISE), 2.0)]
    found = minimize(
        loss,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-6, "gtol": 1e-3},
    )
    return hyperparameters(found.x), -float(found.fun)


class GaussianProcess:
    """A posterior, in the outcome's own units, of `m` alternative sets of outcomes at once.

    :param y: standardised, n or n x m.
    """

    def __init__(
        self, data: Data, h: Hyperparameters, *, y: Tensor | None = None, factor: Any = None
    ) -> None:
        self.data, self.h = data, h
        self._z = data.scaled(h.length)
        self._noise = data.noise(h.noise)
        if factor is None:
            covariance = h.signal * _kernel.correlation(
                _kernel.squared_distance(self._z, self._z), h.kind
            )
            covariance.diagonal().add_(self._noise + JITTER * h.signal)
            lower = torch.linalg.cholesky(covariance)
            eye = torch.eye(len(data), dtype=lower.dtype, device=lower.device)
            inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
        else:
            inverse = factor
        self._inverse = inverse  # of the Cholesky factor
        self._y = data.y if y is None else y
        row = inverse.T @ inverse.sum(1)
        self._mean = (row @ self._y) / row.sum()
        self._weights = inverse.T @ (inverse @ (self._y - self._mean))

    def __len__(self) -> int:
        return len(self.data)

    def posterior(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (`b` or `b x m`) and standard deviation (`b`) at embedded points `b x D`."""
        scaled = z / self.h.length[self.data.groups]
        mean, sd = Posterior.apply(scaled, self)  # pyright: ignore[reportGeneralTypeIssues]
        return self.data.offset + self.data.scale * mean, self.data.scale * sd

    def mean(self, z: Tensor) -> Tensor:
        mean = self._mean + self._cross(z) @ self._weights
        return self.data.offset + self.data.scale * mean

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the posterior covariance of the function at two sets of points, standardised."""
        za, zb = (p / self.h.length[self.data.groups] for p in (a, b))
        shape = _kernel.correlation(_kernel.squared_distance(za, zb), self.h.kind)
        return (
            self.h.signal * shape
            - (self._cross(a) @ self._inverse.T) @ (self._cross(b) @ self._inverse.T).T
        )

    def correlation(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the posterior correlation of a measurement at each `a` with the function at `b`.

        :param a: b x D, as `b`.
        :return: b, from 0 to 1.
        """
        za, zb = (p / self.h.length[self.data.groups] for p in (a, b))
        prior = self.h.signal * _kernel.correlation((za - zb).square().sum(-1), self.h.kind)
        one, other = self._cross(a) @ self._inverse.T, self._cross(b) @ self._inverse.T
        both = prior - (one * other).sum(-1)
        first = self.h.signal - one.square().sum(-1) + self.h.noise
        second = self.h.signal - other.square().sum(-1)
        tiny = 1e-10 * self.h.signal
        product = first.clamp_min(tiny) * second.clamp_min(tiny)
        return (both / product.sqrt()).clamp(1e-6, 1.0)

    def _cross(self, z: Tensor) -> Tensor:
        scaled = z / self.h.length[self.data.groups]
        squared = _kernel.squared_distance(scaled, self._z)
        return self.h.signal * _kernel.correlation(squared, self.h.kind)

    @property
    def noise(self) -> float:
        """Standard deviation of a measurement, in the outcome's units."""
        return math.sqrt(self.h.noise) * self.data.scale

    def samples(self, z: Tensor, normals: Tensor) -> Tensor:
        """Draw the function at points `b x D`, jointly: standardised, b x m.

        :param normals: b x m standard normal numbers.
        """
        covariance = self.covariance(z, z)
        covariance.diagonal().add_(1e-6 * self.h.signal)
        mean = self._mean + self._cross(z) @ self._weights
        if mean.ndim == 1:
            mean = mean[:, None]
        return mean + torch.linalg.cholesky(covariance) @ normals

    def conditioned(self, z: Tensor, y: Tensor) -> "GaussianProcess":
        """Return the posterior after outcomes at new points, hyperparameters unchanged.

        :param z: k x D.
        :param y: standardised, k or k x m.
        """
        scaled = z / self.h.length[self.data.groups]
        cross = self._cross(z) @ self._inverse.T  # k x n
        own = self.h.signal * _kernel.correlation(
            _kernel.squared_distance(scaled, scaled), self.h.kind
        )
        own.diagonal().add_(self.h.noise + JITTER * self.h.signal)
        lower = torch.linalg.cholesky(own - cross @ cross.T)
        eye = torch.eye(len(z), dtype=z.dtype, device=z.device)
        corner = torch.linalg.solve_triangular(lower, eye, upper=False)
        n = len(self.data)
        inverse = torch.zeros(n + len(z), n + len(z), dtype=z.dtype, device=z.device)
        inverse[:n, :n] = self._inverse
        inverse[n:, n:] = corner
        inverse[n:, :n] = -corner @ cross @ self._inverse
        old = self._y
        if y.ndim > old.ndim:
            old = old[:, None].expand(-1, y.shape[1])
        elif old.ndim > y.ndim:
            y = y[:, None].expand(-1, old.shape[1])
        data = _extended(self.data, z)
        return GaussianProcess(data, self.h, y=torch.cat([old, y]), factor=inverse)

    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Predict each observation from the others, hyperparameters of all (Rasmussen and Williams
        2006, equations 5.10 to 5.12).

        :return: means and standard deviations of the observations (noise included), n each, in the
            outcome's units.
        """
        precision = self._inverse.T @ self._inverse
        variance = 1.0 / precision.diagonal()
        mean = self._y - (precision @ (self._y - self._mean)) * variance
        scale = self.data.scale
        return self.data.offset + scale * mean, scale * variance.sqrt()


class Posterior(torch.autograd.Function):
    """Mean and standard deviation as one operation: what autograd would do in twenty."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, gp: GaussianProcess) -> tuple[Tensor, Tensor]:
        squared = _kernel.squared_distance(z, gp._z)  # noqa: SLF001
        shape, slope = _kernel.both(squared, gp.h.kind)
        cross = gp.h.signal * shape
        half = cross @ gp._inverse.T  # noqa: SLF001
        variance = (gp.h.signal - half.square().sum(-1)).clamp_min(1e-10 * gp.h.signal)
        sd = variance.sqrt()
        ctx.save_for_backward(z, slope, half, sd)
        ctx.gp = gp
        return gp._mean + cross @ gp._weights, sd  # noqa: SLF001

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        z, slope, half, sd = ctx.saved_tensors
        gp = ctx.gp
        by_mean, by_sd = grads
        weights = gp._weights  # noqa: SLF001
        by_cross = (by_mean[:, None] * weights if weights.ndim == 1 else by_mean @ weights.T) - (
            by_sd / sd
        )[:, None] * (half @ gp._inverse)  # noqa: SLF001
        w = by_cross * slope * gp.h.signal
        return 2.0 * (w.sum(1, keepdim=True) * z - w @ gp._z), None  # noqa: SLF001


def _extended(data: Data, z: Tensor) -> Data:
    more = object.__new__(Data)
    more.z, more.groups, more.dimension = torch.cat([data.z, z]), data.groups, data.dimension
    more.offset, more.scale = data.offset, data.scale
    zeros = torch.zeros(len(z), dtype=z.dtype, device=z.device)
    more.y = torch.cat([data.y, zeros])
    more.unknown = torch.cat([data.unknown, torch.ones_like(zeros, dtype=torch.bool)])
    more.known = torch.cat([data.known, zeros])
    return more
