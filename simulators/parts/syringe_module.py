"""A syringe with a motor and a valve that joins it to one of several ports."""

from typing import Any

from sdl.simulators.parts.acting import Timekeeper
from sdl.simulators.parts.syringe import PumpHead

Port = int | str


class SyringeModule(PumpHead):
    """A `PumpHead` whose liquid goes to, and comes from, the port at which its valve stands.

    What went where is counted by port, so that a world can route it. Its actions are those of a
    `PumpHead`, each with `port`, and `valve` when the valve has turned (`port`: to where).
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        capacity_mL: float,  # noqa: N803 (the unit's symbol)
        filled_mL: float = 0.0,  # noqa: N803
        port: Port = "input",
        scale: float = 1.0,
    ) -> None:
        """:param port: where the valve stands; a number on a distribution valve.
        :param scale: mL that really flow for each mL that the plunger is believed to move.
        """
        super().__init__(world, capacity_mL=capacity_mL, filled_mL=filled_mL, scale=scale)
        self._port = port
        self._counted = (0.0, 0.0)  # totals when the valve came to where it stands
        self._by_port: dict[Port, tuple[float, float]] = {}
        self.valve_stuck = False
        """A fault to inject: the valve does not turn."""

    @property
    def port(self) -> Port:
        """Where the valve stands; set it to have it stand there at once."""
        return self._port

    @port.setter
    def port(self, port: Port) -> None:
        self.turn(port)

    @property
    def volume(self) -> float:
        """What the syringe holds, mL; set it to have it so, without any flow."""
        return self.syringe

    @volume.setter
    def volume(self, volume: float) -> None:
        self.stop()
        self._level = min(max(volume, 0.0), self.capacity_mL)

    def turn(self, port: Port) -> bool:
        """Have the valve stand at a port; say whether it does."""
        self._world.advance()
        if self.valve_stuck:
            return self._port == port
        if port != self._port:
            self._by_port[self._port] = self._at_port(self._world.now)
            self._counted = self.totals(self._world.now)
            self._port = port
            self._act(self._world.now, "valve")
        return True

    def dispensed(self, port: Port, t: float | None = None) -> float:
        """True mL that went out at a port since the world began, at `t` (s of the world; now)."""
        return self._flowed(port, t)[0]

    def drawn(self, port: Port, t: float | None = None) -> float:
        """True mL that were drawn in from a port since the world began, at `t` (now)."""
        return self._flowed(port, t)[1]

    def _flowed(self, port: Port, t: float | None) -> tuple[float, float]:
        if t is None:
            self._world.advance()
            t = self._world.now
        return self._at_port(t) if port == self._port else self._by_port.get(port, (0.0, 0.0))

    def _at_port(self, t: float) -> tuple[float, float]:
        """What went out, and came in, at the port at which the valve stands."""
        out, drawn = self._by_port.get(self._port, (0.0, 0.0))
        now, then = self.totals(t), self._counted
        return out + now[0] - then[0], drawn + now[1] - then[1]

    def _act(self, t: float, action: str, **details: Any) -> None:
        super()._act(t, action, port=self._port, **details)
