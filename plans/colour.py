"""From a transmission spectrum to the colour that an eye sees: CIE 1931, illuminant D65, CIELAB.

Sources: ISO/CIE 11664 parts 1 (observer), 2 (illuminant), 4 (L*a*b*), the tables abridged to 10 nm;
sRGB: IEC 61966-2-1.
"""

import math
import re

import numpy as np
from numpy.typing import NDArray

from sdl.errors import ConfigError, PlanError

Array = NDArray[np.float64]

FAINTEST = 0.01  # of the strongest blank: where the lamp gives less, nothing is learnt
FIRST, LAST = 400.0, 700.0  # nm that a spectrum must reach

# nm, x, y, z of the observer, D65
_TABLE = np.fromstring(
    """
    400 0.0143 0.0004 0.0679  82.75
    410 0.0435 0.0012 0.2074  91.49
    420 0.1344 0.0040 0.6456  93.43
    430 0.2839 0.0116 1.3856  86.68
    440 0.3483 0.0230 1.7471 104.87
    450 0.3362 0.0380 1.7721 117.01
    460 0.2908 0.0600 1.6692 117.81
    470 0.1954 0.0910 1.2876 114.86
    480 0.0956 0.1390 0.8130 115.92
    490 0.0320 0.2080 0.4652 108.81
    500 0.0049 0.3230 0.2720 109.35
    510 0.0093 0.5030 0.1582 107.80
    520 0.0633 0.7100 0.0782 104.79
    530 0.1655 0.8620 0.0422 107.69
    540 0.2904 0.9540 0.0203 104.41
    550 0.4334 0.9950 0.0087 104.05
    560 0.5945 0.9950 0.0039 100.00
    570 0.7621 0.9520 0.0021  96.33
    580 0.9163 0.8700 0.0017  95.79
    590 1.0263 0.7570 0.0011  88.69
    600 1.0622 0.6310 0.0008  90.01
    610 1.0026 0.5030 0.0003  89.60
    620 0.8544 0.3810 0.0002  87.70
    630 0.6424 0.2650 0.0000  83.29
    640 0.4479 0.1750 0.0000  83.70
    650 0.2835 0.1070 0.0000  80.03
    660 0.1649 0.0610 0.0000  80.21
    670 0.0874 0.0320 0.0000  82.28
    680 0.0468 0.0170 0.0000  78.28
    690 0.0227 0.0082 0.0000  69.72
    700 0.0114 0.0041 0.0000  71.61
    """,
    sep=" ",
).reshape(-1, 5)
_NM, _WEIGHTS = _TABLE[:, 0], (_TABLE[:, 1:4] * _TABLE[:, 4:]).T
_WHITE = _WEIGHTS.sum(axis=1)  # X, Y, Z of the light itself
_FROM_RGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab_of_spectrum(wavelengths: Array, intensity: Array, blank: Array) -> Array:
    """Return (3,) L*, a*, b* of what is in the path, against the blank as white.

    :param intensity: (w,) counts, dark subtracted, at (w,) nm; `blank` likewise, of the solvent.
    :raises PlanError: the spectrum does not cover what an eye sees, or the lamp is too weak there.
    """
    order = np.argsort(wavelengths)
    axis = wavelengths[order]
    if len(axis) < 2 or axis[0] > FIRST or axis[-1] < LAST:
        raise PlanError(f"colour: the spectrum must reach from {FIRST:g} to {LAST:g} nm")
    seen = (axis >= FIRST) & (axis <= LAST)
    if not np.all(blank[order][seen] > FAINTEST * blank.max()):
        raise PlanError(
            "colour: too little light in the blank: lamp, integration time, or a bubble"
        )
    part = np.interp(_NM, axis[seen], (intensity[order] / np.abs(blank[order]))[seen])
    return _lab(_WEIGHTS @ np.clip(part, 0.0, None) / _WHITE)


def lab_of_hex(colour: str) -> Array:
    """Return (3,) L*, a*, b* of a colour of sRGB, such as `#b7794b`.

    :raises ConfigError: it is none.
    """
    if re.fullmatch(r"#[0-9a-fA-F]{6}", colour) is None:
        raise ConfigError(f"colour {colour!r}: write it as #rrggbb, six hexadecimal digits")
    coded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return _lab(_FROM_RGB @ linear / _FROM_RGB.sum(axis=1))


def difference(one: Array, other: Array) -> float:
    """Return the distance of two colours in CIELAB; 2 is what an eye just sees.

    >>> difference(np.array([50.0, 3.0, 4.0]), np.array([50.0, 0.0, 0.0]))
    5.0
    """
    return math.dist(one, other)


def _lab(relative: Array) -> Array:
    """Return L*, a*, b* of X, Y, Z that are relative to white."""
    linear = relative * (29 / 6) ** 2 / 3 + 4 / 29
    x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), linear)
    return np.array([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)])
