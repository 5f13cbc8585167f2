"""What detectors, balances and probes look at. Noise and saturation are the instruments' own."""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.parts.acting import Timekeeper

Array = NDArray[np.float64]


@runtime_checkable
class DetectorPart(Protocol):
    """What a detector looks at. Noise, stray light and saturation are the detector's own."""

    axis: Array
    """(w,), ascending or descending, never changing"""
    axis_name: str
    axis_units: str
    quantity: Literal["transmittance", "impedance"]

    def sample(self, integration_s: float) -> Array:
        """Return the true signal now: (w,) transmittance 0..1, or (2, w) real, imaginary ohm."""
        ...


class Pan:
    """What lies on a balance."""

    def __init__(
        self,
        world: Timekeeper,
        mass: Callable[[], float],
        moving: Callable[[], bool] | None = None,
    ) -> None:
        """:param mass: the true mass on the pan, g; asked when the world is at now.
        :param moving: whether it changes now: liquid that flows in, a stirrer that shakes it.
        """
        self._world, self._mass, self._moving = world, mass, moving
        self.added = 0.0
        """g that somebody laid beside it: a fault to inject, or a person's doing"""
        self.restless = False
        """whether draught or a shaking bench keeps a balance from settling: a fault to inject"""

    @property
    def mass(self) -> float:
        """True mass on the pan, g."""
        self._world.advance()
        return self._mass() + self.added

    @property
    def moving(self) -> bool:
        """Whether the mass changes now, so that a balance finds no stable weight."""
        self._world.advance()
        return self.restless or (self._moving is not None and self._moving())


class Immersed:
    """A liquid as a probe in it finds it: pH, conductivity, oxygen or temperature."""

    def __init__(
        self, world: Timekeeper, value: Callable[[], float], temperature: Callable[[], float]
    ) -> None:
        """:param value: the true value now, in the unit of what the probe measures.
        :param temperature: of the liquid, degC.
        """
        self._world, self._value, self._temperature = world, value, temperature

    @property
    def value(self) -> float:
        """True value of what the probe measures (pH; uS/cm; mg/L; degC)."""
        self._world.advance()
        return self._value()

    @property
    def temperature(self) -> float:
        """Of the liquid, degC."""
        self._world.advance()
        return self._temperature()
