"""The cell's side of a potentiostat: its models, its current ranges, its readings.

Ranges: MethodSCRIPT manual v1.8, appendix B (through PalmSens' MethodSCRIPT_Examples). Guess: a
range ends at its nominal value, and tells an underload below a twentieth of the lowest allowed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from sdl.simulators.emstat.script import encoded
from sdl.simulators.parts.electrochemical import ElectrochemicalCell

OVERLOAD, UNDERLOAD, NEAR_OVERLOAD = 2, 4, 8


@dataclass(frozen=True)
class Model:
    """What one potentiostat can do."""

    code: str
    firmware: str
    modes: dict[int, tuple[float, float]]
    """V that can be applied, by the number of the mode"""
    ranges: dict[int, float]
    """A of the current ranges, by their number"""
    galvanostat: bool
    fastest: float
    """Hz of impedance"""


_PICO = dict(
    enumerate((1e-7, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 63e-6, 125e-6, 25e-5, 5e-4, 1e-3, 5e-3))
)
_ES4 = {3 * (n - 8): 10.0**-k for n, k in zip(range(9, 18), range(9, 0, -1), strict=True)}
MODELS = {
    "pico": Model(
        "espico",
        "1600",
        {0: (0.0, 0.0), 2: (-1.25, 2.0), 3: (-1.7, 2.0), 4: (-1.7, 2.0), 5: (-1.7, 2.0)},
        _PICO,
        False,
        2e5,
    ),
    "es4_lr": Model(
        "es4_lr",
        "1400",
        dict.fromkeys((0, 2, 3, 4, 5, 6), (-3.0, 3.0)),
        {k: v for k, v in _ES4.items() if v <= 0.011},
        True,
        2e5,
    ),
    "es4_hr": Model(
        "es4_hr",
        "1400",
        dict.fromkeys((0, 2, 3, 4, 5, 6), (-6.0, 6.0)),
        {k: v for k, v in _ES4.items() if v >= 0.9e-7},
        True,
        2e5,
    ),
}


@dataclass(frozen=True)
class Value:
    """A variable."""

    value: float = 0.0
    kind: str = "aa"
    whole: bool = False
    status: int | None = None
    scale: int = 0

    def __str__(self) -> str:
        metadata = "" if self.status is None else f",1{self.status:X},2{self.scale:02X}"
        return self.kind + encoded(self.value, whole=self.whole) + metadata


class Potentiostat:
    """What is switched on, and which ranges are chosen; it stays so between scripts."""

    def __init__(
        self,
        part: ElectrochemicalCell,
        model: Model,
        *,
        sense: Callable[[float, float], float],
        troubles: dict[str, float],
    ) -> None:
        """:param sense: makes a reading of a true current and the range's end."""
        self._part, self.model, self._sense, self._troubles = part, model, sense, troubles
        self.reset()

    def reset(self) -> None:
        """Lose the power."""
        self.mode, self.potential, self.on = 0, 0.0, False
        self._lowest = self._highest = 0.0
        self.choose(0.0, math.inf)
        self._part.switch(False)

    def switch(self, on: bool) -> None:
        self.on = on
        self._part.switch(on and "stuck" not in self._troubles)

    def allows(self, potential: float) -> bool:
        """Whether it can be applied in the present mode."""
        low, high = self.model.modes[self.mode or 2]
        return low - 1e-9 <= potential <= high + 1e-9

    def choose(self, lowest: float, highest: float) -> None:
        """Let it choose among these current ranges."""
        self._lowest, self._highest = lowest, highest

    def apply(self, potential: float, dt: float) -> Value:
        """Hold a potential for a while; return the current at its end."""
        self.potential = potential
        joined = self.on and "stuck" not in self._troubles
        true = self._part.current(potential, dt) if joined else 0.0
        if not joined:
            self._part.rest(dt)
        return self.current(true)

    def measured_potential(self, dt: float) -> Value:
        if self.on and "stuck" not in self._troubles:
            self._part.current(self.potential, dt)
            return Value(self.potential, "ab", status=0)
        return Value(self._part.rest(dt), "ab", status=0)

    def impedance(self, frequency: float, amplitude: float) -> tuple[Value, Value]:
        joined = self.on and "stuck" not in self._troubles
        ohms = self._part.impedance(frequency) if joined else complex(1e12, 0.0)
        read = self.current(amplitude / abs(ohms))
        real = Value(ohms.real, "cc", status=read.status, scale=read.scale)
        return real, Value(ohms.imag, "cd", status=read.status, scale=read.scale)

    def current(self, true: float) -> Value:
        """Return the reading of a current in the range that fits it best, of those allowed."""
        ranges = sorted(self.model.ranges.items(), key=lambda item: item[1])
        allowed = [(n, a) for n, a in ranges if self._lowest * 0.99 <= a <= self._highest * 1.01]
        if not allowed:
            above = [(n, a) for n, a in ranges if a >= self._highest * 0.99]
            allowed = above[:1] or ranges[-1:]
        elif allowed[-1][1] < self._highest * 0.99:
            allowed += [(n, a) for n, a in ranges if a > allowed[-1][1]][:1]
        number, end = next(((n, a) for n, a in allowed if abs(true) <= 0.95 * a), allowed[-1])
        if "saturation" in self._troubles:
            end *= self._troubles["saturation"] / 100
        reading = self._sense(true, end)
        if abs(reading) > end:
            return Value(math.copysign(end, reading), "ba", status=OVERLOAD, scale=number)
        low = abs(reading) < 0.05 * end and number == allowed[0][0]
        status = UNDERLOAD if low else NEAR_OVERLOAD if abs(reading) > 0.95 * end else 0
        return Value(reading, "ba", status=status, scale=number)
