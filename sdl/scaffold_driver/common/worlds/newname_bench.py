"""A bench with what the simulated newname acts on: a bath of water.

FILL IN 5: what your instrument acts on or looks at; a lab's own world may have such a part instead.
"""

import math
from collections.abc import Callable

from sdl.simulators.world import Acting, Timekeeper, World

ROOM = 22.0  # degC


class Bath(Acting):
    """Water that is brought to a setpoint and kept there, as a system of first order.

    It is insulated well: what does not run keeps its temperature.

    Its actions: `setpoint` (`celsius`), `running` and `not running`, `placed` (`celsius`).
    """

    def __init__(self, world: Timekeeper, *, time_constant: float = 120.0) -> None:
        """:param time_constant: s in which the way to go becomes e times shorter."""
        self._world, self._time_constant = world, time_constant
        self._since, self._from = world.now, ROOM
        self._setpoint, self._running, self._filled = 25.0, False, True

    @property
    def temperature(self) -> float:
        """Of the water now, degC."""
        self._world.advance()
        if not self._running:
            return self._from
        passed = self._world.now - self._since
        still_to_go = (self._from - self._setpoint) * math.exp(-passed / self._time_constant)
        return self._setpoint + still_to_go

    @temperature.setter
    def temperature(self, celsius: float) -> None:
        """Pour in other water, by hand."""
        self._since, self._from = self._world.now, celsius
        self._act(self._world.now, "placed", celsius=celsius)

    @property
    def setpoint(self) -> float:
        """What its controller aims at, degC."""
        return self._setpoint

    @setpoint.setter
    def setpoint(self, celsius: float) -> None:
        self._go_on_from_here()
        self._setpoint = celsius
        self._act(self._world.now, "setpoint", celsius=celsius)

    @property
    def running(self) -> bool:
        """Whether it heats and cools."""
        return self._running

    @running.setter
    def running(self, on: bool) -> None:
        self._go_on_from_here()
        self._running = on and self._filled
        self._act(self._world.now, "running" if self._running else "not running")

    @property
    def filled(self) -> bool:
        """Whether there is enough water in it; it stops running when there is not."""
        return self._filled

    @filled.setter
    def filled(self, enough: bool) -> None:
        self._filled = enough
        if not enough:
            self.running = False

    def _go_on_from_here(self) -> None:
        self._from, self._since = self.temperature, self._world.now


class NewNameBench(World):
    """Parts: `bath`."""

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(seed=seed, clock=clock)
        self.parts = {"bath": Bath(self)}

    def step(self, t: float, dt: float) -> None:
        """Do nothing: the bath is exact at every moment."""


newname_bench = NewNameBench
