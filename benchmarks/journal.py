"""What it costs to keep the journal: commits against bare SQLite, steps against plain Bluesky.

    python benchmarks/journal.py [--count 300] [--folder DIR] [--profile LINES]

1. Every write of the journal that a step or a document takes, one at a time, between single INSERTs
   through Python's sqlite3 with the same durability (write-ahead log, synchronous=FULL), in the
   same folder: the baseline.
2. Plans of many equal steps (setpoints, doses that are marked, readings) on a device in memory, run
   durably and run plain by the same RunEngine (the baseline): what durability adds to each step.
   Bar: a median of at most 2 ms.
3. The same with steps that take 1 s: by how much a trial is slowed. Bar: at most 2 %.
"""

import argparse
import asyncio
import contextlib
import cProfile
import logging
import pstats
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import Msg
from ophyd_async.core import AsyncStatus, StandardReadable, init_devices, soft_signal_rw

from sdl.bench import Bench
from sdl.clock import Loop
from sdl.data.callbacks import Callbacks
from sdl.durable import Plan, durable
from sdl.engine import Engine, end_loop, start_loop
from sdl.instrument import Effect, Finding, Verdict
from sdl.journal import Journal, Trial, TrialState
from sdl.journal.writer import Writer
from sdl.recording import Recording
from sdl.safety.guard import Guard
from sdl.safety.rules import SafetyRules
from sdl.steps import Steps

EVENT = {
    "uid": "5d2d7d8a-7f0b-4f9d-9a57-6f5a1c0f6a11",
    "descriptor": "c3a6c6d0-5b7b-4d7a-8f3a-0a9a5f1f4b6e",
    "seq_num": 1,
    "time": 1.0,
    "data": {"detector": 1.5, "spectrum": [0.001 * i for i in range(156)]},
    "timestamps": {"detector": 1.0, "spectrum": 1.0},
    "filled": {},
}


class Silent:
    """A witness that writes nothing: the same engine, plain Bluesky."""

    def document(self, name: str, doc: dict[str, Any]) -> None: ...
    def waiting(self, statuses: Any) -> None: ...


class Pump(StandardReadable):
    """In memory: a dose takes `seconds`; it can be asked what became of it."""

    effect = Effect.RELATIVE

    def __init__(self, name: str = "") -> None:
        self.seconds, self.total = 0.0, 0.0
        with self.add_children_as_readables():
            self.rate = soft_signal_rw(float)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        await asyncio.sleep(self.seconds)
        self.total += value

    async def mark(self, command: str, argument: Any) -> dict[str, float]:
        return {"total": self.total}

    async def reconcile(self, command: str, argument: Any, mark: Any) -> Finding:
        return Finding(Verdict.UNKNOWN, "never asked here")


class Surroundings:
    """What steps need (`sdl.steps.Around`)."""

    def __init__(self, journal: Journal, writer: Writer, guard: Guard) -> None:
        self.journal, self.writer, self.guard = journal, writer, guard

    def retries(self, path: str, command: str, *, refused: bool = False) -> int:
        return 0

    def boundary(self, n: int, where: str) -> None: ...


def new_trial(journal: Journal) -> Trial:
    journal.own("bench", time=0.0)
    journal.add_campaign("bench", {}, lab="bench", twin=False, versions={}, time=0.0)
    (trial,) = journal.suggest("bench", [({"x": 1.0}, {})], time=0.0)
    trial = journal.move(trial, TrialState.APPROVED, time=0.0, who="bench")
    return journal.move(trial, TrialState.RUNNING, time=0.0, who="bench")


def bare(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE steps (n INTEGER PRIMARY KEY, text TEXT)")
    return connection


def commits(folder: Path, count: int) -> None:
    with (
        Journal.open(folder / "commits.db") as journal,
        contextlib.closing(bare(folder / "bare.db")) as plain,
    ):
        trial = new_trial(journal)

        def insert(n: int) -> None:
            plain.execute("BEGIN IMMEDIATE")
            plain.execute("INSERT INTO steps (text) VALUES (?)", ("x" * 200,))
            plain.execute("COMMIT")

        writes: dict[str, Callable[[int], object]] = {
            "sqlite3 INSERT": insert,
            "begin_step": lambda n: journal.begin_step(trial, n, "set", "pump", 1.5, time=n),
            "end_step": lambda n: journal.end_step(trial, n, None, None, time=n),
            "add_document": lambda n: journal.add_document(trial, "run", "event", EVENT, time=n),
            "set_activity": lambda n: journal.set_activity("trial/1", {"step": n}, time=n),
        }
        took: dict[str, list[float]] = {name: [] for name in writes}
        used = dict.fromkeys(writes, 0.0)
        for n in range(1, count + 1):
            for name, write in writes.items():
                start, cpu = time.perf_counter(), time.thread_time()
                write(n)
                used[name] += time.thread_time() - cpu
                took[name].append(time.perf_counter() - start)
    base = statistics.median(took["sqlite3 INSERT"])
    print(f"{'':15} commits/s   p50 ms   p99 ms   CPU ms   p50 / sqlite3 INSERT")
    for name, times in took.items():
        times.sort()
        p50, p99 = statistics.median(times), times[int(0.99 * (len(times) - 1))]
        print(
            f"{name:15} {len(times) / sum(times):9.0f} {p50 * 1e3:8.2f} {p99 * 1e3:8.2f} "
            f"{used[name] / count * 1e3:8.2f} {p50 / base:8.1f}"
        )


def setpoints(pump: Pump, steps: int) -> Plan:
    for n in range(steps):
        yield from bps.abs_set(pump.rate, float(n), wait=True)


def doses(pump: Pump, steps: int) -> Plan:
    for _ in range(steps):
        yield from bps.abs_set(pump, 1.0, wait=True)


def readings(pump: Pump, steps: int) -> Plan:
    for _ in range(steps):
        yield Msg("read", pump)


PLANS: dict[str, Callable[[Pump, int], Plan]] = {
    "setpoint": setpoints,
    "dose": doses,
    "reading": readings,
}
ROUNDS = 9


class Runner:
    """Runs a plan plain, or durably as a new trial; all in the loop."""

    def __init__(self, loop: Loop, journal: Journal, pump: Pump) -> None:
        self._journal, self._pump = journal, pump
        self._writer = Writer(
            journal, inline=False, loop=loop, on_failure=print, on_recovery=lambda: None
        )
        bench = Bench("bench", {}, {"pump": pump})
        self._guard = Guard(SafetyRules(), {}, bench, balances=dict, on_trip=print)
        self._first: Trial | None = new_trial(journal)

    def close(self) -> None:
        self._writer.close()

    async def run(self, engine: Engine, plan: Plan, durably: bool) -> float:
        """Return the seconds it took."""
        if not durably:
            start = time.perf_counter()
            await engine.run(plan, Silent(), metadata={})
            return time.perf_counter() - start
        trial, around = self._trial(), Surroundings(self._journal, self._writer, self._guard)
        recording = Recording(self._journal, self._writer, trial, Callbacks((), print))
        steps = Steps(trial, [], around, {"pump"}, show=recording.show)
        start = time.perf_counter()
        await engine.run(durable(plan, steps, recording, pause=print), recording, metadata={})
        return time.perf_counter() - start

    def _trial(self) -> Trial:
        journal, first, self._first = self._journal, self._first, None
        if first is not None:
            return first
        (trial,) = journal.suggest("bench", [({"x": 1.0}, {})], time=0.0)
        trial = journal.move(trial, TrialState.APPROVED, time=0.0, who="bench")
        return journal.move(trial, TrialState.RUNNING, time=0.0, who="bench")


def steps_of_a_plan(folder: Path, count: int, seconds: int) -> bool:
    """Time blocks of steps, durable and not in turns; return whether the bars are met."""
    loop = start_loop()
    try:
        with Journal.open(folder / "steps.db") as journal:
            timed = _timed(loop, journal, max(count // ROUNDS, 1), seconds)
            return asyncio.run_coroutine_threadsafe(timed, loop).result(600)
    finally:
        end_loop(loop)


async def _timed(loop: Loop, journal: Journal, block: int, seconds: int) -> bool:
    async with init_devices():
        pump = Pump("pump")
    engine, bench, met = await Engine.start(loop), Runner(loop, journal, pump), True
    for name, plan in PLANS.items():
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for durably in took:
                spent = await bench.run(engine, plan(pump, block), durably)
                took[durably].append(spent / block * 1e3)
        plain, ours = (statistics.median(times) for times in took.values())
        met &= ours - plain < 2.0
        print(
            f"a {name} in a plan: plain Bluesky {plain:.2f} ms, durable {ours:.2f} ms: "
            f"{ours / plain:.1f} times, {ours - plain:.2f} ms more per step (bar: 2)"
        )
    pump.seconds = 1.0
    plain, ours = [await bench.run(engine, doses(pump, seconds), d) for d in (False, True)]
    met &= ours / plain < 1.02
    slowed = (ours / plain - 1) * 100
    print(
        f"{seconds} doses of 1 s: {plain:.3f} s plain, {ours:.3f} s durable: "
        f"{slowed:.2f} % slower (bar: 2)"
    )
    engine.close()
    bench.close()
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=10, help="how many steps of 1 s")
    parser.add_argument("--folder", type=Path, help="where to write (default: temporary)")
    parser.add_argument("--profile", type=int, default=0, metavar="LINES")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.profile:
            with cProfile.Profile() as profile:
                commits(Path(folder), given.count)
            pstats.Stats(profile).strip_dirs().sort_stats("cumtime").print_stats(given.profile)
            return 0
        commits(Path(folder), given.count)
        met = steps_of_a_plan(Path(folder), given.count, given.seconds)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
