"""What stands behind a plug: a load on the mains, and what it takes."""

from sdl.simulators.parts.acting import Acting, Timekeeper

JOULES_PER_KWH = 3.6e6


class Outlet(Acting):
    """A resistor that is on the mains while its plug is on. Its action: `switched` (`on`)."""

    def __init__(
        self, world: Timekeeper, *, watts: float = 60.0, volts: float = 230.0, on: bool = False
    ) -> None:
        """:param watts: what it takes at 230 V."""
        self._world, self._ohm = world, 230.0**2 / watts
        self._mains, self._on = volts, on
        self._joules, self._counted_to = 0.0, world.now

    @property
    def on(self) -> bool:
        self._world.advance()
        return self._on

    def switch(self, on: bool) -> None:
        self._count()
        if on is not self._on:
            self._on = on
            self._act(self._world.now, "switched", on=on)

    @property
    def voltage(self) -> float:
        """Of the mains, V; also while it is off."""
        return self._mains

    @voltage.setter
    def voltage(self, volts: float) -> None:
        self._count()
        self._mains = volts

    @property
    def current(self) -> float:
        """A"""
        return self.power / self._mains if self._mains else 0.0

    @property
    def power(self) -> float:
        """W"""
        return self._mains**2 / self._ohm if self.on else 0.0

    @property
    def energy(self) -> float:
        """Since the world began, kWh."""
        self._count()
        return self._joules / JOULES_PER_KWH

    def _count(self) -> None:
        self._world.advance()
        self._joules += (self._world.now - self._counted_to) * self.power
        self._counted_to = self._world.now
