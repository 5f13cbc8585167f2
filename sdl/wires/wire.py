"""A wire: one physical connection with one owner and one transaction at a time.

What holds for every kind of wire:

- a transaction is shielded: a caller that is cancelled half-way leaves the line in order, because
  the exchange goes on to its end in a task of the wire's own; one that is cancelled before its
  request went out takes it back, and nothing is sent;
- every wait has a time-out;
- a wire that lost its place (no reply, half a reply, a reply to something else) is drained and
  re-synchronised before it is used again: no request is ever answered by another's reply;
- a wire that lost its connection opens it again, with back-off; nothing is sent twice by itself.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from sdl import clock
from sdl.errors import NoReplyError

T = TypeVar("T")

FIRST_BACKOFF = 0.1  # s before the second attempt to connect; doubles
LONGEST_BACKOFF = 10.0  # s


@dataclass
class Health:
    """What a wire has lived through. Times are seconds of the lab's clock (`sdl.clock.now`)."""

    connected: bool = False
    exchanges: int = 0
    failures: int = 0
    connections: int = 0
    last_reply: float | None = None
    last_error: str | None = None


class LogEntry(NamedTuple):
    time: float
    """Seconds of the lab's clock (`sdl.clock.now`)."""
    direction: Literal["sent", "received", "discarded"]
    data: bytes


class ByteLog:
    """The newest bytes on a wire, for a person who wonders what really happened."""

    def __init__(self, length: int = 1000) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=length)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def sent(self, data: bytes) -> None:
        self._entries.append(LogEntry(clock.now(), "sent", data))

    def received(self, data: bytes, time: float | None = None) -> None:
        self._entries.append(LogEntry(clock.now() if time is None else time, "received", data))

    def discarded(self, data: bytes) -> None:
        self._entries.append(LogEntry(clock.now(), "discarded", data))


class Wire(ABC):
    """What all wires share: the turn, the shield, the connection and its health.

    A wire belongs to the event loop it is first used on. It opens itself when it is first needed.
    """

    def __init__(self, url: str, *, timeout: float = 1.0) -> None:
        """Describe a wire; nothing is opened yet.

        :param url: what it is called in messages, and where it leads.
        :param timeout: s to wait for a reply, unless an exchange says otherwise.
        """
        self.url, self.timeout = url, timeout
        self.health, self.log = Health(), ByteLog()
        self._turn = asyncio.Lock()
        self._exchange: asyncio.Task[None] | None = None
        self._backoff, self._not_before, self._why = FIRST_BACKOFF, 0.0, ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def connect(self) -> None:
        """Open the connection if it is not open.

        :raises NoReplyError: nobody is there.
        """
        await self._transact(_nothing)

    async def close(self) -> None:
        """Close the connection; the next use opens it again."""
        async with self._turn:
            await self._shut()

    async def _transact(self, exchange: Callable[[], Awaitable[T]]) -> T:
        """Run one exchange in its turn, and to its end whatever happens to the caller."""
        await self._turn.acquire()  # in the caller: whoever gives up waiting never sends
        return await self._in_turn(exchange)

    async def _in_turn(self, exchange: Callable[[], Awaitable[T]]) -> T:
        """Run an exchange for which the turn was taken."""
        # The caller waits for a future of its own: `asyncio.shield` costs a turn of the loop more.
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._alone(exchange, answer))
        self._exchange = task  # the wire owns the task, not the caller
        task.add_done_callback(lambda task: self._ended(task, answer))
        return await answer

    async def _alone(
        self, exchange: Callable[[], Awaitable[T]], answer: "asyncio.Future[T]"
    ) -> None:
        try:
            await self._ready()
            if answer.cancelled():  # while we connected: what nobody wants any more is not sent
                return
            result = await exchange()
        except OSError as error:
            await self._shut()
            self._failed(error)
            raise NoReplyError(self.url, f"the connection broke: {error}") from error
        except NoReplyError as error:
            self._failed(error)
            raise
        if exchange is not _nothing:
            self._succeeded()
        self._pass_turn()
        if not answer.done():
            answer.set_result(result)

    def _ended(self, task: asyncio.Task[None], answer: "asyncio.Future[Any]") -> None:
        if self._exchange is task:
            self._pass_turn()
        error = None if task.cancelled() else task.exception()
        if answer.done():
            return  # answered, or the caller was cancelled and does not hear of it; the health does
        if error is None:
            answer.cancel()
        else:
            answer.set_exception(error)

    def _pass_turn(self) -> None:
        self._exchange = None
        self._turn.release()

    def _succeeded(self) -> float:
        """Note it; return now."""
        self.health.exchanges += 1
        self.health.last_reply = now = clock.now()
        return now

    def _failed(self, error: Exception) -> None:
        self.health.failures += 1
        self.health.last_error = str(error).removeprefix(f"{self.url}: ")

    async def _ready(self) -> None:
        """Have an open connection in its place, or raise."""
        if not self.health.connected:
            await self._reopen()

    async def _reopen(self) -> None:
        wait = self._not_before - clock.monotonic()
        if wait > self.timeout:
            raise NoReplyError(
                self.url, f"not connected ({self._why}); next attempt in {wait:.1f} s"
            )
        if wait > 0:
            await asyncio.sleep(wait)
        try:
            async with asyncio.timeout(max(self.timeout, 1.0)):
                await self._open()
        except (OSError, TimeoutError) as error:
            self._not_before = clock.monotonic() + self._backoff
            self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)
            self._why = str(error) or f"nobody answered in {max(self.timeout, 1.0):g} s"
            raise NoReplyError(self.url, f"cannot connect: {self._why}") from error
        self._backoff, self._not_before = FIRST_BACKOFF, 0.0
        self.health.connected = True
        self.health.connections += 1

    async def _shut(self) -> None:
        self.health.connected = False
        await self._close()

    @abstractmethod
    async def _open(self) -> None:
        """Open the connection. Raise OSError or TimeoutError."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the connection; never raise."""


async def _nothing() -> None:
    """Exchange nothing: being ready was all that was wanted."""
