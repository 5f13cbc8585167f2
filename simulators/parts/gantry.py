"""Three axes with motors that step blindly: what a motion controller moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sdl.simulators.parts.acting import Acting, Timekeeper

AXES = "XYZ"
TOUCH = 1e-6  # mm from an end at which its switch is closed

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Phase:
    """A time of constant acceleration along the line of a move."""

    seconds: float
    speed: float
    """mm/s when it begins"""
    acceleration: float
    """mm/s2"""

    def way(self, t: float) -> float:
        """Return mm after `t` s of it."""
        return self.speed * t + self.acceleration * t * t / 2

    def speed_at(self, t: float) -> float:
        return self.speed + self.acceleration * t


class Gantry(Acting):
    """A carriage that moves in straight lines, with a speed and an acceleration, between two ends.

    It is exact at every moment, whatever the steps of the world. Beyond an end it cannot go: the
    motors lose their steps there, which only a limit switch tells. Its actions (mm, mm/s): `move`
    when it begins (`from`, `to`: where it is sent) and `moved` when it is over (`to`: where it is).
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        low: Point = (-300.0, -200.0, -80.0),
        high: Point = (0.0, 0.0, 0.0),
        position: Point | None = None,
    ) -> None:
        """:param low: mm, where the axes end; `high` the other ends, where it is homed."""
        self._world, self.low, self.high = world, low, high
        self._at: Point = high if position is None else position  # when the move began
        self._way, self._since = (0.0, 0.0, 0.0), 0.0  # the direction, of length 1; s of the world
        self._phases: list[Phase] = []

    def move(self, by: Sequence[float], *, speed: float, acceleration: float) -> None:
        """Go `by` mm on each axis, at most at `speed` mm/s, from rest to rest; at once.

        :param acceleration: mm/s2, of speeding up and of slowing down.
        """
        self.halt()
        length = math.hypot(*by)
        if length <= 0:
            return
        x, y, z = (each / length for each in by)
        self._way, self._since = (x, y, z), self._world.now
        top = min(speed, math.sqrt(length * acceleration))
        cruise = (length - top * top / acceleration) / top
        ramp = top / acceleration
        self._phases = [
            Phase(ramp, 0.0, acceleration),
            Phase(cruise, top, 0.0),
            Phase(ramp, top, -acceleration),
        ]
        to = [round(a + b, 6) for a, b in zip(self._at, by, strict=True)]
        self._act(self._since, "move", **{"from": [round(a, 6) for a in self._at], "to": to})

    def brake(self, acceleration: float) -> None:
        """Slow down to rest, along the line of the move."""
        self._world.advance()
        t = self._world.now - self._since
        speed, gone = self.speed, []
        for phase in self._phases:
            part = min(max(t, 0.0), phase.seconds)
            gone.append(Phase(part, phase.speed, phase.acceleration))
            t -= phase.seconds
        if self._phases:
            self._phases = [*gone, Phase(speed / acceleration, speed, -acceleration)]

    def halt(self) -> None:
        """Be at rest now: at the end of a move, or however fast it was."""
        self._world.advance()
        moved, at = bool(self._phases), self.position
        ended = min(self._world.now, self._since + sum(phase.seconds for phase in self._phases))
        self._at, self._phases = at, []
        if moved:
            self._act(ended, "moved", to=[round(each, 6) for each in at])

    def place(self, position: Point) -> None:
        """Put the carriage somewhere: by hand, or in a test."""
        self.halt()
        self._at = position

    @property
    def position(self) -> Point:
        """Where the carriage is, mm."""
        self._world.advance()
        x, y, z = (
            min(max(at + by, low), high)
            for at, by, low, high in zip(self._at, self.moved, self.low, self.high, strict=True)
        )
        return x, y, z

    @property
    def moved(self) -> Point:
        """What the motors have been told to go since the move began, mm; 0 when it is over."""
        self._world.advance()
        way = self._gone(self._world.now - self._since)
        x, y, z = (each * way for each in self._way)
        return x, y, z

    @property
    def speed(self) -> float:
        """mm/s now."""
        self._world.advance()
        t = self._world.now - self._since
        for phase in self._phases:
            if t < phase.seconds:
                return phase.speed_at(t)
            t -= phase.seconds
        return 0.0

    @property
    def time_left(self) -> float:
        """Seconds until the motors are at rest."""
        self._world.advance()
        total = sum(phase.seconds for phase in self._phases)
        return max(self._since + total - self._world.now, 0.0) if self._phases else 0.0

    @property
    def meets_end_in(self) -> float | None:
        """Seconds until the move under way runs into an end; None if it does not."""
        self._world.advance()
        reach = math.inf
        for at, way, low, high in zip(self._at, self._way, self.low, self.high, strict=True):
            if way:
                reach = min(reach, max(((high if way > 0 else low) - at) / way, 0.0))
        total = sum(phase.seconds for phase in self._phases)
        if not self._phases or self._gone(total) <= reach + TOUCH:
            return None
        early, late = 0.0, total
        for _ in range(50):
            middle = (early + late) / 2
            early, late = (middle, late) if self._gone(middle) < reach else (early, middle)
        return max(self._since + late - self._world.now, 0.0)

    @property
    def switches(self) -> tuple[bool, bool, bool]:
        """Whether the limit switch of each axis is closed, at either of its ends."""
        x, y, z = (
            at <= low + TOUCH or at >= high - TOUCH
            for at, low, high in zip(self.position, self.low, self.high, strict=True)
        )
        return x, y, z

    def _gone(self, t: float) -> float:
        """Return mm along the line, `t` s after the move began."""
        way = 0.0
        for phase in self._phases:
            way += phase.way(min(max(t, 0.0), phase.seconds))
            t -= phase.seconds
        return way
