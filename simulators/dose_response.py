"""A robot that dilutes compounds into a plate of enzyme, an arm that carries it, a plate reader.

    library, 1,017 molecules, 10 mM in DMSO: three 384-well plates, slots 4 to 6 ──┐
    reservoir, slot 3: A1 buffer, A2 the reference inhibitor ──────────────────────┤
    dilution plate, slot 2, empty ─────────────────────────────────────────────────┤
    assay plate, slot 1: 80 uL of enzyme and substrate in each of 96 wells ─── arm ── reader

Molecule n of the table (`molecules.py`, sorted by SMILES) is in well n of the library, column by
column. The arm's programs: `fresh_plates.urp` takes away what lies in slots 1 and 2 and in the
reader and lays new plates and tips there; `plate_to_reader.urp` carries the assay plate on.

The light of a well is what `physics/potency.py` leaves of the enzyme in it, with the potency of the
table. Slopes scatter about 1, pipetted volumes by 1 %, wells by 3 %; plates are brighter at their
edges by 8 %, and tilt by some 2 %.
"""

import string
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.molecules import library
from sdl.simulators.parts.mixing_deck import MixingDeck
from sdl.simulators.parts.robot_arm import RobotArm
from sdl.simulators.physics.potency import Potency, plate_pattern
from sdl.simulators.vessels import Liquid, Vessel
from sdl.simulators.world import BenchAir, World

Array = NDArray[np.float64]

ROWS, COLUMNS = 8, 12
ASSAY, DILUTION, RESERVOIR, LIBRARY = "1", "2", "3", ("4", "5", "6")
STOCK_M, STOCK_ML, DEEP_ML = 0.010, 0.060, 0.112  # in a well of the library, and its brim
MIX_ML, TROUGH_ML = 0.080, 20.0
REFERENCE_M, REFERENCE = 50e-6, Potency(pic50=8.0)
BRIGHT, BLANK = 300_000.0, 6_000.0  # counts/s of the enzyme uninhibited, and of no enzyme
SPREAD, WELLS, EDGE, TILT = 0.01, 0.03, 0.08, 0.02
PROGRAMS = {"fresh_plates.urp": 45.0, "plate_to_reader.urp": 20.0}  # s


class AssayPlate:
    """A plate: what is in its wells, and what it does itself to their light."""

    def __init__(self, wells: Mapping[str, Vessel], pattern: Array) -> None:
        """:param pattern: (96,) factors, row by row."""
        self.wells, self.pattern = wells, pattern


class Reader:
    """The reader, with a plate in it or none; it sees all wells, row by row: A1, A2, …"""

    def __init__(self, world: "DoseResponse") -> None:
        self._world = world
        self.axis = np.arange(1.0, ROWS * COLUMNS + 1)
        self.plate: AssayPlate | None = None

    def light(self) -> Array:
        """Return (96,) counts/s."""
        self._world.advance()
        if self.plate is None:
            return np.zeros(len(self.axis))
        light = [self._world.light(self.plate.wells.get(well)) for well in names(ROWS, COLUMNS)]
        return np.array(light) * self.plate.pattern


class DoseResponse(World):
    """Parts: `deck`, `arm`, `reader`, `bench`."""

    def __init__(
        self, *, seed: int, clock: Callable[[], float], spread: float = SPREAD, wells: float = WELLS
    ) -> None:
        """Lay out the deck, with the first plates.

        :param spread: relative scatter of pipetted volumes; `wells`: of the wells' light.
        :raises ConfigError: the table of molecules is not there.
        """
        super().__init__(seed=seed, clock=clock)
        self._plates, self._wells = self.rng("plates"), wells
        draw = self.rng("molecules")
        self.molecules = library()
        self.potencies = {
            f"molecule {number}": Potency(
                molecule.pic50,
                hill=float(np.clip(1 + 0.1 * draw.standard_normal(), 0.7, 1.4)),
                bottom=float(draw.uniform(0.0, 0.03)),
            )
            for number, molecule in enumerate(self.molecules, 1)
        } | {"reference": REFERENCE}
        self.deck = MixingDeck(self, self.rng("pipette"), spread=spread)
        self._lay_out()
        self.reader = Reader(self)
        self._arm, self._carried, self._following = RobotArm(self, programs=PROGRAMS), 0, False
        self._pattern = np.ones(ROWS * COLUMNS)
        self._lay_fresh_plates()
        air = BenchAir(self, self.rng("bench"))
        self.parts = {"deck": self.deck, "arm": self._arm, "reader": self.reader, "bench": air}

    def advance(self) -> None:
        super().advance()
        if self._following:  # the arm asks for the time itself
            return
        self._following = True
        try:
            done = self._arm.done
            while self._carried < len(done):
                self._carry(done[self._carried])
                self._carried += 1
        finally:
            self._following = False

    def step(self, t: float, dt: float) -> None:
        """Nothing here goes on by itself."""

    def light(self, well: Vessel | None) -> float:
        """Counts/s of what is in a well, before the plate adds its own."""
        if well is None or well.volume <= 0:
            return BLANK / 10
        left = 1.0
        for species, amount in well.amounts.items():
            if amount > 0 and species in self.potencies:
                left *= self.potencies[species].activity(well.molar(species))
        return BLANK + BRIGHT * well.amounts["enzyme"] / MIX_ML * left

    def _carry(self, program: str) -> None:
        if program == "fresh_plates.urp":
            self.reader.plate = None
            self._lay_fresh_plates()
        else:
            wells = self.deck.take(ASSAY)
            if wells:  # an empty slot is no plate
                self.reader.plate = AssayPlate(wells, self._pattern)

    def _lay_out(self) -> None:
        for number, _ in enumerate(self.molecules, 1):
            slot, well = place(number)
            stock = Liquid({f"molecule {number}": STOCK_M}, 1.10)
            self.deck.put(slot, well, stock, STOCK_ML, capacity=DEEP_ML)
        self.deck.put(RESERVOIR, "A1", Liquid({}, 1.0), TROUGH_ML, capacity=TROUGH_ML)
        reference = Liquid({"reference": REFERENCE_M}, 1.0)
        self.deck.put(RESERVOIR, "A2", reference, TROUGH_ML, capacity=TROUGH_ML)

    def _lay_fresh_plates(self) -> None:
        for slot in (ASSAY, DILUTION):
            self.deck.take(slot)
        mix = Liquid({"enzyme": 1.0}, 1.0)  # in units of its own concentration
        for well in names(ROWS, COLUMNS):
            self.deck.put(ASSAY, well, mix, MIX_ML, capacity=0.36)
        draw = self._plates.standard_normal
        tilt = float(TILT * draw()), float(TILT * draw())
        scatter = 1 + self._wells * draw(ROWS * COLUMNS)
        self._pattern = plate_pattern(ROWS, COLUMNS, edge=EDGE, tilt=tilt).ravel() * scatter


def place(number: int) -> tuple[str, str]:
    """Return the slot and the well of the library in which a molecule is, from 1 on."""
    plate, well = divmod(number - 1, 384)
    column, row = divmod(well, 16)
    return LIBRARY[plate], f"{string.ascii_uppercase[row]}{column + 1}"


def names(rows: int, columns: int) -> list[str]:
    """Return the wells of a plate, row by row."""
    return [f"{string.ascii_uppercase[r]}{c + 1}" for r in range(rows) for c in range(columns)]
