"""What the electronics of a Cavro pump do with a string of commands: manual 734237-C, 3.3 to 3.5.

The guesses of `sdl.simulators.cavro.simulator` are made here.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sdl.simulators.cavro.program import (
    FINER,
    LONGEST,
    MOVES,
    SETTINGS,
    SPEEDS,
    STARTS,
    VALVES,
    Step,
    loops,
    parse,
)

PLACES = {"I": "input", "O": "output", "B": "bypass", "E": "extra"}
VALVE_TURN, OVERLOAD_AFTER, LOOP_TURN = 0.25, 0.2, 0.005  # s
INITIALIZING = 500  # pulses/s
LOST = (1, 7, 9, 10)  # errors that only an initialization ends


class SyringeWithValve(Protocol):
    """The part of a world that the pump moves."""

    capacity_mL: float  # noqa: N815 (the unit's symbol)

    @property
    def syringe(self) -> float: ...
    @property
    def stalled(self) -> bool: ...
    @property
    def running(self) -> bool: ...
    @property
    def time_left(self) -> float: ...
    @property
    def port(self) -> int | str: ...
    def start(self, rate: float, volume: float | None = None) -> None: ...
    def stop(self, why: str = "stopped") -> None: ...
    def lose_power(self) -> None: ...
    def turn(self, port: int | str) -> bool: ...
    def watch(self, changed: Callable[[], object]) -> None: ...


class Failed(Exception):  # noqa: N818 (it is the pump's own, not an error of ours)
    """A string ends with an error, which `Q` reports."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


@dataclass
class Volatile:
    """What a loss of power takes: each attribute is called as its command."""

    V: int = 1400
    v: int = 900
    c: int = 900
    L: int = 14
    N: int = 0
    K: int = 12
    k: int = 122
    J: int = 0
    initialized: bool = False
    placed: bool = False
    """whether it has a position to report, right or wrong"""
    error: int = 0
    """that the next `Q` tells"""
    buffer: str = ""
    last: str = ""
    """the string that X repeats"""


class Drive:
    """Plunger and valve, and the one program that moves them."""

    def __init__(
        self,
        part: SyringeWithValve,
        *,
        steps: int,
        pulses: int,
        ports: int | None,
        initialized: bool,
        is_stuck: Callable[[], bool],
    ) -> None:
        """:param steps: of a stroke, in normal resolution.
        :param pulses: of a stroke, in which speeds are counted.
        """
        self._part, self._ports, self._is_stuck = part, ports, is_stuck
        self._steps, self._pulses = steps, pulses
        self.state = Volatile(initialized=initialized, placed=initialized)
        self.counts = {"?15": 0, "?16": 0, "?17": 0, "?18": 0}
        self.shows_busy = True
        """whether what runs shows: moves with small letters do not"""
        self._program: asyncio.Task[None] | None = None
        self._turning: asyncio.Task[bool] | None = None  # what T does not end
        self._go_on, self._changed = asyncio.Event(), asyncio.Event()
        part.watch(self.look_again)

    def look_again(self) -> None:
        """Have a move that is under way see that something has changed."""
        self._changed.set()

    def go_on(self) -> None:
        """End the wait of `H`."""
        self._go_on.set()

    def lose_power(self) -> None:
        self.switch_off()
        self._part.lose_power()
        self.state = Volatile()

    def switch_off(self) -> None:
        """End all that moves, the valve too."""
        self.terminate()
        if self._turning is not None:
            self._turning.cancel()

    @property
    def runs(self) -> bool:
        return any(task is not None and not task.done() for task in (self._program, self._turning))

    @property
    def full(self) -> int:
        """Steps of a stroke, in the resolution that is set."""
        return self._steps * (8 if self.state.N else 1)

    @property
    def position(self) -> int:
        """Of the plunger, in steps, as the pump believes."""
        if not self.state.placed:
            return 0
        return round(self._part.syringe / self._part.capacity_mL * self.full)

    def run(self, text: str) -> None:
        text, self.state.buffer = text.replace("X", self.state.last), ""
        steps = parse(text[:LONGEST])
        if steps is None or loops(steps) is None:
            raise Failed(2)
        self._check(steps)
        self.state.last = text[:LONGEST].replace("X", "")
        self._go_on.clear()
        self.shows_busy = not any(step.letter in "apd" for step in steps)
        now = [step for step in steps if step.letter in SETTINGS]
        if len(now) == len(steps):  # what takes no time is done at once
            with contextlib.suppress(Failed):
                self._set_all(steps)
            return
        self._program = asyncio.get_running_loop().create_task(self._execute(steps))

    def _check(self, steps: list[Step]) -> None:
        """Refuse at once what cannot even begin."""
        letters = [step.letter for step in steps]
        first = next((letter for letter in letters if letter in MOVES + VALVES + STARTS), "")
        if first in STARTS or not first:
            return
        if not self.state.initialized:
            raise Failed(7)
        if first in MOVES and self._part.port == "bypass":
            raise Failed(11)

    def _set_all(self, steps: list[Step]) -> None:
        try:
            for step in steps:
                self._set(step)
        except Failed as failure:
            self.state.error = failure.error
            raise

    async def _execute(self, steps: list[Step]) -> None:
        try:
            await self._follow(steps)
        except Failed as failure:
            self._part.stop()
            self.state.error = failure.error
            if failure.error in LOST:
                self.state.initialized = False

    async def _follow(self, steps: list[Step]) -> None:
        ends = loops(steps) or {}
        rounds: dict[int, int] = {}
        at = 0
        while at < len(steps):
            step = steps[at]
            if step.letter == "G":
                await asyncio.sleep(LOOP_TURN)
                rounds[at] = rounds.get(at, 0) + 1
                wanted = step.value or 0  # 0: for ever
                if wanted == 0 or rounds[at] < wanted:
                    at = ends[at]
                else:
                    rounds[at] = 0
            else:
                await self._do(step)
            at += 1

    async def _do(self, step: Step) -> None:
        if step.letter in SETTINGS:
            self._set(step)
        elif step.letter in MOVES:
            await self._move(step)
        elif step.letter in VALVES:
            await self._turn(self._port_of(step))
        elif step.letter in STARTS:
            await self._initialize(step)
        elif step.letter == "w":
            await self._turn(self._port_or_input(step.value))
        elif step.letter == "M":
            await asyncio.sleep(self._within(step.value or 0, 0, 30_000) / 1000)
        elif step.letter == "H":
            self._within(step.value or 0, 0, 2)
            self._go_on.clear()
            await self._go_on.wait()

    def _set(self, step: Step) -> None:
        low, high = SETTINGS[step.letter]
        finer = 8 if step.letter in FINER and self.state.N else 1
        if step.value is None and step.letter not in "NJ":
            raise Failed(3)
        value = self._within(step.value or 0, low, high * finer)
        if step.letter == "S":
            self.state.V = SPEEDS[value]
        else:
            setattr(self.state, step.letter, value)

    def _within(self, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            raise Failed(3)
        return value

    def change_speed(self, steps: list[Step]) -> None:
        """Go on with another speed: the only setting that a moving pump takes."""
        self._set_all(steps)
        self._changed.set()

    # Plunger and valve

    async def _move(self, step: Step) -> None:
        if not self.state.initialized:
            raise Failed(7)
        if self._part.port == "bypass":
            raise Failed(11)
        amount = step.value if step.value is not None else 0
        before = self.position
        targets = {"A": amount, "P": before + amount, "D": before - amount}
        target = self._within(targets[step.letter.upper()], 0, self.full)
        if amount < 0 or amount > self.full:
            raise Failed(3)
        if target == before:
            return
        self.counts["?16"] += 1
        await self._go(target / self.full * self._part.capacity_mL, lambda: self.state.V)

    async def _go(self, level: float, speed: Callable[[], int]) -> None:
        """Bring the plunger to where the syringe holds `level` mL; a change of speed counts."""
        part = self._part
        per_pulse = 60.0 * part.capacity_mL / self._pulses  # mL/min for a pulse/s
        while abs(level - part.syringe) > 1e-9 * part.capacity_mL:
            if self._is_stuck():
                await asyncio.sleep(OVERLOAD_AFTER)
                raise Failed(9)
            volume = part.syringe - level  # + goes out
            part.start(float(np.copysign(speed() * per_pulse, volume)), volume)
            await self._until_change(part.time_left)
            stalled = part.stalled
            part.stop()
            if stalled:
                raise Failed(9)

    async def _until_change(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _turn(self, port: int | str) -> None:
        if port == self._part.port:
            return
        self._turning = asyncio.get_running_loop().create_task(self._bring(port))
        if not await asyncio.shield(self._turning):
            raise Failed(10)

    async def _bring(self, port: int | str) -> bool:
        await asyncio.sleep(VALVE_TURN)
        if self._is_stuck() or not self._part.turn(port):
            return False
        self.counts["?17"] += 1
        self.counts["?18"] += 1
        return True

    def _port_of(self, step: Step) -> int | str:
        if self._ports is None:
            if step.value is not None:
                raise Failed(3)
            return PLACES[step.letter]
        if step.letter in "BE":
            raise Failed(3)
        default = 1 if step.letter == "I" else self._ports
        return self._within(step.value if step.value is not None else default, 1, self._ports)

    def _port_or_input(self, number: int | None) -> int | str:
        if self._ports is None:
            return "input"
        return self._within(number or 1, 1, self._ports)

    async def _initialize(self, step: Step) -> None:
        """Home the valve, push all out at the output, and stand at the input."""
        force, into, out = (*step.values, None, None)[:3]
        if force is not None and force not in (0, 1, 2) and not 10 <= force <= 40:
            raise Failed(3)
        first = self._port_or_input(into)
        last = "output" if self._ports is None else self._within(out or self._ports, 1, self._ports)
        self.state.initialized, self.state.placed, self.state.error = False, True, 0
        if step.letter != "W":
            await self._turn(last)
        try:
            await self._go(0.0, lambda: INITIALIZING)
        except Failed as failure:
            raise Failed(1) from failure
        if step.letter != "W":
            await self._turn(first)
        self.counts["?15"] += 1
        self.state.initialized = True

    def terminate(self) -> None:
        """End the plunger's move, and the string; a valve comes to where it was turning to."""
        if self._program is not None and not self._program.done():
            self._program.cancel()
            if not self.state.initialized and not self.state.error:
                self.state.error = 1  # it was looking for its place
            self._part.stop()
        self._program = None
