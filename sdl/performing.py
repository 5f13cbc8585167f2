"""One step, performed: guarded, marked, intended, acted, ended; and asked about if nobody heard.

What may be repeated is, as often as the lab file allows. What must not be never is: an instrument
that was told to dose and did not answer is asked what became of it.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sdl import clock, values
from sdl.entries import Entries, Recorder
from sdl.errors import (
    InDoubtError,
    InstrumentError,
    JournalError,
    NoReplyError,
    RefusedError,
    SdlError,
    UnsafeError,
    cause_of,
    explain,
)
from sdl.instrument import Finding, Reconcilable, Verdict
from sdl.interruption import Interruption
from sdl.journal import Step
from sdl.journal.records import Booking
from sdl.safety.action import Action
from sdl.safety.guard import Guard
from sdl.stamping import readings_by
from sdl.step import Call, Progress, perform

UNGATED = frozenset({"stop", "unstage", "read", "locate", "collect", "sleep"})
"""What the guard is not asked for: it moves nothing, or it is the way to rest."""

ASKING = frozenset({"read", "locate", "collect"})

PATIENCE = 600.0  # s that an instrument is asked what only it can tell, if it does not answer
BRIEF = 30.0  # s that it is asked about itself
TRIES = 3  # of a dose that the instrument says was not done
SHORTEST, LONGEST = 1.0, 15.0  # s between two tries

log = logging.getLogger(__name__)


class Around(Recorder, Protocol):
    """What the steps of a trial need of whoever runs it."""

    guard: Guard

    def retries(self, path: str, command: str, *, refused: bool = False) -> int:
        """How often a command that may be repeated is repeated.

        :param refused: where the instrument said no, and may say yes a little later.
        """
        ...


class Performer:
    """Performs the steps of one trial."""

    def __init__(
        self,
        entries: Entries,
        around: Around,
        holds: Collection[str],
        interruption: Interruption,
        *,
        ready: Callable[[Call], Awaitable[None]],
        freeze: Callable[[SdlError], None],
    ) -> None:
        """Prepare.

        :param holds: the instruments that the trial has claimed.
        :param ready: returns when a step may be performed, or raises.
        :param freeze: leaves the trial as it is.
        """
        self._entries, self._around, self._holds = entries, around, frozenset(holds)
        self._interruption, self._ready, self._freeze = interruption, ready, freeze
        self.progress: dict[int, Progress] = {}
        self.stopped: dict[int, int] = {}
        """At which step the plan stopped a device (by `id`)."""

    async def stop(self, call: Call) -> Any:
        """Stop a device: never gated, never put off."""
        self.stopped[id(call.device)] = call.n
        self._entries.post_begin(call)
        try:
            result = await self._calls(call)
        except Exception as error:  # whatever a device raises is the record's and the plan's
            await self._entries.end(call, error=error)
            raise
        await self._entries.end(call)
        return result

    async def repeatable(self, call: Call, *, again: bool) -> Any:
        """Perform a setpoint or a reading; again, if it fails and the lab file allows that."""
        path, pause = self._around.guard.path_of(call.device), SHORTEST
        tries = 0
        while True:
            try:
                return await self._attempt(call, again)
            except (RefusedError, NoReplyError, TimeoutError, OSError) as error:
                refused = isinstance(error, RefusedError)
                left = self._around.retries(path, call.command, refused=refused) - tries
                if left <= 0 or self._interruption.frozen is not None:
                    raise
                log.warning("%s: again in %.0f s (%d left): %s", call, pause, left, explain(error))
            await self._interruption.wait(asyncio.create_task(asyncio.sleep(pause)))
            tries, again, pause = tries + 1, True, min(2 * pause, LONGEST)

    async def _attempt(self, call: Call, again: bool) -> Any:
        if call.command in ASKING:
            self._entries.post_begin(call, again=again)
        else:
            permit = await self._check(call, again=again)
            await self._begin(call, permit, again=again)
        try:
            result = await self._interruption.wait(asyncio.ensure_future(self._calls(call)))
        except Exception as error:
            if self._interruption.frozen is not None:  # it stays open, and is performed again later
                raise self._interruption.frozen from error
            await self._entries.end(call, error=cause_of(error))
            raise cause_of(error) from error
        self._around.boundary(call.n, "after act")
        if call.command == "read" and clock.simulated():
            result = readings_by(clock.now(), result)
        if call.command in ASKING:
            await self._entries.end(call, result)
        else:
            self._entries.post_end(call)
        self._around.boundary(call.n, "done")
        return result if call.command in ASKING else None

    async def dose(self, call: Call, was: Step | None) -> None:
        """Perform a relative action; what is known of an earlier attempt decides how."""
        left: Call | None = call
        if was is not None:
            left = replace(call, args=(was.argument,)) if len(call.args) == 1 else call
            found = was.findings[-1] if was.findings else {}
            if found.get("verdict") == Verdict.PARTLY and "rest" in found:
                left = replace(left, args=(found["rest"],))  # nothing was begun since
            elif not was.not_done and found.get("verdict") != Verdict.NOT_DONE:
                why = "the runtime ended while it was under way"
                left = await self._reconciled(left, was.mark, why)
        again, tries = was is not None, 0
        while left is not None:
            await self._ready(left)
            permit = await self._check(left, again=again)
            mark = await self._mark(left, permit, again)
            await self._begin(left, permit, again=again, mark=mark)
            again, tries = True, tries + 1
            left = await self._once(left, mark, last=tries >= TRIES)

    async def _mark(self, call: Call, permit: "_Permit", again: bool) -> Any:
        """What the instrument says before the dose; if it does not answer, nothing is begun."""
        if not isinstance(call.device, Reconcilable):
            return None
        try:
            mark = await self._answered(lambda: call.device.mark(call.command, _first_of(call)))
            return values.to_json(mark)
        except Exception as error:
            self._unbook(permit)
            if self._interruption.frozen is not None:
                raise self._interruption.frozen from error
            await self._entries.not_performed(call, cause_of(error), again=again)
            raise cause_of(error) from error

    async def _once(self, call: Call, mark: Any, *, last: bool) -> Call | None:
        """Act once; return what is left to be done, or None."""
        if self.stopped.get(id(call.device), 0) > call.n:  # the plan thinks that it rests
            error = InstrumentError(call.instrument, f"{call}: told to stop before it began")
            await self._entries.end(call, error=error)
            self._entries.take_back(call, "it was not begun")
            raise error
        try:
            await self._interruption.dose(self._calls(call))
        except BaseException as error:
            if self._interruption.halted and self._interruption.frozen is not None:
                # what became of the dose is asked when the trial is taken up again
                raise self._interruption.frozen from error
            cause = cause_of(error)
            if not isinstance(cause, Exception) or isinstance(cause, JournalError):
                raise
            if not _end_unknown(cause):
                await self._entries.end(call, error=cause)
                if isinstance(cause, RefusedError | ValueError | TypeError):
                    self._entries.take_back(call, "it was refused")
                raise cause from error
            left = await self._reconciled(call, mark, explain(cause))
            if left is not None and last:
                await self._entries.end(call, error=cause)
                if left is call:
                    self._entries.take_back(call, "it was not done")
                raise cause from error
            return left
        self._around.boundary(call.n, "after act")
        await self._entries.end(call)
        self._around.boundary(call.n, "done")
        return None

    async def _reconciled(self, call: Call, mark: Any, why: str) -> Call | None:
        """Ask the instrument what became of a dose; return what is left to be done, or None.

        :raises InDoubtError: it cannot tell; the trial is frozen.
        """
        finding = await self._ask_instrument(call, mark)
        told = {"verdict": finding.verdict.value, "evidence": finding.evidence}
        told |= {"who": call.instrument, "why": why}
        if finding.verdict is Verdict.DONE:
            await self._entries.end(call, finding=told)
            return None
        if finding.verdict is Verdict.PARTLY:
            told["rest"] = values.plain(finding.rest)
        # before `mark` prepares the rest, which may change what the instrument could tell
        await self._entries.found(call, told)
        if finding.verdict is Verdict.NOT_DONE:
            return call
        if finding.verdict is Verdict.PARTLY:
            return replace(call, args=(finding.rest, *call.args[1:]))
        number = self._entries.trial.number
        error = InDoubtError(
            f"step {call.n}, {call}: nobody can tell whether it was done ({why}; "
            f"{finding.evidence}). Look at the instrument, then `sdl resolve {number} --done`, "
            "`--not-done`, `--retry` or `--abandon`, with `--note …`"
        )
        self._freeze(error)
        raise error

    async def _ask_instrument(self, call: Call, mark: Any) -> Finding:
        device, argument = call.device, _first_of(call)
        if not isinstance(device, Reconcilable) or mark is None:
            return Finding(Verdict.UNKNOWN, f"{call.instrument} cannot be asked")
        try:
            finding = await self._answered(lambda: device.reconcile(call.command, argument, mark))
        except (NoReplyError, TimeoutError, OSError) as error:
            return Finding(Verdict.UNKNOWN, f"it cannot be asked now: {explain(error)}")
        assert isinstance(finding, Finding)  # the protocol says so
        return finding

    async def question(self, ask: Callable[[], Any]) -> Any:
        """Ask what moves nothing and is not recorded: a device about itself."""

        async def once() -> Any:
            answer = ask()
            return await answer if inspect.isawaitable(answer) else answer

        return await self._answered(once, BRIEF)

    async def _answered(self, ask: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> Any:
        """Ask a question that moves nothing, for as long as it may take to mend a wire."""
        deadline, pause = clock.monotonic() + patience, SHORTEST
        while True:
            try:
                return await self._interruption.dose(ask())
            except (NoReplyError, TimeoutError, OSError) as error:
                if self._interruption.frozen is not None or clock.monotonic() + pause > deadline:
                    raise
                log.warning("asked again in %.0f s: %s", pause, explain(error))
            await self._interruption.wait(asyncio.create_task(asyncio.sleep(pause)))
            pause = min(2 * pause, LONGEST)

    async def _check(self, call: Call, *, again: bool) -> "_Permit":
        """Ask the guard.

        :raises UnsafeError: it said no; nothing was sent.
        """
        if call.command in UNGATED:
            return _Permit(None, [])
        trial, path = self._entries.trial.id, self._around.guard.path_of(call.device)
        action = Action(call.command, path, _first_of(call), call.effect, trial, call.n)
        try:
            # what the first attempt has taken from the inventory is not taken twice
            bookings = await self._around.guard.check(action, self._holds, again=again)
        except UnsafeError as error:
            await self._entries.not_performed(call, error, again=again)
            raise
        return _Permit(action, bookings)

    async def _begin(self, call: Call, permit: "_Permit", *, again: bool, mark: Any = None) -> None:
        try:
            await self._entries.begin(call, again=again, mark=mark, bookings=permit.bookings)
        except BaseException:
            self._unbook(permit)
            raise
        if permit.action is not None:
            self._around.guard.booked(permit.action)
        self._around.boundary(call.n, "after intent")

    def _unbook(self, permit: "_Permit") -> None:
        if permit.action is not None:
            self._around.guard.unbooked(permit.action)

    async def _calls(self, call: Call) -> Any:
        return await perform(call, self.progress.get(call.n))


@dataclass(frozen=True)
class _Permit:
    """The guard's yes."""

    action: Action | None
    bookings: list[Booking]


def _first_of(call: Call) -> Any:
    return call.args[0] if call.args else None


def _end_unknown(error: Exception) -> bool:
    """Whether a dose that raised this may have been done all the same."""
    if isinstance(error, NoReplyError):
        return True
    return not isinstance(error, SdlError | ValueError | TypeError)
