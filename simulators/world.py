"""A simulated physical world: it owns time, and everything in it happens in its steps.

Instruments' simulators are attached to its parts by name. Nothing runs by itself: the world is
brought up to now whenever a part is read or changed, on a grid of steps that does not depend on who
asks, nor how often. So the same seed gives the same world, whatever the instruments' polling.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sdl.simulators.parts.acting import Acting as Acting
from sdl.simulators.parts.acting import Timekeeper as Timekeeper
from sdl.simulators.parts.air import BenchAir as BenchAir
from sdl.simulators.parts.heat import HeatedBlock as HeatedBlock
from sdl.simulators.parts.seen import DetectorPart as DetectorPart
from sdl.simulators.parts.syringe import PumpHead as PumpHead

STEP = 1.0  # s


class World(ABC):
    """Subclasses build `parts` and say in `step` what happens in a second."""

    parts: Mapping[str, Any]
    """What instruments can be attached to, by name; what it is, the instrument has to check."""

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        """:param clock: seconds on the loop's clock; the world begins now."""
        self._seed, self._clock = seed, clock
        self._began = clock()
        self._done = 0  # steps
        self._stepping = False
        self._generators: dict[str, np.random.Generator] = {}

    @property
    def now(self) -> float:
        """Seconds since the world began; during a step, its end."""
        return self._done * STEP if self._stepping else self._clock() - self._began

    def advance(self) -> None:
        """Take all steps that end before or at now; a controller called in a step may come back."""
        if self._stepping:
            return
        due = int((self._clock() - self._began) / STEP + 1e-9)
        if self._done >= due:
            return
        self._stepping = True
        try:
            while self._done < due:
                self._done += 1
                self.step(self._done * STEP, STEP)
        finally:
            self._stepping = False

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator called `name`: each has its own numbers, whoever asks first."""
        if name not in self._generators:
            key = zlib.crc32(name.encode())
            self._generators[name] = np.random.default_rng([self._seed, key])
        return self._generators[name]

    def tell_actions(self, told: Callable[[dict[str, Any]], None]) -> None:
        """Call `told` with each physical action from now on, as the parts say it (`Acting`).

        :param told: takes `t` (s since the world began), `part`, `action` and what belongs to it;
            all of it JSON.
        """
        for name, part in self.parts.items():
            if isinstance(part, Acting):
                part.tell_actions(
                    lambda said, name=name: told({"t": said["t"], "part": name, **said})
                )

    @abstractmethod
    def step(self, t: float, dt: float) -> None:
        """Advance everything by `dt` seconds to `t` (seconds since the world began)."""
