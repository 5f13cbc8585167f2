"""Request and reply over a stream of bytes: serial ports, TCP sockets, and memory.

What can be promised about replies depends on what the instrument says. It is taken for granted that
it answers in the order it was asked.

- A late reply (to a request that timed out, or whose caller was cancelled) is never taken for the
  answer to the next request, if it comes within `quiet`; with a `Sync`, whenever it comes.
- Bytes that arrived before a request was sent are thrown away, and stand in the log.
- Bytes that nobody asked for and that arrive *after* a request was sent (a reply said twice, an
  alarm) cannot be told from its reply, unless the frame can: use `frames.answering` wherever
  replies say what they answer.
- A `Sync` whose every answer is the same is believed on the condition that an instrument that has
  begun to answer pauses no longer than `quiet`; one with a number in it needs no condition.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from sdl import clock
from sdl.errors import GarbledError, NoReplyError
from sdl.wires.frames import Frame
from sdl.wires.wire import Wire

MOST_DRAINING = 10.0  # s after which a line that never falls silent is given up
MOST_CLOSING = 1.0  # s for a connection to close in good order
MOST_UNREAD = 1 << 24  # bytes kept of what an instrument says unasked
SYNC_ATTEMPTS = 3


class Connector(Protocol):
    """Opens the connection under a stream: a serial port, a socket, or a simulator in memory."""

    async def __call__(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport: ...


@dataclass(frozen=True)
class Sync:
    """A harmless question whose answer cannot be taken for another's, to find the place with."""

    request: bytes
    frame: Frame
    accept: Callable[[bytes], bool]
    who: Hashable = None
    """Which instrument of several on the line is asked; default: the one `request` is for."""

    @property
    def key(self) -> Hashable:
        return self.request if self.who is None else self.who


class Inbox(asyncio.Protocol):
    """What has arrived and was not yet taken. One at a time may wait for more."""

    def __init__(self, on_lost: "Callable[[Inbox], None] | None" = None) -> None:
        self.data = bytearray()
        self.lost: Exception | None = None
        self.on_news: Callable[[], None] | None = None
        """Called, if there is one, when there is news: what came, or that no more can come."""
        self._on_lost = on_lost
        self._waiter: asyncio.Future[bool] | None = None  # of whether there is news
        self._closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > MOST_UNREAD:
            del self.data[:-MOST_UNREAD]
        self._wake(True)
        if self.on_news is not None:
            self.on_news()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionResetError("closed by the other side")
        self._closed.set()
        self._wake(True)
        if self._on_lost is not None:
            self._on_lost(self)
        if self.on_news is not None:
            self.on_news()

    def _wake(self, news: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(news)

    async def more(self, timeout: float) -> None:
        """Wait for news: call it when all that is here has been looked at.

        :raises TimeoutError: none came.
        :raises OSError: the connection is lost, no more can come.
        """
        if self.lost is not None:
            raise ConnectionError(str(self.lost))
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()  # half the price of an event and asyncio.timeout
        alarm = loop.call_later(timeout, self._wake, False)
        try:
            if not await self._waiter:
                raise TimeoutError
        finally:
            alarm.cancel()

    async def closed(self, timeout: float) -> None:
        """Wait until the connection has ended.

        :raises TimeoutError: it has not.
        """
        if self.lost is None:
            async with asyncio.timeout(timeout):
                await self._closed.wait()

    def take(self, length: int | None = None) -> bytes:
        taken = bytes(self.data[:length])
        del self.data[: len(taken)]
        return taken


class StreamWire(Wire):
    """One request, one reply, never interleaved."""

    def __init__(
        self, url: str, connect: Connector, *, timeout: float = 1.0, quiet: float | None = None
    ) -> None:
        """Describe a stream; nothing is opened yet.

        :param timeout: s in which a whole reply must have arrived.
        :param quiet: s of silence after which a line that lost its place counts as drained
            (default: `timeout`).
        """
        super().__init__(url, timeout=timeout)
        self._connect, self._quiet = connect, timeout if quiet is None else quiet
        self._inbox, self._transport = Inbox(), None
        self._lost, self._sync = False, None
        self._silent: set[Hashable] = set()  # whose answer to a sync question never came

    _transport: asyncio.WriteTransport | None
    _sync: Sync | None

    async def ask(
        self,
        request: bytes,
        frame: Frame,
        *,
        timeout: float | None = None,
        sync: Sync | None = None,
        urgent: bool = False,
    ) -> bytes:
        """Send `request`, return the frame that answers it.

        :param timeout: s; default the wire's own.
        :param sync: how to find the place again, should this exchange lose it.
        :param urgent: send it (a stop) even where the place cannot be found and no answer could be
            believed; `NoReplyError` is raised all the same.
        :raises NoReplyError: nothing whole came in time; the instrument's state is unknown.
        :raises GarbledError: what came cannot be a reply; the instrument's state is unknown.
        """
        limit = self.timeout if timeout is None else timeout

        await self._turn.acquire()  # in the caller: whoever gives up waiting never sends
        if self._is_in_order():
            return await self._begin(request, frame, limit, sync)

        async def exchange() -> bytes:
            if self._lost or self._silent:
                await self._in_place(sync, request if urgent else None)
            self._write(request)
            self._lost, self._sync = True, sync  # until the reply is here
            reply = await self._frame(request, frame, limit)
            self.log.received(reply)
            self._lost = False
            return reply

        return await self._in_turn(exchange)

    async def send(self, request: bytes) -> None:
        """Send what has no reply.

        :raises NoReplyError: there is no connection, or the place on the line cannot be found.
        """

        async def exchange() -> None:
            if self._lost:
                await self._find_place()
            self._write(request)

        await self._transact(exchange)

    def unread(self) -> bytes:
        """Take what has come and was not read, for an instrument that streams.

        It must be alone on the wire: nothing of that is a reply, to nobody.
        """
        data = self._inbox.take()
        if data:
            self.log.received(data)
        return data

    async def more(self, timeout: float) -> None:
        """Wait until there is something for `unread` to take.

        :raises TimeoutError: nothing came.
        :raises NoReplyError: the connection is lost.
        """
        try:
            while not self._inbox.data:
                await self._inbox.more(timeout)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise NoReplyError(self.url, f"the connection broke: {error}") from error

    def _is_in_order(self) -> bool:
        """Whether a request can be sent now, with nothing to be opened or found first."""
        transport = self._transport
        there = transport is not None and not transport.is_closing() and self._inbox.lost is None
        return there and self.health.connected and not (self._lost or self._silent)

    def _begin(
        self, request: bytes, frame: Frame, limit: float, sync: Sync | None
    ) -> "asyncio.Future[bytes]":
        """Send a request on a line in order; return what will be its reply.

        The exchange lives in callbacks, so that it ends, and passes the turn on, whatever becomes
        of the caller. It is what a task would do, for two turns of the loop less.
        """
        loop, inbox = asyncio.get_running_loop(), self._inbox
        answer: asyncio.Future[bytes] = loop.create_future()

        def end(reply: bytes = b"", error: Exception | None = None) -> None:
            alarm.cancel()
            inbox.on_news = None
            if error is None:
                self.log.received(reply, self._succeeded())
                self._lost = False
            elif isinstance(error, NoReplyError):
                self._failed(error)
            self._pass_turn()
            if answer.done():  # the caller was cancelled
                return
            if error is None:
                answer.set_result(reply)
            else:
                answer.set_exception(error)

        def look() -> None:
            try:
                length = self._length(request, frame)
            except Exception as error:  # noqa: BLE001 (it goes to who asked)
                end(error=error)
                return
            if length is not None:
                end(inbox.take(length))
            elif inbox.lost is not None:  # the next use closes it, and opens it again
                broken = NoReplyError(self.url, f"the connection broke: {inbox.lost}")
                broken.__cause__ = inbox.lost
                end(error=broken)

        try:
            self._write(request)
        except BaseException:
            self._pass_turn()
            raise
        self._lost, self._sync = True, sync  # until the reply is here
        alarm = loop.call_later(limit, lambda: end(error=self._no_reply(request, limit)))
        inbox.on_news = look
        look()
        return answer

    def lost_place(self) -> None:
        """Say that the last reply cannot have been the right one: the line is drained before use.

        Where several ask on one wire, the next may have been served before this is said:
        `frames.answering` says it in time.
        """
        self._lost = True

    async def _frame(self, request: bytes, frame: Frame, limit: float) -> bytes:
        deadline = clock.monotonic() + limit
        while (length := self._length(request, frame)) is None:
            try:
                await self._inbox.more(deadline - clock.monotonic())
            except TimeoutError as error:
                raise self._no_reply(request, limit) from error
        return self._inbox.take(length)

    def _length(self, request: bytes, frame: Frame) -> int | None:
        try:
            return frame(bytes(self._inbox.data))
        except GarbledError as error:
            if error.instrument:
                raise
            raise GarbledError(self.url, f"{request!r}: {error}") from error

    def _no_reply(self, request: bytes, limit: float) -> NoReplyError:
        if not self._inbox.data:
            return NoReplyError(self.url, f"no reply to {request!r} in {limit:g} s")
        half = bytes(self._inbox.data)
        return GarbledError(self.url, f"only {half!r} of a reply to {request!r} in {limit:g} s")

    def _write(self, request: bytes) -> None:
        self._discard()  # nobody asked for it: it must not become our reply
        if self._transport is None or self._inbox.lost is not None:
            raise ConnectionError(str(self._inbox.lost or "not open"))
        self.log.sent(request)
        self._transport.write(request)

    def _discard(self) -> None:
        if self._inbox.data:
            self.log.discarded(self._inbox.take())

    async def _ready(self) -> None:
        if self._transport is not None and (self._inbox.lost or self._transport.is_closing()):
            await self._shut()
        await super()._ready()

    async def _in_place(self, sync: Sync | None, last_words: bytes | None) -> None:
        """Find the place if it is lost, and have no answer still to come from whom we ask now."""
        try:
            await self._settle(sync)
        except NoReplyError:
            if last_words is not None:
                await self._ready()
                self._write(last_words)
                self._lost = True
            raise

    async def _settle(self, sync: Sync | None) -> None:
        key = None if sync is None else sync.key
        asked = None
        if self._lost:
            if sync is not None and (self._sync is None or self._sync.key == key):
                self._sync = sync  # the newest one: its number, if it has one, was never used
            asked = self._sync
            await self._find_place()
        if sync is None or key not in self._silent:
            return
        if asked is None or asked.key != key:
            self._sync = sync
            await self._find_place()
        if key in self._silent:
            reason = f"no reply to {sync.request!r}, so nothing else was asked"
            raise NoReplyError(self.url, reason)

    async def _find_place(self) -> None:
        """Drain the line and ask the sync question until its own answer comes.

        One that does not answer at all is remembered in `_silent`: it may be slow, and owe us an
        answer, or be gone; others on the line can be asked meanwhile.
        """
        sync = self._sync
        if sync is None:
            await self._drain()
            self._lost = False
            return
        for attempt in range(SYNC_ATTEMPTS):
            await self._drain()
            self._write(sync.request)
            try:
                await self._answer(sync)
            except GarbledError:
                continue
            except NoReplyError:
                self._silent.add(sync.key)
            else:
                if attempt > 0 or sync.key in self._silent:
                    await self._drain()  # this may have been the answer to an earlier question
                self._silent.discard(sync.key)
            self._lost = False
            return
        await self._shut()
        raise NoReplyError(self.url, "out of step with the instrument, and no way back was found")

    async def _answer(self, sync: Sync) -> None:
        """Wait for the answer to the sync question; what comes before it is late, and goes."""
        deadline, strange = clock.monotonic() + self.timeout, b""
        while True:
            try:
                reply = await self._frame(
                    sync.request, sync.frame, max(0.0, deadline - clock.monotonic())
                )
            except NoReplyError as error:
                if strange:
                    raise GarbledError(self.url, f"{strange!r} came instead") from error
                raise
            if sync.accept(reply):
                self.log.received(reply)
                return
            self.log.discarded(reply)
            strange = reply

    async def _drain(self) -> None:
        deadline = clock.monotonic() + MOST_DRAINING
        while clock.monotonic() < deadline:
            self._discard()
            try:
                await self._inbox.more(self._quiet)
            except TimeoutError:
                if not self._inbox.data:
                    return
        await self._shut()
        raise NoReplyError(self.url, f"the line did not fall silent in {MOST_DRAINING:g} s")

    async def _open(self) -> None:
        self._inbox = Inbox(self._dropped)
        self._transport = await self._connect(self._inbox)

    def _dropped(self, inbox: Inbox) -> None:
        if inbox is self._inbox:
            self.health.connected = False

    async def _close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._discard()
        transport.close()
        try:
            await self._inbox.closed(MOST_CLOSING)
        except TimeoutError:
            transport.abort()
