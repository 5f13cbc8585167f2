"""What a source-measure unit drives: anything with two terminals."""

import math
from typing import Literal

from sdl.simulators.parts.acting import Acting, Timekeeper

THERMAL = 0.025852  # V, kT/q at 300 K


class Load(Acting):
    """A resistor; other two-terminal parts override `current` and `voltage`.

    Its actions: `driven` (`volts`, `amps`) when what drives it is set anew, `released` when nothing
    drives it any more.
    """

    def __init__(self, world: Timekeeper, *, resistance: float = 1000.0) -> None:
        """:param resistance: ohm."""
        self._world, self.resistance = world, resistance
        self._driven: tuple[Literal["voltage", "current"], float, float] | None = None

    def current(self, voltage: float) -> float:
        """Return A at `voltage` V."""
        return voltage / self.resistance

    def voltage(self, current: float) -> float:
        """Return V at `current` A; infinite where none lets it through."""
        return current * self.resistance

    def drive(self, source: Literal["voltage", "current"], level: float, limit: float) -> None:
        """Lie at a source of `level` V or A, which gives way at `limit` A or V of either sign."""
        self._world.advance()
        wanted = (source, level, abs(limit))
        if wanted != self._driven:
            self._driven = wanted
            self._act(self._world.now, "driven", volts=self.volts, amps=self.amps)

    def release(self) -> None:
        """Lie at nothing."""
        self._world.advance()
        if self._driven is not None:
            self._driven = None
            self._act(self._world.now, "released")

    @property
    def driven(self) -> bool:
        return self._driven is not None

    @property
    def volts(self) -> float:
        """What lies at its terminals now."""
        return self._point()[0]

    @property
    def amps(self) -> float:
        """What flows through it now."""
        return self._point()[1]

    @property
    def limited(self) -> bool:
        """Whether what drives it has come to its limit."""
        return self._point()[2]

    def _point(self) -> tuple[float, float, bool]:
        self._world.advance()
        if self._driven is None:
            return 0.0, 0.0, False
        source, level, limit = self._driven
        if source == "voltage":
            amps = self.current(level)
            if abs(amps) <= limit:
                return level, amps, False
            amps = math.copysign(limit, amps)
            return self.voltage(amps), amps, True
        volts = self.voltage(level)
        if abs(volts) <= limit:
            return volts, level, False
        volts = math.copysign(limit, volts)
        return volts, self.current(volts), True


class Diode(Load):
    """A diode after Shockley, with the resistance of its leads."""

    def __init__(
        self,
        world: Timekeeper,
        *,
        saturation: float = 2.5e-9,
        ideality: float = 1.75,
        resistance: float = 0.6,
    ) -> None:
        """:param saturation: A.
        :param resistance: ohm, in series.
        """
        super().__init__(world, resistance=resistance)
        self.saturation, self.ideality = saturation, ideality

    def voltage(self, current: float) -> float:
        if current <= -self.saturation:
            return -math.inf
        junction = self.ideality * THERMAL * math.log1p(current / self.saturation)
        return junction + current * self.resistance

    def current(self, voltage: float) -> float:
        low = -self.saturation * (1 - 1e-12)
        high = max(voltage, 0.0) / self.resistance + 1e-12
        for _ in range(100):  # `voltage` rises with the current
            middle = (low + high) / 2
            low, high = (middle, high) if self.voltage(middle) < voltage else (low, middle)
        return (low + high) / 2
