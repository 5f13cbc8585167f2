"""The Laplace approximation of a Gaussian process classifier with a probit likelihood.

Rasmussen and Williams (2006), algorithms 3.1 and 3.2.
"""

import math

import torch
from torch import Tensor

STEPS = 50  # of Newton's method; it takes about ten


def laplace(
    kernel: Tensor, y: Tensor, mean: Tensor, close: float
) -> tuple[float, tuple[Tensor, Tensor, Tensor]]:
    """Find the mode of the latent function.

    :param kernel: prior covariance, n x n.
    :param y: n, 1 or -1.
    :param mean: prior mean of the latent function, a single number.
    :param close: largest change of the latent function at which the mode counts as found.
    :return: the approximate log evidence; and the slope of the log likelihood at the mode, the
        roots of its curvature and the Cholesky factor of I + root kernel root.
    """
    latent = torch.zeros_like(y)  # less the mean
    weights = torch.zeros_like(y)
    eye = torch.eye(len(y)).to(y)
    for _ in range(STEPS):
        slope, curvature = _derivatives(latent + mean, y)
        root = curvature.sqrt()
        factor = torch.linalg.cholesky(eye + root[:, None] * kernel * root)
        b = curvature * latent + slope
        weights = b - root * torch.cholesky_solve((root * (kernel @ b))[:, None], factor)[:, 0]
        moved = kernel @ weights
        converged = float((moved - latent).abs().max()) < close
        latent = moved
        if converged:
            break
    slope, curvature = _derivatives(latent + mean, y)
    root = curvature.sqrt()
    factor = torch.linalg.cholesky(eye + root[:, None] * kernel * root)
    likelihood = torch.special.log_ndtr(y * (latent + mean)).sum()
    evidence = likelihood - 0.5 * weights @ latent - factor.diagonal().log().sum()
    return float(evidence), (slope, root, factor)


def _derivatives(f: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slope and the (positive) curvature of log Phi(y f), equation 3.16."""
    log_density = -0.5 * f.square() - 0.5 * math.log(2 * math.pi)
    ratio = (log_density - torch.special.log_ndtr(y * f)).exp()
    return y * ratio, (ratio.square() + y * f * ratio).clamp_min(0)
