"""One campaign on one lab, from opening the journal to the safe state at its end.

The lab's loop runs in a thread of its own; whoever started the session waits, watches, or stops it.
"""

import asyncio
import contextlib
import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

from sdl import binding, clock, provenance
from sdl.bench import Bench
from sdl.data.callbacks import Callbacks, DocumentCallback
from sdl.engine import end_loop, start_loop
from sdl.errors import JournalError, SdlError, StoppedError, UnsafeError, explain
from sdl.journal import Journal
from sdl.journal.writer import Writer
from sdl.loop import ALIVE, ClosedLoop
from sdl.notify import Notifier
from sdl.results import Results
from sdl.safety.guard import Guard
from sdl.stopping import Ending, Stop
from sdl.suggest.process import OptimizerProcess
from sdl.trialrun import Equipment
from sdl.watchdog.client import Watchdog
from sdl.who import operator
from sdl.wishes import Wishes

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

WATCH_PERIOD = 2.0  # s of real time between two looks at all instruments
WATCH_PERIOD_VIRTUAL = 600.0  # s of virtual time
FLUSH = 2.0  # s of real time between two looks at whether all is written


class Session:
    """A campaign being run. `start`, then `wait`; all that stops or pauses it from any thread."""

    def __init__(
        self,
        campaign: "Campaign",
        lab: "Lab",
        *,
        journal: str | None = None,
        on_document: Sequence[DocumentCallback] = (),
        on_boundary: Callable[[int, str], None] = lambda *_: None,
    ) -> None:
        """Describe a session.

        :param on_boundary: told of every boundary of a step ("before intent", "after intent",
            "after act", "done") with its number, in the lab's loop; for tests that end it there.
        """
        self.campaign, self.lab = campaign, lab
        self.journal_url = journal or lab.journal_url
        self._on_document, self._on_boundary = tuple(on_document), on_boundary
        self._stop, self._resources = Stop(), ExitStack()
        self._ended: Future[Ending] | None = None
        self._closed_loop: ClosedLoop | None = None
        self._loop: clock.Loop | None = None
        self._bench: Bench | None = None
        self._guard: Guard | None = None
        self._waiting: asyncio.Task[Any] | None = None  # while it may be cancelled: not at the end
        self._making_safe: asyncio.Task[dict[str, str]] | None = None
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self) -> None:
        """Own the lab and begin, or go on.

        :raises JournalError: the journal cannot be used, or somebody else runs this lab.
        :raises UnsafeError: there is no watchdog; nothing has moved.
        """
        plan = binding.load_plan(self.campaign, self.lab)
        recovery = binding.load_recovery(self.campaign, self.lab)
        with ExitStack() as undo:
            twin = self.lab.is_twin
            self._notifier = Notifier(
                () if twin else self.lab.notify, title=f"sdl {self.lab.lab}", tell=self._news.put
            )
            undo.callback(self._notifier.close)
            journal = Journal.open(self.journal_url, rederivable=twin)
            self._journal = undo.enter_context(journal)
            alive_until, began = self._left_off()
            undo.enter_context(self._journal.own(self.lab.lab, time=began))
            self._begin_record(plan, began)
            loop = start_loop(self.lab.speed, began - clock.SIMULATED_EPOCH)
            undo.callback(end_loop, loop)
            self._loop = loop
            self._writer = Writer(
                self._journal,
                inline=self._virtual,
                loop=loop,
                on_failure=self._cannot_record,
                on_recovery=lambda: self._news.put("the journal is written again"),
            )
            undo.callback(self._writer.close)
            if self.lab.watchdog is not None and not self._virtual:
                undo.callback(self._watched(self.lab.watchdog).stand_down)
            undo.enter_context(Wishes(self._journal, self.lab.lab, self, self._now))
            self._resources = undo.pop_all()
        running = self._run(plan, recovery, alive_until)
        self._ended = asyncio.run_coroutine_threadsafe(running, loop)

    @property
    def _virtual(self) -> bool:
        return self.lab.is_twin and self.lab.speed == "virtual"

    def _now(self) -> float:
        return clock.now(self._loop)

    def _left_off(self) -> tuple[dict[str, float], float]:
        """When each interrupted trial was last known to be under way, and the time now.

        On a twin, now is where its journal ends, so that its time never runs backwards.
        """
        activities = self._journal.activities()
        alive_until = {
            key.removeprefix(ALIVE): activity.time
            for key, activity in activities.items()
            if key.startswith(ALIVE)
        }
        if not self.lab.is_twin or self.lab.speed == 1:
            return alive_until, time.time()
        latest = max([clock.SIMULATED_EPOCH, *(a.time for a in activities.values())])
        for campaign in self._journal.campaigns():
            for trial in self._journal.trials(campaign.name):
                times = (trial.suggested_at, trial.started_at, trial.ended_at)
                latest = max(latest, *(t for t in times if t is not None))
        return alive_until, latest

    def _begin_record(self, plan: Any, began: float) -> None:
        lab, journal = self.lab, self._journal
        journal.add_campaign(
            self.campaign.campaign,
            provenance.specification(self.campaign),
            lab=lab.lab,
            twin=lab.is_twin,
            versions=provenance.versions(self.campaign, lab, plan),
            time=began,
        )
        for name, item in lab.inventory.items():
            journal.open_item(lab.lab, name, item.amount, time=began)
        journal.audit("rules", lab.lab, provenance.rules(lab), time=began, who=operator())

    def _watched(self, settings: Any) -> Watchdog:
        assert self._loop is not None  # it runs by now
        return Watchdog.start(
            self.lab,
            self.journal_url,
            timeout=settings.timeout,
            beat=settings.beat,
            on_stop=self._stopped_from_outside,
            loop=self._loop,
            tell=self._news.put,
        )

    # -- what a person wants, from any thread -----------------------------------------------------

    def stop(self, why: str) -> None:
        """Ask for an end after the current step; the same command goes on later."""
        self._stop.request(why)
        self._in_loop(self._freeze)

    def abort(self, why: str) -> None:
        """STOP: put all instruments into their safe state now, outside any plan.

        Trials in flight are left as they are; the same command goes on with them later.
        """
        self._stop.request(why, now=True)
        self._in_loop(self._stop_now)

    def pause(self, why: str) -> None:
        """Begin no step until `resume`; what is under way goes on, and the lab stays as it is."""
        self._with_loop(lambda closed: closed.pause(why))

    def resume(self) -> None:
        self._with_loop(lambda closed: closed.resume())

    def abort_trial(self, number: int, why: str) -> None:
        """End one trial: its clean-up and recovery run, the campaign goes on.

        :raises StoppedError: it is not running.
        """
        self._with_loop(lambda closed: closed.abort(number, why))

    def _with_loop(self, act: Callable[[ClosedLoop], None]) -> None:
        """Do something in the lab's loop and wait for it.

        :raises StoppedError: no trial can be in flight yet, or any more.
        """

        async def do() -> None:
            if self._closed_loop is None:
                raise StoppedError("the campaign is not running yet, or any more")
            act(self._closed_loop)

        if self._loop is None or not self._loop.is_running():
            raise StoppedError("the session is not running")
        asyncio.run_coroutine_threadsafe(do(), self._loop).result(5)

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(call)

    def latest_news(self) -> list[str]:
        """Lines for whoever sits at the terminal, each told once; not all are in the journal."""
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._news.get_nowait())
        return lines

    @property
    def running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def wait(self, timeout: float | None = None) -> Ending:
        """Wait for the end and return why it came.

        :raises TimeoutError: it has not come in `timeout` s.
        :raises SdlError: the campaign could not go on.
        """
        assert self._ended is not None
        return self._ended.result(timeout)

    def close(self) -> None:
        """Give back the lab and the journal. Ends the campaign if it still runs."""
        if self.running and self._ended is not None:
            self.abort("the session was closed")
            with contextlib.suppress(Exception):  # whoever waited has heard of it
                self._ended.result(60)
        self._resources.close()

    def __enter__(self) -> "Session":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def results(self) -> Results:
        """What the journal holds of this campaign now."""
        trials = self._journal.trials(self.campaign.campaign)
        return Results(self.campaign.campaign, self.campaign.objectives, trials)

    # -- STOP, in the lab's loop ------------------------------------------------------------------

    def _freeze(self) -> None:
        if self._closed_loop is not None:
            self._closed_loop.freeze(StoppedError(self._stop.why or "stopped"))
        self._interrupt()

    def _interrupt(self) -> None:
        """Wait no longer for what is no trial: a connection, a suggestion."""
        if self._waiting is not None and (self._closed_loop is None or not self._closed_loop.busy):
            self._waiting.cancel()

    def _stop_now(self) -> None:
        """Refuse whatever plans want, leave trials as they are, make all instruments safe."""
        why = self._stop.why or "stopped"
        if self._guard is not None:
            self._guard.close(why)
        if self._closed_loop is not None:
            self._closed_loop.freeze(StoppedError(why), at_once=True)
        self._make_safe()
        self._interrupt()

    def _make_safe(self) -> None:
        """Begin to make all instruments safe, unless that is under way."""
        under_way = self._making_safe is not None and not self._making_safe.done()
        if self._bench is not None and not under_way:
            self._making_safe = asyncio.create_task(self._bench.make_safe(timeout=self._patience))

    @property
    def _patience(self) -> float:
        return self.lab.safety.stop_timeout

    async def _stopped_from_outside(self, who: str, why: str) -> dict[str, str]:
        """`sdl stop`: STOP, and return what went wrong with those that did not confirm."""
        said = f"{why} ({who})" if why else f"STOP by {who}"
        self._stop.request(said, now=True)
        self._stop_now()
        self._note("error", f"STOP by {who}: {why}")
        self._audit("STOP", {"why": why}, who)
        if self._making_safe is None:
            raise UnsafeError("no instrument is connected yet: nobody was told to stop")
        return await asyncio.shield(self._making_safe)

    def _tripped(self, reason: str) -> None:
        """An interlock does not hold while an instrument acts."""
        self._stop.request(f"an interlock tripped: {reason}", now=True, trouble=True)
        self._stop_now()
        self._note("error", f"an interlock tripped, the lab is made safe: {reason}")
        self._audit("interlock tripped", {"reason": reason}, "guard")

    def _cannot_record(self, error: JournalError) -> None:
        """The journal cannot be written: begin nothing, make the lab safe, keep what is known."""
        text = f"the record cannot be kept, the lab is made safe: {error}"
        self._news.put(text)
        self._notifier.send("error", text)
        if self._guard is not None:
            self._guard.close(str(error))
        if self._closed_loop is not None:
            self._closed_loop.break_down(error)
        self._make_safe()

    # -- the campaign, in the lab's loop ----------------------------------------------------------

    async def _run(self, plan: Any, recovery: Any, alive_until: dict[str, float]) -> Ending:
        self._note("info", "started")
        callbacks = Callbacks(self._on_document, lambda text: self._note("warning", text))
        self._show("connecting")
        self._waiting = asyncio.current_task()
        try:
            async with AsyncExitStack() as stack:
                optimizer = await stack.enter_async_context(self._optimizer())
                warm = asyncio.create_task(optimizer.warm_up())
                stack.callback(warm.cancel)
                self._bench = await stack.enter_async_context(self.lab.open())
                guard = self._guard = self._new_guard(self._bench)
                stack.push_async_callback(guard.shut_down)
                shared = Equipment(
                    self.campaign,
                    self.lab,
                    plan,
                    recovery,
                    self._bench,
                    guard,
                    self._journal,
                    self._writer,
                    callbacks,
                    alive_until,
                    self._on_boundary,
                )
                ending = await self._close_loop(shared, optimizer, warm)
        except SdlError as error:
            self._note("error", explain(error))
            raise
        except asyncio.CancelledError:
            if self._stop.why is None:
                raise
            ending = Ending(self._stop.why, gave_up=self._stop.trouble)
        finally:
            self._waiting = self._closed_loop = None
            self._show(None)
            await self._written()
            await clock.outside(callbacks.close)
        self._note("info", f"ended: {ending}")
        self._notifier.send("error" if ending.gave_up else "info", f"ended: {ending}")
        await self._writer.flush(FLUSH)
        return ending

    def _new_guard(self, bench: Bench) -> Guard:
        return Guard(
            self.lab.safety,
            self.lab.inventory,
            bench,
            balances=lambda: self._journal.balances(self.lab.lab),
            on_trip=self._tripped,
        )

    async def _close_loop(
        self, shared: Equipment, optimizer: OptimizerProcess, warm: "asyncio.Task[None]"
    ) -> Ending:
        bench = shared.bench
        watching = asyncio.create_task(self._watch(bench))
        try:
            await shared.guard.start()
            await self._arm(bench)
            await warm
            self._show("running")
            self._closed_loop = ClosedLoop(
                shared, optimizer, self._stop, notify=self._notifier.send, show=self._show
            )
            return await self._closed_loop.run()
        finally:
            self._waiting = None
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            shared.guard.close("the session is at its end")
            if self._making_safe is not None:
                await self._making_safe
            for name, why in (await bench.make_safe(timeout=self._patience)).items():
                self._note("error", f"{name} did not confirm its safe state: {why}")
            await self._record_readings(bench)

    async def _arm(self, bench: Bench) -> None:
        """Arm the instruments' own watchdogs: they act if nobody else can any more.

        :raises UnsafeError: one could not be armed; nothing has moved.
        """
        seconds = self.lab.watchdog.arm if self.lab.watchdog is not None else None
        failed = await bench.arm(seconds) if seconds is not None else {}
        if failed:
            told = "; ".join(f"{name}: {why}" for name, why in failed.items())
            raise UnsafeError(f"watchdogs of instruments could not be armed: {told}")

    async def _written(self) -> None:
        """Wait until all that was measured is in the journal, however long the disk is full."""
        told = False
        while not await self._writer.flush(FLUSH):
            if not told:
                told = True
                self._news.put(
                    f"{self._writer.backlog} entries are in memory only. Free the disk: they are "
                    "written as soon as that is possible. Ctrl-C gives them up"
                )
            if self._given_up:
                return

    _given_up = False

    def give_up(self) -> None:
        """Do not wait any longer for a journal that cannot be written."""
        self._given_up = True

    def _optimizer(self) -> OptimizerProcess:
        entry = self.campaign.optimizer
        return OptimizerProcess(
            entry.use,
            self.campaign.task,
            options=entry.options,
            seed=self.campaign.seed,
            folder=self.lab.folder,
            on_restart=lambda why: self._note("warning", f"the optimizer was restarted: {why}"),
        )

    async def _watch(self, bench: Bench) -> None:
        """Look at all instruments now and then, for whoever watches; and say that we live."""
        speed = self.lab.speed
        period = WATCH_PERIOD_VIRTUAL if speed == "virtual" else WATCH_PERIOD * speed
        while True:
            self._show(self._state)
            if self._closed_loop is not None:
                self._closed_loop.sign_of_life()
            await self._record_readings(bench)
            await asyncio.sleep(period)

    async def _record_readings(self, bench: Bench) -> None:
        self._writer.post(self._journal.put_readings, await bench.readings_now())

    _state: str | None = None

    def _show(self, state: str | None) -> None:
        """What the runtime does, and that it lives; its last time is where a crash begins."""
        self._state = state
        doing = {"state": state, "pid": os.getpid(), "real_time": time.time()} if state else None
        doing = doing or {"state": None}
        self._writer.post(self._journal.set_activity, "runtime", doing, time=self._now())

    def _note(self, level: Any, text: str) -> None:
        campaign = self.campaign.campaign
        self._writer.post(
            self._journal.note, level, "runtime", text, time=self._now(), campaign=campaign
        )

    def _audit(self, subject: str, body: dict[str, Any], who: str) -> None:
        audit = self._journal.audit
        self._writer.post(audit, "operator", subject, body, time=self._now(), who=who)


async def run(
    campaign: "Campaign",
    lab: "Lab",
    *,
    journal: str | None = None,
    on_document: Sequence[DocumentCallback] = (),
) -> Results:
    """Run a checked campaign; see `Campaign.run`."""
    with Session(campaign, lab, journal=journal, on_document=on_document) as session:
        try:
            while session.running:
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            session.stop("cancelled")
            session.wait()
            raise
        session.wait()
        return session.results()


def run_blocking(
    campaign: "Campaign",
    lab: "Lab",
    *,
    journal: str | None = None,
    on_document: Sequence[DocumentCallback] = (),
) -> Results:
    """Run a checked campaign; see `Campaign.run_blocking`."""
    with Session(campaign, lab, journal=journal, on_document=on_document) as session:
        session.wait()
        return session.results()
