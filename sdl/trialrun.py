"""One trial being made real, from its claim to its end, or to where it is left for later."""

import asyncio
import math
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdl import binding, clock
from sdl.bench import Bench
from sdl.data.callbacks import Callbacks
from sdl.durable import Plan, durable
from sdl.engine import Engine
from sdl.errors import (
    PlanError,
    SdlError,
    StoppedError,
    explain,
)
from sdl.journal import Journal, Trial, TrialState
from sdl.journal.writer import Writer
from sdl.recording import Earlier, Recording
from sdl.safety.guard import Guard
from sdl.steps import Steps

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

RETRIES = 2  # of what may be repeated, if an instrument does not answer and no file says otherwise
GRACE = 1.0  # s that a plan has to come to its next message before its engine is interrupted


@dataclass
class Equipment:
    """What all trials of a session share (`sdl.steps.Around`)."""

    campaign: "Campaign"
    lab: "Lab"
    plan: Callable[..., Any]
    recovery: Callable[..., Any] | None
    bench: Bench
    guard: Guard
    journal: Journal
    writer: Writer
    callbacks: Callbacks
    alive_until: Mapping[str, float] = field(default_factory=dict)
    """When a trial (by its id) was last known to be under way, on the lab's clock."""
    on_boundary: Callable[[int, str], None] = lambda *_: None
    """Told of every boundary of a step; only tests listen."""

    def retries(self, path: str, command: str, *, refused: bool = False) -> int:
        entry = self.lab.instruments.get(path.split(".")[0])
        allowed: Mapping[str, int] = {} if entry is None else entry.retries  # type: ignore[assignment]
        return allowed.get(command, 0 if refused else RETRIES)

    def boundary(self, n: int, where: str) -> None:
        self.on_boundary(n, where)

    async def move(self, trial: Trial, to: TrialState, **result: Any) -> Trial:
        move = self.journal.move
        moved = await self.writer.write(move, trial, to, time=clock.now(), who="runtime", **result)
        assert moved is not None  # only what is kept for later is not there yet
        return moved


class TrialRun:
    """Takes up one trial. `freeze`, `abort`, `pause` and `resume` come in the lab's loop too."""

    def __init__(
        self,
        trial: Trial,
        station: Mapping[str, str],
        shared: Equipment,
        engine: Engine,
        *,
        pause: Callable[[str], None],
    ) -> None:
        """Prepare; nothing is begun.

        :param trial: running.
        :param station: the instrument that each argument of the plan is.
        :param pause: told why the plan wants to be paused.
        """
        self.trial, self.station, self._shared, self._engine = trial, station, shared, engine
        self.instruments = instruments_of(station)
        journal, self._pause = shared.journal, pause
        recorded = journal.steps(trial)
        earlier = close_runs(shared, trial, "the runtime ended, or was stopped, in this run")
        self._recording = Recording(
            journal, shared.writer, trial, shared.callbacks, earlier=earlier
        )
        times = [t for s in recorded for t in (s.started_at, s.ended_at) if t is not None]
        self._steps = Steps(
            trial,
            recorded,
            shared,
            self.instruments,
            gap=_gap(times, shared.alive_until.get(trial.id)) if times else None,
            show=self._recording.show,
        )

    @property
    def frozen(self) -> SdlError | None:
        """Why the trial was left as it is, if it was."""
        return self._steps.interruption.frozen

    def pause(self) -> None:
        self._steps.interruption.pause()

    def resume(self) -> None:
        self._steps.interruption.resume()

    def abort(self, why: StoppedError) -> None:
        """End the trial here; its clean-up and recovery run."""
        self._steps.interruption.abort(why)

    def freeze(self, why: SdlError, *, at_once: bool = False) -> None:
        """Leave the trial as it is, between two steps; it is gone on with later."""
        self._recording.reason = str(why)
        self._steps.freeze(why, at_once=at_once)

    @property
    def first_failure(self) -> BaseException | None:
        return self._steps.first_failure

    def why(self, error: BaseException) -> str:
        """Why the trial failed: what went wrong first, and what the plan made of it."""
        last, first = explain(error), self.first_failure
        if first is None or explain(first) == last:
            return last
        return f"{explain(first)}; then: {last}"

    async def outcomes(self) -> dict[str, float]:
        """Run the plan, and return what it found.

        :raises SdlError: `frozen`, if that is set; the trial is not at its end then.
        :raises StoppedError: it was aborted; clean-up and recovery have run.
        :raises Exception: why it failed; clean-up and recovery have run.
        """
        shared, steps = self._shared, self._steps
        arguments = binding.arguments(
            shared.campaign, shared.bench, self.trial.parameters, self.station
        )
        metadata = {
            "campaign": self.trial.campaign,
            "trial": self.trial.number,
            "parameters": dict(self.trial.parameters),
            "plan_name": shared.campaign.plan_name,
        }
        plan = self._whole(shared.plan(**arguments))
        handed = durable(plan, steps, self._recording, pause=self._pause)
        insisting = asyncio.create_task(self._insist())
        try:
            returned = await self._engine.run(
                handed, self._recording, metadata=metadata, scan_id=self.trial.number
            )
        except Exception as error:
            if self.frozen is not None:
                raise self.frozen from error
            raise
        finally:
            insisting.cancel()
            await steps.close()
            self._recording.close()
        return check_outcomes(returned, shared.campaign.outcomes)

    def _whole(self, plan: Plan) -> Plan:
        """The plan and, if it fails, what saves instruments and people from the sample."""
        try:
            return (yield from self._checked(plan))
        except Exception:
            self._steps.interruption.may_wait = None  # there is no sample to be saved any more
            yield from self._recovered()
            raise

    def _checked(self, plan: Plan) -> Plan:
        """What a plan returns is part of whether it failed."""
        returned = yield from plan
        check_outcomes(returned, self._shared.campaign.outcomes)
        return returned

    def _recovered(self) -> Generator[Any, Any, None]:
        shared = self._shared
        if shared.recovery is None:
            return
        arguments = binding.recovery_arguments(
            shared.campaign, shared.recovery, shared.bench, self.trial.parameters, self.station
        )
        try:
            yield from shared.recovery(**arguments)
        except Exception as error:  # the trial has failed already; instruments are made safe next
            if self.frozen is not None:
                raise
            self._note("error", f"the recovery of trial {self.trial.number} failed too", error)

    def _note(self, level: Any, text: str, error: Exception) -> None:
        shared = self._shared
        shared.writer.post(
            *(shared.journal.note, level, "loop", f"{text}: {explain(error)}"),
            time=clock.now(),
            campaign=self.trial.campaign,
        )

    async def _insist(self) -> None:
        """Interrupt an engine whose plan does not come to an end by itself when it is frozen."""
        await self._steps.interruption.until_frozen()
        while self._steps.interruption.busy:
            await self._steps.interruption.until_idle()
        await asyncio.sleep(GRACE)
        await clock.outside(self._engine.abort, str(self.frozen))


def instruments_of(station: Mapping[str, str]) -> set[str]:
    return {path.split(".")[0] for path in station.values()}


def close_runs(shared: Equipment, trial: Trial, reason: str) -> list[Earlier]:
    """Give every run of the trial that has no stop document one; return all of them."""
    found = []
    for run in shared.journal.runs(trial):
        start = shared.journal.documents(run=run.uid, limit=1)[0].doc
        if run.stop is None:
            stop = {
                "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, run.uid)),
                "run_start": run.uid,
                "time": clock.now(),
                "exit_status": "abort",
                "reason": reason,
                "num_events": {},
            }
            journal, writer = shared.journal, shared.writer
            writer.post(journal.add_document, trial, run.uid, "stop", stop, time=clock.now())
            writer.post(shared.callbacks, "stop", stop)
        whole = run.stop in ("success", "fail")
        found.append(Earlier(run.uid, start.get("run_of_trial", len(found) + 1), whole))
    return found


def _gap(times: Sequence[float], alive_until: float | None) -> float:
    """Seconds since a trial was last known to go on; below 0 if the clock was set back."""
    return clock.now() - max(*times, times[0] if alive_until is None else alive_until)


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
