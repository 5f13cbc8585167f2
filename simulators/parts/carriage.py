"""A carriage that a motor moves along a rail between two ends."""

import math

from sdl.simulators.parts.acting import Acting, Timekeeper


class Carriage(Acting):
    """A linear stage: it moves at a steady speed, exact at every moment.

    Its actions (mm, mm/s): `move` when it begins: `from`, `to`, `speed`; `stopped` when it is
    interrupted: `at`; `placed`, by hand: `at`.
    """

    def __init__(self, world: Timekeeper, *, travel_mm: float, position_mm: float = 0.0) -> None:
        self._world, self.travel_mm = world, travel_mm
        self._from = self._to = position_mm
        self._since, self._speed = 0.0, 1.0  # s of the world, mm/s
        self.blocked = False
        """A fault to inject: something lies in its way, so that it does not move any more."""

    @property
    def position(self) -> float:
        """Where it stands, mm from its lower end."""
        self._world.advance()
        gone = self._speed * max(self._world.now - self._since, 0.0)
        way = self._to - self._from
        return self._to if gone >= abs(way) - 1e-9 else self._from + math.copysign(gone, way)

    @position.setter
    def position(self, position: float) -> None:
        self.place(position)

    @property
    def moving(self) -> bool:
        return self.time_left > 0

    @property
    def time_left(self) -> float:
        """Seconds until it is where it goes; 0 if it stands."""
        self._world.advance()
        ends = self._since + abs(self._to - self._from) / self._speed
        return max(ends - self._world.now, 0.0) if ends - self._world.now > 1e-9 else 0.0

    def move(self, to: float, speed: float) -> bool:
        """Begin to move to `to` mm at `speed` mm/s; False if something blocks it.

        It goes no farther than its ends.
        """
        self.stop()
        if self.blocked:
            return False
        self._from, self._to = self.position, min(max(to, 0.0), self.travel_mm)
        self._since, self._speed = self._world.now, speed
        move = {"from": self._from, "to": self._to, "speed": speed}
        self._act(self._world.now, "move", **move)
        return True

    def stop(self) -> None:
        """Stop where it is."""
        if self.moving:
            self._from = self._to = self.position
            self._act(self._world.now, "stopped", at=self._to)

    def place(self, position: float) -> None:
        """Push it by hand, at once."""
        self._world.advance()
        self._from = self._to = position
        self._act(self._world.now, "placed", at=position)
