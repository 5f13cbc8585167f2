"""How likely a trial succeeds: for each cause of failure a Gaussian process classifier.

Probit likelihood, Laplace approximation (Rasmussen and Williams 2006, algorithms 3.1 and 3.2).
Length scale and amplitude are those of a small grid with the largest approximate evidence, so that
stray failures count as chance and failures of one region as the region's. Far from all trials the
probability is the share of trials that succeeded so far, and at least one half.
"""

import math
from typing import Any

import torch
from torch import Tensor

from sdl.optimizers._laplace import laplace
from sdl.optimizers.adaptive import _kernel

SCALES = (0.1, 0.15, 0.25, 0.4, 0.65)  # times sqrt(dimension), as distances in the cube grow so
AMPLITUDES = (1.0, 4.0, 16.0)  # variance of the latent function; the probit's unit is 1
CLOSE = 1e-6  # change of the latent function at which Newton's method is done
MOST = 500  # trials that are heeded: the time grows with the third power


class Success:
    """P(no failure of one cause) as a function of embedded coordinates.

    :param succeeded: n x D.
    :param failed: k x D, at least one.
    """

    def __init__(self, succeeded: Tensor, failed: Tensor) -> None:
        succeeded, failed = _thinned(succeeded, MOST // 2), _thinned(failed, MOST // 2)
        self._x = torch.cat([succeeded, failed])
        self._y = torch.ones(len(self._x)).to(self._x)
        self._y[len(succeeded) :] = -1.0
        share = (len(succeeded) + 1) / (len(self._x) + 2)
        self._mean = torch.special.ndtri(torch.tensor(max(share, 0.5)).to(self._x))
        distances = _kernel.squared_distance(self._x, self._x)
        best = -math.inf
        for scale in SCALES:
            length = scale * math.sqrt(self._x.shape[-1])
            correlation = (-0.5 * distances / length**2).exp()
            for amplitude in AMPLITUDES:
                evidence, fit = laplace(amplitude * correlation, self._y, self._mean, CLOSE)
                if evidence > best:
                    best, self._fit = evidence, fit
                    self._length, self._amplitude = length, amplitude
        slope, root, factor = self._fit
        eye = torch.eye(len(self._x)).to(self._x)
        self._slope = slope
        self._half = torch.linalg.solve_triangular(factor, eye, upper=False) * root

    @property
    def described(self) -> dict[str, Any]:
        return {
            "class": "Laplace probit classifier",
            "lengthscale": float(f"{self._length:.4g}"),
            "amplitude": self._amplitude,
        }

    def log_probability(self, z: Tensor) -> Tensor:
        """Return log P(success) of embedded points `b x D`, of shape `b`."""
        squared = _kernel.squared_distance(z, self._x)
        cross = self._amplitude * (-0.5 * squared / self._length**2).exp()
        mean = self._mean + cross @ self._slope
        variance = (self._amplitude - (cross @ self._half.T).square().sum(-1)).clamp_min(0)
        return torch.special.log_ndtr(mean / (1 + variance).sqrt())


def _thinned(x: Tensor, most: int) -> Tensor:
    if len(x) <= most:
        return x
    return x[torch.linspace(0, len(x) - 1, most).long().to(x.device)]
