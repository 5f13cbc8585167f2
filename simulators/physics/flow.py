"""A tube reactor as a row of stirred vessels: its residence time distribution is theirs."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
React = Callable[[Array, float], Array]  # (species, n) concentrations, seconds -> the same, later

COURANT = 0.95  # the largest part of the smallest vessel replaced in one step


class TanksInSeries:
    """`n` stirred vessels in a row, each with its volume.

    Transport is explicit, reaction implicit, in one step and not one after the other: where nothing
    changes any more the result is the exact steady state of the row, whatever the step.
    """

    def __init__(self, volumes: Array, species: int) -> None:
        """:param volumes: (n,) mL"""
        self.volumes = np.asarray(volumes, dtype=float)
        self.concentrations = np.zeros((species, len(self.volumes)))

    def advance(self, dt: float, flow: float, inlet: Array, react: React) -> None:
        """:param flow: mL/s; :param inlet: (species,) M of what flows in, all of `dt` seconds."""
        steps = max(1, math.ceil(dt * flow / (COURANT * self.volumes.min()) - 1e-9))
        h = dt / steps
        exchange = h * flow / self.volumes
        for _ in range(steps):
            c = self.concentrations
            if flow > 0:
                before = np.empty_like(c)
                before[:, 0], before[:, 1:] = inlet, c[:, :-1]
                c = c + exchange * (before - c)
            self.concentrations = react(c, h)
