"""An instrument that brings its own connection: a vendor's SDK, somebody else's client.

It has no wire of ours, so nobody simulates it: on a twin it is mocked, and nothing is opened.
"""

import asyncio
from collections.abc import Mapping

from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, StandardReadable

from sdl.errors import InstrumentError, NoReplyError, SdlError
from sdl.instrument.device import Instrument

Errors = Mapping[type[Exception], type[InstrumentError]]
"""What exceptions of somebody's library mean; the first that fits counts."""


class Unwired(Instrument):
    """What opens in `connect` and is closed by `close`, or, at the latest, with its loop.

    A driver says how in `_open` and `_close`, and asks `mocked` before it sends anything that no
    signal of ours sends.
    """

    def __init__(self, name: str = "") -> None:
        self._mocked = False
        self._open_until_cancelled: asyncio.Task[None] | None = None
        StandardReadable.__init__(self, name=name)  # not Instrument's, which takes a wire

    @property
    def mocked(self) -> bool:
        """Whether it is connected to nothing: it then pretends to do what it is asked."""
        return self._mocked

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Open the connection, unless it is open.

        :raises NoReplyError: it was not open in `timeout` s.
        """
        self._mocked = bool(mock)
        if not mock:
            if force_reconnect:
                await self.close()
            await self._open_in(timeout)
        await super().connect(mock, timeout, force_reconnect)

    async def _open_in(self, timeout: float) -> None:
        if self._open_until_cancelled is not None and not self._open_until_cancelled.done():
            return
        try:
            async with asyncio.timeout(timeout):
                await self._open()
        except TimeoutError as error:
            raise NoReplyError(self.name, f"connect: not open in {timeout:g} s") from error
        self._open_until_cancelled = asyncio.create_task(self._stay_open())

    async def _stay_open(self) -> None:
        """Own the connection: a loop that ends cancels its tasks, and that closes this one."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def close(self) -> None:
        """Close the connection; `connect` opens it again."""
        owner, self._open_until_cancelled = self._open_until_cancelled, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner})

    async def _open(self) -> None:
        """Open the connection."""

    async def _close(self) -> None:
        """Close the connection; never raises."""


def translated(error: Exception, errors: Errors, instrument: str, asked: str) -> Exception:
    """What somebody's exception means here.

    One that nobody has named is a `NoReplyError`: what the instrument has done is unknown.
    """
    if isinstance(error, SdlError):
        return error
    kind = next((ours for theirs, ours in errors.items() if isinstance(error, theirs)), None)
    text = str(error) or repr(error)
    if kind is None:
        return NoReplyError(instrument, f"{asked}: {type(error).__name__}: {text}")
    return kind(instrument, f"{asked}: {text}")
