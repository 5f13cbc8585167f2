"""Numbers and times as people read them."""

import time
from typing import Any

MANY = 1e6


def value(given: Any) -> str:
    """Four digits are what a person compares; all before the point, where they are not many."""
    if given is None:
        return ""
    if isinstance(given, bool):
        return "on" if given else "off"
    if isinstance(given, float) and MANY > abs(given) >= 9999.5:
        return f"{given:.0f}"
    return f"{given:.4g}" if isinstance(given, float) else str(given)


def quantity(given: Any, units: str) -> str:
    return f"{value(given)} {units}".rstrip()


def state(given: str) -> str:
    """`in_doubt` as words."""
    return str(given).replace("_", " ")


def duration(seconds: float) -> str:
    """`8 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    whole = round(max(seconds, 0.0))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(at: float, since: float | None) -> str:
    """The time of day; on a simulated clock (`since`: its campaign's begin) what has passed."""
    if since is None:
        return time.strftime("%H:%M:%S", time.localtime(at))
    minutes, seconds = divmod(int(max(at - since, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"
