"""A flow cell: a reagent turns into a coloured product, and that into a colourless one.

Both steps are of first order, so the colour is deepest at one residence time: too fast and little
has reacted, too slow and it has faded.
"""

import math
from collections.abc import Callable

from sdl.simulators.world import PumpHead, World

CELL_ML = 2.0
COLOURS, FADES = 1.2, 0.3  # 1/min
DEEPEST = 1.5  # absorbance of pure product
DARK_MIN = 1e-3  # mL/min below which nothing flows


class Outlet:
    """Where the photometer looks."""

    def __init__(self, world: "FlowCell") -> None:
        self._world = world
        self.colour = 0.0

    @property
    def absorbance(self) -> float:
        self._world.advance()
        return self.colour


class FlowCell(World):
    """Parts: `feed` (a pump's syringe) and `cell` (the outlet)."""

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(seed=seed, clock=clock)
        self._feed, self._outlet = PumpHead(self, capacity_mL=10.0), Outlet(self)
        self._pushed = 0.0
        self.parts = {"feed": self._feed, "cell": self._outlet}

    def step(self, t: float, dt: float) -> None:
        """What flows in during `dt` pushes as much of the old content out."""
        pushed, _ = self._feed.totals(t)
        volume, self._pushed = pushed - self._pushed, pushed
        flow = volume / dt * 60.0  # mL/min
        if flow > DARK_MIN:
            steady = DEEPEST * product(CELL_ML / flow)
            self._outlet.colour += (steady - self._outlet.colour) * (
                1 - math.exp(-volume / CELL_ML)
            )


def product(minutes: float) -> float:
    """Part of the reagent that is coloured product after `minutes` in the cell."""
    return COLOURS / (COLOURS - FADES) * (math.exp(-FADES * minutes) - math.exp(-COLOURS * minutes))


flow_cell = FlowCell
