"""A flask on a balance, with a pH probe, a light path and a camera, between four pumps.

    sample, acetic acid of unknown strength ──┐
    base, about 0.1 M NaOH ───────────────────┤
    water with bromothymol blue ──────────────┴── flask, 150 mL ── waste (draws from the flask)

The pH is that of `physics/acid_base.py`, at 25 degC whatever the flask's temperature; the colour is
the indicator's at that pH (`physics/colour.py`). The flask stands on a hotplate: what is poured in
has the room's temperature. The syringes deviate by about 0.5 % from their scales, the base by 1 %
from its label; the sample's strength is drawn from 0.05 to 0.15 M. 0.1 mL stay in the flask.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.parts.coloured import Backlit, LightPath
from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.parts.seen import Immersed, Pan
from sdl.simulators.physics.acid_base import ACETIC, ph
from sdl.simulators.physics.colour import BROMOTHYMOL_BLUE
from sdl.simulators.vessels import Liquid, Vessel
from sdl.simulators.world import BenchAir, PumpHead, World

BASE_M = 0.1
INDICATOR_M = 1e-5  # in the water
FLASK_ML, RESIDUE_ML = 150.0, 0.1  # brim; never drawn off
COVERED_ML = 8.0  # from which on the probe's glass is wet
FLASK_G, FLASK_CM = 68.0, 5.0  # empty; through its middle
DRY_PH = 7.0  # what a probe in air shows
WATER_HEAT = 4.18  # J/mL/K
SYRINGES_ML = {  # size, filled
    "sample": (20.0, 0.0),
    "base": (30.0, 0.0),
    "water": (60.0, 0.0),
    "waste": (140.0, 0.0),
}


class Titration(World):
    """Parts: `sample`, `base`, `water`, `waste`, `hot_plate`, `balance`, `ph`, `light_path`,
    `camera`, `bench`.
    """

    def __init__(
        self,
        *,
        seed: int,
        clock: Callable[[], float],
        sample_M: float | None = None,  # noqa: N803 (the unit's symbol)
    ) -> None:
        """:param sample_M: mol/L of acetic acid in the sample; default: drawn by the seed."""
        super().__init__(seed=seed, clock=clock)
        draw = self.rng("calibration")
        self._pumps = {
            name: PumpHead(
                self,
                capacity_mL=size,
                filled_mL=filled,
                scale=1 + 0.005 * float(draw.standard_normal()),
            )
            for name, (size, filled) in SYRINGES_ML.items()
        }
        self.base_M = BASE_M * (1 + 0.01 * float(draw.standard_normal()))
        unknown = float(draw.uniform(0.05, 0.15))
        self.sample_M = unknown if sample_M is None else sample_M
        self._bottles = {
            "sample": Liquid({"acetic": self.sample_M}, 0.999),
            "base": Liquid({"sodium": self.base_M}, 1.002),
            "water": Liquid({"indicator": INDICATOR_M}, 0.998),
        }
        self.flask = Vessel(capacity=FLASK_ML, residue=RESIDUE_ML)
        self._totals = np.zeros((len(self._pumps), 2))
        self._moving = False
        self._air = BenchAir(self, self.rng("bench"))
        self._plate = HotPlate(self, temperature=self._air.temperature)
        self.parts = {
            **self._pumps,
            "hot_plate": self._plate,
            "balance": Pan(self, lambda: FLASK_G + self.flask.mass, lambda: self._moving),
            "ph": Immersed(self, self._probed, lambda: self._plate.medium),
            "light_path": LightPath(self, self._absorbance),
            "camera": Backlit(
                self, self._absorbance, lambda: self.flask.volume / FLASK_ML, path=FLASK_CM
            ),
            "bench": self._air,
        }

    @property
    def ph(self) -> float:
        """True pH of what is in the flask, if there is anything."""
        self.advance()
        weak = {
            ACETIC: self.flask.molar("acetic"),
            (BROMOTHYMOL_BLUE.pka,): self.flask.molar("indicator"),
        }
        return ph(self.flask.molar("sodium"), weak)

    def step(self, t: float, dt: float) -> None:
        totals = np.array([pump.totals(t) for pump in self._pumps.values()])
        moved = dict(zip(self._pumps, totals - self._totals, strict=True))
        self._totals = totals
        self._moving = any(bool(np.any(each > 0)) for each in moved.values())
        for name, liquid in self._bottles.items():
            self.flask.pour(liquid, float(moved[name][0]))
        self.flask.draw(float(moved["waste"][1]))
        poured = sum(float(moved[name][0]) for name in self._bottles)
        self._plate.step(dt, self._air.temperature_at(t), stream=poured / dt * WATER_HEAT)

    def _probed(self) -> float:
        return DRY_PH if self.flask.volume < COVERED_ML else self.ph

    def _absorbance(self, wavelengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (w,) absorbances per cm at (w,) nm."""
        indicator = self.flask.molar("indicator")
        return indicator * BROMOTHYMOL_BLUE.absorptivity(self.ph, wavelengths)
