"""The closed loop: suggest, check, run, record, tell; until the budget is spent.

Trials that were interrupted are gone on with first: their samples wait. Trials in doubt keep their
station until a person has settled them; everything else goes on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdl import clock, plugins
from sdl.claims import Claims
from sdl.engine import Engine
from sdl.errors import (
    FaultError,
    InDoubtError,
    JournalError,
    SdlError,
    StoppedError,
    UnrepeatableError,
    cause_of,
    explain,
)
from sdl.journal import ENDED, Level, Trial, TrialState
from sdl.kinship import told_first
from sdl.stopping import Ending, Stop
from sdl.suggest.process import OptimizerProcess
from sdl.telling import CONTEXT, history
from sdl.trialrun import Equipment, TrialRun, instruments_of

COUNTED = frozenset({TrialState.COMPLETED, TrialState.FAILED})
"""States that spend a trial of the budget."""

OPEN = frozenset({TrialState.SUGGESTED, TrialState.APPROVED})
ALIVE = "alive/"
LOOK_PERIOD = 0.25  # s of real time between two looks for what a person has settled


class ClosedLoop:
    """One campaign on one open lab. All in the lab's loop; many trials may be in flight."""

    def __init__(
        self,
        shared: Equipment,
        optimizer: OptimizerProcess,
        stop: Stop,
        *,
        notify: Callable[[Level, str], None],
        show: Callable[[str], None],
    ) -> None:
        """Prepare.

        :param notify: tells a person, who is not there: level ("info", "warning", "error"), text.
        :param show: told what the runtime does: "running", "paused: …", "waiting: …".
        """
        self._shared, self._campaign = shared, shared.campaign
        self._journal, self._optimizer, self._stop = shared.journal, optimizer, stop
        self._task = shared.campaign.task
        self._notify, self._show = notify, show
        self._stations = list(shared.campaign.stations)
        self._claims = Claims()
        self._began = self._journal.campaign(self._campaign.campaign).created_at
        self._idle: list[Engine] = []
        self.engines: list[Engine] = []
        self._in_flight: dict[int, int] = {}  # trial → station
        self._live: dict[int, TrialRun] = {}
        self._paused: str | None = None
        self._done: Ending | None = None  # since hardly anything is left to be gained
        self._failed_now = 0  # trials that failed one after the other since this start
        self._broken: JournalError | None = None
        self._ended_first: list[Trial] = []
        self._earlier: list[dict[str, Any]] | None = None  # of other campaigns, as told
        self._stopping = asyncio.Event()

    async def run(self) -> Ending:
        """Close the loop until there is a reason to end, and return it.

        :raises JournalError: the record cannot be kept; nothing new was begun.
        :raises OptimizerError: nothing can be suggested; trials in flight were finished.
        """
        tasks: set[asyncio.Task[None]] = set()
        await self._tidy_claims()
        try:
            while True:
                while len(tasks) < self._campaign.parallel and self._may_begin():
                    taken = await self._next()
                    if taken is None:
                        break
                    trial, station = taken
                    self._in_flight[trial.number] = station
                    tasks.add(asyncio.create_task(self._make_real(trial, station)))
                if not tasks:
                    if (ending := self._ending()) is not None:
                        return ending
                    await self._look_later()
                    continue
                done, tasks = await self._some_done(tasks)
                for task in done:
                    task.result()
        finally:
            if tasks:
                await asyncio.wait(tasks)
            for engine in self.engines:
                engine.close()

    async def _some_done(self, tasks: "set[asyncio.Task[None]]") -> Any:
        if len(tasks) < self._campaign.parallel and self._doubts():
            look = asyncio.create_task(self._look_later())  # what is settled can go on beside them
            done, pending = await asyncio.wait({*tasks, look}, return_when=asyncio.FIRST_COMPLETED)
            look.cancel()
            return done - {look}, pending - {look}
        return await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _look_later(self) -> None:
        self._show("waiting for a person" if self._paused is None else f"paused: {self._paused}")
        await clock.outside(time.sleep, LOOK_PERIOD)

    def sign_of_life(self) -> None:
        """Note that the trials in flight are looked after: a crash leaves them alone from here."""
        for run in self._live.values():
            key = alive_key(run.trial)
            self._post(self._journal.set_activity, key, {}, time=clock.now())

    @property
    def busy(self) -> bool:
        """Whether a trial is in flight."""
        return bool(self._live)

    # -- what a person wants ----------------------------------------------------------------------

    def freeze(self, why: SdlError, *, at_once: bool = False) -> None:
        """Leave all trials as they are; they are gone on with by the next session."""
        if self._paused is not None:
            self._stop_time(False)
            self._paused = None
        self._show(f"stopping: {why}")
        self._stopping.set()
        for run in self._live.values():
            run.freeze(why, at_once=at_once)

    def break_down(self, error: JournalError) -> None:
        """The record cannot be kept: nothing is begun any more."""
        self._broken = error
        self.freeze(error, at_once=True)

    def pause(self, why: str) -> None:
        """Begin no step until `resume`; what is under way goes on."""
        if self._paused is None:
            self._paused = why
            self._stop_time(True)
        for run in self._live.values():
            run.pause()
        self._show(f"paused: {self._paused}")

    def resume(self) -> None:
        if self._paused is not None:
            self._paused = None
            self._stop_time(False)
        for run in self._live.values():
            run.resume()
        self._show("running")

    @staticmethod
    def _stop_time(wanted: bool) -> None:
        """In a pause simulated time does not jump ahead: nobody knows how far."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, clock.VirtualLoop):
            (loop.hold if wanted else loop.release)()

    def abort(self, number: int, why: str) -> None:
        """End one trial; its clean-up and recovery run. It ends a pause.

        :raises StoppedError: it is not in flight.
        """
        if number not in self._live:
            flying = ", ".join(map(str, sorted(self._live))) or "none"
            raise StoppedError(f"trial {number} is not running; running are: {flying}")
        self.resume()
        self._live[number].abort(StoppedError(why))

    # -- what is left to do -----------------------------------------------------------------------

    def _may_begin(self) -> bool:
        return self._paused is None and self._broken is None and self._stop.why is None

    def _ending(self) -> Ending | None:
        """Why the campaign is at its end, with no trial in flight; None: something may come yet."""
        if self._broken is not None:
            raise self._broken
        if self._stop.why is not None:
            return Ending(self._stop.why, gave_up=self._stop.trouble)
        if self._paused is not None:
            return None
        over, doubts = self._over(), self._doubts()
        if over is not None and doubts:
            numbers = ", ".join(str(t.number) for t in doubts)
            why = f"{over}; in doubt: trial {numbers}, see `sdl history` and `sdl resolve`"
            return Ending(why, gave_up=True)
        if over is not None or doubts:
            return over
        blocked = self._blocked()
        if len(blocked) == len(self._stations):
            return Ending(f"no station is left: {'; '.join(blocked.values())}", gave_up=True)
        return Ending("nothing is left to do")

    def _over(self) -> Ending | None:
        """Why nothing new is begun, if that is so."""
        budget, campaign = self._campaign.budget, self._campaign
        trials = self._trials()
        counted = [t for t in trials if t.state in COUNTED]
        pending = {t.number for t in trials if t.state is TrialState.IN_DOUBT} | {*self._in_flight}
        if budget.trials is not None and len(counted) + len(pending) >= budget.trials:
            return _spent(f"{budget.trials} trials", counted)
        if budget.hours is not None and clock.now() - self._began >= budget.hours * 3600:
            return _spent(f"{budget.hours:g} hours", counted)
        if budget.until and any(self._reached(t) for t in counted):
            return Ending("the target is reached")
        if self._done is not None:
            return self._done
        last = counted[-campaign.failures_in_a_row :]
        failures = [t for t in last if t.state is TrialState.FAILED]
        if len(failures) == campaign.failures_in_a_row and self._failed_now >= len(failures):
            why = f"{len(failures)} trials in a row failed, the last because: {last[-1].cause}"
            return Ending(why, gave_up=True)
        return None

    def _reached(self, trial: Trial) -> bool:
        outcomes = trial.outcomes or {}
        objectives = self._campaign.objectives
        return all(
            name in outcomes and objectives[name].sign * (outcomes[name] - wanted) >= 0
            for name, wanted in self._campaign.budget.until.items()
        )

    def _doubts(self) -> list[Trial]:
        return self._trials(TrialState.IN_DOUBT)

    async def _next(self) -> tuple[Trial, int] | None:
        """The next trial and its station: one that was interrupted, one waiting, or a new one."""
        for trial in self._trials(TrialState.RUNNING):
            if trial.number not in self._in_flight:
                return trial, self._station_of(trial)
        if self._over() is not None or (station := self._free_station()) is None:
            return None
        waiting = [t for t in self._trials(*OPEN) if t.number not in self._in_flight]
        trial = waiting[0] if waiting else await self._suggested()
        if trial is None or not self._may_begin() or self._over() is not None:
            return None
        return trial, station

    async def _suggested(self) -> Trial | None:
        """A new trial; None if a stop came before the optimizer was done."""
        began = clock.monotonic()
        activity = self._journal.set_activity
        self._post(activity, "optimizer", {"doing": "suggesting"}, time=clock.now())
        context = await self._context()
        asking = asyncio.create_task(
            self._optimizer.suggest(1, self._history(), context, forecast=self._wanted())
        )
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return None
            (suggestion,) = asking.result()
        finally:
            asking.cancel()
            stopping.cancel()
            self._post(activity, "optimizer", None, time=clock.now())
        provenance = {**suggestion.provenance, "seconds": round(clock.monotonic() - began, 3)}
        if context:
            provenance[CONTEXT] = context
        if why := self._nothing_left(provenance.get("forecast")):
            self._done = Ending(why)
            return None
        trials = await self._shared.writer.write(
            self._journal.suggest,
            self._campaign.campaign,
            [(suggestion.parameters, provenance)],
            time=clock.now(),
        )
        assert trials is not None  # only what is kept for later is not there yet
        return trials[0]

    def _wanted(self) -> dict[str, Any] | None:
        """What the optimizer is to forecast; None: nothing asks for it."""
        campaign, budget = self._campaign, self._campaign.budget
        if campaign.stop is None and not budget.until:
            return None
        wanted = {"until": dict(budget.until)} | (campaign.stop.wanted() if campaign.stop else {})
        if budget.trials is not None:
            ended = [t for t in self._trials() if t.state in COUNTED]
            wanted["trials"] = budget.trials - len(ended)
        return wanted

    def _nothing_left(self, forecast: Any) -> str:
        """Why the stopping rule ends the campaign; empty: it does not."""
        rule = self._campaign.stop
        if rule is None or not isinstance(forecast, Mapping):
            return ""
        before = [t.suggestion.get("forecast") for t in self._trials()]
        told = [f for f in before if isinstance(f, Mapping)]
        return rule.done([*told, forecast], len(self._campaign.parameters))

    async def _context(self) -> dict[str, Any]:
        """Read what cannot be chosen: now, before a point is chosen for it."""
        signals = {name: entry.signal for name, entry in self._campaign.contexts.items()}
        return await self._shared.bench.values({n: s for n, s in signals.items() if s is not None})

    def _history(self) -> list[dict[str, Any]]:
        """All trials as the optimizer is told of them."""
        if self._earlier is None:
            entry = self._campaign.optimizer
            strategy = plugins.load("optimizers", entry.use, self._shared.lab.folder)
            name = self._campaign.campaign
            self._earlier = told_first(self._journal, name, strategy, entry.options)
        return [*self._earlier, *history(self._trials(), self._task)]

    async def _tidy_claims(self) -> None:
        """Free what a trial held that had ended, or not yet begun, when its runtime was killed."""
        lab = self._shared.lab.lab
        for holder in {c.trial for c in self._journal.claims(lab).values() if c.trial is not None}:
            campaign, _, number = holder.rpartition("/")
            trial = self._journal.trial(campaign, int(number))
            if trial.state in {*ENDED, TrialState.SUGGESTED, TrialState.APPROVED}:
                await self._shared.writer.write(self._journal.release, lab, trial, time=clock.now())

    # -- stations ---------------------------------------------------------------------------------

    def _blocked(self) -> dict[int, str]:
        """The stations that nobody can use now, and why."""
        claims = self._journal.claims(self._shared.lab.lab)
        ours = {f"{self._campaign.campaign}/{n}" for n in self._in_flight}
        why = {}
        for k, station in enumerate(self._stations):
            for name in sorted(instruments_of(station)):
                claim = claims.get(name)
                if claim is not None and claim.quarantined:
                    why[k] = f"{name} is in quarantine ({claim.quarantined})"
                elif claim is not None and claim.trial and claim.trial not in ours:
                    why[k] = f"{name} is held by trial {claim.trial}"
        return why

    def _free_station(self) -> int | None:
        """The station that is used least; trials that share instruments use them in turn."""
        blocked = self._blocked()
        usable = [k for k in range(len(self._stations)) if k not in blocked]
        used = list(self._in_flight.values())
        return min(usable, key=used.count, default=None)

    def _station_of(self, trial: Trial) -> int:
        """Where an interrupted trial has its sample."""
        claims = self._journal.claims(self._shared.lab.lab)
        held = {name for name, claim in claims.items() if claim.trial == trial.id}
        fits = [k for k, s in enumerate(self._stations) if instruments_of(s) == held]
        return fits[0] if fits else 0

    # -- one trial --------------------------------------------------------------------------------

    async def _make_real(self, trial: Trial, station: int) -> None:
        """Take a trial to its end, whatever that is, or leave it for later."""
        try:
            async with self._claims.hold(instruments_of(self._stations[station])):
                if self._may_begin():
                    await self._run_trial(trial, self._stations[station])
        finally:
            self._in_flight.pop(trial.number, None)

    async def _run_trial(self, trial: Trial, station: Mapping[str, str]) -> None:
        shared, lab = self._shared, self._shared.lab.lab
        write = shared.writer.write
        claim = self._journal.claim
        await write(claim, lab, instruments_of(station), trial, time=clock.now())
        if trial.state is TrialState.SUGGESTED:
            trial = await shared.move(trial, TrialState.APPROVED)
        if trial.state is TrialState.APPROVED:
            trial = await shared.move(trial, TrialState.RUNNING)
        else:
            self._note("info", f"trial {trial.number} goes on where it was interrupted")
        engine = self._idle.pop() if self._idle else await self._another_engine()
        run = TrialRun(trial, station, shared, engine, pause=self.pause)
        self._live[trial.number] = run
        if self._paused is not None:
            run.pause()
        try:
            await self._ended(run)
        finally:
            self._live.pop(trial.number, None)
            self._idle.append(engine)
        if run.trial.state in ENDED:  # else its sample is there still
            await write(self._journal.release, lab, run.trial, time=clock.now())
            self._post(self._journal.set_activity, alive_key(trial), None, time=clock.now())

    async def _ended(self, run: TrialRun) -> None:
        """Run the plan and write down how the trial ended, if it did."""
        shared, trial = self._shared, run.trial
        try:
            outcomes = await run.outcomes()
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, JournalError):
                raise cause from error
            if run.frozen is not None:
                await self._left(run, run.frozen)
            elif isinstance(cause, StoppedError):
                await self._safe(run.instruments)
                run.trial = await shared.move(trial, TrialState.ABANDONED, cause=str(cause))
            else:
                await self._fail(run, error)
        else:
            self._failed_now = 0
            run.trial = await shared.move(trial, TrialState.COMPLETED, outcomes=outcomes)

    async def _left(self, run: TrialRun, why: SdlError) -> None:
        """The trial is not at its end. In doubt, its instruments are made safe and stay claimed."""
        if not isinstance(why, InDoubtError | UnrepeatableError):
            return
        await self._safe(run.instruments)
        run.trial = await self._shared.move(run.trial, TrialState.IN_DOUBT, cause=str(why))
        self._note("error", f"trial {run.trial.number} is in doubt: {why}")

    async def _fail(self, run: TrialRun, error: Exception) -> None:
        self._failed_now += 1
        trial = run.trial
        await self._safe(run.instruments)
        why = run.why(error)
        run.trial = await self._shared.move(trial, TrialState.FAILED, cause=why)
        self._note("warning", f"trial {trial.number} failed: {why}")
        cause = run.first_failure or cause_of(error)
        if isinstance(cause, FaultError) and len(self._stations) > 1:
            await self._quarantine(cause.instrument.split(".")[0], explain(cause))

    async def _safe(self, instruments: set[str]) -> None:
        """Make instruments safe; one that does not confirm it is not used again before a person."""
        unsafe = await self._shared.bench.make_safe(instruments)
        self._shared.guard.made_safe(instruments - unsafe.keys())
        for name, why in unsafe.items():
            self._note("error", f"{name} did not confirm its safe state: {why}")
            await self._quarantine(name, f"did not confirm its safe state: {why}")

    async def _quarantine(self, name: str, why: str) -> None:
        if name not in self._shared.bench.instruments:
            return
        await self._shared.writer.write(
            *(self._journal.quarantine, self._shared.lab.lab, name, why),
            time=clock.now(),
            who="runtime",
        )
        self._note("error", f"{name} is in quarantine: {why}; then `sdl release {name} --note …`")

    async def _another_engine(self) -> Engine:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clock.Loop)
        engine = await Engine.start(loop)
        self.engines.append(engine)
        return engine

    # -- the record -------------------------------------------------------------------------------

    def _trials(self, *states: TrialState) -> list[Trial]:
        """Trials in these states (default: all); those that ended at the start are read once."""
        known = self._ended_first
        later = self._journal.trials(self._campaign.campaign, after=len(known))
        while later and later[0].state in ENDED and later[0].number == len(known) + 1:
            known.append(later.pop(0))
        return [t for t in (*known, *later) if not states or t.state in states]

    def _post(self, write: Callable[..., Any], *args: Any, **details: Any) -> None:
        self._shared.writer.post(write, *args, **details)

    def _note(self, level: Level, text: str) -> None:
        name = self._campaign.campaign
        self._post(self._journal.note, level, "loop", text, time=clock.now(), campaign=name)
        if level != "info":
            self._notify(level, text)


def alive_key(trial: Trial) -> str:
    """Under which activity it stands when a trial was last known to be under way."""
    return f"{ALIVE}{trial.id}"


def _spent(budget: str, counted: Sequence[Trial]) -> Ending:
    failed = bool(counted) and all(t.state is TrialState.FAILED for t in counted)
    none = "; no trial completed" if failed else ""
    return Ending(f"the budget of {budget} is spent{none}", gave_up=failed)
