"""The settings of Grbl 1.1, as its EEPROM keeps them and `$$` prints them.

Source: Grbl 1.1 documentation, interface.md (the list, its order and its formats).
"""

from collections.abc import Mapping

from sdl.simulators.grbl.gcode import GcodeError

FLAGS = (4, 5, 6, 13, 20, 21, 22, 32)
MASKS = (0, 1, 2, 3, 10, 23, 26)  # and other small whole numbers
WHOLE = (*FLAGS, *MASKS, 30, 31)
INVERT_LIMITS, REPORT, INCHES, SOFT, HARD, HOMING, HOMING_WAY = 5, 10, 13, 20, 21, 22, 23
HOMING_FEED, HOMING_SEEK, PULL_OFF, MOST_SPEED, LEAST_SPEED = 24, 25, 27, 30, 31
STEPS, MOST_RATE, ACCELERATION, TRAVEL = 100, 110, 120, 130

DEFAULTS: Mapping[int, float] = {
    **{0: 10, 1: 25, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 10: 1, 11: 0.01, 12: 0.002, 13: 0},
    **{20: 1, 21: 1, 22: 1, 23: 0, 24: 50, 25: 1000, 26: 250, 27: 1, 30: 1000, 31: 0, 32: 0},
    **{100: 250, 101: 250, 102: 250, 110: 3000, 111: 3000, 112: 1000},
    **{120: 200, 121: 200, 122: 100, 130: 300, 131: 200, 132: 80},
}


class Settings:
    """`settings[130]`; checked when they are stored."""

    def __init__(self, given: Mapping[int, float]) -> None:
        self._values = {**DEFAULTS, **given}

    def __getitem__(self, number: int) -> float:
        return self._values[number]

    def axis(self, first: int) -> tuple[float, float, float]:
        """Return a setting of the three axes: `first` is that of X."""
        return self._values[first], self._values[first + 1], self._values[first + 2]

    def restore(self) -> None:
        self._values = dict(DEFAULTS)

    def store(self, number: int, value: float) -> None:
        """:raises GcodeError: it was not stored."""
        if value < 0:
            raise GcodeError(4)
        if number not in self._values:
            raise GcodeError(3)
        if number == 0 and value < 3:
            raise GcodeError(6)
        if number == SOFT and value and not self._values[HOMING]:
            raise GcodeError(10)
        if number in FLAGS:
            value = float(value != 0)
        elif number in MASKS:
            value = float(int(value) & 0xFF)
        self._values[number] = value
        if number == HOMING and not value:
            self._values[SOFT] = 0.0

    def printed(self) -> str:
        """As `$$` prints them."""
        return "".join(
            f"${number}={value:.0f}\r\n" if number in WHOLE else f"${number}={value:.3f}\r\n"
            for number, value in sorted(self._values.items())
        )
