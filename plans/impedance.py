"""From an impedance spectrum to the conductivity of what is in the cell."""

import numpy as np
from numpy.typing import NDArray

from sdl.errors import PlanError

Array = NDArray[np.float64]

DRY = 1e5  # ohm, more than any electrolyte worth measuring has


def resistance(impedance: Array) -> float:
    """Return the ohms of leads and electrolyte: where the spectrum meets the real axis.

    Blocking electrodes are a constant phase element, a straight line in the Nyquist plane. It
    is fitted with each point's weight by its magnitude (the noise is relative); its intercept is
    what is returned.

    :param impedance: (2, w) ohm, real and imaginary part.
    :raises PlanError: the points do not lie on such a line, or far out: the cell is not filled.
    """
    real, imaginary = impedance
    weights = 1.0 / np.hypot(real, imaginary)
    design = np.stack([np.ones_like(real), -imaginary], axis=1) * weights[:, None]
    (ohms, slope), *_ = np.linalg.lstsq(design, real * weights, rcond=None)
    misfit = float(np.sqrt(np.mean((design @ [ohms, slope] - real * weights) ** 2)))
    if not (0 < ohms < DRY and misfit < 0.05):
        raise PlanError(f"impedance: {ohms:.4g} ohm with a misfit of {misfit:.1%}: no filled cell")
    return float(ohms)
