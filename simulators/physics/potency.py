"""How much of an enzyme's activity a compound leaves, and what a plate adds to that.

The logistic function of four parameters; c is the concentration of the compound:

    bottom + (top - bottom) / (1 + (c / IC50)^hill)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Potency:
    """What one compound does to one enzyme."""

    pic50: float
    """-log10 of the IC50 in mol/L"""
    hill: float = 1.0
    bottom: float = 0.0
    """part of the activity that no concentration takes away"""

    @property
    def ic50(self) -> float:
        """mol/L at which the activity is halfway between none and all of the compound."""
        return 10.0**-self.pic50

    def activity(self, molar: float) -> float:
        """Return the part of the activity that is left at `molar` mol/L: 1 without a compound."""
        if molar <= 0:
            return 1.0
        decades = min(max(self.hill * (np.log10(molar) + self.pic50), -30.0), 30.0)
        return self.bottom + (1.0 - self.bottom) / (1.0 + 10.0**decades)


def plate_pattern(
    rows: int, columns: int, *, edge: float, tilt: tuple[float, float] = (0.0, 0.0)
) -> Array:
    """Return (rows, columns) factors of the signal that a plate brings by where its wells lie.

    :param edge: by how much more the outermost wells give (they dry out); a fifth of that remains
        one well further in.
    :param tilt: part that is gained from the first to the last row, and column.
    """
    row, column = np.mgrid[:rows, :columns].astype(float)
    inwards = np.minimum.reduce([row, rows - 1 - row, column, columns - 1 - column])
    slope = tilt[0] * (row / max(rows - 1, 1) - 0.5) + tilt[1] * (
        column / max(columns - 1, 1) - 0.5
    )
    return (1.0 + edge * 0.2**inwards) * (1.0 + slope)
