"""Values that an instrument on a broker sends when it likes, and that can be asked for as well."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from bluesky.protocols import Reading
from event_model import Limits, LimitsRange
from ophyd_async.core import SignalDatatypeT

from sdl.errors import NoReplyError, StaleError
from sdl.instrument import Effect, PushBackend, check_limits
from sdl.instrument.backends import Range

Put = Callable[[SignalDatatypeT], Awaitable[None]]


class AskedFor(PushBackend[SignalDatatypeT]):
    """A pushed value that is asked for when there is none that is new enough.

    Signals that one question brings share its `turn`: whoever waited for it looks first whether it
    has brought the value.
    """

    def __init__(
        self,
        datatype: type[SignalDatatypeT],
        *,
        source: str,
        max_age: float,
        subscribe: Callable[[], Awaitable[None]],
        ask: Callable[[], Awaitable[str]],
        turn: asyncio.Lock,
        put: Put[SignalDatatypeT] | None = None,
        units: str | None = None,
        precision: int | None = None,
        limits: Range | None = None,
        effect: Effect = Effect.ABSOLUTE,
    ) -> None:
        """Describe a value.

        :param ask: asks for it and waits; returns why there is none, or no good one, else nothing.
        :param put: sets it and returns when that is confirmed; None where it cannot be set.
        """
        super().__init__(
            datatype,
            source=source,
            max_age=max_age,
            subscribe=subscribe,
            units=units,
            precision=precision,
        )
        self._ask, self._turn, self._set = ask, turn, put
        self.limits, self.effect = limits, effect
        if limits is not None:
            self.metadata["limits"] = Limits(control=LimitsRange(low=limits[0], high=limits[1]))

    async def connect(self, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await self._subscribe()
            await self.get_reading()

    async def get_reading(self) -> Reading[SignalDatatypeT]:
        with contextlib.suppress(StaleError):
            return await super().get_reading()
        async with self._turn:
            with contextlib.suppress(StaleError):  # another signal's question has brought it
                return await super().get_reading()
            try:
                await self._subscribe()
                why = await self._ask()
            except NoReplyError as error:
                why = str(error)
        try:
            return await super().get_reading()
        except StaleError as error:
            reason = str(error).removeprefix(f"{self._source}: ")
            raise StaleError(self._source, f"{reason}; {why}" if why else reason) from error

    async def put(self, value: SignalDatatypeT | None) -> None:
        if self._set is None or value is None:
            await super().put(value)
            return
        check_limits(value, self.limits, self._source, self.metadata.get("units", ""))
        await self._set(value)
