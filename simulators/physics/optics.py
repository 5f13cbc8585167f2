"""Absorption spectra as sums of Gaussian bands, and the law of Beer and Lambert."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    center: float
    """nm"""
    height: float
    """M-1 cm-1"""
    width: float
    """nm, standard deviation"""


def absorptivity(bands: Sequence[Band], wavelengths: Array) -> Array:
    """Return (w,) molar decadic absorptivities in M-1 cm-1 at (w,) nm."""
    spectrum = np.zeros_like(wavelengths, dtype=float)
    for band in bands:
        spectrum += band.height * np.exp(-0.5 * ((wavelengths - band.center) / band.width) ** 2)
    return spectrum


def absorbance(absorptivities: Array, concentrations: Array, path: float) -> Array:
    """Return (w,) absorbances of (s, w) M-1 cm-1 at (s,) M over `path` cm."""
    return path * (concentrations @ absorptivities)
