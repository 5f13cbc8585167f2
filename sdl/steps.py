"""The steps of one trial: each is done once, whatever is repeated, paused, killed or not heard.

A step is one message of the plan that touches the world. It is *open* once its intent is in the
journal, *done* when its end is there too. A step that the journal has as done is answered from it;
any other is performed: guarded, marked, intended, acted, ended. What that means for each effect:

- absolute (a setpoint): acted again after an interruption, before anything else moves;
- measure: the recorded reading counts; a trigger whose reading was lost is repeated;
- relative (a dose): never repeated. Where its end was not heard the instrument is asked; what it
  cannot tell, a person decides (`InDoubtError`).
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

from sdl import clock, values
from sdl.errors import (
    ConfigError,
    FaultError,
    InDoubtError,
    InstrumentError,
    JournalError,
    NoReplyError,
    RefusedError,
    SdlError,
    SpoiledError,
    StoppedError,
    UnrepeatableError,
    UnsafeError,
    cause_of,
    explain,
)
from sdl.instrument import Effect, Finding, Reconcilable, Verdict, effect_of_command
from sdl.interruption import Interruption, retrieve
from sdl.journal import Journal, Step, Trial
from sdl.journal.records import Booking
from sdl.journal.writer import Writer
from sdl.safety.action import Action
from sdl.safety.guard import Guard
from sdl.stamping import readings_by
from sdl.step import Call, Progress, StepStatus, in_words, perform

UNGATED = frozenset({"stop", "unstage", "read", "locate", "collect", "sleep"})
"""What the guard is not asked for: it moves nothing, or it is the way to rest."""

ASKING = frozenset({"read", "locate", "collect"})
OWED_PER_COMMAND = frozenset({"set", "prepare", "stage", "trigger", "kickoff", "complete"})

_GIVEN_UP = frozenset(map(values.kind_of, (SpoiledError(), StoppedError())))

PATIENCE = 30.0  # s that an instrument which does not answer is asked what became of a dose
TRIES = 3  # of a dose that the instrument says was not done
STUCK = 5.0  # s in a wait that was left behind when the plan was run before

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Permit:
    """The guard's yes."""

    action: Action | None
    bookings: list[Booking]


class Around(Protocol):
    """What the steps of a trial need of whoever runs it."""

    journal: Journal
    writer: Writer
    guard: Guard

    def retries(self, path: str, command: str) -> int:
        """How often a command that may be repeated is repeated."""
        ...

    def boundary(self, n: int, where: str) -> None:
        """A step has come to a boundary: before or after its intent, after the act, when done."""


class Steps:
    """All in the lab's loop. `next` numbers what the plan wants; `act`, `ask`, `sleep` perform it.

    Performed again (a RunEngine that rewinds sends the same message), a step is the same step.
    """

    def __init__(
        self,
        trial: Trial,
        recorded: Sequence[Step],
        around: Around,
        holds: Collection[str],
        *,
        gap: float | None = None,
        show: Callable[[Call], None] = lambda _: None,
    ) -> None:
        """Take up a trial.

        :param recorded: the steps that the journal has of it, attempts in order.
        :param holds: the instruments that the trial has claimed.
        :param gap: s since the trial was last known to go on; see `Interruption`.
        :param show: told of each step that is performed.
        """
        self.trial, self._around, self._holds, self._show = trial, around, frozenset(holds), show
        self._first = {s.n: s for s in reversed(recorded)}
        self._newest = {s.n: s for s in recorded}
        # what was done once was heard by the plan, though it was begun again to be restored
        self._newest |= {s.n: s for s in recorded if s.done and s.error is None}
        self._begun = set(self._newest)
        self._last = max(self._newest, default=0)
        self._n = 0
        given_up = any(s.error_type in _GIVEN_UP for s in recorded)
        self.interruption = Interruption(self._last, None if given_up else gap)
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._groups: defaultdict[Any, list[Call]] = defaultdict(list)
        self._until: list[tuple[int, asyncio.Future[None]]] = []
        self._progress: dict[int, Progress] = {}
        self._owed: dict[tuple[int, str], Call] = {}
        self._stopped: dict[int, int] = {}  # device → the step at which the plan stopped it
        self._restoring = asyncio.Lock()
        self._caught_up = asyncio.Event()
        self.bundle: list[float | None] = []
        """Of each reading since the last `create`: when it was taken, if the journal answered."""
        self.ended = False
        """Whether the plan is over: what it moved may be stopped now."""
        if not self._last:
            self._caught_up.set()

    # -- the plan's order -----------------------------------------------------------------------

    def next(
        self, command: str, device: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Call:
        """Number the plan's next step.

        :raises UnrepeatableError: the journal has another step at this place; nothing has moved.
        """
        self._n += 1
        effect = effect_of_command(device, command)
        call = Call(self._n, command, device, tuple(args), dict(kwargs), effect)
        was = self._first.get(call.n)
        if was is not None and _identity(was) != _identity(call):
            raise self._unrepeatable(str(call))
        if self._n >= self._last and not self._caught_up.is_set():
            self.interruption.judge_gap()
            self._caught_up.set()
        for n, future in self._until:
            if n <= self._n and not future.done():
                future.set_result(None)
        return call

    def join(self, group: Any, call: Call) -> None:
        """The plan will wait for the step with others of the group, perhaps."""
        self._groups[group].append(call)

    def leave(self, group: Any) -> list["asyncio.Task[Any]"]:
        """Forget the group and return the tasks of its steps."""
        return [self._tasks[c.n] for c in self._groups.pop(group, ()) if c.n in self._tasks]

    def watch_wait(self, group: Any) -> asyncio.TimerHandle | None:
        """See to it that a plan which waits here, but did not before, does not wait for ever."""
        if self._caught_up.is_set():
            return None
        calls = [str(c) for c in self._groups.get(group, ()) if self.recorded(c) is None]
        now = f"wait for {', '.join(calls)}"
        loop = asyncio.get_running_loop()
        return loop.call_later(STUCK, lambda: self._caught_up.is_set() or self._unrepeatable(now))

    def delivered(self, error: BaseException) -> None:
        """The plan hears now of a step that failed; entered again, it must not hear earlier."""
        status = error.args[0] if error.args else None
        if not isinstance(status, StepStatus):
            return
        if status.call.n in self._begun and self.recorded(status.call) is None:
            told = {"verdict": "failed", "at": self._n}
            note = self._around.journal.note_finding
            self._around.writer.post(note, self.trial, status.call.n, told, time=clock.now())

    def recorded(self, call: Call) -> Step | None:
        """The step as the journal had it as done when the trial was taken up, if it had."""
        was = self._newest.get(call.n)
        return was if was is not None and was.done else None

    def check_repeated(self, what: str) -> None:
        """:raises UnrepeatableError: the plan did more when it was run first."""
        if not self._caught_up.is_set():
            self._n += 1
            raise self._unrepeatable(what)

    def _unrepeatable(self, now: str) -> UnrepeatableError:
        was = self._first[min(n for n in self._first if n >= self._n)]
        before = in_words(was.command, was.instrument, was.argument)
        error = UnrepeatableError(
            f"the plan is not repeatable: step {was.n} was `{before}`, now it is `{now}`. Nothing "
            f"has moved. Put the plan back as it was, then `sdl resolve {self.trial.number} "
            f"--retry --note …`; or give the trial up with `--abandon`"
        )
        self.freeze(error)
        return error

    def freeze(self, why: SdlError, *, at_once: bool = False) -> None:
        """Leave the trial as it is; see `Interruption.freeze`."""
        self.interruption.freeze(why, at_once=at_once)
        self._caught_up.set()
        for _, future in self._until:
            if not future.done():
                future.set_exception(why)

    def show(self, call: Call) -> None:
        """Let those who watch see what the plan does now."""
        self._show(call)

    # -- performing -----------------------------------------------------------------------------

    def act(self, call: Call) -> StepStatus:
        """Perform a step that has a status."""
        task = self._task(call, self._perform)
        return StepStatus(task, self._progress[call.n], call)

    async def ask(self, call: Call) -> Any:
        """Perform a step that has an answer."""
        answer = await asyncio.shield(self._task(call, self._perform))
        if call.command == "read":
            was = self.recorded(call)
            self.bundle.append(None if was is None else was.ended_at)
        return answer

    def answer(self, call: Call) -> "asyncio.Task[Any]":
        """What becomes of a step that has an answer; it is asked for once."""
        return self._task(call, self._perform)

    def sleep(self, call: Call) -> "asyncio.Task[Any]":
        """Let time pass for the sample: what is left of it, if it began before a crash."""
        return self._task(call, self._sleep)

    def note(self, call: Call, result: Any = None, error: BaseException | None = None) -> None:
        """Record a step that was answered by somebody else, such as a wait that timed out."""
        self._post(call)
        self._around.writer.post(*self._end(call), **self._ending(call, result, error))

    def _task(self, call: Call, perform: Callable[[Call], Any]) -> "asyncio.Task[Any]":
        if call.n not in self._tasks:
            self._progress[call.n] = Progress()
            self._tasks[call.n] = asyncio.create_task(perform(call))
            self._tasks[call.n].add_done_callback(retrieve)
        return self._tasks[call.n]

    async def _perform(self, call: Call) -> Any:
        was = self._newest.get(call.n)
        if was is not None and was.done:
            if was.error is not None:
                await self._heard_before(was)
            return self._answer(call, was)
        await self._caught_up.wait()
        if self.interruption.frozen is not None:
            raise self.interruption.frozen
        if call.command == "stop":
            return await self._stop(call)
        if call.effect is Effect.RELATIVE and call.command not in ASKING:
            return await self._dose(call, was)
        await self._ready(call)
        return await self._repeatable(call, again=was is not None)

    async def _heard_before(self, was: Step) -> None:
        """Wait until the plan is where it heard of this failure when it was run before."""
        at = max((f["at"] for f in was.findings if "at" in f), default=self._last)
        if self._n < at:
            future = asyncio.get_running_loop().create_future()
            self._until.append((at, future))
            await future

    def _answer(self, call: Call, was: Step) -> Any:
        if was.error is not None:
            raise values.error_again(was.error_type, was.error)
        if call.command in OWED_PER_COMMAND and call.effect is not Effect.RELATIVE:
            self._owed.pop((id(call.device), call.command), None)
            self._owed[id(call.device), call.command] = call
        elif call.command in ("stop", "unstage"):
            undone = "set" if call.command == "stop" else "stage"
            self._owed.pop((id(call.device), undone), None)
            if call.command == "stop":
                self._stopped[id(call.device)] = call.n
        elif call.command in ASKING:
            for done in ("trigger", "kickoff", "complete"):
                self._owed.pop((id(call.device), done), None)
        return values.from_json(was.result)

    async def _ready(self, call: Call) -> None:
        """See that a step may be performed now, under the conditions that the plan had set."""
        if self.interruption.frozen is not None:
            raise self.interruption.frozen
        if (error := self.interruption.failing()) is not None:
            await self._fail(call, error)
        try:
            await self._restore(call)
        except Exception as error:  # whatever an instrument raises, this step cannot be done
            if self.interruption.frozen is not None:
                raise
            await self._fail(call, error)

    async def _restore(self, call: Call) -> None:
        """Bring back what was set; a trigger only if its reading is missing."""
        async with self._restoring:
            for key, owed in list(self._owed.items()):
                if owed.effect is Effect.MEASURE and not (
                    call.command in ASKING and owed.device is call.device
                ):
                    continue
                await self._repeatable(owed, again=True)
                self._owed.pop(key, None)

    async def _fail(
        self, call: Call, error: BaseException, *, again: bool | None = None
    ) -> NoReturn:
        """Record that a step was not performed, and why; the plan sees it fail."""
        await self._not_performed(call, error, again=again)
        raise error

    async def _not_performed(
        self, call: Call, error: BaseException, *, again: bool | None = None
    ) -> None:
        """Write intent and end in one go: a crash between them would leave a dose in doubt."""
        self._around.boundary(call.n, "before intent")
        journal, now = self._around.journal, clock.now()
        again = call.n in self._begun if again is None else again
        details = self._ending(call, None, error)

        def both() -> None:
            with journal.batch():
                journal.begin_step(*self._intent(call), time=now, again=again)
                journal.end_step(self.trial, call.n, **details)

        await self._around.writer.write(both)
        self._begun.add(call.n)
        self._around.boundary(call.n, "done")

    async def _stop(self, call: Call) -> Any:
        self._stopped[id(call.device)] = call.n
        self._post(call)
        try:
            result = await self._calls(call)
        except Exception as error:  # whatever a device raises is the record's and the plan's
            await self._write_end(call, None, error)
            raise
        await self._write_end(call, None)
        return result

    async def _sleep(self, call: Call) -> None:
        was = self._newest.get(call.n)
        if was is not None and was.done:
            self._answer(call, was)
            return
        await self._caught_up.wait()
        await self._ready(call)
        seconds = float(call.args[0])
        if was is not None:  # time has passed for the sample meanwhile
            seconds = min(max(was.started_at + seconds - clock.now(), 0.0), seconds)
        self._post(call, again=was is not None)
        try:
            await self.interruption.wait(asyncio.create_task(asyncio.sleep(seconds)))
        except SdlError as error:
            if self.interruption.frozen is None:
                await self._write_end(call, None, error)
            raise
        self._around.writer.post(*self._end(call), **self._ending(call))

    # -- what may be repeated -------------------------------------------------------------------

    async def _repeatable(self, call: Call, *, again: bool) -> Any:
        """Perform a setpoint or a reading, again if it fails and the lab file allows that."""
        left = self._around.retries(self._path(call), call.command)
        while True:
            try:
                return await self._attempt(call, again)
            except (NoReplyError, RefusedError, TimeoutError, OSError) as error:
                if left <= 0 or self.interruption.frozen is not None:
                    raise
                log.warning("%s: tried again (%d left): %s", call, left, explain(error))
                left, again = left - 1, True

    async def _attempt(self, call: Call, again: bool) -> Any:
        if call.command in ASKING:
            self._post(call, again=again)
        else:
            permit = await self._check(call, again=again)
            await self._write_intent(call, again=again, permit=permit)
        try:
            result = await self.interruption.wait(asyncio.ensure_future(self._calls(call)))
        except Exception as error:
            if self.interruption.frozen is not None:  # it stays open, and is performed again later
                raise self.interruption.frozen from error
            await self._write_end(call, None, cause_of(error))
            raise cause_of(error) from error
        self._around.boundary(call.n, "after act")
        if call.command == "read" and clock.simulated():
            result = readings_by(clock.now(), result)
        if call.command in ASKING:
            await self._write_end(call, result)
        else:
            self._around.writer.post(*self._end(call), **self._ending(call))
        self._around.boundary(call.n, "done")
        return result if call.command in ASKING else None

    # -- what must not be -----------------------------------------------------------------------

    async def _dose(self, call: Call, was: Step | None) -> None:
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
            await self._write_intent(left, again=again, mark=mark, permit=permit)
            again, tries = True, tries + 1
            left = await self._once(left, mark, last=tries >= TRIES)

    async def _mark(self, call: Call, permit: "_Permit", again: bool) -> Any:
        """What the instrument says before the dose; if it does not answer, nothing is begun."""
        if not isinstance(call.device, Reconcilable):
            return None
        try:
            mark = await self.interruption.dose(call.device.mark(call.command, _first_of(call)))
            return values.to_json(mark)
        except Exception as error:
            self._unbook(permit)
            if self.interruption.frozen is not None:
                raise self.interruption.frozen from error
            await self._fail(call, cause_of(error), again=again)

    async def _once(self, call: Call, mark: Any, *, last: bool) -> Call | None:
        """Act once; return what is left to be done, or None."""
        if self._stopped.get(id(call.device), 0) > call.n:  # the plan thinks that it rests
            error = InstrumentError(call.instrument, f"{call}: told to stop before it began")
            await self._write_end(call, None, error)
            self._take_back(call, "it was not begun")
            raise error
        try:
            await self.interruption.dose(self._calls(call))
        except BaseException as error:
            if self.interruption.halted and self.interruption.frozen is not None:
                # what became of the dose is asked when the trial is taken up again
                raise self.interruption.frozen from error
            cause = cause_of(error)
            if not isinstance(cause, Exception) or isinstance(cause, JournalError):
                raise
            if not _end_unknown(cause):
                await self._write_end(call, None, cause)
                if isinstance(cause, RefusedError | ValueError | TypeError):
                    self._take_back(call, "it was refused")
                raise cause from error
            left = await self._reconciled(call, mark, explain(cause))
            if left is not None and last:
                await self._write_end(call, None, cause)
                if left is call:
                    self._take_back(call, "it was not done")
                raise cause from error
            return left
        self._around.boundary(call.n, "after act")
        await self._write_end(call, None)
        self._around.boundary(call.n, "done")
        return None

    def _take_back(self, call: Call, note: str) -> None:
        """What the step would have taken from the inventory is there still."""
        reverse = self._around.journal.reverse_bookings
        self._around.writer.post(reverse, self.trial, call.n, time=clock.now(), note=note)

    async def _reconciled(self, call: Call, mark: Any, why: str) -> Call | None:
        """Ask the instrument what became of a dose; return what is left to be done, or None.

        :raises InDoubtError: it cannot tell; the trial is frozen.
        """
        finding = await self._ask_instrument(call, mark)
        told = {"verdict": finding.verdict.value, "evidence": finding.evidence}
        told |= {"who": call.instrument, "why": why}
        if finding.verdict is Verdict.DONE:
            await self._write_end(call, None, finding=told)
            return None
        if finding.verdict is Verdict.PARTLY:
            told["rest"] = values.plain(finding.rest)
        note = self._around.journal.note_finding  # before `mark` prepares the rest, which may
        await self._around.writer.write(  # change what the instrument could tell
            note, self.trial, call.n, told, time=clock.now(), keep=True
        )
        if finding.verdict is Verdict.NOT_DONE:
            return call
        if finding.verdict is Verdict.PARTLY:
            return replace(call, args=(finding.rest, *call.args[1:]))
        error = InDoubtError(
            f"step {call.n}, {call}: nobody can tell whether it was done ({why}; "
            f"{finding.evidence}). Look at the instrument, then `sdl resolve {self.trial.number} "
            "--done`, `--not-done`, `--retry` or `--abandon`"
        )
        self.freeze(error)
        raise error

    async def _ask_instrument(self, call: Call, mark: Any) -> Finding:
        if not isinstance(call.device, Reconcilable) or mark is None:
            return Finding(Verdict.UNKNOWN, f"{call.instrument} cannot be asked")
        deadline = clock.monotonic() + PATIENCE
        while True:
            try:
                question = call.device.reconcile(call.command, _first_of(call), mark)
                finding = await self.interruption.dose(question)
                assert isinstance(finding, Finding)  # the protocol says so
                return finding
            except (InstrumentError, TimeoutError, OSError) as error:
                if clock.monotonic() > deadline:
                    return Finding(Verdict.UNKNOWN, f"it cannot be asked now: {explain(error)}")
            await asyncio.sleep(1.0)

    # -- guard, device, journal -----------------------------------------------------------------

    def _path(self, call: Call) -> str:
        return self._around.guard.path_of(call.device)

    async def _check(self, call: Call, *, again: bool) -> "_Permit":
        """Ask the guard.

        :raises UnsafeError: it said no; nothing was sent.
        """
        if call.command in UNGATED:
            return _Permit(None, [])
        trial, path = self.trial.id, self._path(call)
        action = Action(call.command, path, _first_of(call), call.effect, trial, call.n)
        try:
            # what the first attempt has taken from the inventory is not taken twice
            bookings = await self._around.guard.check(action, self._holds, again=again)
        except UnsafeError as error:
            await self._not_performed(call, error, again=again)
            raise
        return _Permit(action, bookings)

    async def _calls(self, call: Call) -> Any:
        return await perform(call, self._progress.get(call.n))

    async def _write_intent(
        self, call: Call, *, again: bool, mark: Any = None, permit: "_Permit | None" = None
    ) -> None:
        self._around.boundary(call.n, "before intent")
        begin, time = self._around.journal.begin_step, clock.now()
        bookings = permit.bookings if permit is not None else []
        details = {"time": time, "again": again, "mark": mark, "bookings": bookings}
        try:
            await self._around.writer.write(begin, *self._intent(call), **details)
        except BaseException:
            self._unbook(permit)
            raise
        self._begun.add(call.n)
        if permit is not None and permit.action is not None:
            self._around.guard.booked(permit.action)
        self._around.boundary(call.n, "after intent")

    def _unbook(self, permit: "_Permit | None") -> None:
        if permit is not None and permit.action is not None:
            self._around.guard.unbooked(permit.action)

    def _post(self, call: Call, *, again: bool = False) -> None:
        """Write the intent of what may as well be done without it being there yet."""
        self._around.boundary(call.n, "before intent")
        begin = self._around.journal.begin_step
        self._around.writer.post(begin, *self._intent(call), time=clock.now(), again=again)
        self._begun.add(call.n)
        self._around.boundary(call.n, "after intent")

    def _intent(self, call: Call) -> tuple[Any, ...]:
        return self.trial, call.n, call.command, call.instrument, call.argument

    async def _write_end(
        self,
        call: Call,
        result: Any,
        error: BaseException | None = None,
        finding: Mapping[str, Any] | None = None,
    ) -> None:
        """What has happened is kept in memory if it cannot be written now."""
        details = self._ending(call, result, error, finding)
        await self._around.writer.write(*self._end(call), **details, keep=True)

    def _end(self, call: Call) -> tuple[Any, ...]:
        return self._around.journal.end_step, self.trial, call.n

    def _ending(
        self,
        call: Call,
        result: Any = None,
        error: BaseException | None = None,
        finding: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        return {
            "result": values.to_json(result),
            "error": None if error is None else explain(error),
            "error_type": None if error is None else values.kind_of(cause_of(error)),
            "finding": finding,
            "time": clock.now(),
        }


def _identity(step: Step | Call) -> tuple[str, str, str]:
    return step.command, step.instrument, json.dumps(step.argument, sort_keys=True)


def _first_of(call: Call) -> Any:
    return call.args[0] if call.args else None


def _end_unknown(error: Exception) -> bool:
    """Whether a dose that raised this may have been done all the same."""
    if isinstance(error, NoReplyError):
        return True
    refused = (RefusedError, FaultError, InstrumentError, ConfigError, UnsafeError, SdlError)
    return not isinstance(error, (*refused, ValueError, TypeError))
