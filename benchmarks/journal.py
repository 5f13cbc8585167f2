"""What it costs to keep the journal: commits against bare SQLite, steps against plain Bluesky.

    python benchmarks/journal.py [--count 300] [--folder DIR] [--profile LINES]

1. Every write of the journal that a step or a document takes, one at a time, between single INSERTs
   through Python's sqlite3 with the same durability (write-ahead log, synchronous=FULL), in the
   same folder: the baseline.
2. A plan of many `set` messages on a signal in memory, run journaled and run by the same RunEngine
   with a witness that writes nothing (the baseline): what the journal adds to each step.
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
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import Msg
from ophyd_async.core import init_devices, soft_signal_rw

from sdl.data.callbacks import Callbacks
from sdl.engine import Engine, end_loop, start_loop
from sdl.journal import Journal, Trial, TrialState
from sdl.recording import Recording
from sdl.stopping import Stop

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
    def step(self, number: int, message: Msg) -> None: ...
    def step_ended(self, number: int, answer: Any, error: BaseException | None) -> None: ...
    def waiting(self, statuses: Any) -> None: ...
    def stop_wanted(self) -> str | None:
        return None


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


def plan(signal: Any, steps: int) -> Generator[Msg, Any, None]:
    for n in range(steps):
        yield from bps.abs_set(signal, float(n), wait=True)


def steps_of_a_plan(folder: Path, count: int) -> None:
    """Time blocks of steps, journaled and not in turns."""
    loop = start_loop()
    try:

        async def run(journal: Journal, trials: list[Trial]) -> dict[str, list[float]]:
            async with init_devices():
                signal = soft_signal_rw(float, name="signal")
            engine, callbacks = await Engine.start(loop), Callbacks((), print)
            took: dict[str, list[float]] = {"plain": [], "journaled": []}
            block = max(count // len(trials), 1)
            for trial in trials:
                recording = Recording(journal, trial, callbacks, Stop())
                for name, witness in (("plain", Silent()), ("journaled", recording)):
                    start = time.perf_counter()
                    await engine.run(plan(signal, block), witness, metadata={})
                    took[name].append((time.perf_counter() - start) / block)
            engine.close()
            return took

        with Journal.open(folder / "steps.db") as journal:
            trials = [new_trial(journal)]
            for _ in range(9):
                (trial,) = journal.suggest("bench", [({"x": 1.0}, {})], time=0.0)
                trial = journal.move(trial, TrialState.APPROVED, time=0.0, who="bench")
                trials.append(journal.move(trial, TrialState.RUNNING, time=0.0, who="bench"))
            took = asyncio.run_coroutine_threadsafe(run(journal, trials), loop).result(600)
    finally:
        end_loop(loop)
    plain, journaled = (statistics.median(took[name]) * 1e3 for name in took)
    print(
        f"a `set` in a plan: plain Bluesky {plain:.2f} ms, journaled {journaled:.2f} ms: "
        f"{journaled / plain:.1f} times, {journaled - plain:.2f} ms more per step"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
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
        steps_of_a_plan(Path(folder), given.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
