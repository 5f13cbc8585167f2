"""pH of an aqueous solution from its charge balance. Ideal: activities are concentrations.

Acidity constants at 25 degC: CRC Handbook of Chemistry and Physics, "Dissociation constants of
organic acids and bases" (acetic 4.756) and "… of inorganic acids and bases" (phosphoric 2.16, 7.21,
12.32; water 13.995).
"""

from collections.abc import Mapping
from typing import Any

from scipy.optimize import brentq

PKW = 13.995
ACETIC = (4.756,)
PHOSPHORIC = (2.16, 7.21, 12.32)
LOWEST, HIGHEST = -2.0, 16.0  # pH


def ph(strong: float, weak: Mapping[tuple[float, ...], float]) -> float:
    """Return the pH at which the charges balance.

    :param strong: mol/L of the charges that are always there: cations (Na+) less anions (Cl-).
    :param weak: mol/L of each acid, whatever its form, by its pKa values in ascending order.
    """

    def charge(x: float) -> float:
        proton = 10.0**-x
        bound = sum(c * dissociated(pkas, x) for pkas, c in weak.items())
        return proton - 10.0 ** (x - PKW) + strong - bound

    root: Any = brentq(charge, LOWEST, HIGHEST, xtol=1e-12)
    return float(root)


def dissociated(pkas: tuple[float, ...], x: float) -> float:
    """Return how many protons a molecule of an acid has given off on average, at pH `x`."""
    weight, total, given = 1.0, 1.0, 0.0
    for number, pka in enumerate(pkas, 1):
        weight *= 10.0 ** (x - pka)
        total += weight
        given += number * weight
    return given / total
