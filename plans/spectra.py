"""From a spectrum to concentrations, for nitroaromatics with pyrrolidine in ethanol.

The calibration is this laboratory's own: one spectrum per compound, each described by its bands,
recorded in the flow cell of 5 um. It is as good as its standards, some 1 to 2 %.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from sdl.errors import PlanError

Array = NDArray[np.float64]

PATH = 0.0005  # cm
DARKEST = 1.6  # absorbance above which stray light counts for more than the sample
FAINTEST = 0.05  # of the strongest blank: where the lamp gives less, nothing is learnt

# center in nm, height in M-1 cm-1, standard deviation in nm
CALIBRATION: dict[str, tuple[tuple[float, float, float], ...]] = {
    "substrate": ((252, 8200, 17), (296, 1500, 18)),
    "ortho": ((246, 9800, 15), (284, 5200, 16), (421, 6100, 34)),
    "para": ((238, 7600, 16), (388, 19200, 27)),
    "bis": ((268, 14100, 18), (362, 20400, 24), (440, 3100, 26)),
}


def calibration(wavelengths: Array) -> Array:
    """Return (w, s) molar absorptivities in M-1 cm-1 at (w,) nm, in the order of `CALIBRATION`."""
    x = wavelengths[:, None]
    columns = []
    for bands in CALIBRATION.values():
        center, height, width = np.array(bands, dtype=float).T
        columns.append((height * np.exp(-(((x - center) / width) ** 2) / 2)).sum(axis=1))
    return np.stack(columns, axis=1)


def concentrations(wavelengths: Array, intensity: Array, blank: Array) -> dict[str, float]:
    """Return M of each compound in `CALIBRATION`, by weighted non-negative least squares.

    Each wavelength counts by what the light that came through can tell; a constant offset (a lamp
    that drifted since the blank) is fitted along.

    :param intensity: (w,) counts, dark subtracted, at (w,) nm; `blank` likewise, of the solvent.
    :raises PlanError: too little light came through to tell the compounds apart.
    """
    light = (blank > FAINTEST * blank.max()) & (intensity > 0) & (blank > 0)
    absorbance = np.full(len(wavelengths), np.inf)
    absorbance[light] = np.log10(blank[light] / intensity[light])
    usable = absorbance < DARKEST
    if usable.sum() < 3 * len(CALIBRATION):
        raise PlanError(
            f"spectrum: only {usable.sum()} of {len(wavelengths)} wavelengths have a blank and an "
            f"absorbance below {DARKEST}: lamp, integration time or flow cell"
        )
    columns = PATH * calibration(wavelengths[usable])
    offset = np.ones((len(columns), 1))
    weights = 1.0 / np.sqrt(1.0 / intensity[usable] + 1.0 / blank[usable])
    design = np.hstack([columns, offset, -offset])
    solution, _ = nnls(design * weights[:, None], absorbance[usable] * weights)
    return dict(zip(CALIBRATION, map(float, solution), strict=False))
