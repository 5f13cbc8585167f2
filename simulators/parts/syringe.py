"""A syringe whose plunger a pump moves."""

import math
from collections.abc import Callable

from sdl.simulators.parts.acting import Acting, Timekeeper


class PumpHead(Acting):
    """A syringe on a pump, with check valves: drawing fills from the feed, infusing goes on.

    The plunger is exact at every moment, whatever the steps of the world. Its actions (mL, mL/min):

    - `move` when it begins: `number`, `rate`, `wanted` (null: without end), `from` (the level);
    - `moved` when that is over: `number`, `moved` (by the plunger), `flowed` (in truth), `to`, and
      `why`: done, stopped, stalled, or power lost;
    - `power` whenever power comes; `blocked` and `freed`, faults.

    `moved` is told when its simulator notices, as it does at once, with the time when it was over.
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        capacity_mL: float,  # noqa: N803 (the unit's symbol)
        filled_mL: float = 0.0,  # noqa: N803
        scale: float = 1.0,
    ) -> None:
        """:param scale: mL that really flow for each mL that the plunger is believed to move."""
        self._world, self.capacity_mL, self.scale = world, capacity_mL, scale
        self._level = (
            filled_mL  # mL when the move began; `_level` and `_limit` change between moves
        )
        self._rate, self._since, self._limit = 0.0, 0.0, 0.0  # mL/min (signed), s, mL
        self._going = self._stalls = self._blocked = False
        self._infused = self._drawn = 0.0  # mL in all earlier moves
        self._moves = 0
        self._watchers: list[Callable[[], object]] = []

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` whenever a move ends otherwise than it was begun: by a fault."""
        self._watchers.append(changed)

    def start(self, rate: float, volume: float | None = None) -> None:
        """Move at `rate` mL/min (+ infuses, - draws) until `volume` mL, `stop` or the end stop.

        A move under way is ended first; `moved` begins again at 0.
        """
        self.stop()
        reach = self._level if rate > 0 else self.capacity_mL - self._level
        if self._blocked:
            reach = 0.0
        wanted = math.inf if volume is None else abs(volume)
        self._rate, self._since = rate, self._world.now
        self._limit, self._stalls = min(wanted, reach), wanted > reach + 1e-9
        self._going = rate != 0
        if self._going:
            self._moves += 1
            goal = None if volume is None else math.copysign(volume, rate)
            details = {"number": self._moves, "rate": rate, "wanted": goal, "from": self._level}
            self._act(self._since, "move", **details)

    def lose_power(self) -> None:
        """Lose the power for a moment, or get it for the first time."""
        self.stop("power lost")
        self._act(self._world.now, "power")

    def stop(self, why: str = "stopped") -> None:
        self._world.advance()
        now, going = self._world.now, self._going
        moved, ended = self._moved(now), self._ended(now)
        self._level = min(max(self._level - moved, 0.0), self.capacity_mL)
        self._infused += max(moved, 0.0)
        self._drawn += max(-moved, 0.0)
        self._stalls = self._stalls and self._going and self._ended(self._world.now)
        # what was moved stays readable: a move of exactly that, which has ended
        self._limit, self._going = abs(moved), False
        if going:
            if ended:
                why = "stalled" if self._stalls else "done"
                now = min(now, self._since + abs(moved) * 60.0 / abs(self._rate))
            flowed = {"moved": moved, "flowed": self.scale * moved, "to": self._level}
            self._act(now, "moved", number=self._moves, **flowed, why=why)

    @property
    def moved(self) -> float:
        """Volume since `start` in mL, + infused, - drawn, as the plunger knows it."""
        self._world.advance()
        if self._going:
            return self._moved(self._world.now)
        return math.copysign(self._limit, self._rate) if self._limit else 0.0

    @property
    def running(self) -> bool:
        self._world.advance()
        return self._going and not self._ended(self._world.now)

    @property
    def stalled(self) -> bool:
        """Whether the plunger met its end stop or a blocked line before it was done."""
        self._world.advance()
        return self._stalls and (not self._going or self._ended(self._world.now))

    @property
    def time_left(self) -> float:
        """Seconds until the move under way ends of its own, by volume or by stalling; 0 if none."""
        if not self.running:
            return 0.0
        return max(self._since + self._limit * 60.0 / abs(self._rate) - self._world.now, 0.0)

    @property
    def syringe(self) -> float:
        """Volume left in the syringe, mL."""
        self._world.advance()
        return min(max(self._level - self._moved(self._world.now), 0.0), self.capacity_mL)

    @property
    def blocked(self) -> bool:
        """A fault to inject: the line is shut, so the plunger stalls where it is."""
        return self._blocked

    @blocked.setter
    def blocked(self, value: bool) -> None:
        self._world.advance()
        if value is not self._blocked:
            self._act(self._world.now, "blocked" if value else "freed")
        self._blocked = value
        if value and self._going and not self._ended(self._world.now):
            self._limit, self._stalls = abs(self._moved(self._world.now)), True
            for changed in self._watchers:
                changed()

    def totals(self, t: float) -> tuple[float, float]:
        """Return true mL (infused, drawn) since the world began, at `t` of the move under way."""
        moved = self._moved(t)
        return (
            self.scale * (self._infused + max(moved, 0.0)),
            self.scale * (self._drawn + max(-moved, 0.0)),
        )

    def _ended(self, t: float) -> bool:
        # asked at the very moment it computed from `time_left`, an instrument must find it done
        return abs(self._rate) * (t - self._since) / 60.0 >= self._limit * (1 - 1e-9) - 1e-12

    def _moved(self, t: float) -> float:
        if not self._going:
            return 0.0
        if self._ended(t):
            return math.copysign(self._limit, self._rate)
        return self._rate * max(t - self._since, 0.0) / 60.0
