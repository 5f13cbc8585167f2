"""A small world, and lives of the runtime in it that may be cut off at any boundary of a step.

The world outlives every life: what a pump was doing when the runtime was killed it does to its end
(or stops half-way), and it keeps a log of all that was physically done. A life is one trial on an
engine, with a journal, a guard and a virtual clock, but without optimizer and wires. A kill means:
from that moment nothing of this life reaches journal or world.
"""

import asyncio
import contextlib
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bluesky import Msg
from ophyd_async.core import AsyncStatus

from sdl import clock
from sdl.bench import Bench
from sdl.data.callbacks import Callbacks
from sdl.engine import Engine, end_loop, start_loop
from sdl.errors import (
    InDoubtError,
    JournalError,
    NoReplyError,
    RefusedError,
    SdlError,
    StoppedError,
    UnrepeatableError,
    cause_of,
    explain,
)
from sdl.instrument import Effect, Finding, Verdict
from sdl.journal import Journal, Step, Trial, TrialState
from sdl.journal.writer import Writer
from sdl.safety.guard import Guard
from sdl.safety.rules import Item, SafetyRules
from sdl.trialrun import Equipment, TrialRun

Plan = Generator[Msg, Any, Any]
Boundary = tuple[int, str]

BOUNDARIES = ("before intent", "after intent", "after act", "done")
RATE = 0.1  # mL/s of every pump
RAMP = 1.0  # K/s of every heater
AMBIENT = 20.0
NOISE = 1e-6  # by which a second measurement differs from the first
PATIENCE = 20.0  # s of real time for one life

logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # it prints every abort


class KilledError(BaseException):
    """This life is over; no part of the runtime may take it for a failure and go on."""


# -- the world ------------------------------------------------------------------------------------


@dataclass
class Motion:
    """A plunger on its way, by the world's clock."""

    volume: float
    began: float
    ends: float

    def given(self, now: float) -> float:
        if now >= self.ends:
            return self.volume
        return self.volume * (now - self.began) / (self.ends - self.began)


@dataclass
class World:
    """What is physically there. Times are seconds of the clock that all lives share."""

    log: list[tuple[Any, ...]] = field(default_factory=list)
    """All that was physically done: ("dose", pump, mL, setpoints), ("set", heater, value), …"""
    motions: dict[str, list[Motion]] = field(default_factory=dict)
    heaters: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Setpoint, temperature when it was set, time when it was set."""
    held: dict[str, float | None] = field(default_factory=dict)
    """What a detector has measured and not given away yet."""
    measured: int = 0
    flown: list[str] = field(default_factory=list)
    lost_replies: int = 0
    """Of so many doses to come the reply is lost, though they are given."""
    refusals: dict[str, int] = field(default_factory=dict)
    """So many actions to come of an instrument are refused."""
    too_much: float = 1e9
    """mL; a pump that is asked for more refuses, after `balks_after` s."""
    balks_after: float = 0.0
    deaf: bool = False
    """Nobody can be asked what became of a dose, for now."""

    def dose(self, pump: str, volume: float, now: float) -> float:
        """Begin; return the seconds that it takes."""
        self.log.append(("dose", pump, volume, self.setpoints()))
        motions = self.motions.setdefault(pump, [])
        assert all(m.ends <= now + 1e-9 for m in motions), f"{pump} was told to move while it moved"
        seconds = abs(volume) / RATE
        motions.append(Motion(volume, now, now + seconds))
        return seconds

    def given(self, pump: str, now: float) -> float:
        return sum(m.given(now) for m in self.motions.get(pump, []))

    def rests_at(self, pump: str) -> float:
        """When the pump is at rest."""
        return max((m.ends for m in self.motions.get(pump, [])), default=0.0)

    def heat(self, heater: str, value: float, now: float) -> float:
        """Set; return the seconds until it is there."""
        self.log.append(("set", heater, value))
        there = self.temperature(heater, now)
        self.heaters[heater] = (value, there, now)
        return abs(value - there) / RAMP

    def temperature(self, heater: str, now: float) -> float:
        setpoint, first, since = self.heaters.get(heater, (AMBIENT, AMBIENT, 0.0))
        gone = RAMP * (now - since)
        if gone >= abs(setpoint - first):
            return setpoint
        return first + gone if setpoint > first else first - gone

    def measure(self, detector: str, now: float) -> None:
        self.measured += 1
        # not of "slow", which nobody waits for: what it has given by now is a matter of time
        seen = sorted(self.motions.keys() - {"slow"})
        doses = sum(self.given(pump, now) * len(pump) for pump in seen)
        heat = sum(self.setpoints().values())
        self.log.append(("measure", detector, heat))
        self.held[detector] = round(doses, 6) + heat / 1000 + NOISE * self.measured

    def setpoints(self) -> dict[str, float]:
        return {name: value for name, (value, _, _) in sorted(self.heaters.items())}

    def crash(self, now: float, *, halts: bool = False, cools: bool = False) -> None:
        """Nobody tells the world anything any more.

        :param halts: plungers on their way stop where they are (a power cut).
        :param cools: heaters fall back to their safe state.
        """
        self.held.clear()
        if halts:
            for motion in (m for ms in self.motions.values() for m in ms if m.ends > now):
                motion.volume, motion.ends = motion.given(now), now
        if cools:
            for name in self.heaters:
                self.heaters[name] = (AMBIENT, self.temperature(name, now), now)

    # -- what tests compare -----------------------------------------------------------------------

    def doses(self) -> list[tuple[str, float]]:
        """All doses in order, as they were asked for."""
        return [(entry[1], entry[2]) for entry in self.log if entry[0] == "dose"]

    def levels(self, pump: str) -> list[float]:
        """How much had been given after each dose; exact to a nanolitre."""
        total, levels = 0.0, []
        for motion in self.motions.get(pump, []):
            total += motion.volume
            levels.append(round(total, 6))
        return levels


# -- instruments of one life ----------------------------------------------------------------------


class Part:
    """An instrument as one life of the runtime sees it."""

    parent = None

    def __init__(self, name: str, life: "Life") -> None:
        self.name, self._life = name, life

    @property
    def _world(self) -> World:
        self._life.check()
        return self._life.world

    def _obey(self) -> None:
        if self._world.refusals.get(self.name, 0) > 0:
            self._world.refusals[self.name] -= 1
            raise RefusedError(self.name, "it does not want to")

    async def stop(self, success: bool = False) -> None:
        self._life.stops.append((self.name, success))


class MutePump(Part):
    """Gives what it is set to; cannot be asked what it gave."""

    effect = Effect.RELATIVE

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self._obey()
        if value > self._world.too_much:
            await asyncio.sleep(self._world.balks_after)
            raise RefusedError(self.name, f"{value:g} mL are too much")
        seconds = self._world.dose(self.name, value, self._life.now)
        if self._world.lost_replies > 0:
            self._world.lost_replies -= 1
            await asyncio.sleep(seconds / 2)
            raise NoReplyError(self.name, "nothing came back")
        await asyncio.sleep(seconds)
        self._life.check()


class Pump(MutePump):
    """A pump that counts what it gave."""

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        return {"given": self._world.given(self.name, self._life.now)}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        if self._world.deaf:
            raise NoReplyError(self.name, "nothing came back")
        await asyncio.sleep(max(self._world.rests_at(self.name) - self._life.now, 0.0))
        given = self._world.given(self.name, self._life.now) - mark["given"]
        said = f"given {given:g} of {argument:g} mL"
        if abs(given - argument) < 1e-9:
            return Finding(Verdict.DONE, said)
        if abs(given) < 1e-9:
            return Finding(Verdict.NOT_DONE, said)
        return Finding(Verdict.PARTLY, said, rest=argument - given)


class Heater(Part):
    """Done when it is as hot as it was told."""

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self._obey()
        await asyncio.sleep(self._world.heat(self.name, value, self._life.now))
        self._life.check()

    async def read(self) -> dict[str, Any]:
        value = self._world.temperature(self.name, self._life.now)
        return {self.name: {"value": value, "timestamp": clock.now()}}

    async def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "world", "dtype": "number", "shape": []}}

    async def locate(self) -> dict[str, Any]:
        setpoint, _, _ = self._world.heaters.get(self.name, (AMBIENT, 0, 0))
        return {"setpoint": setpoint, "readback": (await self.read())[self.name]["value"]}


class Detector(Part):
    """A trigger measures, a reading fetches; after a restart there is nothing to fetch."""

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        self._obey()
        await asyncio.sleep(2.0)
        self._world.measure(self.name, self._life.now)

    async def read(self) -> dict[str, Any]:
        value = self._world.held[self.name]  # raises where nothing was measured
        return {self.name: {"value": value, "timestamp": clock.now()}}

    async def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "world", "dtype": "number", "shape": []}}

    async def read_configuration(self) -> dict[str, Any]:
        return {}

    async def describe_configuration(self) -> dict[str, Any]:
        return {}

    @AsyncStatus.wrap
    async def stage(self) -> None:
        self._life.stops.append((self.name, "stage"))

    @AsyncStatus.wrap
    async def unstage(self) -> None:
        self._life.stops.append((self.name, "unstage"))

    def configure(self, *args: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._world.log.append(("configure", self.name, *args))
        return {}, {}


class Flyer(Part):
    """Takes three points along the sample on its own."""

    effects: Mapping[str, Effect] = {"complete": Effect.MEASURE}

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        return {"flown": len(self._world.flown)}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        flown = len(self._world.flown) - mark["flown"]
        return Finding(Verdict.DONE if flown else Verdict.NOT_DONE, f"flown {flown} times")

    @AsyncStatus.wrap
    async def kickoff(self) -> None:
        self._world.log.append(("fly", self.name))
        self._world.flown.append(self.name)

    @AsyncStatus.wrap
    async def complete(self) -> None:
        await asyncio.sleep(5.0)
        self._life.check()

    async def describe_collect(self) -> dict[str, Any]:
        key = {"source": "world", "dtype": "number", "shape": []}
        return {self.name: {self.name: key}}

    async def collect(self) -> AsyncIterator[dict[str, Any]]:
        for k in range(3):
            value = 10.0 * len(self._world.flown) + k
            at = clock.now()
            times = {"timestamps": {self.name: at}, "time": at}
            yield {"data": {self.name: value}, **times}


class ThreadStatus:
    """A status like classic ophyd's: it is set in a thread, and so are its callbacks called."""

    def __init__(self) -> None:
        self.done, self._error = False, cast("BaseException | None", None)
        self._callbacks: list[Callable[[Any], None]] = []
        self._lock = threading.Lock()

    @property
    def success(self) -> bool:
        return self.done and self._error is None

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback(self)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self._error

    def settle(self, error: BaseException | None = None) -> None:
        with self._lock:
            self.done, self._error = True, error
        for callback in self._callbacks:
            callback(self)


class ClassicStage(Part):
    """Blocking reads, a status from a thread: as classic ophyd's devices are."""

    def set(self, value: float) -> ThreadStatus:
        self._world.log.append(("set", self.name, value))
        status = ThreadStatus()
        threading.Timer(0.003, status.settle).start()
        return status

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": 1.0 + self._world.measured * 0, "timestamp": clock.now()}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "world", "dtype": "number", "shape": []}}


KINDS: Mapping[str, type[Part]] = {
    "pump": Pump,
    "other": Pump,
    "slow": Pump,
    "mute": MutePump,
    "heater": Heater,
    "oven": Heater,
    "detector": Detector,
    "flyer": Flyer,
    "stage": ClassicStage,
}


# -- one life -------------------------------------------------------------------------------------


@dataclass
class Ended:
    """How a life ended, and what it went through."""

    killed: bool
    outcomes: dict[str, float] | None
    error: BaseException | None
    state: TrialState
    boundaries: list[Boundary]
    stops: list[tuple[str, Any]]
    at: float

    @property
    def cause(self) -> str:
        return "" if self.error is None else explain(self.error)


class Life:
    """One runtime, from its start to its end or its kill."""

    def __init__(self, story: "Story", crash: Boundary | None, count: int) -> None:
        self.story, self.world = story, story.world
        self._crash, self._count = crash, count
        self.dead, self.over = False, threading.Event()
        self.boundaries: list[Boundary] = []
        self.stops: list[tuple[str, Any]] = []
        self.loop = start_loop("virtual", story.now)
        self.killed_at = 0.0
        self.run: TrialRun
        self.engine: Engine
        self.on_boundary: Callable[[Life, int, str], None] | None = None

    @property
    def now(self) -> float:
        return self.loop.time()

    def check(self) -> None:
        if self.dead:
            raise KilledError

    def boundary(self, n: int, where: str) -> None:
        self.check()
        self.boundaries.append((n, where))
        if self._crash == (n, where) or len(self.boundaries) == self._count:
            self.kill()
            raise KilledError
        if self.on_boundary is not None:
            self.on_boundary(self, n, where)

    def kill(self) -> None:
        self.dead, self.killed_at = True, self.now
        self._killed.set()

    # -- in the loop ------------------------------------------------------------------------------

    async def live(self, journal: Journal) -> Ended:
        self._killed = asyncio.Event()
        story = self.story
        writer = _LivingWriter(self, journal)
        parts = {name: KINDS[name](name, self) for name in KINDS}
        bench = Bench("small", {}, parts)
        guard = Guard(
            story.rules,
            story.inventory,
            bench,
            balances=lambda: journal.balances("small"),
            on_trip=lambda _: None,
        )
        retries = {name: SimpleNamespace(retries=r) for name, r in story.retries.items()}
        shared = Equipment(
            cast("Any", story.campaign),
            cast("Any", SimpleNamespace(instruments=retries, lab="small")),
            story.plan,
            story.recovery,
            bench,
            guard,
            journal,
            writer,
            Callbacks((), lambda _: None),
            on_boundary=self.boundary,
        )
        self.engine = await Engine.start(self.loop)
        trial = journal.trial("c", 1)
        if trial.state is TrialState.SUGGESTED:
            trial = await shared.move(trial, TrialState.APPROVED)
            trial = await shared.move(trial, TrialState.RUNNING)
        station = {name: name for name in KINDS}
        outcomes, error = None, None
        try:
            await guard.start()
            self.run = TrialRun(
                trial, station, shared, self.engine, pause=lambda _: self.run.pause()
            )
            if story.prepare is not None:
                story.prepare(self)
            outcomes = await self._outcomes()
        except KilledError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 (how a trial ends is what is tested)
            error = cause_of(raised)
        at = self.killed_at if self.dead else self.now
        if not self.dead:
            await self._ended(shared, trial, outcomes, error)
        await guard.shut_down()
        self.engine.close()
        state = journal.trial("c", 1).state
        return Ended(self.dead, outcomes, error, state, self.boundaries, self.stops, at)

    async def _outcomes(self) -> dict[str, float]:
        work = asyncio.ensure_future(self.run.outcomes())
        killed = asyncio.ensure_future(self._killed.wait())
        await asyncio.wait({work, killed}, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        if not self.dead:
            return await work
        with contextlib.suppress(Exception):
            await clock.outside(self.engine.abort, "killed")
        await asyncio.wait({work})
        with contextlib.suppress(BaseException):
            work.result()
        raise KilledError

    async def _ended(
        self,
        shared: Equipment,
        trial: Trial,
        outcomes: dict[str, float] | None,
        error: BaseException | None,
    ) -> None:
        """As the closed loop does it."""
        if outcomes is not None:
            await shared.move(trial, TrialState.COMPLETED, outcomes=outcomes)
            return
        assert error is not None
        frozen = self.run.frozen
        if frozen is not None:
            if isinstance(frozen, InDoubtError | UnrepeatableError):
                await shared.move(trial, TrialState.IN_DOUBT, cause=str(frozen))
            return
        state = TrialState.ABANDONED if isinstance(error, StoppedError) else TrialState.FAILED
        await shared.move(trial, state, cause=explain(error))


class _LivingWriter(Writer):
    """Writes as long as its life goes on."""

    def __init__(self, life: Life, journal: Journal) -> None:
        super().__init__(
            journal,
            inline=True,
            loop=life.loop,
            on_failure=life.story.failures.append,
            on_recovery=lambda: None,
        )
        self._life = life

    async def write(self, fn: Any, *args: Any, keep: bool = False, **options: Any) -> Any:
        if self._life.story.lag:
            await asyncio.sleep(self._life.story.lag)
        return await super().write(fn, *args, keep=keep, **options)

    def _add(self, fn: Any, args: Any, options: Any, keep: bool) -> Any:
        self._life.check()
        return super()._add(fn, args, options, keep)


# -- the lives of one trial -----------------------------------------------------------------------


class Story:
    """One trial in one world, through as many lives as it takes."""

    def __init__(
        self,
        folder: Path,
        plan: Callable[..., Plan],
        *,
        recovery: Callable[..., Plan] | None = None,
        retries: Mapping[str, Mapping[str, int]] | None = None,
        rules: SafetyRules | None = None,
        inventory: Mapping[str, Item] | None = None,
    ) -> None:
        self.plan, self.recovery = plan, recovery
        self.retries, self.rules = retries or {}, rules or SafetyRules()
        self.inventory = inventory or {}
        self.world, self.now = World(), 0.0
        self.failures: list[JournalError] = []
        self.lag = 0.0
        """s that a write takes."""
        self.prepare: Callable[[Life], object] | None = None
        """Called in the loop, before the plan is entered."""
        self.campaign = SimpleNamespace(
            campaign="c", plan_name="plan", fixed={}, outcomes=("y",), stations=({},)
        )
        (folder / "journal.db").write_bytes(_first_page())
        self.journal = Journal.open(folder / "journal.db", rederivable=True)
        for name, item in self.inventory.items():
            self.journal.open_item("small", name, item.amount, time=0.0)

    def live(
        self,
        crash: Boundary | None = None,
        *,
        count: int = 0,
        gap: float = 100.0,
        halts: bool = False,
        cools: bool = False,
        during: Callable[[Life], object] | None = None,
        on_boundary: Callable[[Life, int, str], None] | None = None,
    ) -> Ended:
        """Live until the trial is left, ended or killed.

        :param crash: kill at this boundary; `count`: at so many boundaries of this life.
        :param gap: s until the next life, for the world too.
        :param during: called in the test's thread once the life has begun.
        """
        life = Life(self, crash, count)
        life.on_boundary = on_boundary
        try:
            future = asyncio.run_coroutine_threadsafe(life.live(self.journal), life.loop)
            if during is not None:
                during(life)
            ended = future.result(PATIENCE)
        except TimeoutError:
            raise AssertionError(f"it hangs after {life.boundaries}: {self.world.log}") from None
        finally:
            life.dead = True
            end_loop(life.loop)
        if ended.killed:
            self.world.crash(ended.at, halts=halts, cools=cools)
        else:
            self.world.held.clear()
        self.now = max(ended.at + gap, 0.0)
        return ended

    def close(self) -> None:
        self.journal.close()

    # -- what the journal has ---------------------------------------------------------------------

    @property
    def trial(self) -> Trial:
        return self.journal.trial("c", 1)

    def steps(self) -> list[Step]:
        return self.journal.steps(self.trial)

    def readings(self) -> dict[int, Any]:
        """What was read in each step, as far as that was recorded."""
        found = (s for s in self.steps() if s.command == "read" and s.done and s.error is None)
        return {s.n: s.result for s in found}

    def runs(self) -> list[Mapping[str, Any]]:
        """Start documents with what came of each run: events, and its stop document."""
        found: dict[str, dict[str, Any]] = {}
        for stored in self.journal.documents(limit=100_000):
            run = found.setdefault(stored.run, {"events": [], "start": {}, "stop": None})
            if stored.name == "event":
                run["events"].append(stored.doc)
            elif stored.name in run:
                assert not run[stored.name], f"two {stored.name} documents in one run"
                run[stored.name] = stored.doc
        return list(found.values())

    def events(self) -> list[list[dict[str, Any]]]:
        """The data of each whole run's events."""
        whole = [r for r in self.runs() if r["stop"] and r["stop"]["exit_status"] == "success"]
        return [[event["data"] for event in run["events"]] for run in whole]

    def resolve(self, n: int, verdict: Any) -> None:
        """What `sdl resolve TRIAL --done|--not-done` does."""
        told = {"time": clock.SIMULATED_EPOCH + self.now, "who": "a person"}
        self.journal.settle_step(self.trial, n, verdict, note="looked at it", **told)
        self.retry()

    def retry(self) -> None:
        told = {"time": clock.SIMULATED_EPOCH + self.now, "who": "a person"}
        self.journal.move(self.trial, TrialState.RUNNING, **told)


@cache
def _first_page() -> bytes:
    """A journal with one suggested trial; making one takes longer than a life."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        with Journal.open(path, rederivable=True) as journal:
            journal.add_campaign("c", {}, lab="small", twin=True, versions={}, time=0.0)
            journal.suggest("c", [({}, {})], time=0.0)
        return path.read_bytes()


@contextlib.contextmanager
def story(folder: Path, plan: Callable[..., Plan], **options: Any) -> Iterator[Story]:
    told = Story(folder, plan, **options)
    try:
        yield told
    finally:
        told.close()


def said_by(error: BaseException | None) -> SdlError:
    assert isinstance(error, SdlError), repr(error)
    return error
