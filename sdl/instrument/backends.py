"""Signal backends: polled over a wire, or pushed by the instrument.

Unlike ophyd-async's getter and setter signals, these are replaced by a pure soft backend in mock
mode (nothing reaches the hardware), are never read from a cache unless asked to, and raise when a
value is missing or too old (facts: docs/explanation/drivers.md).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from bluesky.protocols import Reading
from event_model import DataKey, Limits, LimitsRange
from ophyd_async.core import Callback, SignalBackend, SignalDatatypeT
from ophyd_async.core._signal_backend import make_datakey, make_metadata

from sdl import clock
from sdl.errors import NoReplyError, RefusedError, SdlError, StaleError
from sdl.instrument.effects import Effect

T = TypeVar("T")
Range = tuple[float, float]

TIMEOUT = 30.0  # s for a reading; a slow line that has to find its place again included
INVALID = 3  # EPICS alarm severity: the value must not be used


class _Described(SignalBackend[SignalDatatypeT], Generic[SignalDatatypeT]):
    """The static part: what the value is, where it comes from, the newest reading of it."""

    def __init__(
        self,
        datatype: type[SignalDatatypeT],
        source: str,
        *,
        units: str | None = None,
        precision: int | None = None,
        limits: Range | None = None,
        effect: Effect = Effect.ABSOLUTE,
    ) -> None:
        super().__init__(datatype)
        self.metadata = make_metadata(datatype, units, precision)
        if limits is not None:
            self.metadata["limits"] = Limits(control=LimitsRange(low=limits[0], high=limits[1]))
        self.limits, self.effect = limits, effect
        self.newest: Reading[SignalDatatypeT] | None = None
        self._source, self._type = source, datatype
        self._callback: Callback[Reading[SignalDatatypeT]] | None = None

    def source(self, name: str, read: bool) -> str:
        return self._source

    async def get_datakey(self, source: str) -> DataKey:
        if self._type in (bool, int, float, str):
            value = self._type()  # a scalar's shape is known: no question to the instrument
        else:
            value = self.newest["value"] if self.newest else await self.get_value()
        return make_datakey(self._type, value, source, self.metadata)

    async def get_value(self) -> SignalDatatypeT:
        return (await self.get_reading())["value"]

    def _take(self, value: SignalDatatypeT, time: float) -> Reading[SignalDatatypeT]:
        self.newest = Reading(value=value, timestamp=time, alarm_severity=0)
        if self._callback is not None:
            self._callback(self.newest)
        return self.newest


class PollBackend(_Described[SignalDatatypeT]):
    """A value that is asked for each time it is wanted."""

    def __init__(
        self,
        datatype: type[SignalDatatypeT],
        get: Callable[[], Awaitable[SignalDatatypeT]],
        put: Callable[[SignalDatatypeT], Awaitable[None]] | None,
        *,
        source: str,
        units: str | None = None,
        precision: int | None = None,
        limits: Range | None = None,
        effect: Effect = Effect.ABSOLUTE,
        period: float = 1.0,
    ) -> None:
        """Describe a polled signal.

        :param get: asks the instrument.
        :param put: tells it; None for a signal that cannot be set.
        :param limits: lowest and highest value that may be put; checked before anything is sent.
        :param period: s between questions while somebody subscribes.
        """
        super().__init__(
            datatype, source, units=units, precision=precision, limits=limits, effect=effect
        )
        self._get, self._put, self._period = get, put, period
        self._setpoint: SignalDatatypeT | None = None
        self._polling: asyncio.Task[None] | None = None

    async def connect(self, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await self.get_reading()

    async def get_reading(self) -> Reading[SignalDatatypeT]:
        """Ask for it.

        :raises NoReplyError: there was no value in `TIMEOUT`, whatever was asked meanwhile.
        """
        limit = asyncio.timeout(TIMEOUT)
        try:
            async with limit:
                value = await self._get()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise NoReplyError(self._source, f"no value came in {TIMEOUT:g} s") from error
        self.newest = Reading(value=value, timestamp=clock.now(), alarm_severity=0)
        return self.newest

    async def get_setpoint(self) -> SignalDatatypeT:
        return await self.get_value() if self._setpoint is None else self._setpoint

    async def put(self, value: SignalDatatypeT | None) -> None:
        """Tell the instrument.

        :raises RefusedError: it cannot be set, or not to this; nothing was sent.
        """
        if self._put is None or value is None:
            raise RefusedError(self._source, f"cannot be set to {value!r}")
        check_limits(value, self.limits, self._source, self.metadata.get("units", ""))
        await self._put(value)
        self._setpoint = value

    def set_callback(self, callback: Callback[Reading[SignalDatatypeT]] | None) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None
        self._callback = callback
        if callback is not None:
            self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            try:
                reading = await self.get_reading()
            except SdlError:  # a subscriber must see that the value it has is no longer one
                reading = self.newest and {**self.newest, "alarm_severity": INVALID}
            if reading and self._callback is not None:
                self._callback(reading)  # type: ignore[arg-type]
            await asyncio.sleep(self._period)


class PushBackend(_Described[SignalDatatypeT]):
    """A value that the instrument sends when it likes; too old a one is an error, not a reading."""

    def __init__(
        self,
        datatype: type[SignalDatatypeT],
        *,
        source: str,
        max_age: float,
        subscribe: Callable[[], Awaitable[None]],
        units: str | None = None,
        precision: int | None = None,
    ) -> None:
        """Describe a pushed signal.

        :param max_age: s after which the newest value counts as stale.
        :param subscribe: makes the values come; called on connect, may be called again.
        """
        super().__init__(datatype, source, units=units, precision=precision)
        self._max_age, self._subscribe = max_age, subscribe
        self._arrived: asyncio.Event = asyncio.Event()
        self._at: float | None = None  # when the newest value arrived; None: it does not count

    def publish(self, value: SignalDatatypeT, time: float | None = None) -> None:
        """Take a value that has just arrived; call it in the loop.

        :param time: s since 1970 when it was measured, where the instrument says so.
        """
        self._at = clock.monotonic()
        self._take(value, clock.now() if time is None else time)
        self._arrived.set()

    def invalidate(self) -> None:
        """Forget the value: the instrument has gone offline."""
        self._at = None
        if self.newest is not None and self._callback is not None:
            self._callback({**self.newest, "alarm_severity": INVALID})  # type: ignore[arg-type]

    async def connect(self, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await self._subscribe()
            await self._arrived.wait()

    async def get_reading(self) -> Reading[SignalDatatypeT]:
        if self.newest is None or self._at is None:
            raise self._stale("nothing has arrived")
        age = clock.monotonic() - self._at
        if age > self._max_age:
            raise self._stale(f"the newest value is {age:.1f} s old")
        return self.newest

    def newest_that_counts(self) -> Reading[SignalDatatypeT] | None:
        """The newest value however old it is; None where the instrument has gone offline since."""
        return None if self._at is None else self.newest

    def _stale(self, why: str) -> StaleError:
        return StaleError(self._source, f"{why}; at most {self._max_age:g} s are allowed")

    async def get_setpoint(self) -> SignalDatatypeT:
        return await self.get_value()

    async def put(self, value: SignalDatatypeT | None) -> None:
        raise RefusedError(self._source, f"cannot be set to {value!r}")

    def set_callback(self, callback: Callback[Reading[SignalDatatypeT]] | None) -> None:
        self._callback = callback
        if callback is not None and self.newest is not None:
            callback(self.newest)


def check_limits(value: object, limits: Range | None, what: str, units: str) -> None:
    """Refuse a number that is not finite or outside `limits`.

    :raises RefusedError: nothing was sent.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise RefusedError(what, f"{value} is not a number that can be set; nothing was sent")
    if limits is not None and not limits[0] <= value <= limits[1]:
        allowed = f"{limits[0]:g} to {limits[1]:g} {units}".rstrip()
        raise RefusedError(what, f"{value:g} is outside {allowed}; nothing was sent")
