"""A thermostatted, stirred cell with two electrodes, filled and emptied by three syringe pumps.

    salt, 2.0 M LiPF6 in EC:EMC 3:7 ──┐
    solvent, EC:EMC 3:7 ──────────────┴── cell, 15 mL ── waste (draws from the cell)

The conductivity is that of `physics/conductivity.py`, at the temperature of the liquid. Stock,
syringes and cell constant deviate by about 1 % from their labels; 0.05 mL stay when the cell is
emptied.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.physics.conductivity import conductivity, impedance
from sdl.simulators.physics.thermal import TwoNodes
from sdl.simulators.world import Acting, BenchAir, HeatedBlock, PumpHead, World

Array = NDArray[np.float64]

STOCK_M = 2.0
CELL_ML, COVERED_ML, DEAD_ML = 15.0, 4.0, 0.05  # brim, electrodes under the liquid, never drawn off
CELL_CONSTANT = 1.0  # cm-1
LEADS_OHM = 0.35
LAYER, EXPONENT = 2.0e-5, 0.92  # F s^(exponent-1), constant phase element
OPEN_OHM = 1.0e7  # electrodes in air
HEAT = 1.8  # J/mL/K of the electrolyte

# a small jacket: the cell is warm in a minute or two
JACKET = TwoNodes(
    block_capacity=120.0, medium_capacity=18.0, coupling=3.0, loss=1.0, max_power=80.0
)


class ConductivityCell(Acting):
    """The electrodes in the cell: a `DetectorPart` of complex impedance."""

    axis_name = "frequency"
    axis_units = "Hz"
    quantity: Literal["transmittance", "impedance"] = "impedance"

    def __init__(self, world: "Electrolyte") -> None:
        self._world = world
        self.axis = np.logspace(2, 5, 31)

    def sample(self, integration_s: float) -> Array:
        """Return (2, w) ohm, real and imaginary part at `axis`, however long was integrated."""
        self._act(self._world.now, "exposure", seconds=integration_s)
        z = impedance(
            self.axis,
            resistance=self._world.resistance(),
            series=LEADS_OHM,
            layer=LAYER,
            exponent=EXPONENT,
        )
        return np.stack([z.real, z.imag])


class Electrolyte(World):
    """Parts: `salt`, `solvent`, `waste`, `cell_heater`, `cell`, `bench`."""

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(seed=seed, clock=clock)
        error = self.rng("calibration").standard_normal
        sizes = {"salt": (20.0, 2.0), "solvent": (20.0, 2.0), "waste": (60.0, 0.0)}
        self._pumps = {
            name: PumpHead(self, capacity_mL=size, filled_mL=filled, scale=1 + 0.005 * error())
            for name, (size, filled) in sizes.items()
        }
        self._stock = STOCK_M * (1 + 0.008 * error())
        self._constant = CELL_CONSTANT * (1 + 0.008 * error())
        self._air = BenchAir(self, self.rng("bench"))
        self._heater = HeatedBlock(self, model=JACKET, temperature=self._air.temperature)
        self._volume, self._salt = 0.0, 0.0  # mL, mmol
        self._totals = np.zeros((3, 2))
        self.parts = {
            **self._pumps,
            "cell_heater": self._heater,
            "cell": ConductivityCell(self),
            "bench": self._air,
        }

    @property
    def volume(self) -> float:
        """Volume in the cell, mL."""
        self.advance()
        return self._volume

    @property
    def concentration(self) -> float:
        """Salt in the cell, mol/L; 0 if it is dry."""
        self.advance()
        return self._salt / self._volume if self._volume > 0 else 0.0

    def conductivity(self) -> float:
        """mS/cm of what is in the cell."""
        return conductivity(self.concentration, self._heater.medium)

    def resistance(self) -> float:
        """Ohm between the electrodes."""
        kappa = self.conductivity()
        if self.volume < COVERED_ML or kappa <= 0:
            return OPEN_OHM
        return min(1000.0 * self._constant / kappa, OPEN_OHM)

    def step(self, t: float, dt: float) -> None:
        totals = np.array([pump.totals(t) for pump in self._pumps.values()])
        (salt, _), (solvent, _), (_, drawn) = totals - self._totals
        self._totals = totals
        self._heater.step(dt, self._air.temperature_at(t), stream=(salt + solvent) / dt * HEAT)
        if salt or solvent:
            self._volume += salt + solvent
            self._salt += salt * self._stock
            self._leave(self._volume - CELL_ML)  # what is too much runs over
        if drawn:
            self._leave(min(drawn, self._volume - DEAD_ML))

    def _leave(self, volume: float) -> None:
        if volume > 0:
            self._salt *= 1.0 - volume / self._volume
            self._volume -= volume
