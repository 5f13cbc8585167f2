"""The air of the room that all instruments of a bench stand in."""

import math

import numpy as np

from sdl.simulators.parts.acting import Timekeeper


class BenchAir:
    """The air of the room: a daily swing and slow weather, both functions of time and seed only."""

    def __init__(self, world: Timekeeper, rng: np.random.Generator) -> None:
        self._world = world
        self._phases = rng.uniform(0.0, 2 * np.pi, 4)
        self._periods = 3600.0 * rng.uniform([30.0, 70.0, 5.0, 11.0], [50.0, 110.0, 8.0, 17.0])

    @property
    def temperature(self) -> float:
        """Of the air, degC."""
        return self.temperature_at(self._world.now)

    @property
    def humidity(self) -> float:
        """Relative, in %: the water in the air drifts, and warm air is drier."""
        t = self._world.now
        drift = 5.0 * self._wave(t, 1) + 2.0 * self._wave(t, 2)
        return min(max(42.0 + drift - 2.5 * (self.temperature_at(t) - 22.0), 5.0), 95.0)

    def temperature_at(self, t: float) -> float:
        day = math.sin(2 * math.pi * (t / 86400.0 - 0.25))  # coldest when the world begins
        return 22.0 + 0.9 * day + 0.4 * self._wave(t, 0) + 0.15 * self._wave(t, 3)

    def _wave(self, t: float, i: int) -> float:
        return math.sin(2 * math.pi * t / self._periods[i] + self._phases[i])
