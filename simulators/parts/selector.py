"""A valve whose rotor a motor turns to one of several ports."""

from sdl.simulators.parts.acting import Acting, Timekeeper


class Selector(Acting):
    """A multiport valve: one common line, and the port that it is open to.

    Its actions: `turn` when the rotor begins to move: `from`, `to`, and `seconds` that it takes;
    `stopped` when that is interrupted, and the rotor stands between two ports; `placed`, by hand:
    `to`.
    """

    def __init__(self, world: Timekeeper, *, ports: int = 8, port: int = 1) -> None:
        """:param port: where the rotor stands at first, 1 to `ports`."""
        self._world, self.ports = world, ports
        self._from = self._to = port
        self._arrives = 0.0  # s of the world
        self._between = False

    @property
    def port(self) -> int:
        """Where the rotor stands; while it turns, and between two ports, the one that it left."""
        self._world.advance()
        return self._to if self._world.now >= self._arrives and not self._between else self._from

    @port.setter
    def port(self, port: int) -> None:
        self.place(port)

    @property
    def open(self) -> int | None:
        """The port that the liquid can go through; None while the rotor is between two."""
        return None if self._between or self.moving else self.port

    @property
    def moving(self) -> bool:
        self._world.advance()
        return not self._between and self._world.now < self._arrives

    @property
    def time_left(self) -> float:
        """Seconds until a turn under way has ended; 0 if there is none."""
        return self._arrives - self._world.now if self.moving else 0.0

    def turn(self, port: int, seconds: float) -> None:
        """Begin to turn to `port`, there in so many seconds; a turn under way is given up."""
        self._from, self._to = self.port, port
        self._arrives, self._between = self._world.now + seconds, False
        turn = {"from": self._from, "to": port, "seconds": round(seconds, 6)}
        self._act(self._world.now, "turn", **turn)

    def stop(self) -> None:
        """Stop where it is: a rotor on its way then stands between two ports."""
        if self.moving:
            self._between = True
            self._act(self._world.now, "stopped")

    def place(self, port: int) -> None:
        """Turn it by hand, at once."""
        self._world.advance()
        self._from = self._to = port
        self._arrives, self._between = self._world.now, False
        self._act(self._world.now, "placed", to=port)
