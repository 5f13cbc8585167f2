"""The closed loop: suggest, check, run, record, tell; until the budget is spent."""

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdl import binding, clock
from sdl.bench import Bench
from sdl.claims import Claims
from sdl.data.callbacks import Callbacks
from sdl.engine import Engine
from sdl.errors import JournalError, PlanError, StoppedError, cause_of, explain
from sdl.journal import Journal, Trial, TrialState
from sdl.recording import Recording
from sdl.stopping import Ending, Stop
from sdl.suggest.process import OptimizerProcess

if TYPE_CHECKING:
    from sdl.campaign import Campaign

COUNTED = frozenset({TrialState.COMPLETED, TrialState.FAILED})
"""States that spend a trial of the budget."""

OPEN = frozenset({TrialState.SUGGESTED, TrialState.APPROVED})
_TOLD = {
    TrialState.COMPLETED: "completed",
    TrialState.FAILED: "failed",
    TrialState.REJECTED: "failed",
    TrialState.ABANDONED: None,  # it taught nothing: the same point may be suggested again
}


class ClosedLoop:
    """One campaign on one open lab. All in the lab's loop; many trials may be in flight."""

    def __init__(
        self,
        campaign: "Campaign",
        plan: Callable[..., Any],
        bench: Bench,
        journal: Journal,
        optimizer: OptimizerProcess,
        callbacks: Callbacks,
        stop: Stop,
    ) -> None:
        self._campaign, self._plan, self._bench = campaign, plan, bench
        self._journal, self._optimizer = journal, optimizer
        self._callbacks, self._stop, self._claims = callbacks, stop, Claims()
        self._began = journal.campaign(campaign.campaign).created_at
        self._idle: list[Engine] = []
        self.engines: list[Engine] = []
        self._in_flight: set[int] = set()

    async def run(self) -> Ending:
        """Close the loop until there is a reason to end, and return it.

        :raises JournalError: the record cannot be kept; nothing new was begun.
        :raises OptimizerError: nothing can be suggested; trials in flight were finished.
        """
        self._settle_orphans()
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                while len(tasks) < self._campaign.parallel and self._over() is None:
                    trial = await self._next()
                    if self._over() is None:
                        self._in_flight.add(trial.number)
                        tasks.add(asyncio.create_task(self._make_real(trial)))
                if not tasks:
                    return self._over() or Ending("nothing is left to do")
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            if tasks:
                await asyncio.wait(tasks)
            for engine in self.engines:
                engine.close()

    # -- what is left to do -------------------------------------------------------------------

    def _settle_orphans(self) -> None:
        """Close the record of trials that a runtime left behind when it died."""
        cause = "the runtime ended while it ran (killed, or the power went); it is not continued"
        for trial in self._trials(TrialState.RUNNING):
            self._close_runs(trial, cause)
            self._move(trial, TrialState.ABANDONED, cause=cause)
            self._note("warning", f"trial {trial.number} was abandoned: {cause}")

    def _close_runs(self, trial: Trial, reason: str) -> None:
        """Give every run of the trial that has no stop document one."""
        documents = self._journal.documents(trial=trial, limit=1_000_000)
        stopped = {d.run for d in documents if d.name == "stop"}
        for start in (d for d in documents if d.name == "start" and d.run not in stopped):
            stop = {
                "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, start.run)),
                "run_start": start.run,
                "time": clock.now(),
                "exit_status": "abort",
                "reason": reason,
                "num_events": {},
            }
            self._journal.add_document(trial, start.run, "stop", stop, time=clock.now())
            self._callbacks("stop", stop)

    def _over(self) -> Ending | None:
        """Why nothing new is begun, if that is so."""
        budget, campaign = self._campaign.budget, self._campaign
        trials = self._trials()
        counted = [t for t in trials if t.state in COUNTED]
        if self._stop.why is not None:
            return Ending(self._stop.why)
        running = len(self._in_flight)
        if budget.trials is not None and len(counted) + running >= budget.trials:
            return _spent(f"{budget.trials} trials", counted)
        if budget.hours is not None and clock.now() - self._began >= budget.hours * 3600:
            return _spent(f"{budget.hours:g} hours", counted)
        if budget.until and any(self._reached(t) for t in counted):
            return Ending("the target is reached")
        last = counted[-campaign.failures_in_a_row :]
        failures = [t for t in last if t.state is TrialState.FAILED]
        if len(failures) == campaign.failures_in_a_row and self._failed_now >= len(failures):
            why = f"{len(failures)} trials in a row failed, the last because: {last[-1].cause}"
            return Ending(why, gave_up=True)
        return None

    _failed_now = 0  # trials that failed one after the other since this start

    def _reached(self, trial: Trial) -> bool:
        outcomes = trial.outcomes or {}
        objectives = self._campaign.objectives
        return all(
            name in outcomes and objectives[name].sign * (outcomes[name] - wanted) >= 0
            for name, wanted in self._campaign.budget.until.items()
        )

    async def _next(self) -> Trial:
        """The next trial: one that was suggested and not begun, else a new suggestion."""
        waiting = [t for t in self._trials(*OPEN) if t.number not in self._in_flight]
        if waiting:
            return waiting[0]
        began = clock.monotonic()
        self._journal.set_activity("optimizer", {"doing": "suggesting"}, time=clock.now())
        (suggestion,) = await self._optimizer.suggest(1, self._history())
        self._journal.set_activity("optimizer", None, time=clock.now())
        provenance = {**suggestion.provenance, "seconds": round(clock.monotonic() - began, 3)}
        (trial,) = self._journal.suggest(
            self._campaign.campaign, [(suggestion.parameters, provenance)], time=clock.now()
        )
        return trial

    def _history(self) -> list[dict[str, Any]]:
        """All trials as the optimizer is told of them."""
        told = []
        for trial in self._trials():
            state = _TOLD.get(trial.state, "pending")
            if state is not None:
                outcomes = {n: (trial.outcomes or {}).get(n) for n in self._campaign.objectives}
                point = {"_id": trial.number, "_state": state, **trial.parameters}
                told.append(point | outcomes if state == "completed" else point)
        return told

    # -- one trial ----------------------------------------------------------------------------

    async def _make_real(self, trial: Trial) -> None:
        """Take a trial to its end, whatever that is."""
        instruments = {path.split(".")[0] for path in self._campaign.instruments.values()}
        try:
            async with self._claims.hold(instruments):
                if self._stop.why is None:
                    await self._run_trial(trial, instruments)
        finally:
            self._in_flight.discard(trial.number)

    async def _run_trial(self, trial: Trial, instruments: set[str]) -> None:
        if trial.state is TrialState.SUGGESTED:
            trial = self._move(trial, TrialState.APPROVED)
        trial = self._move(trial, TrialState.RUNNING)
        recording = Recording(self._journal, trial, self._callbacks, self._stop)
        try:
            outcomes = await self._outcomes(trial, recording)
        except StoppedError as error:
            self._move(trial, TrialState.ABANDONED, cause=f"stopped: {error}")
        except JournalError:
            raise
        except Exception as error:
            if isinstance(cause_of(error), JournalError):
                raise cause_of(error) from error
            if self._stop.now:  # instruments were halted under the plan: it must complain
                self._move(trial, TrialState.ABANDONED, cause=f"stopped: {self._stop.why}")
            else:
                await self._fail(trial, error, instruments)
        else:
            self._failed_now = 0
            self._move(trial, TrialState.COMPLETED, outcomes=outcomes)
        finally:
            recording.close()

    async def _outcomes(self, trial: Trial, recording: Recording) -> dict[str, float]:
        arguments = binding.arguments(self._campaign, self._bench, trial.parameters)
        metadata = {
            "campaign": trial.campaign,
            "trial": trial.number,
            "parameters": dict(trial.parameters),
            "plan_name": self._campaign.plan_name,
        }
        engine = self._idle.pop() if self._idle else await self._another_engine()
        try:
            returned = await engine.run(
                self._plan(**arguments), recording, metadata=metadata, scan_id=trial.number
            )
        finally:
            self._idle.append(engine)
        return check_outcomes(returned, list(self._campaign.objectives))

    async def _another_engine(self) -> Engine:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clock.Loop)
        engine = await Engine.start(loop)
        self.engines.append(engine)
        return engine

    async def _fail(self, trial: Trial, error: Exception, instruments: set[str]) -> None:
        self._failed_now += 1
        unsafe = await self._bench.make_safe(instruments)
        self._move(trial, TrialState.FAILED, cause=explain(error))
        self._note("warning", f"trial {trial.number} failed: {explain(error)}")
        for name, why in unsafe.items():
            self._note("error", f"{name} did not confirm its safe state: {why}")

    # -- the record ---------------------------------------------------------------------------

    def _trials(self, *states: TrialState) -> list[Trial]:
        return self._journal.trials(self._campaign.campaign, states or None)

    def _move(self, trial: Trial, to: TrialState, **result: Any) -> Trial:
        return self._journal.move(trial, to, time=clock.now(), who="runtime", **result)

    def _note(self, level: Any, text: str) -> None:
        name = self._campaign.campaign
        self._journal.note(level, "loop", text, time=clock.now(), campaign=name)


def _spent(budget: str, counted: Sequence[Trial]) -> Ending:
    failed = bool(counted) and all(t.state is TrialState.FAILED for t in counted)
    none = "; no trial completed" if failed else ""
    return Ending(f"the budget of {budget} is spent{none}", gave_up=failed)


def check_outcomes(returned: Any, objectives: Sequence[str]) -> dict[str, float]:
    """Return what a plan returned as outcomes.

    :raises PlanError: it is no mapping of names to finite numbers, or an objective is missing.
    """
    wanted = ", ".join(objectives)
    if not isinstance(returned, Mapping):
        raise PlanError(f"the plan returned {returned!r}; expected a mapping with {wanted}")
    missing = [name for name in objectives if name not in returned]
    if missing:
        raise PlanError(
            f"the plan returned no {', '.join(missing)}; it returned {dict(returned)!r}"
        )
    outcomes = {}
    for name, value in returned.items():
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise PlanError(f"the plan returned {name} = {value!r}, which is no number") from error
        if not math.isfinite(number):
            raise PlanError(f"the plan returned {name} = {number}; outcomes must be finite")
        outcomes[str(name)] = number
    return outcomes
