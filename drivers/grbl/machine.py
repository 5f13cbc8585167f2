"""What the settings of a Grbl 1.1 say about its machine, and where it may go.

Source: Grbl 1.1 documentation, interface.md (settings): positions run from 0 down to the travel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sdl.drivers.grbl.messages import parse_settings
from sdl.errors import ConfigError

AXES = "XYZ"
INCHES, REPORT, SOFT_LIMITS, HOMING, HOMING_WAY, PULL_OFF = 13, 10, 20, 22, 23, 27
STEPS, TRAVEL = 100, 130
ROUNDING = 0.0015  # mm of a reported position

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Space:
    """Where the lab lets it go, mm."""

    low: Point
    high: Point

    @classmethod
    def of(cls, low: Sequence[float] | None, high: Sequence[float] | None) -> "Space":
        """:raises ConfigError: they are no limits."""
        space = cls(_limits(low, -math.inf), _limits(high, math.inf))
        if not all(a < b for a, b in zip(space.low, space.high, strict=True)):
            raise ConfigError(f"grbl: low={low}, high={high}: each low must be below its high")
        return space

    def check(self, place: Point) -> str:
        """Return what is wrong with a place; empty if nothing is."""
        for axis, at, least, most in zip(AXES, place, self.low, self.high, strict=True):
            if not (math.isfinite(at) and least <= at <= most):
                return f"{axis} {at:g}: allowed is {least:g} to {most:g} mm"
        return ""

    def within(self, machine: "Machine") -> "Space":
        """Return what the machine allows of it, where its soft limits are on."""
        if not machine.soft_limits:
            return self
        low = [max(a, -b) for a, b in zip(self.low, machine.travel, strict=True)]
        return Space(point(low), point([min(a, 0.0) for a in self.high]))


@dataclass(frozen=True)
class Machine:
    """Three axes: mm, and steps in each of them."""

    travel: Point
    steps: Point
    soft_limits: bool
    homing: bool
    home: Point
    """Where it says to be when it has been homed."""

    @classmethod
    def of(cls, printed: str, who: str) -> "Machine":
        """Read what `$$` printed.

        :raises ConfigError: it is no machine that can be driven from here.
        :raises GarbledError: these are no settings.
        """
        settings = parse_settings(printed)
        needed = {INCHES, REPORT, SOFT_LIMITS, HOMING, HOMING_WAY, PULL_OFF}
        needed |= {first + axis for first in (STEPS, TRAVEL) for axis in range(3)}
        if missing := sorted(needed - settings.keys()):
            numbers = ", ".join(f"${number}" for number in missing)
            raise ConfigError(f"{who}: it does not tell {numbers}: no Grbl 1.1 of 3 axes")
        if settings[INCHES] or not int(settings[REPORT]) & 1:
            found = f"$13={settings[INCHES]:g}, $10={settings[REPORT]:g}"
            raise ConfigError(f"{who}: {found}: needed are $13=0 and $10=1 (or 3)")
        travel = point([settings[TRAVEL + axis] for axis in range(3)])
        return cls(
            travel,
            point([settings[STEPS + axis] for axis in range(3)]),
            bool(settings[SOFT_LIMITS]),
            bool(settings[HOMING]),
            _home(settings, travel),
        )

    def is_there(self, position: Point, target: Point) -> bool:
        return all(
            abs(at - wanted) <= ROUNDING + (0.5 / per if per else 0.0)
            for at, wanted, per in zip(position, target, self.steps, strict=True)
        )


def point(values: Sequence[float]) -> Point:
    x, y, z = values
    return x, y, z


def shown(place: Sequence[float]) -> str:
    return f"({', '.join(f'{each:.3f}' for each in place)}) mm"


def _limits(given: Sequence[float] | None, default: float) -> Point:
    if given is None:
        return default, default, default
    try:
        return point([float(each) for each in given])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"grbl: low, high: {given!r}: allowed are three numbers") from error


def _home(settings: Mapping[int, float], travel: Point) -> Point:
    pull, mask = settings[PULL_OFF], int(settings[HOMING_WAY])
    return point([-travel[axis] + pull if mask >> axis & 1 else -pull for axis in range(3)])
