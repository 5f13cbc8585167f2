"""Stationary kernels of a squared distance, with their slopes."""

import math
from typing import Any

import torch
from torch import Tensor

KINDS = ("matern", "gaussian")


def correlation(squared: Tensor, kind: str) -> Tensor:
    """Return g(r^2): Matérn 5/2, or the squared exponential; g(0) = 1.

    Rasmussen and Williams (2006), equations 4.17 and 4.9.
    """
    if kind == "gaussian":
        return (-0.5 * squared).exp()
    return Matern.apply(squared)  # pyright: ignore[reportReturnType]


def both(squared: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Return g(r^2) and its slope, for little more than one of them."""
    if kind == "gaussian":
        shape = (-0.5 * squared).exp()
        return shape, -0.5 * shape
    a = (5.0 * squared).sqrt()
    decay = (-a).exp()
    rising = (1.0 + a) * decay
    return rising + squared * decay * (5.0 / 3.0), (-5.0 / 6.0) * rising


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distances of rows: `... x n x D`, `m x D` to `... x n x m`."""
    norms = a.square().sum(-1, keepdim=True) + b.square().sum(-1)
    return (norms - 2.0 * (a @ b.T)).clamp_min(0.0)


class Matern(torch.autograd.Function):
    """Matérn 5/2 of the squared distance: differentiable at 0, unlike the square root."""

    @staticmethod
    def forward(ctx: Any, squared: Tensor) -> Tensor:
        a = (5.0 * squared).sqrt()
        decay = (-a).exp()
        ctx.save_for_backward(a, decay)
        return (1.0 + a + a.square() / 3.0) * decay

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, decay = ctx.saved_tensors
        return grads[0] * (-5.0 / 6.0) * (1.0 + a) * decay


class LogH(torch.autograd.Function):
    """log(phi(z) + z Phi(z)), stable for all z: improvement expected of a standard normal.

    Ament et al. 2023, "Unexpected improvements to expected improvement", equation 9 and appendix.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        up = z.clamp_min(-1.0)
        density = (-0.5 * up.square()).exp() / math.sqrt(2 * math.pi)
        plain = (density + up * torch.special.ndtr(up)).log()
        if bool((z < -1.0).any()):
            down = z.clamp(-1e6, -1.0)
            scaled = torch.special.erfcx(-down / math.sqrt(2)) * (-down) * math.sqrt(math.pi / 2)
            far = torch.log1p(-scaled.clamp_max(1.0 - 1e-16))
            beyond = -2.0 * (-down).log()  # 1 - scaled tends to 1/z^2, which rounding swallows
            tail = torch.where(down < -1e3, beyond, far)
            low = -0.5 * z.square() - 0.5 * math.log(2 * math.pi) + tail
            plain = torch.where(z < -1.0, low, plain)
        ctx.save_for_backward(z, plain)
        return plain

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        z, value = ctx.saved_tensors
        return grads[0] * (torch.special.log_ndtr(z) - value).exp()


def log_h(z: Tensor) -> Tensor:
    """Return log(phi(z) + z Phi(z)) with its slope."""
    return LogH.apply(z)  # pyright: ignore[reportReturnType]
