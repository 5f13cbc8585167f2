"""Signals as drivers write them down: one line says type, questions, units and limits."""

from collections.abc import Awaitable, Callable
from typing import Any

from bluesky.protocols import Reading
from ophyd_async.core import SignalDatatypeT, SignalR, SignalRW

from sdl.instrument.backends import TIMEOUT as TIMEOUT
from sdl.instrument.backends import PollBackend, PushBackend, Range
from sdl.instrument.effects import Effect


class PolledSignalRW(SignalRW[SignalDatatypeT]):
    """One whose backend itself limits the time of a reading: a task less for each."""

    async def get_value(self, cached: bool | None = None) -> SignalDatatypeT:
        return await self._backend_or_cache(cached).get_value()

    async def read(self, cached: bool | None = None) -> dict[str, Reading[Any]]:
        return {self.name: await self._backend_or_cache(cached).get_reading()}


def poll_r(
    datatype: type[SignalDatatypeT],
    get: Callable[[], Awaitable[SignalDatatypeT]],
    *,
    source: str,
    units: str | None = None,
    precision: int | None = None,
    period: float = 1.0,
) -> SignalR[SignalDatatypeT]:
    """A value that is asked for each time it is read. Parameters: see `PollBackend`."""
    backend = PollBackend(
        datatype, get, None, source=source, units=units, precision=precision, period=period
    )
    return SignalR(backend, timeout=None)  # the backend has one


def poll_rw(
    datatype: type[SignalDatatypeT],
    get: Callable[[], Awaitable[SignalDatatypeT]],
    put: Callable[[SignalDatatypeT], Awaitable[None]],
    *,
    source: str,
    units: str | None = None,
    precision: int | None = None,
    limits: Range | None = None,
    effect: Effect = Effect.ABSOLUTE,
    period: float = 1.0,
) -> SignalRW[SignalDatatypeT]:
    """A value that can be asked for and set. Parameters: see `PollBackend`."""
    backend = PollBackend(
        datatype,
        get,
        put,
        source=source,
        units=units,
        precision=precision,
        limits=limits,
        effect=effect,
        period=period,
    )
    return PolledSignalRW(backend, timeout=TIMEOUT)


def push_r(
    datatype: type[SignalDatatypeT],
    *,
    source: str,
    max_age: float,
    subscribe: Callable[[], Awaitable[None]],
    units: str | None = None,
    precision: int | None = None,
) -> tuple[SignalR[SignalDatatypeT], PushBackend[SignalDatatypeT]]:
    """A value that the instrument pushes, and the backend that takes it. See `PushBackend`."""
    backend = PushBackend(
        datatype,
        source=source,
        max_age=max_age,
        subscribe=subscribe,
        units=units,
        precision=precision,
    )
    return SignalR(backend, timeout=TIMEOUT), backend
