"""What an NE-1000 does with its plunger: the pumping program, its memory and its counters.

Written from the user manual, publication 1200-01, sections 5 to 8. Of the functions that a phase
may have only RAT and STP are simulated. Two things the manual does not say are assumed: the
counters are lost with the power, and a change of the volume's unit converts them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

FASTEST, SLOWEST = 5.1005, 0.004205 / 60  # cm/min of the plunger
PER_MINUTE = {"UM": 1e-3, "MM": 1.0, "UH": 1e-3 / 60, "MH": 1.0 / 60}  # mL/min
PHASES = 41


class PumpHead(Protocol):
    """The plunger in its world: mL/min, + infuses, - withdraws; `moved` in mL since `start`."""

    @property
    def blocked(self) -> bool:
        """Whether it cannot move."""
        ...

    @blocked.setter
    def blocked(self, value: bool) -> None: ...

    @property
    def moved(self) -> float: ...
    @property
    def running(self) -> bool: ...
    @property
    def stalled(self) -> bool: ...
    @property
    def time_left(self) -> float: ...
    def start(self, rate: float, volume: float | None = None) -> None: ...
    def stop(self) -> None: ...
    def lose_power(self) -> None: ...
    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` whenever a move ends otherwise than it was begun."""


@dataclass
class Phase:
    function: str = "STP"
    rate: str = "0.000"
    rate_unit: str = "MH"
    volume: float = 0.0  # mL; 0: without end
    infuse: bool = True

    @property
    def flow(self) -> float:
        """mL/min"""
        return float(self.rate) * PER_MINUTE[self.rate_unit]


@dataclass
class Memory:
    """What survives a power cycle."""

    diameter: float  # mm
    unit: str  # of volumes
    timer: int = 0  # s of safe mode; 0 is basic mode
    phases: dict[int, Phase] = field(
        default_factory=lambda: {n: Phase("RAT" if n == 1 else "STP") for n in range(1, PHASES + 1)}
    )
    switches: dict[str, str] = field(default_factory=lambda: {"AL": "1", "BUZ": "0", "LOC": "0"})

    @property
    def slowest(self) -> float:
        """mL/min"""
        return SLOWEST * math.pi / 4 * (self.diameter / 10) ** 2

    @property
    def fastest(self) -> float:
        """mL/min"""
        return FASTEST * math.pi / 4 * (self.diameter / 10) ** 2


class PumpingProgram:
    """Runs the phases one after the other until one says STP."""

    def __init__(self, part: PumpHead, memory: Memory) -> None:
        self._part, self._memory = part, memory
        self._forget()

    def lose_power(self) -> None:
        self._part.lose_power()
        self._forget()

    def _forget(self) -> None:
        self.prompt = "S"
        self.counted = {"INF": 0.0, "WDR": 0.0}  # mL, but for the move under way
        self.live_rate: str | None = None  # set while pumping: not kept
        self._number, self._moved = 1, 0.0  # the phase, and mL in it before the newest start

    @property
    def moving(self) -> bool:
        return self.prompt in "IWX"

    @property
    def time_left(self) -> float:
        """Seconds until the motor stops of itself."""
        if not self.moving:
            return math.inf
        return self._part.time_left if self._part.running else 0.0

    def counter(self, which: str) -> float:
        sign = 1 if which == "INF" else -1
        moving = max(sign * self._part.moved, 0.0) if self.moving else 0.0
        return self.counted[which] + moving

    def run(self, number: int | None = None) -> str | None:
        """Start at a phase, resume a paused one, or start at the first; return an alarm."""
        if self.prompt == "P" and number is None:
            self._go(self._phase.flow)
            return None
        return self._begin(number or 1)

    def stop(self) -> None:
        """Pause; if it is paused, stop."""
        if self.moving:
            self._end("S" if self.prompt == "X" else "P")
        else:
            self.prompt, self._number = "S", 1

    def abort(self) -> None:
        self._end("S")
        self._number = 1

    def purge(self) -> None:
        self._part.start(self._memory.fastest * (1 if self._phase.infuse else -1))
        self.prompt = "X"

    def change_rate(self, text: str, flow: float) -> None:
        """While pumping."""
        self._end(self.prompt)
        self._go(flow)
        self.live_rate = text

    def catch_up(self) -> str | None:
        """Notice that the motor has stopped; return an alarm, if that is one."""
        if not self.moving or self._part.running:
            return None
        stalled = self._part.stalled
        self._end("S")
        if stalled:
            self._number = 1
            return "S"
        return self._begin(self._number + 1)

    @property
    def _phase(self) -> Phase:
        return self._memory.phases[self._number]

    def _begin(self, number: int) -> str | None:
        self._moved, self.live_rate = 0.0, None
        self.prompt, self._number = "S", number if number <= PHASES else 1
        if number > PHASES:
            return "O"
        if self._phase.function == "STP":
            self._number = 1
        else:
            self._go(self._phase.flow)
        return None

    def _go(self, flow: float) -> None:
        infuse, volume = self._phase.infuse, self._phase.volume
        self.prompt = "I" if infuse else "W"
        left = max(volume - self._moved, 0.0) if volume > 0 else None
        self._part.start(flow if infuse else -flow, left)

    def _end(self, prompt: str) -> None:
        if self.moving:
            self._part.stop()
            self._moved += abs(self._part.moved)
            self.counted["INF" if self._part.moved > 0 else "WDR"] += abs(self._part.moved)
        self.prompt = prompt
