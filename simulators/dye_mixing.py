"""A stirred glass of 1 cm between five pumps, before a lamp, on a balance: food dyes are mixed.

    red, 2e-4 M Allura Red ────────┐
    yellow, 2e-4 M Tartrazine ─────┤
    blue, 4e-5 M Brilliant Blue ───┼── glass, 12 mL ── waste (draws from the glass)
    water ─────────────────────────┘

Bands and colour are those of `physics/colour.py`; dyes do not react, so absorbances add up. The
syringes deviate by about 0.5 % from their scales, dyes by 1 % from their labels. 0.05 mL stay in
the glass.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.parts.coloured import Backlit, LightPath
from sdl.simulators.parts.seen import Pan
from sdl.simulators.physics.colour import DYES
from sdl.simulators.physics.optics import absorbance, absorptivity
from sdl.simulators.vessels import Liquid, Vessel
from sdl.simulators.world import BenchAir, PumpHead, World

Array = NDArray[np.float64]

STOCKS_M = {"red": 2e-4, "yellow": 2e-4, "blue": 4e-5}
SYRINGES_ML = {"red": 10.0, "yellow": 10.0, "blue": 10.0, "water": 30.0, "waste": 30.0}
GLASS_ML, RESIDUE_ML = 12.0, 0.05  # brim; never drawn off
COVERED_ML = 3.0  # from which on the light goes through the liquid
GLASS_G, GLASS_CM = 11.0, 1.0


class DyeMixing(World):
    """Parts: `red`, `yellow`, `blue`, `water`, `waste`, `cuvette`, `camera`, `balance`, `bench`."""

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(seed=seed, clock=clock)
        error = self.rng("calibration").standard_normal
        self._pumps = {
            name: PumpHead(self, capacity_mL=size, scale=1 + 0.005 * float(error()))
            for name, size in SYRINGES_ML.items()
        }
        self._bottles = {
            name: Liquid({name: molar * (1 + 0.01 * float(error()))})
            for name, molar in STOCKS_M.items()
        }
        self._bottles["water"] = Liquid()
        self.glass = Vessel(capacity=GLASS_ML, residue=RESIDUE_ML)
        self._totals = np.zeros((len(self._pumps), 2))
        self._moving = False
        self.parts = {
            **self._pumps,
            "cuvette": LightPath(self, self._in_the_path, path=GLASS_CM),
            "camera": Backlit(
                self, self.absorbance, lambda: self.glass.volume / GLASS_ML, path=GLASS_CM
            ),
            "balance": Pan(self, lambda: GLASS_G + self.glass.mass, lambda: self._moving),
            "bench": BenchAir(self, self.rng("bench")),
        }

    def absorbance(self, wavelengths: Array) -> Array:
        """Return (w,) true absorbances per cm at (w,) nm of what is in the glass."""
        self.advance()
        spectra = np.stack([absorptivity(bands, wavelengths) for bands in DYES.values()])
        return absorbance(spectra, np.array([self.glass.molar(dye) for dye in DYES]), 1.0)

    def step(self, t: float, dt: float) -> None:
        totals = np.array([pump.totals(t) for pump in self._pumps.values()])
        moved = dict(zip(self._pumps, totals - self._totals, strict=True))
        self._totals = totals
        self._moving = any(bool(np.any(each > 0)) for each in moved.values())
        for name, liquid in self._bottles.items():
            self.glass.pour(liquid, float(moved[name][0]))
        self.glass.draw(float(moved["waste"][1]))

    def _in_the_path(self, wavelengths: Array) -> Array:
        if self.glass.volume < COVERED_ML:
            return np.zeros_like(wavelengths)
        return self.absorbance(wavelengths)
