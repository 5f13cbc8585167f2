"""Numbers, units, times and names as people read them."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sdl.clock import SIMULATED_EPOCH

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
MOST_DECIMALS = 6
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SYMBOLS = {"degC": "°C", "degF": "°F", "deg": "°", "um": "µm", "uL": "µL", "ohm": "Ω"}
_POWER = re.compile(r"(?<=[A-Za-z])(-?[23])(?![0-9])")
_SIMULATED_UNTIL = datetime(2010, 1, 1, tzinfo=UTC).timestamp()


def number(value: float, digits: int = 4) -> str:
    """`digits` significant digits, without an exponent where people would write none."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -4 <= power < 6:
        return fixed(value, max(digits - 1 - power, 0), trim=True)
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} {TIMES} 10{str(power).translate(_RAISED)}".replace("-", MINUS)


def fixed(value: float, decimals: int, *, trim: bool = False) -> str:
    text = f"{value:.{decimals}f}"
    if trim and "." in text:
        text = text.rstrip("0").rstrip(".")
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def alike(values: Sequence[float]) -> list[str]:
    """The values with as many decimals as the one of them that needs most."""
    texts = [number(v) for v in values]
    if any(TIMES in text for text in texts):
        return texts
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [fixed(v, decimals) for v in values]


class Column:
    """Writes the numbers of one column with the same decimals: a thousandth of their spread."""

    def __init__(self, values: Sequence[Any], *, ratios: bool = False) -> None:
        """:param ratios: they stand on a log scale: write as many significant digits instead."""
        numbers = [float(v) for v in values if _is_number(v) and math.isfinite(v)]
        plain = ratios or all(_whole(v) for v in numbers)
        self._decimals = None if plain else _decimals(numbers)
        self._digits = 3 if ratios else 4

    def __call__(self, value: Any) -> str:
        if value is None:
            return ""
        if not _is_number(value):
            return str(value)
        if self._decimals is None or not math.isfinite(value):
            return number(value, self._digits)
        return fixed(value, self._decimals)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: float) -> bool:
    return value == int(value) and abs(value) < 1e6


def _decimals(values: Sequence[float]) -> int | None:
    """None: they differ too much, or are too small, for the same decimals."""
    sizes = [abs(v) for v in values if v]
    if not sizes or max(sizes) >= 1e6 or max(sizes) / min(sizes) > 1e4:
        return None
    spread = (max(values) - min(values)) or max(sizes)
    decimals = max(2 - math.floor(math.log10(spread)), 0)
    return decimals if decimals <= MOST_DECIMALS else None


def name(identifier: str) -> str:
    """`space_time_yield` as words."""
    return identifier.replace("_", " ").strip() or identifier


def units(written: str) -> str:
    """`kg/m3/h` as printed: kg/m³/h."""
    known = _SYMBOLS.get(written, written)
    return _POWER.sub(lambda power: power[0].translate(_RAISED), known)


def labelled(identifier: str, written_units: str) -> str:
    """A name with its units: what stands at an axis."""
    return f"{name(identifier)}, {units(written_units)}" if written_units else name(identifier)


def quantity(value: Any, written_units: str = "") -> str:
    text = number(value) if _is_number(value) else str(value)
    return f"{text} {units(written_units)}".rstrip()


def count(amount: int, noun: str) -> str:
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def duration(seconds: float) -> str:
    """`8 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    whole = round(max(seconds, 0.0))
    if whole < 100:
        return f"{max(seconds, 0.0):.2g} s" if seconds < 10 else f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def simulated(time: float) -> bool:
    """Whether a time stamp comes from a simulated clock, which starts in the year 2000."""
    return SIMULATED_EPOCH <= time < _SIMULATED_UNTIL


def moment(time: float, since: float) -> str:
    """The date and time (UTC), to the minute; on a simulated clock what has passed `since`."""
    if not simulated(time):
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
    minutes, seconds = divmod(int(max(time - since, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"


def period(begin: float, end: float) -> str:
    """From when to when, to the minute."""
    if simulated(begin):
        return f"{duration(end - begin)} on a simulated clock"
    first, last = (datetime.fromtimestamp(t, UTC) for t in (begin, end))
    until = last.strftime("%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M")
    return f"{first:%Y-%m-%d %H:%M} to {until} UTC ({duration(end - begin)})"
