"""Axes of charts: from a value to a place between 0 and 1, and where the ticks are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sdl.report.words import alike, number

MARGIN = 0.06  # of the range, beyond the outermost values


@dataclass(frozen=True)
class Axis:
    """A direction of a chart. On a log scale `low` is above 0."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return 0 at the low end, 1 at the high one; values beyond are put at the end."""
        low, high = self.low, self.high
        if self.log:
            value = max(value, low)
            low, high, value = math.log(low), math.log(high), math.log(value)
        return min(max((value - low) / (high - low), 0.0), 1.0)


def fitted(label: str, values: Iterable[float], ticks: int = 5) -> Axis:
    """A linear axis that holds all values, with some room around them."""
    numbers = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(numbers), max(numbers)
    room = (high - low) * MARGIN or abs(high) * 0.1 or 1.0
    return bounded(label, low - room, high + room, ticks=ticks)


def bounded(
    label: str, low: float, high: float, *, log: bool = False, whole: bool = False, ticks: int = 5
) -> Axis:
    """An axis from `low` to `high`.

    :param whole: only whole numbers have ticks.
    """
    places = _decades(low, high) if log else nice_ticks(low, high, ticks, whole=whole)
    texts = [number(v) for v in places] if log else alike(places)
    return Axis(label, low, high, tuple(zip(places, texts, strict=True)), log)


def named(label: str, names: Sequence[str]) -> Axis:
    """An axis with a name at 0, 1, 2, …"""
    ticks = tuple((float(index), text) for index, text in enumerate(names))
    return Axis(label, -0.6, len(names) - 0.4, ticks)


def levels(label: str, values: Sequence[float]) -> Axis:
    """A linear axis with ticks at the values only; they increase."""
    room = (values[-1] - values[0]) * MARGIN
    ticks = tuple((float(v), number(v)) for v in values)
    return Axis(label, values[0] - room, values[-1] + room, ticks)


def nice_ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """Return 1, 2 or 5 times a power of ten, multiples of it from `low` to `high`: about `most`."""
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * m for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    if whole:
        step = max(math.ceil(step - 1e-9), 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(1 - math.floor(math.log10(step)), 0)
    return [round(n * step, digits) for n in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within; where there are few, 2 and 5 times them; else as on a linear axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    thin = max(len(powers) // 6, 1)
    for multiples in ((1,), (1, 2, 5)):
        found = [float(f"{m}e{p}") for p in powers[::thin] for m in multiples]
        found = [v for v in found if low * 0.999 <= v <= high * 1.001]
        if len(found) >= 3:
            return found
    return [v for v in nice_ticks(low, high, 3) if v > 0]
