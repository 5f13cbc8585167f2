"""A plan run by a RunEngine of its own thread, on the loop that all instruments share.

One loop, many engines: every trial in flight has its RunEngine, each blocks a thread of its own,
all act on one asyncio loop (two loops sharing a device hang).
"""

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from bluesky import Msg, RunEngine
from bluesky.run_engine import RunEngineResult
from bluesky.utils import RunEngineInterrupted

from sdl import clock
from sdl.clock import Loop, Speed, VirtualLoop, new_loop
from sdl.errors import StoppedError

Plan = Generator[Msg, Any, Any]

JOIN_TIMEOUT = 5.0  # s for the loop's thread to end


class Witness(Protocol):
    """Who is told what a plan does, in the loop's thread, before anybody else is."""

    def document(self, name: str, doc: dict[str, Any]) -> None:
        """A Bluesky document was made. Raising stops the plan."""

    def waiting(self, statuses: Any) -> None:
        """The plan waits for these statuses; None: it does not any more."""


def start_loop(speed: Speed = 1.0, start: float = 0.0) -> Loop:
    """Return a running loop in a thread of its own, one that RunEngines accept."""
    loop = new_loop(speed, start)
    RunEngine({}, loop=loop, context_managers=[])  # the first engine starts the loop's thread
    return loop


def end_loop(loop: Loop) -> None:
    """Cancel what still runs on the loop, stop and close it. Call it from another thread."""
    asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(JOIN_TIMEOUT)
    loop.call_soon_threadsafe(loop.stop)
    deadline = time.monotonic() + JOIN_TIMEOUT
    while loop.is_running() and time.monotonic() < deadline:
        time.sleep(0.001)  # the thread is Bluesky's and cannot be joined
    if not loop.is_running():
        loop.close()


async def _cancel_all() -> None:
    others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Engine:
    """One RunEngine and its thread; runs one plan at a time."""

    def __init__(self, loop: Loop) -> None:
        """Make it from any thread but the loop's own; `Engine.start` does so from the loop."""
        self._loop, self._scan, self._reason = loop, 0, ""
        self._resumed = threading.Event()
        self._ending = _Ending(lambda: str(self._engine.state))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="plan")
        self._engine = RunEngine(
            {},
            loop=loop,
            context_managers=[],
            call_returns_result=True,
            scan_id_source=lambda _: self._scan,
        )

    @classmethod
    async def start(cls, loop: Loop) -> "Engine":
        return await clock.outside(cls, loop)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(
        self, plan: Plan, witness: Witness, *, metadata: Mapping[str, Any], scan_id: int = 0
    ) -> Any:
        """Run the plan to its end and return what it returns.

        :param metadata: goes into every start document.
        :raises StoppedError: it was ended from outside: frozen, or by `abort`.
        :raises Exception: what the plan or an instrument raised, as Bluesky wraps it.
        """
        self._scan = scan_id
        handover, self._ending = _Handover(self._loop), _Ending(lambda: str(self._engine.state))
        handed = handover.plan(self._ending.plan(plan))
        self._hook(witness.waiting, handover.state_changed)
        token = self._engine.subscribe(lambda name, doc: witness.document(name, doc))
        try:
            with handover:
                result = await self._loop.run_in_executor(
                    self._pool, lambda: self._to_the_end(handed, metadata)
                )
        except RunEngineInterrupted as error:
            raise StoppedError(self._reason or "aborted") from error
        finally:
            self._engine.unsubscribe(token)
            self._hook(None, None)
        assert isinstance(result, RunEngineResult)  # as call_returns_result asks
        if result.exit_status == "abort":
            raise StoppedError(self._reason or result.reason or "aborted")
        return result.plan_result

    def _to_the_end(self, plan: Plan, metadata: Mapping[str, Any]) -> Any:
        """Run a plan in this thread, over all pauses."""
        self._reason = ""
        self._resumed.clear()
        go_on = lambda: self._engine(plan, **metadata)  # noqa: E731 (what to do next)
        while True:
            try:
                return go_on()
            except RunEngineInterrupted:
                if self._engine.state != "paused":
                    raise
            self._resumed.wait()
            self._resumed.clear()
            if self._engine.state != "paused":  # it was ended in the pause
                raise RunEngineInterrupted
            go_on = self._engine.resume

    def pause(self) -> None:
        """Interrupt the RunEngine and rewind it to its last checkpoint. Not in the loop's thread.

        An operator's pause is another thing (`Interruption.pause`): it interrupts nothing.
        """
        with _quiet():
            self._engine.request_pause(defer=False)

    def resume(self) -> None:
        self._resumed.set()

    def _hook(self, waiting: Any, state_changed: Any) -> None:
        self._engine.waiting_hook = waiting
        self._engine.state_hook = state_changed

    def abort(self, reason: str) -> None:
        """End the plan in the middle of a step; its clean-up runs. Not in the loop's thread.

        A plan that has come to its end is left alone: the engine stops what was moved, and must not
        be disturbed then.
        """
        with self._ending.coming() as in_time:
            if in_time and self._engine.state != "idle":
                self._reason = reason
                with _quiet():
                    self._engine.abort(reason)
        self._resumed.set()


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """A RunEngine announces what is done to it with print."""
    return contextlib.redirect_stdout(io.StringIO())


class _Ending:
    """Lets a plan end, or an abort come, but not both: the RunEngine stays between them for ever.

    An abort cancels the engine's task. Once the plan is over that task stops what was moved and
    makes the engine idle, and a cancelled one does not.
    """

    def __init__(self, state: Callable[[], str]) -> None:
        """:param state: of the engine: once that is no longer running, the abort has come."""
        self._lock, self._state = threading.Lock(), state
        self._over = self._aborting = False

    @contextlib.contextmanager
    def coming(self) -> Iterator[bool]:
        """Hold the plan's end back for an abort; yield whether it comes in time."""
        with self._lock:
            self._aborting = not self._over
        try:
            yield self._aborting
        finally:
            self._aborting = False

    def plan(self, plan: Plan) -> Plan:
        """The plan, whose end waits for an abort that is on its way."""
        try:
            returned = yield from plan
        except Exception:
            yield from self._end()
            raise
        yield from self._end()
        return returned

    def _end(self) -> Plan:
        while not self._is_over() and self._state() == "running":
            yield Msg("sleep", None, 0)

    def _is_over(self) -> bool:
        with self._lock:
            self._over = not self._aborting
            return self._over


class _Handover:
    """Holds a virtual clock while a plan is on its way to its engine's thread and back.

    On the way back the engine first stops what the plan moved, which takes time on the lab's clock;
    it is idle, and its thread about to wake, only after that.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop, self._holding = loop, False

    def __enter__(self) -> None:
        self._hold(True)

    def __exit__(self, *_: object) -> None:
        self._hold(False)

    def _hold(self, wanted: bool) -> None:
        if isinstance(self._loop, VirtualLoop) and wanted is not self._holding:
            self._holding = wanted
            (self._loop.hold if wanted else self._loop.release)()

    def plan(self, plan: Plan) -> Plan:
        self._hold(False)
        return (yield from plan)

    def state_changed(self, state: str, before: str) -> None:
        """Hear of the engine's state, in the loop's thread."""
        if state == "idle":
            self._hold(True)
