"""Gaussian processes on the rows of a library: of the outcome, and of whether a trial succeeds.

The covariance is outputscale x correlation, and the correlation either the Tanimoto similarity of
fingerprints (Ralaivola et al. 2005, "Graph kernels for chemical informatics"; Griffiths et al.
2023, "GAUCHE") or a squared exponential of the distance between rows of standardised numbers, with
one length scale. All here is float64: n is at most some thousand. What goes over the whole
library is float32 and is scored again here before it is proposed (see `_screening`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import erfcx, log_ndtr, ndtr, ndtri

Floats = NDArray[np.float64]

LEAST_NOISE = 1e-4  # of the outcomes' variance: float32 carries the rest (condition below 1e7)
NOISE = (math.log(0.05), 1.5)  # mean and sd of the log of the noise, of the outcomes' variance
SCALE_SPREAD = 1.0  # sd of the log of the output scale, around the outcomes' variance
LENGTH_SPREAD = 1.0  # sd of the log of the length scale, around the median distance
AMPLITUDES = (1.0, 4.0, 16.0)  # of the latent function of success; the probit's unit is 1
DOUBLINGS = (0, 1, 2, 3, 4)  # of the power that correlations are raised to for P(success)
NEWTON_STEPS = 50


class Correlation(Protocol):
    """Correlations between any rows and the trials': features m x width to float32 m x n."""

    def __call__(self, features: NDArray[Any], /) -> NDArray[np.float32]: ...


class SquaredExponential:
    """exp(-distance^2 / (2 length^2)) to a fixed set of rows of numbers, n x columns."""

    def __init__(self, reference: NDArray[np.float32], length: float) -> None:
        self._reference = np.ascontiguousarray(reference.T / np.float32(length))
        self._squares = np.square(self._reference).sum(0)
        self._length = np.float32(length)

    def __call__(self, features: NDArray[np.float32], /) -> NDArray[np.float32]:
        scaled = features / self._length
        exponent = scaled @ self._reference
        exponent -= 0.5 * self._squares
        exponent -= 0.5 * np.square(scaled).sum(1)[:, None]
        return np.exp(np.minimum(exponent, 0.0, out=exponent), out=exponent)


def distances(features: NDArray[Any]) -> Floats:
    """Return the distances between rows of numbers, n x n."""
    x = features.astype(np.float64)
    squares = np.square(x).sum(1)
    squared = squares[:, None] + squares - 2 * x @ x.T
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(np.maximum(squared, 0.0))


@dataclass(frozen=True)
class Hyperparameters:
    """Of a Gaussian process on standardised outcomes."""

    outputscale: float
    noise: float
    mean: float
    lengthscale: float | None
    """None for Tanimoto similarity, which has none."""


def fit(
    correlation: Callable[[float | None], Floats], lengths: Sequence[float] | None, y: Floats
) -> Hyperparameters:
    """Maximise marginal likelihood x priors: exactly in the mean, over grids that are refined.

    With the eigenvectors of the correlations a value costs O(n), so that a grid is cheaper than
    the steps of a gradient method, and cannot end in a poor optimum.

    :param correlation: from length scale to the n x n correlations of the trials.
    :param lengths: length scales to begin with, increasing; None where there is none.
    :param y: standardised outcomes, n.
    """
    if lengths is None:
        return _fit_scales(correlation(None), y)[1]
    middle = math.log(lengths[len(lengths) // 2])
    tried: dict[float, tuple[float, Hyperparameters]] = {}

    def value(log_length: float) -> float:
        evidence, found = _fit_scales(correlation(math.exp(log_length)), y)
        evidence -= 0.5 * ((log_length - middle) / LENGTH_SPREAD) ** 2
        made = Hyperparameters(found.outputscale, found.noise, found.mean, math.exp(log_length))
        tried[log_length] = (evidence, made)
        return evidence

    best = max(map(math.log, lengths), key=value)
    step = (math.log(lengths[-1]) - math.log(lengths[0])) / max(len(lengths) - 1, 1)
    for _ in range(3):
        step /= 2
        best = max(
            (best - step, best, best + step),
            key=lambda at: tried[at][0] if at in tried else value(at),
        )
    return tried[best][1]


def _fit_scales(correlations: Floats, y: Floats) -> tuple[float, Hyperparameters]:
    """Return the largest log posterior of scale and noise, and where it is."""
    values, vectors = np.linalg.eigh(correlations)
    values = np.maximum(values, 0.0)
    ones, rotated = vectors.sum(0), vectors.T @ y
    scales = np.linspace(-3.0, 3.0, 13)
    noises = np.linspace(math.log(LEAST_NOISE), 1.0, 13)
    wide, high = scales[1] - scales[0], noises[1] - noises[0]
    for _ in range(4):
        evidence, means = _evidence(values, ones, rotated, scales, noises)
        i, j = np.unravel_index(int(evidence.argmax()), evidence.shape)
        scale, noise = float(scales[i]), float(noises[j])
        best = float(evidence[i, j]), float(means[i, j])
        scales = scale + wide * np.linspace(-1, 1, 7)
        noises = np.maximum(noise + high * np.linspace(-1, 1, 7), math.log(LEAST_NOISE))
        wide, high = wide / 3, high / 3
    return best[0], Hyperparameters(math.exp(scale), math.exp(noise), best[1], None)


def _evidence(
    values: Floats, ones: Floats, y: Floats, scales: Floats, noises: Floats
) -> tuple[Floats, Floats]:
    """Return log posteriors and the best means, for each log scale and each log noise."""
    spectrum = np.exp(scales)[:, None, None] * values + np.exp(noises)[:, None]
    weighted = ones / spectrum
    means = (weighted @ y) / (weighted @ ones + 1.0)  # the mean's prior has variance 1
    residual = y - means[..., None] * ones
    evidence = -0.5 * (residual**2 / spectrum + np.log(spectrum)).sum(-1) - 0.5 * means**2
    evidence -= 0.5 * (scales[:, None] / SCALE_SPREAD) ** 2
    evidence -= 0.5 * ((noises - NOISE[0]) / NOISE[1]) ** 2
    return evidence, means


class Outcome:
    """The posterior of the (standardised) outcome.

    Other trials are believed to give their posterior mean: they lower the variance around them
    and leave the mean as it is ("kriging believer", Ginsbourger et al. 2010).

    :param correlations: of completed, then other trials, k x k.
    :param y: standardised outcomes of the completed ones, n <= k.
    :param noise: variance of each of the k, where it is known; else NaN.
    """

    def __init__(
        self, found: Hyperparameters, correlations: Floats, y: Floats, noise: Floats
    ) -> None:
        self.hyperparameters, self.scale, n = found, found.outputscale, len(y)
        self.variances = np.where(np.isnan(noise), found.noise, np.maximum(noise, LEAST_NOISE))
        self._covariance = found.outputscale * correlations
        factor = cholesky(self._covariance + np.diag(self.variances), lower=True)
        self.whiten = found.outputscale * solve_triangular(factor, np.eye(len(factor)), lower=True)
        self._solver = (factor[:n, :n], True)
        self._residual = y - found.mean
        self.weights = found.outputscale * cho_solve(self._solver, self._residual)
        self.incumbent = float(self.mean(correlations).max()) if n else found.mean

    def mean(self, correlations: Floats) -> Floats:
        """Return posterior means, from correlations m x k with the trials."""
        return self.hyperparameters.mean + correlations[:, : len(self.weights)] @ self.weights

    def roots(self, correlations: Floats) -> Floats:
        """Return m x k numbers whose squares the trials take from the prior variance."""
        return correlations @ self.whiten.T

    def leave_one_out(self) -> tuple[Floats, Floats]:
        """Predict each completed trial from the others, its noise included.

        Rasmussen and Williams (2006), equations 5.10 to 5.12.

        :return: means and standard deviations, n each.
        """
        n = len(self.weights)
        precision = 1.0 / cho_solve(self._solver, np.eye(n)).diagonal()
        mean = self._residual + self.hyperparameters.mean
        return mean - self.weights / self.scale * precision, np.sqrt(precision)

    def leading(self, count: int) -> Floats:
        """Return k x count weights of a lower bound of what the trials take from the variance.

        Squares of correlations x weights, summed: conditioning on a few combinations of the
        trials (those of the largest eigenvalues) never takes more than conditioning on all.
        """
        values, vectors = np.linalg.eigh(self._covariance + np.diag(self.variances))
        return self.scale * vectors[:, -count:] / np.sqrt(values[-count:])


class Success:
    """P(success): a Gaussian process classifier, probit, by Laplace's approximation.

    Rasmussen and Williams (2006), algorithms 3.1 and 3.2. Failures may reach less far than what
    the outcome has in common, so correlations are raised to a power (of a squared exponential that
    shortens the length scale; a product of kernels is a kernel). Power and amplitude are those of a
    few with the largest evidence. Far from all trials it is the share that succeeded, and at least
    1/2.

    :param correlations: of all trials that ended, k x k.
    :param succeeded: of each, whether it did.
    """

    def __init__(self, correlations: Floats, succeeded: NDArray[np.bool_]) -> None:
        self._y = np.where(succeeded, 1.0, -1.0)
        share = (succeeded.sum() + 1) / (len(succeeded) + 2)
        self.mean = float(ndtri(max(share, 0.5)))
        fits = [
            (self._laplace(a * sharpened(correlations, doublings)), a, doublings)
            for a in AMPLITUDES
            for doublings in DOUBLINGS
        ]
        best, self.amplitude, self.doublings = max(fits, key=lambda found: found[0][0])
        self.evidence, slope, root, factor = best
        self.weights = self.amplitude * slope
        self.whiten = self.amplitude * solve_triangular(factor, np.diag(root), lower=True)

    def sharpened(self, correlations: NDArray[Any]) -> NDArray[Any]:
        """Return correlations, m x k, as this classifier takes them."""
        return sharpened(correlations, self.doublings)

    def log_probability(self, latent: Floats, taken: Floats) -> Floats:
        """Return log P(success).

        :param latent: the latent function's mean, `mean + sharpened @ weights`.
        :param taken: what the trials take from its variance, `square(sharpened @ whiten.T)` summed.
        """
        return log_ndtr(latent / np.sqrt(1.0 + np.maximum(self.amplitude - taken, 0.0)))

    def bound(self, latent: Floats) -> Floats:
        """Return an upper bound of `log_probability`, whatever the variance."""
        return log_ndtr(np.where(latent > 0, latent, latent / math.sqrt(1.0 + self.amplitude)))

    def _laplace(self, kernel: Floats) -> tuple[float, Floats, Floats, Floats]:
        """Find the mode; return evidence, slope, root of the curvature and the factor of B."""
        latent = np.zeros(len(self._y))
        weights, factor, root, slope = latent, kernel, latent, latent
        for _ in range(NEWTON_STEPS):
            slope, curvature = self._derivatives(latent)
            root = np.sqrt(curvature)
            factor = cholesky(np.eye(len(root)) + root[:, None] * kernel * root, lower=True)
            b = curvature * latent + slope
            weights = b - root * cho_solve((factor, True), root * (kernel @ b))
            moved = kernel @ weights
            done = np.abs(moved - latent).max(initial=0.0) < 1e-9
            latent = moved
            if done:
                break
        likelihood = log_ndtr(self._y * (latent + self.mean)).sum()
        evidence = likelihood - 0.5 * weights @ latent - np.log(factor.diagonal()).sum()
        return float(evidence), slope, root, factor

    def _derivatives(self, latent: Floats) -> tuple[Floats, Floats]:
        """Return the slope and the (positive) curvature of log Phi(y f), equation 3.16."""
        f = latent + self.mean
        ratio = np.exp(-0.5 * f**2 - 0.5 * math.log(2 * math.pi) - log_ndtr(self._y * f))
        return self._y * ratio, np.maximum(ratio**2 + self._y * f * ratio, 0.0)


def sharpened(correlations: Any, doublings: int) -> Any:
    """Return correlations to the power 2^doublings."""
    for _ in range(doublings):
        correlations = correlations * correlations
    return correlations


def log_expected_improvement(mean: Floats, sd: Floats, incumbent: float) -> Floats:
    """Return log E[max(f - incumbent, 0)], finite for every finite mean and positive sd.

    After Ament et al. 2023, "Unexpected improvements to expected improvement".
    """
    z = (mean - incumbent) / sd
    below = np.minimum(z, 0.0)
    depth = np.maximum(-below, 0.0)
    bracket = _ROOT - 0.5 * depth * erfcx(depth / math.sqrt(2))
    far = depth > 1e5  # the bracket cancels; it tends to 1 / (sqrt(2 pi) z^2)
    if far.any():
        bracket[far] = _ROOT / depth[far] ** 2
    result = np.log(bracket) - 0.5 * below**2
    above = z > 0
    if above.any():
        up = z[above]
        result[above] = np.log(_ROOT * np.exp(-0.5 * up**2) + up * ndtr(up))
    return result + np.log(sd)


_ROOT = 1.0 / math.sqrt(2 * math.pi)
