"""How far and how fast a settable may be moved."""

import asyncio
import contextlib
import inspect
import logging
import math
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from sdl import clock
from sdl.bench import Bench
from sdl.errors import NoReplyError, StaleError, UnsafeError, explain
from sdl.instrument import Effect
from sdl.safety.action import Action
from sdl.safety.devices import meaning
from sdl.safety.readings import LONGEST_READ, fresh, only
from sdl.safety.rules import Limit

TRIES = 3  # of asking where it is, within LONGEST_READ
PAUSE = 0.5  # s between two of them

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Where:
    """Where a settable is, and where it was told to go if it can say so."""

    readback: float
    setpoint: float | None = None


class Limits:
    """Checks every `set`, and remembers what was let through."""

    def __init__(self, limits: Mapping[str, Limit], bench: Bench) -> None:
        self._limits, self._bench = dict(limits), bench
        self._passed: dict[str, tuple[float, float]] = {}  # path → value, when (monotonic)
        self._turns = {path: asyncio.Lock() for path in limits}

    def turn(self, path: str) -> AbstractAsyncContextManager[None]:
        """Hold it from `check` to `passed`: of two settings at once the second sees the first."""
        return self._turns.get(path) or contextlib.nullcontext()

    async def check(self, action: Action) -> None:
        """:raises UnsafeError: outside of its limits, or nobody can tell; with rule and values."""
        limit = self._limits.get(action.path)
        if limit is None or action.command != "set":
            return
        value = number(action.argument)
        if value is None:
            raise _refused(limit, action, f"{action.argument!r} is no finite number")
        units = meaning(self._bench.find(action.path)).units or ""
        self._check_range(limit, action, value, units)
        if limit.max_step is None and limit.max_ramp is None:
            return
        if action.effect is Effect.RELATIVE:  # what is asked for is the change itself
            where = _Where(0.0)
        else:
            where = await self._where(limit, action)
            if limit.max_step is not None and abs(value - where.readback) > limit.max_step:
                change = f"a step of {abs(value - where.readback):g} from {where.readback:g}"
                raise _refused(limit, action, f"{change}; max_step is {limit.max_step:g}", units)
        self._check_ramp(limit, action, value, where, units)

    def passed(self, action: Action) -> None:
        """Remember a `set` that was let through; it is about to be sent."""
        value = number(action.argument)
        if action.command == "set" and value is not None and action.path in self._limits:
            self._passed[action.path] = (value, clock.monotonic())

    def made_safe(self, names: Collection[str]) -> None:
        """Forget what was let through: the instruments are where their safe state is."""
        for path in [p for p in self._passed if p.partition(".")[0] in names]:
            del self._passed[path]

    def _check_range(self, limit: Limit, action: Action, value: float, units: str) -> None:
        if limit.low is not None and value < limit.low:
            raise _refused(limit, action, f"{value:g} is below low, {limit.low:g}", units)
        if limit.high is not None and value > limit.high:
            raise _refused(limit, action, f"{value:g} is above high, {limit.high:g}", units)
        if action.effect is Effect.RELATIVE and abs(value) > (limit.max_step or math.inf):
            raise _refused(limit, action, f"max_step is {limit.max_step:g}", units)

    def _check_ramp(
        self, limit: Limit, action: Action, value: float, where: _Where, units: str
    ) -> None:
        if limit.max_ramp is None:
            return
        change, minutes = abs(value - where.readback), 1.0
        before = self._passed.get(action.path)
        if before is not None:
            minutes = max(clock.monotonic() - before[1], 0.0) / 60
            if action.effect is not Effect.RELATIVE:
                starts = [before[0]] if where.setpoint is None else [before[0], where.setpoint]
                change = max(abs(value - start) for start in starts)
        if change > limit.max_ramp * minutes * (1 + 1e-9):
            asked = f"a change of {change:g} {60 * minutes:g} s after the last one"
            if before is None:
                asked = f"a change of {change:g}, the first one, counts as one in a minute"
            raise _refused(
                limit, action, f"{asked}; max_ramp is {limit.max_ramp:g} a minute", units
            )

    async def _where(self, limit: Limit, action: Action) -> _Where:
        asking = _in_time(self._bench.find(action.path))
        (found,) = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(found, BaseException):
            why = f"nobody can tell where it is now: {explain(found)}"
            raise _refused(limit, action, why) from found
        return found


async def _in_time(device: Any) -> _Where:
    """Ask; again, if there is no answer: one question that was lost says nothing of where it is."""
    try:
        async with asyncio.timeout(LONGEST_READ):
            for _ in range(TRIES - 1):
                try:
                    return await _ask(device)
                except (NoReplyError, StaleError) as error:
                    log.info("asked again: %s", error)
                await asyncio.sleep(PAUSE)
            return await _ask(device)
    except TimeoutError:
        raise UnsafeError(f"it did not answer in {LONGEST_READ:g} s") from None


async def _ask(device: Any) -> _Where:
    if not hasattr(device, "locate"):
        return _Where(_finite(only(device, await fresh(device))["value"]))
    found = device.locate()
    location = await found if inspect.isawaitable(found) else found
    return _Where(_finite(location["readback"]), _finite(location["setpoint"]))


def _finite(value: Any) -> float:
    found = number(value)
    if found is None:
        raise UnsafeError(f"it says {value!r}")
    return found


def number(value: Any) -> float | None:
    """A finite number, or None: true and false are none."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # NumPy's
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _refused(limit: Limit, action: Action, why: str, units: str = "") -> UnsafeError:
    of = f" (in {units})" if units else ""
    return UnsafeError(
        f"{limit.place}: limits of {action.path}{of}: {why}; refused: {told(action)}"
    )


def told(action: Action) -> str:
    """The action, and whose it is."""
    whose = f" ({action.trial}, step {action.step})" if action.trial else ""
    return f"{action}{whose}"
