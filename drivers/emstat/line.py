"""Lines from an instrument that streams: heard as they come, while commands can be sent.

Nothing is a reply to the wire here: commands are sent, and what comes is taken as it comes.
"""

from collections.abc import Callable

from sdl import clock
from sdl.errors import GarbledError, NoReplyError
from sdl.wires import StreamWire

LONGEST_LINE = 4096
HANDSHAKE = b"\x11\x13\r"  # XON and XOFF, which the driver of a port may let through


class Lines:
    """One conversation with one instrument; the wire must be its own."""

    def __init__(self, wire: StreamWire, who: Callable[[], str]) -> None:
        self._wire, self._who = wire, who
        self._heard = bytearray()

    async def send(self, data: bytes) -> None:
        """:raises NoReplyError: there is no connection."""
        try:
            await self._wire.send(data)
        except NoReplyError as error:
            raise type(error)(self._who(), str(error)) from error

    async def forget(self) -> None:
        """Throw away what has come so far; open the connection if it is not open.

        :raises NoReplyError: there is none.
        """
        try:
            await self._wire.connect()
        except NoReplyError as error:
            raise type(error)(self._who(), str(error)) from error
        self._take()
        self._heard.clear()

    async def next(self, timeout: float) -> str:
        """Return the next line, without its end.

        :raises NoReplyError: none came in time, or the connection broke.
        :raises GarbledError: it is too long, or no text.
        """
        deadline = clock.monotonic() + timeout
        while True:
            self._take()
            at = self._heard.find(b"\n")
            if at >= 0:
                line = bytes(self._heard[:at])
                del self._heard[: at + 1]
                return self._text(line)
            if len(self._heard) > LONGEST_LINE:
                raise GarbledError(self._who(), f"a line without end: {bytes(self._heard[:40])!r}")
            await self._more(deadline - clock.monotonic(), timeout)

    async def _more(self, left: float, timeout: float) -> None:
        try:
            await self._wire.more(max(left, 0.0))
        except TimeoutError:
            begun = f" (only {bytes(self._heard)!r})" if self._heard else ""
            raise NoReplyError(self._who(), f"no line in {timeout:g} s{begun}") from None
        except NoReplyError as error:
            raise type(error)(self._who(), str(error)) from error

    def _take(self) -> None:
        self._heard += self._wire.unread().translate(None, HANDSHAKE)

    def _text(self, line: bytes) -> str:
        if not line.isascii():
            raise GarbledError(self._who(), f"{line!r} is no text")
        return line.decode("ascii")
