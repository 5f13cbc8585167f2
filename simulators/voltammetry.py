"""A cell with three electrodes, filled and emptied by pumps, for a potentiostat.

    redox, 20 mM K4[Fe(CN)6] in water ──┐
    salt, 2 M KCl ──────────────────────┤
    water ──────────────────────────────┴── cell, 20 mL, 25 degC ── waste (draws from the cell)

The working electrode is a disk of 3 mm, the potentials are against Ag/AgCl; what happens there is
that of `physics/electrochemistry.py`. Air has oxidised 1 % of the ferrocyanide. The resistance
between reference and working electrode is that of the solution, of which each charge of the complex
counts as one of KCl; it is not compensated. Stock, syringes and area deviate by about 1 % from
their labels; 0.05 mL stay when the cell is emptied. What is electrolysed (some nmol) does not count
in the bulk.
"""

import math
from collections.abc import Callable

import numpy as np

from sdl.errors import ConfigError
from sdl.simulators.parts.acting import Acting
from sdl.simulators.physics.electrochemistry import (
    Couple,
    Electrode,
    disk_resistance,
    kcl_conductivity,
)
from sdl.simulators.vessels import Liquid, Vessel
from sdl.simulators.world import BenchAir, PumpHead, World

STOCK_M, SALT_M, OXIDISED = 0.020, 2.0, 0.01
CELL_ML, COVERED_ML, DEAD_ML = 20.0, 4.0, 0.05  # brim, electrodes under the liquid, never drawn off
RADIUS = 0.15  # cm
LAYER = 20e-6  # F/cm2
FORMAL = 0.23  # V against Ag/AgCl
CHARGES = {"ferrocyanide": 4.0, "ferricyanide": 3.0, "kcl": 1.0}
OPEN_OHM = 1.0e9
CONVECTION = 60.0  # s at rest after which what a measurement has left behind is gone


class ThreeElectrodes(Acting):
    """The electrodes in the cell: an `ElectrochemicalCell`. Its actions: `cell on`, `cell off`."""

    def __init__(self, world: "Voltammetry", couple: Couple, *, area: float) -> None:
        self._world = world
        self.electrode = Electrode(couple, area=area, capacitance=LAYER * area)
        self.is_on = False
        self._stirred = -1
        self._lived = 0.0  # s of the world until which it has lived

    def switch(self, on: bool) -> None:
        self._live()
        if on is not self.is_on:
            self._act(self._world.now, "cell on" if on else "cell off")
        self.is_on = on

    def current(self, potential: float, dt: float) -> float:
        self._live(dt)
        resistance = self._world.resistance()
        if resistance >= OPEN_OHM:
            return 0.0
        return self.electrode.hold(potential, dt, resistance=resistance)

    def rest(self, dt: float) -> float:
        self._live(dt)
        return self.electrode.rest(dt) if self._world.resistance() < OPEN_OHM else 0.0

    def impedance(self, frequency: float) -> complex:
        self._live()
        resistance = self._world.resistance()
        if resistance >= OPEN_OHM:
            return complex(OPEN_OHM)
        return self.electrode.impedance(frequency, resistance=resistance)

    def _live(self, told: float = 0.0) -> None:
        """Take notice of fresh liquid, and of the time of which nobody has told anything."""
        self._world.advance()
        now, alone = self._world.now, self._world.now - told - self._lived
        self._lived = max(now, self._lived)
        if self._world.stirred != self._stirred or alone > CONVECTION:
            self._stirred = self._world.stirred
            molar = self._world.cell.molar
            self.electrode.fill(reduced=molar("ferrocyanide"), oxidised=molar("ferricyanide"))
        elif alone > 1.0 and not self.is_on:
            self.electrode.rest(alone)


class Voltammetry(World):
    """Parts: `redox`, `salt`, `water`, `waste`, `electrodes`, `bench`."""

    def __init__(self, *, seed: int, clock: Callable[[], float], k0: float = 0.02) -> None:
        """:param k0: cm/s, the standard rate constant at this electrode.

        :raises ConfigError: that is no rate.
        """
        if not 0 < k0 < math.inf:
            raise ConfigError(f"voltammetry: k0={k0}: allowed is a rate in cm/s, above 0")
        super().__init__(seed=seed, clock=clock)
        error = self.rng("calibration").standard_normal
        sizes = {"redox": 20.0, "salt": 20.0, "water": 30.0, "waste": 60.0}
        self._pumps = {
            name: PumpHead(self, capacity_mL=size, scale=1 + 0.005 * float(error()))
            for name, size in sizes.items()
        }
        stock = STOCK_M * (1 + 0.01 * float(error()))
        complexes = {"ferrocyanide": stock * (1 - OXIDISED), "ferricyanide": stock * OXIDISED}
        self._bottles = {
            "redox": Liquid(complexes, 1.002),
            "salt": Liquid({"kcl": SALT_M}, 1.086),
            "water": Liquid({}, 0.997),
        }
        self.cell = Vessel(capacity=CELL_ML, residue=DEAD_ML)
        self.stirred = 0
        """how often what is in the cell has changed"""
        self._totals = np.zeros((len(self._pumps), 2))
        area = math.pi * RADIUS**2 * (1 + 0.01 * float(error()))
        self.parts = {
            **self._pumps,
            "electrodes": ThreeElectrodes(self, Couple(FORMAL, k0=k0), area=area),
            "bench": BenchAir(self, self.rng("bench")),
        }

    def resistance(self) -> float:
        """Ohm between reference and working electrode; `OPEN_OHM` where these are not covered."""
        ions = sum(charge * self.cell.molar(species) for species, charge in CHARGES.items())
        if self.cell.volume < COVERED_ML or ions <= 0:
            return OPEN_OHM
        return min(disk_resistance(kcl_conductivity(ions), RADIUS), OPEN_OHM)

    def step(self, t: float, dt: float) -> None:
        totals = np.array([pump.totals(t) for pump in self._pumps.values()])
        moved = dict(zip(self._pumps, totals - self._totals, strict=True))
        self._totals = totals
        for name, liquid in self._bottles.items():
            self.cell.pour(liquid, float(moved[name][0]))
        self.cell.draw(float(moved["waste"][1]))
        if any(bool(np.any(each > 0)) for each in moved.values()):
            self.stirred += 1
