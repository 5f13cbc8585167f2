"""The steps of one trial: each is done once, whatever is repeated, paused, killed or not heard.

A step is one message of the plan that touches the world. It is *open* once its intent is in the
journal, *done* when its end is there too. A step that the journal has as done is answered from it;
any other is performed (`sdl.performing`). What that means for each effect:

- absolute (a setpoint): acted again after an interruption, before anything else moves;
- measure: the recorded reading counts; a trigger whose reading was lost is repeated;
- relative (a dose): never repeated. Where its end was not heard the instrument is asked; what it
  cannot tell, a person decides (`InDoubtError`).
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from sdl import clock, values
from sdl.entries import Entries
from sdl.errors import SdlError, SpoiledError, StoppedError, UnrepeatableError, cause_of
from sdl.instrument import Effect, effect_of_command
from sdl.interruption import Interruption, retrieve
from sdl.journal import Step, Trial
from sdl.performing import ASKING, Around, Performer
from sdl.step import Call, Progress, StepStatus, in_words

OWED_PER_COMMAND = frozenset({"set", "prepare", "stage", "trigger", "kickoff", "complete"})
STUCK = 5.0  # s in a wait that was left behind when the plan was run before
LINGER = 5.0  # s that what the end of the plan has stopped may take to end

_GIVEN_UP = frozenset(map(values.kind_of, (SpoiledError(), StoppedError())))


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
        self.trial, self.show = trial, show
        self._first = {s.n: s for s in reversed(recorded)}
        self._newest = {s.n: s for s in recorded}
        # what was done once was heard by the plan, though it was begun again to be restored
        self._newest |= {s.n: s for s in recorded if s.done and s.error is None}
        self._last = max(self._newest, default=0)
        self._n = 0
        given_up = any(s.error_type in _GIVEN_UP for s in recorded)
        self.interruption = Interruption(self._last, None if given_up else gap)
        self._entries = Entries(trial, around, set(self._newest))
        self._performer = Performer(
            *(self._entries, around, holds, self.interruption),
            ready=self._ready,
            freeze=self.freeze,
        )
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._heard: set[int] = set()  # steps of whose failure the plan knows
        self._groups: defaultdict[Any, list[Call]] = defaultdict(list)
        self._until: list[tuple[int, asyncio.Future[None]]] = []
        self._owed: dict[tuple[int, str], Call] = {}
        self._restoring = asyncio.Lock()
        self._caught_up = asyncio.Event()
        self.bundle: list[float | None] = []
        """Of each reading since the last `create`: when it was taken, if the journal answered."""
        self.first_failure: BaseException | None = None
        """What the plan heard of first: what comes later is often only its consequence."""
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
        self.first_failure = self.first_failure or cause_of(error)
        status = error.args[0] if error.args else None
        if not isinstance(status, StepStatus):
            return
        self._heard.add(status.call.n)
        if status.call.n in self._entries.begun and self.recorded(status.call) is None:
            self._entries.heard(status.call, at=self._n)

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

    async def close(self) -> None:
        """The plan is over: end what nobody waits for any more, such as a heater on its way."""
        self.interruption.let_go(StoppedError("the plan ended before it was done"))
        going = [task for task in self._tasks.values() if not task.done()]
        if going:
            await asyncio.wait(going, timeout=LINGER)
        for task in going:
            task.cancel()

    def failed(self, calls: Sequence[Call]) -> None:
        """The plan hears now that a question to devices failed."""
        self._heard |= {call.n for call in calls}

    # -- performing -----------------------------------------------------------------------------

    def act(self, call: Call) -> StepStatus:
        """Perform a step that has a status."""
        task = self._task(call, self._perform)
        if call.n in self._heard:  # a RunEngine was rewound over a failure that was dealt with
            task = asyncio.create_task(asyncio.sleep(0))
        return StepStatus(task, self._performer.progress[call.n], call)

    async def ask(self, call: Call) -> Any:
        """Perform a step that has an answer."""
        if call.n in self._heard:
            return {}
        answer = await asyncio.shield(self._task(call, self._perform))
        if call.command == "read":
            was = self.recorded(call)
            self.bundle.append(None if was is None else was.ended_at)
        return answer

    def answer(self, call: Call) -> "asyncio.Task[Any]":
        """What becomes of a step that has an answer; it is asked for once."""
        return self._task(call, self._perform)

    async def question(self, ask: Callable[[], Any]) -> Any:
        """Ask a device what is no step: about itself."""
        return await self._performer.question(ask)

    def sleep(self, call: Call) -> "asyncio.Task[Any]":
        """Let time pass for the sample: what is left of it, if it began before a crash."""
        return self._task(call, self._sleep)

    def note(self, call: Call, result: Any = None, error: BaseException | None = None) -> None:
        """Record a step that was answered by somebody else, such as a wait that timed out."""
        self._entries.post_begin(call)
        self._entries.post_end(call, result, error)

    def _task(self, call: Call, perform: Callable[[Call], Any]) -> "asyncio.Task[Any]":
        if call.n not in self._tasks:
            self._performer.progress[call.n] = Progress()
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
            return await self._performer.stop(call)
        if call.effect is Effect.RELATIVE and call.command not in ASKING:
            return await self._performer.dose(call, was)
        await self._ready(call)
        return await self._performer.repeatable(call, again=was is not None)

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
                self._performer.stopped[id(call.device)] = call.n
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
                await self._performer.repeatable(owed, again=True)
                self._owed.pop(key, None)

    async def _fail(self, call: Call, error: BaseException) -> NoReturn:
        """Record that a step was not performed, and why; the plan sees it fail."""
        await self._entries.not_performed(call, error)
        raise error

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
        self._entries.post_begin(call, again=was is not None)
        try:
            await self.interruption.wait(asyncio.create_task(asyncio.sleep(seconds)))
        except SdlError as error:
            if self.interruption.frozen is None:
                await self._entries.end(call, error=error)
            raise
        self._entries.post_end(call)


def _identity(step: Step | Call) -> tuple[str, str, str]:
    return step.command, step.instrument, json.dumps(step.argument, sort_keys=True)
