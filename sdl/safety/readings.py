"""A signal's value, asked for now: with its age, or why there is none that counts."""

import asyncio
import inspect
import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from ophyd_async.core import SignalR

from sdl import clock
from sdl.bench import Bench
from sdl.errors import StaleError, UnsafeError, explain
from sdl.instrument.backends import INVALID, PushBackend
from sdl.safety.evaluation import Value

LONGEST_READ = 10.0  # s; an instrument that is slower cannot keep another one safe


@dataclass(frozen=True)
class Look:
    """What was found at one signal."""

    path: str
    value: Value | None
    """None: there is none that counts, and `why` says why."""

    age: float = 0.0
    """s between the reading and now."""

    units: str = ""
    why: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.path}: {self.why}"
        shown = f"{self.value:.6g}" if type(self.value) is float else str(self.value).lower()
        if isinstance(self.value, str):
            shown = repr(self.value)
        return f"{self.path} = {f'{shown} {self.units}'.rstrip()} ({self.age:.1f} s old)"


async def look(bench: Bench, paths: Collection[str], max_age: float) -> dict[str, Look]:
    """Read signals, in parallel and past any cache; never raises for what an instrument does.

    :param max_age: s; an older reading does not count. Nobody is waited for longer than this.
    """
    asked = (_read(bench, path, max_age) for path in paths)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return {
        path: a if isinstance(a, Look) else Look(path, None, why=explain(a))
        for path, a in zip(paths, answers, strict=True)
    }


async def _read(bench: Bench, path: str, max_age: float) -> Look:
    limit, device = min(max_age, LONGEST_READ), bench.find(path)
    try:
        async with asyncio.timeout(limit):
            reading = only(device, await fresh(device))
    except (TimeoutError, StaleError) as error:
        reading = _pushed(device)
        if reading is None or abs(_age(float(reading["timestamp"]))) > max_age:
            if isinstance(error, StaleError):
                raise
            return Look(path, None, why=f"did not answer in {limit:g} s")
    age = _age(float(reading["timestamp"]))
    if int(reading.get("alarm_severity") or 0) >= INVALID:
        return Look(path, None, why="the instrument says that its value is invalid")
    if not abs(age) <= max_age:
        when = f"is {age:.1f} s old" if age > 0 else f"is dated {-age:.1f} s ahead"
        return Look(path, None, why=f"its reading {when}; at most {max_age:g} s are allowed")
    return Look(path, plain(reading["value"]), max(age, 0.0))


def _pushed(device: Any) -> Any:
    """What an instrument has sent last: a rule may allow more age than the driver does."""
    connector = getattr(device, "_connector", None)  # ophyd-async has no other way
    backend = getattr(connector, "backend", None)
    return backend.newest_that_counts() if isinstance(backend, PushBackend) else None


async def fresh(device: Any) -> Any:
    """The device's own readings, asked for now."""
    if isinstance(device, SignalR):
        return await device.read(cached=False)
    if inspect.iscoroutinefunction(getattr(device, "read", None)):
        return await device.read()
    found = await clock.outside(device.read)  # a classic device blocks
    return await found if inspect.isawaitable(found) else found


def only(device: Any, readings: Any) -> Any:
    """The one reading that is the device's value.

    :raises UnsafeError: there is none, or nobody can tell which.
    """
    if device.name in readings:
        return readings[device.name]
    if len(readings) == 1:
        return next(iter(readings.values()))
    raise UnsafeError(f"it is no signal: it reads {', '.join(readings) or 'nothing'}")


def _age(timestamp: float) -> float:
    age = clock.now() - timestamp
    if clock.simulated() and age < 0:  # a device that knows only the wall clock, read just now
        return 0.0
    return age


def plain(value: Any) -> Value:
    """:raises UnsafeError: it is no value that a rule can speak of."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | str):
        return str(value.value) if isinstance(value, Enum) else value
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise UnsafeError(
        f"{str(value)[:50]!r} is neither a finite number, nor true or false, nor text"
    )


async def fresh_units(bench: Bench, path: str) -> str:
    """The units that a connected signal says it has; "" if it says nothing."""
    device = bench.find(path)
    async with asyncio.timeout(LONGEST_READ):
        if inspect.iscoroutinefunction(device.describe):
            described = await device.describe()
        else:
            described = await clock.outside(device.describe)
    return str(only(device, described).get("units") or "")
