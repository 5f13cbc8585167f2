"""How a Grbl 1.1 moves its carriage: planned blocks, holds, homing, alarms, and its states.

Source: Grbl 1.1 documentation (interface.md: machine states, alarms; settings). Simplified: see
`grbl`.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from sdl.simulators.grbl import settings as numbers
from sdl.simulators.grbl.gcode import Dwell, Move, Point, less
from sdl.simulators.grbl.settings import Settings

BLOCKS = 15
LONGEST_DWELL = 1e6  # s
MOVING = ("Run", "Jog", "Home")
FEED, RAPID, SPINDLE = range(3)  # overrides


class Carriage(Protocol):
    """The three axes in their world: mm, mm/s, mm/s2."""

    @property
    def moved(self) -> Point:
        """What the motors were told to go since the move began."""
        ...

    @property
    def speed(self) -> float: ...
    @property
    def time_left(self) -> float: ...
    @property
    def meets_end_in(self) -> float | None:
        """Seconds until the move under way runs into an end; None if it does not."""
        ...

    @property
    def switches(self) -> tuple[bool, bool, bool]: ...
    def move(self, by: Point, *, speed: float, acceleration: float) -> None: ...
    def brake(self, acceleration: float) -> None: ...
    def halt(self) -> None: ...


@dataclass
class Planned:
    """A block in the planner."""

    action: Move | Dwell
    jog: bool = False


class Controller(Protocol):
    """Whose motion it is."""

    news: asyncio.Event
    """Set when something has changed that a line may wait for."""

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Begin something that ends with a reset."""
        ...

    def tell(self, text: str) -> None: ...


class Motion:
    """The state of the machine, as a report calls it, and what it does to the carriage."""

    def __init__(
        self, part: Carriage, settings: Settings, controller: Controller, position: Point
    ) -> None:
        self._part, self._settings, self._controller = part, settings, controller
        self.state = "Alarm" if settings[numbers.HOMING] else "Idle"
        self.forget(position)

    def forget(self, position: Point) -> None:
        """Drop what was planned; be at `position`."""
        self.count = self.planned_end = position
        """mm of the machine: where it is between moves; where the planned ones end"""
        self.blocks: deque[Planned] = deque()
        self._task: asyncio.Task[None] | None = None
        self.overrides = [100, 100, 100]
        self.locked = False
        """whether nothing but a reset is heard"""
        self.holding = ""
        """empty: no; "slowing", "complete\""""

    @property
    def position(self) -> Point:
        """Where it believes the carriage to be, mm of the machine."""
        x, y, z = (a + b for a, b in zip(self.count, self._part.moved, strict=True))
        return x, y, z

    @property
    def end_of_plan(self) -> Point:
        return self.planned_end if self.blocks else self.count

    def plan(self, planned: "Planned") -> None:
        """Take one more block; there must be room for it."""
        if isinstance(planned.action, Move):
            self.planned_end = self.in_steps(planned.action.target)
        self.blocks.append(planned)
        self.go_on()

    def is_out(self, target: Point) -> bool:
        """Whether the soft limits forbid a place."""
        travel = self._settings.axis(numbers.TRAVEL)
        return bool(self._settings[numbers.SOFT]) and any(
            not -most <= at <= 0 for at, most in zip(target, travel, strict=True)
        )

    def hold(self) -> None:
        if self.state in ("Run", "Jog"):
            self._slow_down()
        elif self.state == "Idle":
            self.state, self.holding = "Hold", "complete"

    def open_door(self) -> None:
        """Hold until it is closed and somebody says to go on."""
        if self.state not in ("Idle", "Run", "Jog", "Hold", "Door"):
            return
        self._controller.tell("[MSG:Check Door]\r\n")
        moving = self.state in ("Run", "Jog")
        self.state = "Door"
        if moving:
            self._slow_down()
        elif not self.holding:
            self.holding = "complete"

    def _slow_down(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        block = self.blocks[0].action if self.blocks else None
        if isinstance(block, Move):
            self._part.brake(self._acceleration(less(block.target, self.count)))
        if self.state == "Run":
            self.state = "Hold"
        self.holding = "slowing"
        self._controller.start(self._stop_slowly)

    async def _stop_slowly(self) -> None:
        await asyncio.sleep(self._part.time_left)
        self.settle()
        self.holding = "complete"
        if self.blocks and self.blocks[0].jog:  # a jog that was held is over
            self.blocks.clear()
            self.planned_end = self.count
        if self.state == "Jog":
            self.state, self.holding = "Idle", ""
        self._controller.news.set()

    def resume(self, door: bool) -> None:
        if self.holding != "complete" or (self.state == "Door" and door):
            return
        self.holding, self.state = "", "Idle"
        self._controller.news.set()
        self.go_on()

    def settle(self) -> None:
        """Take over where the motors have stopped."""
        stopped = self.position
        self._part.halt()
        self.count = stopped

    def go_on(self) -> None:
        if self._task is None and self.blocks and not self.holding:
            self._task = self._controller.start(self._go)

    async def _go(self) -> None:
        while self.blocks:
            block = self.blocks[0]
            self.state = "Jog" if block.jog else "Run"
            if isinstance(block.action, Dwell):
                await asyncio.sleep(min(block.action.seconds, LONGEST_DWELL))
            elif not await self._travel(block.action):
                return
            if self.blocks:
                self.blocks.popleft()
            self._controller.news.set()
        self.state, self._task = "Idle", None
        self._controller.news.set()

    async def _travel(self, move: Move) -> bool:
        """Make one straight move; whether it was made."""
        target = self.in_steps(move.target)
        way = less(target, self.count)
        if math.hypot(*way) > 0:
            speed = self._speed(way, move.feed)
            self._part.move(way, speed=speed, acceleration=self._acceleration(way))
            crash = self._part.meets_end_in
            if crash is not None and self._settings[numbers.HARD]:
                await asyncio.sleep(crash)
                self._hard_limit()
                return False
            await asyncio.sleep(self._part.time_left)
            self._part.halt()
        self.count = target
        return True

    def in_steps(self, point: Point) -> Point:
        steps = self._settings.axis(numbers.STEPS)
        x, y, z = (
            round(at * per) / per if per else at for at, per in zip(point, steps, strict=True)
        )
        return x, y, z

    def _speed(self, way: Point, feed: float | None) -> float:
        """mm/s along a way; no axis goes faster than it may."""
        fastest = self._along(way, self._settings.axis(numbers.MOST_RATE)) / 60
        if feed is None:
            return max(fastest * self.overrides[RAPID] / 100, 0.01)
        return max(min(feed / 60 * self.overrides[FEED] / 100, fastest), 0.01)

    def _acceleration(self, way: Point) -> float:
        return max(self._along(way, self._settings.axis(numbers.ACCELERATION)), 0.1)

    def _along(self, way: Point, limits: Point) -> float:
        length = math.hypot(*way)
        parts = zip(way, limits, strict=True)
        return min((limit * length / abs(part) for part, limit in parts if part), default=1.0)

    def _hard_limit(self) -> None:
        self.settle()
        self.alarm(1)

    def alarm(self, number: int) -> None:
        """Stop everything; after a limit nothing but a reset is heard."""
        self.blocks.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        self.state, self.locked = "Alarm", number in (1, 2)
        self._controller.tell(f"ALARM:{number}\r\n" + "[MSG:Reset to continue]\r\n" * self.locked)

    async def home(self) -> bool:
        """Find the switches: Z first, then X, then Y; say whether they were found."""
        self.state = "Home"
        seek = self._settings[numbers.HOMING_SEEK] / 60
        pull, mask = self._settings[numbers.PULL_OFF], int(self._settings[numbers.HOMING_WAY])
        found = list(self.count)
        for axis in (2, 0, 1):
            down = bool(mask >> axis & 1)
            travel = self._settings[numbers.TRAVEL + axis]
            way, back = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
            way[axis] = (-1.5 if down else 1.5) * travel
            back[axis] = pull if down else -pull
            if not self._part.switches[axis]:
                self._part.move(_point(way), speed=max(seek, 0.01), acceleration=100.0)
                crash = self._part.meets_end_in
                await asyncio.sleep(self._part.time_left if crash is None else crash)
                self._part.halt()
                if crash is None:
                    self.alarm(9)
                    return False
            slow = max(self._settings[numbers.HOMING_FEED] / 60, 0.01)
            self._part.move(_point(back), speed=slow, acceleration=100.0)
            await asyncio.sleep(self._part.time_left)
            self._part.halt()
            found[axis] = -travel + pull if down else -pull
        self.count = self.planned_end = _point(found)
        self.state = "Idle"
        return True


def _point(values: list[float]) -> Point:
    x, y, z = values
    return x, y, z
