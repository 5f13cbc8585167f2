"""One campaign on one lab, from opening the journal to the safe state at its end.

The lab's loop runs in a thread of its own; whoever started the session waits, watches, or stops it.
"""

import asyncio
import contextlib
import hashlib
import inspect
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, ExitStack
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sdl import binding, clock
from sdl.bench import Bench
from sdl.data.callbacks import Callbacks, DocumentCallback
from sdl.engine import end_loop, start_loop
from sdl.errors import SdlError, StaleError, explain
from sdl.journal import Journal
from sdl.loop import ClosedLoop
from sdl.results import Results
from sdl.stopping import Ending, Stop
from sdl.suggest.process import OptimizerProcess

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

RECORDED = ("sdl", "bluesky", "ophyd-async", "ophyd", "botorch", "gpytorch", "torch", "numpy")
WATCH_PERIOD = 2.0  # s of real time between two looks at all instruments
WATCH_PERIOD_VIRTUAL = 600.0  # s of virtual time


class Session:
    """A campaign being run. `start`, then `wait`; `stop` and `abort` from any other thread."""

    def __init__(
        self,
        campaign: "Campaign",
        lab: "Lab",
        *,
        journal: str | None = None,
        on_document: Sequence[DocumentCallback] = (),
    ) -> None:
        self.campaign, self.lab = campaign, lab
        self.journal_url = journal or lab.journal_url
        self._on_document, self._stop = tuple(on_document), Stop()
        self._resources = ExitStack()
        self._ended: Future[Ending] | None = None
        self._loop: ClosedLoop | None = None
        self._lab_loop: clock.Loop | None = None
        self._waiting: asyncio.Task[Any] | None = None  # while it may be cancelled: not at the end

    def start(self) -> None:
        """Own the lab and begin, or go on.

        :raises JournalError: the journal cannot be used, or somebody else runs this lab.
        """
        plan = binding.load_plan(self.campaign, self.lab)
        with ExitStack() as undo:
            twin = self.lab.is_twin
            journal = Journal.open(self.journal_url, rederivable=twin)
            self._journal = undo.enter_context(journal)
            began = self._start_time()
            undo.enter_context(self._journal.own(self.lab.lab, time=began))
            self._journal.add_campaign(
                self.campaign.campaign,
                specification(self.campaign),
                lab=self.lab.lab,
                twin=twin,
                versions=versions(self.campaign, self.lab, plan),
                time=began,
            )
            loop = start_loop(self.lab.speed, began - clock.SIMULATED_EPOCH)
            undo.callback(end_loop, loop)
            self._resources = undo.pop_all()
        self._lab_loop = loop
        self._ended = asyncio.run_coroutine_threadsafe(self._run(plan), loop)

    def _start_time(self) -> float:
        """Now; on a twin, where its journal ends, so that its time never runs backwards."""
        if not self.lab.is_twin or self.lab.speed == 1:
            return time.time()
        latest = clock.SIMULATED_EPOCH
        for campaign in self._journal.campaigns():
            for trial in self._journal.trials(campaign.name):
                times = (trial.suggested_at, trial.started_at, trial.ended_at)
                latest = max(latest, *(t for t in times if t is not None))
        return latest

    def stop(self, why: str) -> None:
        """Ask for an end after the current step; the same command goes on later."""
        self._stop.request(why)

    def abort(self, why: str) -> None:
        """End now, in the middle of a step. Plans clean up, then instruments are made safe."""
        self._stop.request(why, now=True)
        for engine in self._loop.engines if self._loop is not None else ():
            engine.abort(why)
        if self._lab_loop is not None and self._lab_loop.is_running():
            self._lab_loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        """Wait no longer for what is no trial: a connection, a suggestion."""
        if self._waiting is not None:
            self._waiting.cancel()

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

    # -- in the lab's loop ----------------------------------------------------------------------

    async def _run(self, plan: Any) -> Ending:
        self._note("info", "started")
        callbacks = Callbacks(self._on_document, lambda text: self._note("warning", text))
        self._show("connecting")
        self._waiting = asyncio.current_task()
        try:
            async with AsyncExitStack() as stack:
                optimizer = await stack.enter_async_context(self._optimizer())
                warm = asyncio.create_task(optimizer.warm_up())
                stack.callback(warm.cancel)
                bench = await stack.enter_async_context(self.lab.open())
                ending = await self._close_loop(plan, bench, optimizer, warm, callbacks)
        except SdlError as error:
            self._note("error", explain(error))
            raise
        except asyncio.CancelledError:
            if self._stop.why is None:
                raise
            ending = Ending(self._stop.why)
        finally:
            self._waiting = None
            self._show(None)
            await clock.outside(callbacks.close)
        self._note("info", f"ended: {ending}")
        return ending

    async def _close_loop(
        self,
        plan: Any,
        bench: Bench,
        optimizer: OptimizerProcess,
        warm: "asyncio.Task[None]",
        callbacks: Callbacks,
    ) -> Ending:
        watching = asyncio.create_task(self._watch(bench))
        try:
            await warm
            self._show("running")
            self._loop = ClosedLoop(
                self.campaign, plan, bench, self._journal, optimizer, callbacks, self._stop
            )
            return await self._loop.run()
        finally:
            self._waiting = None
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            for name, why in (await bench.make_safe()).items():
                self._note("error", f"{name} did not confirm its safe state: {why}")
            await record_readings(self._journal, bench)

    def _optimizer(self) -> OptimizerProcess:
        entry = self.campaign.optimizer
        return OptimizerProcess(
            entry.use,
            self.campaign.space,
            self.campaign.objectives,
            options=entry.options,
            seed=self.campaign.seed,
            folder=self.lab.folder,
            on_restart=lambda why: self._note("warning", f"the optimizer was restarted: {why}"),
        )

    async def _watch(self, bench: Bench) -> None:
        """Look at all instruments now and then, for whoever watches."""
        speed = self.lab.speed
        period = WATCH_PERIOD_VIRTUAL if speed == "virtual" else WATCH_PERIOD * speed
        while True:
            await record_readings(self._journal, bench)
            await asyncio.sleep(period)

    def _show(self, state: str | None) -> None:
        doing = {"state": state, "pid": os.getpid(), "real_time": time.time()} if state else None
        self._journal.set_activity("runtime", doing, time=time.time())

    def _note(self, level: Any, text: str) -> None:
        at = clock.now(self._lab_loop)
        self._journal.note(level, "runtime", text, time=at, campaign=self.campaign.campaign)


async def record_readings(journal: Journal, bench: Bench) -> None:
    """Note the newest value of every scalar signal, or why there is none."""
    found: dict[str, tuple[Any, str, float]] = {}
    for name, readings in (await bench.read()).items():
        if isinstance(readings, BaseException):
            stale = isinstance(readings, StaleError)  # nothing was measured lately: no fault
            said = "no fresh value" if stale else explain(readings)
            found[name] = (said, "", clock.now())
            continue
        for key, (value, units, at) in readings.items():
            if isinstance(value, bool | int | float | str):
                found[key] = (value, units, min(at, clock.now()))  # some bring a clock of their own
    journal.put_readings(found)


def specification(campaign: "Campaign") -> dict[str, Any]:
    """The campaign as JSON: what makes it the same campaign tomorrow."""
    words = campaign.model_dump(mode="json", exclude={"plan", "lab"}, by_alias=True)
    return {**words, "plan": campaign.plan_name}


def versions(campaign: "Campaign", lab: "Lab", plan: Any) -> dict[str, str]:
    """What the results depend on beside the campaign: packages, Python, plan source, lab file."""
    found = {"python": platform.python_version()}
    for package in RECORDED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    try:
        source = f"sha256:{_digest(inspect.getsource(plan))}"
    except OSError:  # typed at a prompt
        source = "source not available"
    found["plan"] = f"{campaign.plan_name} {source}"
    found["lab"] = f"{lab.lab} sha256:{_digest(lab.model_dump_json(fallback=str))}"
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
