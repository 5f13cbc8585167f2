"""How likely a trial succeeds: a Gaussian process classifier of completed against failed trials.

Probit likelihood, Laplace approximation (Rasmussen and Williams 2006, algorithms 3.1 and 3.2), one
length scale for all parameters (categories that differ are a unit apart). Length scale and
amplitude are those of a small grid with the largest approximate evidence, so that stray failures
count as chance and failures of one region as the region's. Far from all trials it is the share of
trials that succeeded so far, and at least one half.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sdl.optimizers._laplace import laplace

SCALES = (0.1, 0.15, 0.25, 0.4, 0.65)  # times sqrt(dimension), as distances in the cube grow so
AMPLITUDES = (1.0, 4.0, 16.0)  # variance of the latent function; the probit's unit is 1
CLOSE = 1e-9  # change of the latent function at which Newton's method is done


class Success:
    """P(success) as a function of unit coordinates; 1 everywhere as long as nothing has failed.

    :param completed: n x d; `failed`: k x d; `categories`: their categorical columns.
    """

    def __init__(self, completed: Tensor, failed: Tensor, categories: Sequence[int]) -> None:
        self._x = torch.cat([completed, failed])
        self._categories = list(categories)
        self._y = torch.ones(len(self._x)).to(self._x)
        self._y[len(completed) :] = -1.0
        self.hyperparameters: dict[str, float] = {}
        if len(failed) == 0:
            return
        share = (len(completed) + 1) / (len(self._x) + 2)
        self._mean = torch.special.ndtri(torch.tensor(max(share, 0.5)).to(self._x))
        distances = self._squared_distance(self._x)
        best = -math.inf
        for scale in SCALES:
            length = scale * math.sqrt(self._x.shape[-1])
            correlation = (-0.5 * distances / length**2).exp()
            for amplitude in AMPLITUDES:
                evidence, fit = laplace(amplitude * correlation, self._y, self._mean, CLOSE)
                if evidence > best:
                    best, self._fit = evidence, fit
                    self.hyperparameters = {
                        "lengthscale": length,
                        "amplitude": amplitude,
                        "mean": float(self._mean),
                    }

    def log_probability(self, x: Tensor) -> Tensor:
        """Return log P(success) of points `... x d`, of shape `...`."""
        if not self.hyperparameters:
            return torch.zeros(x.shape[:-1]).to(x)
        length, amplitude = self.hyperparameters["lengthscale"], self.hyperparameters["amplitude"]
        slope, root, factor = self._fit
        cross = amplitude * (-0.5 * self._squared_distance(x) / length**2).exp()
        mean = self._mean + cross @ slope
        half = torch.linalg.solve_triangular(
            factor, (root * cross).reshape(-1, len(self._x)).T, upper=False
        )
        variance = (amplitude - half.square().sum(0).reshape(mean.shape)).clamp_min(0)
        return torch.special.log_ndtr(mean / (1 + variance).sqrt())

    def _squared_distance(self, x: Tensor) -> Tensor:
        """Return squared distances of points `... x d` to the trials, `... x n`."""
        difference = x.unsqueeze(-2) - self._x
        squared = difference.square()
        if self._categories:
            columns = [
                (d.abs() > 0.5).to(x) if column in self._categories else d.square()
                for column, d in enumerate(difference.unbind(-1))
            ]
            squared = torch.stack(columns, -1)
        return squared.sum(-1)
