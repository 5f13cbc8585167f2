"""The colour of light that has come through a solution, for an eye or a camera.

- Colour matching functions: the fit of Wyman, Sloan and Shirley, "Simple Analytic Approximations to
  the CIE XYZ Color Matching Functions", J. Computer Graphics Techniques 2 (2013) no. 2, to the CIE
  1931 2 degree observer, within about 1 % of its peak.
- Light: CIE standard illuminant D65, at 10 nm.
- RGB: the primaries of sRGB, IEC 61966-2-1, linear; what no screen can show is cut off.

Spectra are sums of Gaussian bands. Dyes: heights as in shared facts 6.4; that of the red is within
what others give (2.1e4 to 2.5e4), that of the blue follows from E(1 %, 1 cm) = 1630 (EU 231/2012,
second hand), that of the yellow is not verified. Bromothymol blue: pKa 7.1, blue form 3.6e4 at 616
to 620 nm (two sources); the height of the yellow form and all widths are chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.physics.acid_base import dissociated
from sdl.simulators.physics.optics import Band, absorptivity

Array = NDArray[np.float64]

VISIBLE = np.arange(380.0, 780.0 + 1e-9, 5.0)  # nm

DYES: Mapping[str, tuple[Band, ...]] = {
    "red": (Band(504.0, 2.5e4, 42.0),),  # Allura Red AC, E 129
    "yellow": (Band(426.0, 2.5e4, 38.0),),  # Tartrazine, E 102
    "blue": (Band(630.0, 1.3e5, 19.0), Band(585.0, 2.2e4, 22.0)),  # Brilliant Blue FCF, E 133
}


@dataclass(frozen=True)
class Indicator:
    """A dye whose protonated form has another colour."""

    pka: float
    acid: tuple[Band, ...]
    base: tuple[Band, ...]

    def absorptivity(self, ph: float, wavelengths: Array) -> Array:
        """Return (w,) M-1 cm-1 at (w,) nm of both forms together."""
        given = dissociated((self.pka,), ph)
        acid, base = absorptivity(self.acid, wavelengths), absorptivity(self.base, wavelengths)
        return (1.0 - given) * acid + given * base


BROMOTHYMOL_BLUE = Indicator(
    pka=7.1, acid=(Band(430.0, 1.7e4, 38.0),), base=(Band(616.0, 3.6e4, 37.0),)
)

# height, centre in nm, standard deviation below and above it in nm
LOBES = (
    ((1.056, 599.8, 37.9, 31.0), (0.362, 442.0, 16.0, 26.7), (-0.065, 501.1, 20.4, 26.2)),
    ((0.821, 568.8, 46.9, 40.5), (0.286, 530.9, 16.3, 31.1)),
    ((1.217, 437.0, 11.8, 36.0), (0.681, 459.0, 26.0, 13.8)),
)
D65 = np.fromstring(
    """
    49.98 54.65 82.75 91.49 93.43 86.68 104.87 117.01 117.81 114.86 115.92 108.81 109.35 107.80
    104.79 107.69 104.41 104.05 100.00 96.33 95.79 88.69 90.01 89.60 87.70 83.29 83.70 80.03
    80.21 82.28 78.28 69.72 71.61 74.35 61.60 69.89 75.09 63.59 46.42 66.81 63.38
    """,
    sep=" ",
)  # 380, 390, …, 780 nm
TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def matching(wavelengths: Array) -> Array:
    """Return (3, w): the colour matching functions x, y and z at (w,) nm."""
    return np.stack([sum(_lobe(wavelengths, *lobe) for lobe in lobes) for lobes in LOBES])


def _lobe(x: Array, height: float, centre: float, below: float, above: float) -> Array:
    return height * np.exp(-0.5 * ((x - centre) / np.where(x < centre, below, above)) ** 2)


_WEIGHTS = matching(VISIBLE) * np.interp(VISIBLE, np.arange(380.0, 781.0, 10.0), D65)
_WEIGHTS /= _WEIGHTS[1].sum()


def xyz(transmittance: Array) -> Array:
    """Return (3,) X, Y, Z of D65 through (w,) transmittance at `VISIBLE`; Y of the light is 1."""
    return _WEIGHTS @ transmittance


def rgb(transmittance: Array) -> Array:
    """Return (3,) linear RGB, 0..1, of what a camera balanced to white sees; the light is 1, 1, 1.

    :param transmittance: (w,) at `VISIBLE`.
    """
    white = TO_RGB @ xyz(np.ones_like(VISIBLE))
    return np.clip(TO_RGB @ xyz(transmittance) / white, 0.0, 1.0)
