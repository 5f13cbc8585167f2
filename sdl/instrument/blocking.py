"""A vendor's blocking library behind one thread, so that it neither blocks the loop nor is
entered twice.

    pump = Blocking("pump", lambda: acme.open("COM3"), close=lambda sdk: sdk.close())
    await pump.call("start", lambda sdk: sdk.start(1.5))

A Python thread cannot be ended from outside. A call that hangs is therefore given up, not
cancelled: whoever asked gets a `NoReplyError`, so does everybody who asks after that, and nothing
more is sent until it has returned.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ophyd_async.core import SignalDatatypeT, SignalR, SignalRW

from sdl import clock
from sdl.errors import NoReplyError
from sdl.instrument.backends import Range
from sdl.instrument.effects import Effect
from sdl.instrument.signals import poll_r, poll_rw
from sdl.instrument.unwired import Errors, translated

S = TypeVar("S")
T = TypeVar("T")


@dataclass(eq=False)
class _Call:
    """One call on its way through a thread."""

    asked: str
    work: Callable[[], Any]
    done: "asyncio.Future[Any]"
    began: float = field(default_factory=clock.monotonic)

    def run(self) -> None:
        result, error = None, None
        try:
            result = self.work()
        except BaseException as raised:  # noqa: BLE001 (raised where it is waited for)
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
            self.done.get_loop().call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if error is not None:
            self.done.set_exception(error)
            self.done.exception()  # it may have been given up: then nobody asks
        else:
            self.done.set_result(result)


class Blocking(Generic[S]):
    """An object of a blocking library, and the only thread that touches it.

    The thread makes the object (some libraries want that), with the first call, and again with the
    next call after `close` or after an error in `lost`.
    """

    def __init__(
        self,
        instrument: str,
        make: Callable[[], S],
        *,
        close: Callable[[S], object] | None = None,
        timeout: float = 10.0,
        errors: Errors | None = None,
        lost: tuple[type[Exception], ...] = (),
    ) -> None:
        """Describe it; nothing is opened.

        :param instrument: whose name errors bear.
        :param make: opens the connection and returns what to call.
        :param timeout: s of real time that a call may take, unless it says otherwise.
        :param errors: what the library's exceptions mean; any other is a `NoReplyError`.
        :param lost: exceptions after which the object is of no use any more.
        """
        self.instrument, self._make, self._unmake = instrument, make, close
        self._timeout, self._errors, self._lost = timeout, errors or {}, lost
        self._turn = asyncio.Lock()
        self._jobs: queue.SimpleQueue[_Call | None] | None = None
        self._hanging: _Call | None = None
        self._sdk: S | None = None  # touched by the thread alone
        self._going: set[asyncio.Task[Any]] = set()

    async def call(self, asked: str, work: Callable[[S], T], *, timeout: float | None = None) -> T:
        """Call the library when nobody else does.

        A caller that is cancelled leaves; a call that has begun goes on, and others wait for it.

        :param asked: for messages: what is asked for.
        :param timeout: s of real time for this call itself.
        :raises NoReplyError: it has not returned in time, or an earlier one has not returned yet
            and nothing was sent, or the library raised what `errors` does not name.
        :raises InstrumentError: what `errors` says.
        """
        limit = self._timeout if timeout is None else timeout
        await self._turn.acquire()
        going = asyncio.create_task(self._transact(asked, lambda: self._work(work), limit))
        self._going.add(going)
        going.add_done_callback(self._gone)
        return await asyncio.shield(going)

    async def aside(self, asked: str, work: Callable[[S], T], *, timeout: float | None = None) -> T:
        """Call the library at once, in a further thread, whatever it is doing.

        Only for what the vendor says may be called so: to abort what is under way. Errors: `call`.
        """
        sdk = self._sdk
        if sdk is None:
            return await self.call(asked, work, timeout=timeout)
        call = self._new(asked, lambda: work(sdk))
        threading.Thread(target=call.run, name=f"{self.instrument}, aside", daemon=True).start()
        return await self._result(call, self._timeout if timeout is None else timeout)

    async def open(self) -> None:
        """Make the object now, unless there is one. Errors: `call`."""
        await self.call("open", lambda _: None)

    async def close(self) -> None:
        """Close the object and end the thread; a call that hangs is left behind. Never raises."""
        async with self._turn:
            jobs, self._jobs = self._jobs, None
            if jobs is None:
                return
            call = self._new("close", self._drop)
            if self._hanging is None:
                jobs.put(call)
                with contextlib.suppress(Exception):  # it is closed for us all the same
                    await self._result(call, self._timeout)
            jobs.put(None)

    def poll_r(
        self, datatype: type[SignalDatatypeT], asked: str, get: Callable[[S], SignalDatatypeT],
        *, units: str | None = None, precision: int | None = None, period: float = 1.0,
    ) -> SignalR[SignalDatatypeT]:  # fmt: skip
        """A signal that calls `get` each time it is read."""
        source = f"sdk://{self.instrument}/{asked}"
        reading = self._getter(asked, get)
        return poll_r(datatype, reading, source=source, units=units, precision=precision,
                      period=period)  # fmt: skip

    def poll_rw(
        self, datatype: type[SignalDatatypeT], asked: str, get: Callable[[S], SignalDatatypeT],
        put: Callable[[S, SignalDatatypeT], object],
        *, units: str | None = None, precision: int | None = None, limits: Range | None = None,
        effect: Effect = Effect.ABSOLUTE, period: float = 1.0,
    ) -> SignalRW[SignalDatatypeT]:  # fmt: skip
        """A signal that calls `get` when it is read and `put` when it is set."""

        async def setting(value: SignalDatatypeT) -> None:
            await self.call(f"set {asked} {value!r}", lambda sdk: put(sdk, value))

        return poll_rw(
            datatype, self._getter(asked, get), setting,
            source=f"sdk://{self.instrument}/{asked}", units=units, precision=precision,
            limits=limits, effect=effect, period=period,
        )  # fmt: skip

    def _getter(self, asked: str, get: Callable[[S], T]) -> Callable[[], Awaitable[T]]:
        async def reading() -> T:
            return await self.call(f"read {asked}", get)

        return reading

    # In the loop

    def _gone(self, task: "asyncio.Task[Any]") -> None:
        self._going.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have left

    def _new(self, asked: str, work: Callable[[], Any]) -> _Call:
        return _Call(asked, work, asyncio.get_running_loop().create_future())

    async def _transact(self, asked: str, work: Callable[[], T], limit: float) -> T:
        """Call while it is our turn, and give the turn back."""
        try:
            if self._hanging is not None:
                since = clock.monotonic() - self._hanging.began
                hangs = f"`{self._hanging.asked}` has not returned for {since:.0f} s"
                raise NoReplyError(self.instrument, f"{asked}: nothing was sent: {hangs}")
            call = self._new(asked, work)
            self._thread().put(call)
            try:
                return await self._result(call, limit)
            finally:
                if not call.done.done():
                    self._hanging = call
                    call.done.add_done_callback(self._returned)
        finally:
            self._turn.release()

    async def _result(self, call: _Call, limit: float) -> Any:
        if not await finished(call.done, limit):
            said = f"has not returned in {limit:g} s; nothing more is sent until it does"
            raise NoReplyError(self.instrument, f"{call.asked}: {said}")
        error = call.done.exception()
        if isinstance(error, Exception):
            ours = translated(error, self._errors, self.instrument, call.asked)
            raise ours from (None if ours is error else error)
        return call.done.result()

    def _returned(self, _: "asyncio.Future[Any]") -> None:
        self._hanging = None

    def _thread(self) -> "queue.SimpleQueue[_Call | None]":
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            name, work = f"{self.instrument}, blocking", self._live
            threading.Thread(target=work, args=(self._jobs,), name=name, daemon=True).start()
        return self._jobs

    # In the thread

    @staticmethod
    def _live(jobs: "queue.SimpleQueue[_Call | None]") -> None:
        while (call := jobs.get()) is not None:
            call.run()

    def _work(self, work: Callable[[S], T]) -> T:
        if self._sdk is None:
            self._sdk = self._make()
        try:
            return work(self._sdk)
        except self._lost as error:
            with contextlib.suppress(Exception):  # what counts is why it was lost
                self._drop()
            text = f"lost: {type(error).__name__}: {error}"
            raise NoReplyError(self.instrument, text) from error

    def _drop(self) -> None:
        sdk, self._sdk = self._sdk, None
        if sdk is not None and self._unmake is not None:
            self._unmake(sdk)


async def finished(done: "asyncio.Future[Any]", limit: float) -> bool:
    """Wait for what happens outside of the loop; whether it did in `limit` s of real time.

    A simulated clock stands still meanwhile. What is not done is left as it is.
    """
    loop = asyncio.get_running_loop()
    if not clock.simulated(loop):
        await asyncio.wait({done}, timeout=limit)
        return done.done()
    late = asyncio.Event()
    timer = threading.Timer(limit, lambda: _tell(loop, late))
    timer.daemon = True
    waiting = asyncio.ensure_future(late.wait())
    with clock.held(loop):  # a library lives in real time: the simulated one stands still
        timer.start()
        try:
            await asyncio.wait({done, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waiting.cancel()
    return done.done()


def _tell(loop: asyncio.AbstractEventLoop, late: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
        loop.call_soon_threadsafe(late.set)
