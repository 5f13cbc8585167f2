"""Monotone transformations that make outcomes look more like draws of a Gaussian process."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

SKEWED = 0.75  # skewness from which on a warp is tried
POWERS = (0.0, 2.0)  # of Yeo and Johnson's family; 1 changes nothing


@dataclass(frozen=True)
class Warp:
    """Yeo and Johnson's power transformation (Biometrika 2000) of (y - centre) / width.

    Power 1 is the identity. It rises everywhere, so that more stays better.
    """

    centre: float = 0.0
    width: float = 1.0
    power: float = 1.0

    @property
    def plain(self) -> bool:
        return self.power == 1.0

    def __call__(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.plain:
            return y
        x, p = (y - self.centre) / self.width, self.power
        up, down = np.maximum(x, 0.0), np.maximum(-x, 0.0)
        high = np.log1p(up) if p == 0 else np.expm1(p * np.log1p(up)) / p
        q = 2.0 - p
        low = np.log1p(down) if q == 0 else np.expm1(q * np.log1p(down)) / q
        return np.where(x >= 0, high, -low)

    def back(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo it; what lies beyond its range becomes the end of that."""
        if self.plain:
            return w
        p, q = self.power, 2.0 - self.power
        up, down = np.maximum(w, 0.0), np.maximum(-w, 0.0)
        tiny = 1e-12
        high = np.expm1(up) if p == 0 else np.expm1(np.log(np.maximum(1 + p * up, tiny)) / p)
        low = np.expm1(down) if q == 0 else np.expm1(np.log(np.maximum(1 + q * down, tiny)) / q)
        return self.centre + self.width * np.where(w >= 0, high, -low)

    def log_slope(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log dw/dy."""
        if self.plain:
            return np.zeros_like(y)
        x, p = (y - self.centre) / self.width, self.power
        power = np.where(x >= 0, p - 1.0, 1.0 - p)
        return power * np.log1p(np.abs(x)) - math.log(self.width)


def fitted(y: NDArray[np.float64]) -> Warp | None:
    """Return the warp that makes outcomes most nearly normal; None where they are so already."""
    size = float(np.abs(y).max())
    if len(y) < 6 or not 1e-100 < size < 1e100:
        return None
    spread = float(np.std(y))
    if not spread > 1e-13 * size:
        return None
    middle = float(np.median(y))
    if abs(float(np.mean(((y - np.mean(y)) / spread) ** 3))) < SKEWED:
        return None
    # the quartiles' distance, since one huge outcome must not make all others alike
    width = float(np.subtract(*np.percentile(y, [75, 25]))) / 1.35
    if not width > 1e-9 * spread:
        return None

    def loss(power: float) -> float:
        warp = Warp(middle, width, power)
        w = warp(y)
        variance = float(np.var(w))
        if not variance > 0 or not math.isfinite(variance):
            return 1e10
        return 0.5 * len(y) * math.log(variance) - float(warp.log_slope(y).sum())

    found = minimize_scalar(loss, bounds=POWERS, method="bounded", options={"xatol": 0.02})
    return Warp(middle, width, round(float(found.x), 3))
