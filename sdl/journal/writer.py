"""Writes in order off the loop, several to a commit; kept in memory while the medium fails.

On a real lab one thread writes: a commit takes milliseconds, a disk that hangs takes for ever, and
neither may hold up the loop. On a twin in virtual time (`inline`) every write is done at once by
who asks for it, so that order and times are the same in every run.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, overload

from sdl import clock
from sdl.errors import JournalError
from sdl.journal.failures import medium_failed
from sdl.journal.journal import Journal

RETRY = 1.0
"""Seconds of real time between two tries while the medium fails."""
CLOSING = 15.0
"""Seconds that `close` waits for a write that hangs."""
TOGETHER = 100  # writes in one transaction at most

T = TypeVar("T")


@dataclass(eq=False)
class _Entry:
    """A call, and who waits for it (if anybody)."""

    call: Callable[[], Any]
    ours: bool
    """A write of the journal; others (callbacks) run once what was asked before is committed."""
    keep: bool
    future: "Future[Any]" = field(default_factory=Future)
    error: BaseException | None = None

    def run(self) -> None:
        """Call it. :raises JournalError: the medium failed; nobody was told anything yet."""
        if not self.wanted():
            return
        try:
            result = self.call()
        except JournalError as error:
            if medium_failed(error):
                raise
            self.fail(error)
        except Exception as error:  # noqa: BLE001 (handed to who waits, as an executor does)
            self.fail(error)
        else:
            self.answer(result)

    def wanted(self) -> bool:
        """Whether it is to be run: what only begins something may be cancelled until then."""
        if self.keep or self.future.running():
            return True
        return self.future.set_running_or_notify_cancel()

    def answer(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        self.error = error  # before anybody hears that it is done
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """The one way to write a journal from the loop.

    A write fails in one of two ways. The entry is wrong (a conflict, no JSON): who waits is told;
    if nobody does, `on_failure` is. The medium fails (full, read-only, unreachable, locked):
    `failed` is set, `on_failure` called, and from then on what begins something is refused, while
    all that has happened already is kept in memory, in order, and tried again every `RETRY`
    seconds; once all of it is written, `failed` is None again and `on_recovery` is called. Both
    are called in the loop.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        inline: bool,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[JournalError], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._journal, self._inline, self._loop = journal, inline, loop
        self._on_failure, self._on_recovery = on_failure, on_recovery
        self.failed: JournalError | None = None
        """Why the journal cannot be written now."""
        self._queue: deque[_Entry] = deque()
        self._kept: deque[_Entry] = deque()
        self._tried = 0.0
        self._closed = self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if not inline:
            self._thread = threading.Thread(target=self._work, name="journal writer", daemon=True)
            self._thread.start()

    @property
    def backlog(self) -> int:
        """How much of what has happened is in memory only, because the medium fails."""
        return len(self._kept)

    @overload
    async def write(self, fn: Callable[..., T], *args: Any, **options: Any) -> T: ...
    @overload
    async def write(
        self, fn: Callable[..., T], *args: Any, keep: Literal[True], **options: Any
    ) -> T | None: ...
    async def write(
        self, fn: Callable[..., T], *args: Any, keep: bool = False, **options: Any
    ) -> T | None:
        """Run `fn` after all that was asked before; when this returns it outlives a power cut.

        :param keep: it tells of something that has happened: while the medium fails it is kept in
            memory, and this returns None at once.
        :raises JournalError: the medium fails (and not `keep`), or the writer was closed.
        :raises BaseException: whatever `fn` raises.
        """
        if self.failed is not None and not keep and not self._inline:
            raise self._refusal(self.failed)
        entry = self._add(fn, args, options, keep)
        if self._inline:
            return entry.future.result()
        with clock.held(self._loop):
            waiting = asyncio.wrap_future(entry.future)
            # what is to be kept is written even if who waits goes away: nobody may cancel it
            return await (asyncio.shield(waiting) if keep else waiting)

    def post(self, fn: Callable[..., object], *args: Any, **options: Any) -> None:
        """Run `fn` after all that was asked before; nobody waits. Kept while the medium fails.

        :raises JournalError: the writer was closed.
        """
        entry = self._add(fn, args, options, keep=True)
        entry.future.add_done_callback(lambda _: self._tell_nobody_waits(entry))
        if not self._inline:
            self._hold_clock(entry)

    async def flush(self, timeout: float) -> bool:
        """Wait until all is written; return whether it is.

        :param timeout: s of real time.
        """
        if self._inline:
            self._try_kept()
            return not self._kept

        def idle() -> bool:
            return not (self._queue or self._kept or self._busy)

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(idle, timeout)

        return await clock.outside(wait)

    def close(self) -> int:
        """Write what is left, once, and end; return how much could not be written.

        Blocks, at most `CLOSING` seconds: call it when nothing else is left to do.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is None:
            self._try_kept()
        else:
            self._thread.join(CLOSING)
        return len(self._queue) + len(self._kept)

    def _add(
        self, fn: Callable[..., Any], args: Sequence[Any], options: dict[str, Any], keep: bool
    ) -> _Entry:
        ours = getattr(fn, "__self__", None) is self._journal
        entry = _Entry(lambda: fn(*args, **options), ours, keep)
        with self._changed:
            if self._closed:
                raise JournalError(f"{self._journal.place}: its writer was closed")
            if not self._inline:
                self._queue.append(entry)
                self._changed.notify_all()
        if self._inline:
            if time.monotonic() >= self._tried + RETRY:
                self._try_kept()
            self._take([entry])
        return entry

    def _hold_clock(self, entry: _Entry) -> None:
        if not isinstance(self._loop, clock.VirtualLoop):
            return
        self._loop.hold()
        release = self._loop.release
        entry.future.add_done_callback(lambda _: self._in_loop(release))

    def _work(self) -> None:
        """The thread: take what is there, and while the medium fails look again and again."""
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                wait = None if self.failed is None else RETRY
                self._changed.wait_for(lambda: self._queue or self._closed, wait)
                last = self._closed
                entries = [self._queue.popleft() for _ in range(min(len(self._queue), TOGETHER))]
                self._busy = True
            if last or time.monotonic() >= self._tried + RETRY:
                self._try_kept()
            self._take(entries)
            if last and not self._queue:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                return

    def _take(self, entries: Sequence[_Entry]) -> None:
        left = entries if self.failed is not None else self._run(entries)
        for entry in left:
            assert self.failed is not None  # only then is anything left
            if entry.keep:
                self._kept.append(entry)
                entry.answer(None)
            else:
                entry.fail(self._refusal(self.failed))

    def _try_kept(self) -> None:
        """Write what was kept; `failed` stays while the medium does."""
        if self.failed is None or not self._recovers():
            return
        while self._kept:
            some = [self._kept.popleft() for _ in range(min(len(self._kept), TOGETHER))]
            left = self._run(some)
            self._kept.extendleft(reversed(left))
            for entry in some:
                if entry.error is not None:  # nobody waits for it any more
                    self._tell(entry.error)
            if left:
                return
        self.failed = None
        self._in_loop(self._on_recovery)

    def _recovers(self) -> bool:
        self._tried = time.monotonic()
        try:
            self._journal.probe()
        except JournalError as error:
            self._fail(error)
            return False
        return True

    def _run(self, entries: Sequence[_Entry]) -> Sequence[_Entry]:
        """Run entries in order; return those that are left because the medium failed."""
        if self._commit_together(entries):
            entries = [entry for entry in entries if not entry.ours]
        for n, entry in enumerate(entries):
            try:
                entry.run()
            except JournalError as error:
                self._fail(error)
                return entries[n:]
        return ()

    def _commit_together(self, entries: Sequence[_Entry]) -> bool:
        """Write the journal's in one transaction; False: nothing was, try one by one."""
        ours = [entry for entry in entries if entry.ours]
        if len(ours) < 2:
            return False
        try:
            with self._journal.batch():
                results = [entry.call() if entry.wanted() else None for entry in ours]
        except Exception:  # noqa: BLE001 (one by one, so that only the bad one is told)
            return False
        for entry, result in zip(ours, results, strict=True):
            entry.answer(result)
        return True

    def _fail(self, error: JournalError) -> None:
        self._tried = time.monotonic()
        first, self.failed = self.failed is None, error
        if first:
            self._in_loop(self._on_failure, error)

    def _refusal(self, why: JournalError) -> JournalError:
        return JournalError(f"nothing can be begun while the journal cannot be written: {why}")

    def _tell_nobody_waits(self, entry: _Entry) -> None:
        if entry.error is not None:
            self._tell(entry.error)

    def _tell(self, error: BaseException) -> None:
        if isinstance(error, JournalError):
            self._in_loop(self._on_failure, error)
        else:
            context = {"message": "a callback of the journal's writer failed", "exception": error}
            self._in_loop(self._loop.call_exception_handler, context)

    def _in_loop(self, call: Callable[..., object], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
            self._loop.call_soon_threadsafe(call, *args)
