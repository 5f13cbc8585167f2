"""A plan run by a RunEngine of its own thread, on the loop that all instruments share.

One loop, many engines: every trial in flight has its RunEngine, each blocks a thread of its own,
all act on one asyncio loop (two loops sharing a device hang). The plan passes through `witnessed`,
which numbers the messages that touch the world and tells a witness of each.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from bluesky import Msg, RunEngine
from bluesky.run_engine import RunEngineResult
from bluesky.utils import RequestAbort, RunEngineInterrupted

from sdl import clock
from sdl.clock import Loop, Speed, VirtualLoop, new_loop
from sdl.errors import StoppedError
from sdl.instrument import Effect, effect_of

Plan = Generator[Msg, Any, Any]

TOUCHING = frozenset(
    {"set", "trigger", "read", "kickoff", "complete", "collect", "prepare"}
    | {"stage", "unstage", "stop", "locate", "sleep"}
)
"""Messages that are steps: they reach an instrument, or let time pass for the sample."""

JOIN_TIMEOUT = 5.0  # s for the loop's thread to end


class Witness(Protocol):
    """Who is told what a plan does, in the loop's thread, before anybody else is."""

    def document(self, name: str, doc: dict[str, Any]) -> None:
        """A Bluesky document was made. Raising stops the plan."""

    def step(self, number: int, message: Msg) -> None:
        """A message is about to reach the world. Raising stops the plan."""

    def step_ended(self, number: int, answer: Any, error: BaseException | None) -> None:
        """It was answered; a move may still be under way."""

    def waiting(self, statuses: Any) -> None:
        """The plan waits for these statuses; None: it does not any more."""

    def stop_wanted(self) -> str | None:
        """Why the plan should end after the current step, if it should."""


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
        self._loop, self._scan = loop, 0
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
        :raises StoppedError: the witness wanted it stopped, or `abort` was called.
        :raises Exception: what the plan or an instrument raised, as Bluesky wraps it.
        """
        self._scan = scan_id
        handover = _Handover(self._loop)
        handed = handover.plan(witnessed(plan, witness))
        self._hook(witness.waiting, handover.state_changed)
        token = self._engine.subscribe(lambda name, doc: witness.document(name, doc))
        try:
            with handover:
                result = await self._loop.run_in_executor(
                    self._pool, lambda: self._engine(handed, **metadata)
                )
        except RunEngineInterrupted as error:
            raise StoppedError(witness.stop_wanted() or "aborted") from error
        finally:
            self._engine.unsubscribe(token)
            self._hook(None, None)
        assert isinstance(result, RunEngineResult)  # as call_returns_result asks
        if result.exit_status == "abort":
            raise StoppedError(witness.stop_wanted() or result.reason or "aborted")
        return result.plan_result

    def _hook(self, waiting: Any, state_changed: Any) -> None:
        self._engine.waiting_hook = waiting
        self._engine.state_hook = state_changed

    def abort(self, reason: str) -> None:
        """End the plan in the middle of a step; its clean-up runs. Not in the loop's thread."""
        if self._engine.state != "idle":
            with contextlib.redirect_stdout(io.StringIO()):  # it announces itself with print
                self._engine.abort(reason)


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


def witnessed(plan: Plan, witness: Witness) -> Plan:
    """Tell a witness of every step of the plan, and end the plan where the witness wants it.

    It ends between steps, once nothing that was begun and must end is still waited for: a dose
    under way is finished, a heater on its way is not waited for. The plan sees `RequestAbort`, so
    its clean-up runs.
    """
    number, stopping, groups = 0, False, set[Any]()
    advance: Callable[[], Msg] = lambda: next(plan)  # noqa: E731 (what to do next, as a value)
    while True:
        try:
            message = advance()
        except StopIteration as end:
            return end.value
        touching = message.command in TOUCHING
        try:
            if touching:
                number += 1
                witness.step(number, message)
            answer = yield message
        except GeneratorExit:
            plan.close()
            raise
        except BaseException as error:  # noqa: BLE001 (the plan decides what an error means)
            if touching:
                witness.step_ended(number, None, error)
            advance = _throw(plan, error)
            continue
        if touching:
            witness.step_ended(number, answer, None)
        _note_group(groups, message)
        if not stopping and not groups and (why := witness.stop_wanted()) is not None:
            stopping = True
            advance = _throw(plan, RequestAbort(why))
        else:
            advance = _send(plan, answer)


def _throw(plan: Plan, error: BaseException) -> Callable[[], Msg]:
    return lambda: plan.throw(error)


def _send(plan: Plan, answer: Any) -> Callable[[], Msg]:
    return lambda: plan.send(answer)


def _note_group(groups: set[Any], message: Msg) -> None:
    """Keep the set of groups that are under way."""
    group = message.kwargs.get("group")
    if message.command == "wait":
        groups.discard(message.args[0] if message.args else group)
    elif group is not None and _must_end(message):
        groups.add(group)


def _must_end(message: Msg) -> bool:
    """Whether what the message begins is better finished than broken off, such as a dose.

    A setpoint need not be reached: nobody waits for a furnace in order to stop.
    """
    if message.command == "set":
        return effect_of(message.obj) is Effect.RELATIVE
    return message.command in ("trigger", "kickoff", "complete")
