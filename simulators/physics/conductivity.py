"""LiPF6 in EC:EMC 3:7 by weight: its conductivity, and the impedance of a cell filled with it.

Conductivity: Landesfeind and Gasteiger, J. Electrochem. Soc. 166 (2019) A3079, their fitted form.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KELVIN = 273.15
P1, P2, P3, P4, P5, P6 = 0.521, 228.0, -1.06, 0.353, -0.00359, 0.00148


def conductivity(molar: float, celsius: float) -> float:
    """Return mS/cm at `molar` mol/L; measured for 0.1 to 2 M and -10 to 50 degC."""
    kelvin = celsius + KELVIN
    boltzmann = math.exp(1000.0 / kelvin)
    above = 1.0 + P3 * math.sqrt(molar) + P4 * (1.0 + P5 * boltzmann) * molar
    return P1 * (1.0 + (kelvin - P2)) * molar * above / (1.0 + molar**4 * P6 * boltzmann)


def impedance(
    frequencies: Array, *, resistance: float, series: float, layer: float, exponent: float
) -> NDArray[np.complex128]:
    """Return (w,) complex ohms: leads, electrolyte, and blocking electrodes in one row.

    :param frequencies: (w,) Hz.
    :param resistance: ohm of the electrolyte; `series` of leads and contacts.
    :param layer: F s^(exponent-1), constant phase element of both double layers together.
    """
    z = series + resistance + 1.0 / (layer * (2j * np.pi * frequencies) ** exponent)
    return z.astype(np.complex128)
