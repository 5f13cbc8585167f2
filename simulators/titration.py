"""A flask on a balance, with a pH probe, between four pumps.

    sample, acetic acid of unknown strength ──┐
    base, about 0.1 M NaOH ───────────────────┤
    water ────────────────────────────────────┴── flask, 150 mL ── waste (draws from the flask)

The pH is that of `physics/acid_base.py`. The syringes deviate by about 0.5 % from their scales, the
base by 1 % from its label; the sample's strength is drawn from 0.05 to 0.15 M. 0.1 mL stay in the
flask.
"""

from collections.abc import Callable

import numpy as np

from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.parts.seen import Immersed, Pan
from sdl.simulators.physics.acid_base import ACETIC, ph
from sdl.simulators.vessels import Liquid, Vessel
from sdl.simulators.world import BenchAir, PumpHead, World

BASE_M = 0.1
FLASK_ML, RESIDUE_ML, COVERED_ML = (
    150.0,
    0.1,
    8.0,
)  # brim; never drawn off; the probe's glass is wet
FLASK_G = 68.0
DRY_PH = 7.0  # what a probe in air shows


class Titration(World):
    """Parts: `sample`, `base`, `water`, `waste`, `hot_plate`, `balance`, `ph`, `bench`."""

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
        sizes = {"sample": (20.0, 0.0), "base": (30.0, 0.0), "water": (60.0, 0.0)}
        sizes["waste"] = (140.0, 0.0)
        self._pumps = {
            name: PumpHead(
                self,
                capacity_mL=size,
                filled_mL=filled,
                scale=1 + 0.005 * float(draw.standard_normal()),
            )
            for name, (size, filled) in sizes.items()
        }
        base = BASE_M * (1 + 0.01 * float(draw.standard_normal()))
        unknown = float(draw.uniform(0.05, 0.15))
        self.sample_M = unknown if sample_M is None else sample_M
        self._bottles = {
            "sample": Liquid({"acetic": self.sample_M}, 0.999),
            "base": Liquid({"sodium": base}, 1.002),
            "water": Liquid({}, 0.998),
        }
        self.base_M = base
        self.flask = Vessel(capacity=FLASK_ML, residue=RESIDUE_ML)
        self._totals = np.zeros((len(self._pumps), 2))
        self._moving = False
        self._air = BenchAir(self, self.rng("bench"))
        self._plate = HotPlate(self, temperature=self._air.temperature)
        self.parts = {
            **self._pumps,
            "hot_plate": self._plate,
            "balance": Pan(self, lambda: FLASK_G + self.flask.mass, lambda: self._moving),
            "ph": Immersed(self, self._ph, lambda: self._plate.medium),
            "bench": self._air,
        }

    def step(self, t: float, dt: float) -> None:
        totals = np.array([pump.totals(t) for pump in self._pumps.values()])
        moved = dict(zip(self._pumps, totals - self._totals, strict=True))
        self._totals = totals
        self._moving = any(bool(np.any(each > 0)) for each in moved.values())
        self._plate.step(dt, self._air.temperature_at(t))
        for name, liquid in self._bottles.items():
            self.flask.pour(liquid, float(moved[name][0]))
        self.flask.draw(float(moved["waste"][1]))

    def _ph(self) -> float:
        if self.flask.volume < COVERED_ML:
            return DRY_PH
        return ph(self.flask.molar("sodium"), {ACETIC: self.flask.molar("acetic")})
