"""A deck of a pipetting robot whose wells know what is in them."""

from collections.abc import Iterator

import numpy as np

from sdl.simulators.parts.acting import Timekeeper
from sdl.simulators.parts.deck import Deck, Place
from sdl.simulators.vessels import Liquid, Vessel

CAPACITY = 0.36  # mL of a well of a 96-well plate
TIP = 1.0  # mL, more than any tip holds


class MixingDeck(Deck):
    """A `Deck` that carries liquids, not only volumes; each well mixes at once.

    A pipette draws up a little more or less than it should; what it gives is what it has, in the
    proportions that it was asked for. A tip that is dropped takes with it what is in it.
    """

    def __init__(self, world: Timekeeper, rng: np.random.Generator, *, spread: float = 0.0) -> None:
        """:param spread: relative standard deviation of the volumes that are drawn up."""
        super().__init__(world)
        self._rng, self._spread = rng, spread
        self._vessels: dict[Place, Vessel] = {}
        self._tip, self._nominal = Vessel(capacity=TIP), 0.0  # mL that the pipette thinks it has

    def vessel(self, slot: str, well: str) -> Vessel:
        """What is in a well."""
        return self._vessels.setdefault((slot, well), Vessel(capacity=CAPACITY))

    def put(self, slot: str, well: str, liquid: Liquid, volume: float, *, capacity: float) -> None:
        """Have `volume` mL of a liquid in a well of `capacity` mL, and nothing else."""
        self._vessels[slot, well] = Vessel(capacity=capacity)
        self._vessels[slot, well].pour(liquid, volume)

    def take(self, slot: str) -> dict[str, Vessel]:
        """Take away what lies in a slot; return its wells."""
        return {well: self._vessels.pop((slot, well)) for well in list(self._wells_of(slot))}

    def volume(self, slot: str, well: str) -> float:
        found = self._vessels.get((slot, well))
        return 0.0 if found is None else found.volume

    def fill(self, slot: str, well: str, volume: float) -> None:
        """Have `volume` mL of water in a well."""
        self.put(slot, well, Liquid(), volume, capacity=max(volume, CAPACITY))

    def aspirate(self, slot: str, well: str, volume: float) -> float:
        self._world.advance()
        source = self.vessel(slot, well)
        nominal = min(volume, source.volume)
        error = 1.0 + self._spread * float(self._rng.standard_normal())
        real = min(nominal * error, source.volume)
        self._tip.pour(source.draw(real), real)
        self._nominal += nominal
        self._act(self._world.now, "aspirate", slot=slot, well=well, volume=real)
        return nominal

    def dispense(self, slot: str, well: str, volume: float) -> None:
        self._world.advance()
        part = min(volume / self._nominal, 1.0) if self._nominal > 0 else 0.0
        real = part * self._tip.volume
        self.vessel(slot, well).pour(self._tip.draw(real), real)
        self._nominal = max(self._nominal - volume, 0.0)
        self.dispensed += real
        self._act(self._world.now, "dispense", slot=slot, well=well, volume=real)

    def move(self, action: str, **details: str) -> None:
        if action in ("tip", "no tip", "home"):
            self._tip, self._nominal = Vessel(capacity=TIP), 0.0
        super().move(action, **details)

    def _wells_of(self, slot: str) -> Iterator[str]:
        return (well for where, well in self._vessels if where == slot)
