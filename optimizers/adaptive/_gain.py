"""What a trial is worth: acquisition functions, in log units, of unit coordinates `b x c`.

What is pending is heeded by conditioning on draws of its outcome: each model carries `m`
alternatives, and what is gained is averaged over them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sdl.optimizers.adaptive import _kernel
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._gaussian import GaussianProcess

DRAWS = 8  # of pending outcomes
NORMALS = 64  # draws over which a combination of several outcomes is averaged
AVERSION = 2.0  # power of P(success): a failure costs more than a trial that is merely poor
LEAST = -700.0  # logarithms below are as good as impossible


class Gain(Protocol):
    """More is better."""

    name: str

    def __call__(self, z: Tensor) -> Tensor:
        """Return the log gain at embedded points, `b x D` to `b`."""
        ...


class Improvement:
    """Log expected improvement (Ament et al. 2023) over the best posterior mean.

    :param best: in the model's units, a number for each alternative.
    """

    name = "LogEI"

    def __init__(self, gp: GaussianProcess, best: Tensor) -> None:
        self._gp, self._best = gp, best

    def __call__(self, z: Tensor) -> Tensor:
        mean, sd = self._gp.posterior(z)
        if mean.ndim == 1:
            return _kernel.log_h((mean - self._best) / sd) + sd.log()
        gain = _kernel.log_h((mean - self._best) / sd[:, None]) + sd.log()[:, None]
        return gain.logsumexp(1) - math.log(gain.shape[1])


class Informative:
    """What is gained at the target fidelity, as far as a trial at another one tells of it.

    Huang et al. 2006, "Sequential kriging optimization using multiple-fidelity evaluations".

    :param columns: embedded columns of the fidelity.
    :param target: its embedded value, one number a column.
    """

    def __init__(
        self, inner: Gain, gps: Sequence[GaussianProcess], columns: Sequence[int], target: Tensor
    ) -> None:
        self.name = f"{inner.name} at the target fidelity"
        self._inner, self._gps = inner, gps
        self._columns, self._target = list(columns), target

    def __call__(self, z: Tensor) -> Tensor:
        real = z.clone()
        real[:, self._columns] = self._target
        told = torch.stack([gp.correlation(z, real).log() for gp in self._gps]).mean(0)
        return self._inner(real) + told


class HypervolumeImprovement:
    """Log expected hypervolume improvement, exact for independent models.

    The volume that is not dominated is a sum of boxes; in each, the expected gain is a product over
    the objectives (Yang et al. 2019; Ament et al. 2023 for the logarithm).

    :param gps: one an objective.
    :param fronts: for each alternative (one at least) the boxes' corners, 2 x boxes x objectives.
    """

    name = "LogEHVI"

    def __init__(self, gps: Sequence[GaussianProcess], fronts: Sequence[Tensor]) -> None:
        self._gps, self._fronts = gps, fronts

    def __call__(self, z: Tensor) -> Tensor:
        posteriors = [gp.posterior(z) for gp in self._gps]
        gains = [self._of(posteriors, k) for k in range(len(self._fronts))]
        return torch.stack(gains, -1).logsumexp(-1) - math.log(len(gains))

    def _of(self, posteriors: Sequence[tuple[Tensor, Tensor]], k: int) -> Tensor:
        total: Tensor | None = None
        for m, (mean, sd) in enumerate(posteriors):
            mu = (mean if mean.ndim == 1 else mean[:, k])[:, None]
            low, high = self._fronts[k][0, :, m], self._fronts[k][1, :, m]
            over = _kernel.log_h((mu - low) / sd[:, None])
            ends = high.isfinite()
            if bool(ends.any()):
                bounded = torch.where(ends, high, torch.zeros_like(high))
                above = _kernel.log_h((mu - bounded) / sd[:, None])
                share = torch.where(ends, above - over, torch.full_like(above, LEAST))
                over = over + _log1mexp(share.clamp_max(-1e-12))
            part = over + sd.log()[:, None]
            total = part if total is None else total + part
        assert total is not None
        return total.logsumexp(-1)


class CompositeImprovement:
    """Log expected improvement of one number made of several outcomes (weights, desirabilities).

    Its mean and spread come from draws of the outcomes at each point; as it is often nearly
    normal, the improvement is that of a normal number.

    :param combine: outcomes `draws x b x m` to `draws x b`; differentiable.
    :param best: of the combination, a number for each alternative.
    """

    name = "LogEI of a combination"

    def __init__(
        self,
        gps: Sequence[GaussianProcess],
        combine: Callable[[Tensor], Tensor],
        best: Tensor,
        normals: Tensor,
    ) -> None:
        self._gps, self._combine, self._best, self._normals = gps, combine, best, normals

    def __call__(self, z: Tensor) -> Tensor:
        posteriors = [gp.posterior(z) for gp in self._gps]
        alternatives = self._best.numel()
        gains = []
        for k in range(alternatives):
            means = torch.stack([m if m.ndim == 1 else m[:, k] for m, _ in posteriors], -1)
            sds = torch.stack([sd for _, sd in posteriors], -1)
            drawn = self._combine(means + sds * self._normals[:, None, :])
            mean, sd = drawn.mean(0), (drawn.var(0) + 1e-18).sqrt()
            best = self._best.reshape(-1)[k]
            gains.append(_kernel.log_h(((mean - best) / sd).clamp_min(-1e6)) + sd.log())
        return torch.stack(gains, -1).logsumexp(-1) - math.log(alternatives)


class Certainty:
    """Log probability that outcome constraints hold and that no failure happens."""

    name = "log P(feasible)"

    def __init__(
        self,
        bounds: Sequence[tuple[GaussianProcess, float | None, float | None]] = (),
        successes: Sequence[Any] = (),
    ) -> None:
        """Prepare.

        :param bounds: model of an outcome, its lowest and its highest allowed value, in its units.
        :param successes: classifiers with `log_probability`.
        """
        self._bounds, self._successes = bounds, successes

    def __bool__(self) -> bool:
        return bool(self._bounds or self._successes)

    def __call__(self, z: Tensor) -> Tensor:
        total = z.new_zeros(z.shape[:-1])
        for gp, low, high in self._bounds:
            mean, sd = gp.posterior(z)
            if mean.ndim == 2:
                mean = mean.mean(1)
            if high is None or low is None:
                off = (mean - low) / sd if low is not None else (_given(high) - mean) / sd
                total = total + torch.special.log_ndtr(off)
            else:
                inside = torch.special.ndtr((high - mean) / sd) - torch.special.ndtr(
                    (low - mean) / sd
                )
                total = total + inside.clamp_min(1e-300).log()
        for success in self._successes:
            total = total + AVERSION * success.log_probability(z)
        return total


class Target:
    """All that makes one point better than another, of unit coordinates.

    :param gain: None as long as nothing feasible is known: then only certainty counts.
    :param fixed: column → unit coordinate of what is not chosen (contexts).
    :param log_cost: of unit coordinates `b x c`.
    """

    def __init__(
        self,
        encoding: Encoding,
        gain: Gain | None,
        certainty: Certainty,
        *,
        fixed: dict[int, float] | None = None,
        log_cost: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._encoding, self.gain, self.certainty = encoding, gain, certainty
        self.fixed = fixed or {}
        self._log_cost = log_cost

    def __call__(self, units: Tensor) -> Tensor:
        """Evaluate `b x c` points; returns `b`."""
        z = self._encoding.embed(units)
        total = units.new_zeros(len(units))
        if self.gain is not None:
            total = total + self.gain(z)
        if self.certainty:
            total = total + self.certainty(z)
        if self._log_cost is not None:
            total = total - self._log_cost(units)
        return total


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0."""
    near = x > -math.log(2)
    one = torch.where(near, x, torch.full_like(x, -1.0))
    two = torch.where(near, torch.full_like(x, -1.0), x)
    return torch.where(near, (-torch.expm1(one)).log(), torch.log1p(-two.exp()))


def _given(value: float | None) -> float:
    assert value is not None
    return value
