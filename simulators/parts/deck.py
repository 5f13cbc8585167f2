"""The deck of a pipetting robot: labware in slots, wells, a door, an E-stop, plates that heat."""

import math
from collections.abc import Callable

from sdl.simulators.parts.acting import Acting, Timekeeper

Place = tuple[str, str]  # a slot of the deck and a well of what lies there: ("1", "A1")


class HotPlate:
    """A plate on the deck that heats, cools and shakes."""

    def __init__(self, world: Timekeeper, *, room: float = 22.0, tau: float = 60.0) -> None:
        """:param room: degC around it.
        :param tau: s in which it comes 63 % of the way to where it goes.
        """
        self._world, self._room, self._tau = world, room, tau
        self._from, self._since = room, world.now
        self._target: float | None = None
        self.speed = 0.0
        """rpm at which it shakes"""

    @property
    def temperature(self) -> float:
        """Of the plate, degC."""
        goal = self._room if self._target is None else self._target
        gone = self._world.now - self._since
        return goal + (self._from - goal) * math.exp(-gone / self._tau)

    @temperature.setter
    def temperature(self, celsius: float) -> None:
        self._from, self._since = celsius, self._world.now

    @property
    def target(self) -> float | None:
        """Where it goes, degC; None: it is off."""
        return self._target

    @target.setter
    def target(self, celsius: float | None) -> None:
        self.temperature = self.temperature
        self._target = celsius


class Deck(Acting):
    """Slots, wells with liquid (mL), a door, an E-stop, lights, and perhaps plates that heat.

    Its actions: `aspirate` and `dispense` (`slot`, `well`, `volume` in mL that really moved),
    `home`, `tip` and `no tip` (`slot`, `well`).
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        temperature_module: HotPlate | None = None,
        heater_shaker: HotPlate | None = None,
    ) -> None:
        self._world = world
        self._wells: dict[Place, float] = {}
        self._door_open, self._estop = False, "disengaged"
        self._watchers: list[Callable[[], object]] = []
        self.temperature_module, self.heater_shaker = temperature_module, heater_shaker
        self.lights = False
        """whether the deck is lit"""
        self.dispensed = 0.0
        """mL that were given into wells, in all"""
        self.moves = 0
        """times that the robot has gone anywhere"""

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` when somebody opens or closes the door, or presses the E-stop."""
        self._watchers.append(changed)

    @property
    def door_open(self) -> bool:
        return self._door_open

    @door_open.setter
    def door_open(self, is_open: bool) -> None:
        self._door_open = is_open
        self._tell()

    @property
    def estop(self) -> str:
        """`disengaged`, `physicallyEngaged`, `logicallyEngaged` (released, not acknowledged)."""
        return self._estop

    @estop.setter
    def estop(self, state: str) -> None:
        self._estop = state
        self._tell()

    def volume(self, slot: str, well: str) -> float:
        """What is in a well, mL."""
        return self._wells.get((slot, well), 0.0)

    def fill(self, slot: str, well: str, volume: float) -> None:
        """Have `volume` mL in a well."""
        self._wells[slot, well] = volume

    def aspirate(self, slot: str, well: str, volume: float) -> float:
        """Draw up `volume` mL, air where there is no more liquid; return the liquid, mL."""
        self._world.advance()
        liquid = min(volume, self.volume(slot, well))
        self._wells[slot, well] = self.volume(slot, well) - liquid
        self._act(self._world.now, "aspirate", slot=slot, well=well, volume=liquid)
        return liquid

    def dispense(self, slot: str, well: str, volume: float) -> None:
        """Give `volume` mL of liquid."""
        self._world.advance()
        self._wells[slot, well] = self.volume(slot, well) + volume
        self.dispensed += volume
        self._act(self._world.now, "dispense", slot=slot, well=well, volume=volume)

    def move(self, action: str, **details: str) -> None:
        """Go somewhere: `home`, `tip`, `no tip`."""
        self.moves += 1
        self._act(self._world.now, action, **details)

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()
