"""The longest stall of the instruments' loop: idle, with BoTorch at work, with the journal at work.

    python benchmarks/loop_stall.py [--suggestions 3] [--trials 20] [--documents 200]

A heart beats every millisecond on the loop; a stall is how much later than that a beat comes. The
baseline is the same loop with nothing else to do, for as long, before and after. A suggestion is
computed in the optimizer's own process. Documents are written in the loop's thread, since nobody
may hear of one before it is on disk: that stall is one commit, and is compared with a bare one by
`benchmarks/journal.py`.
"""

import argparse
import asyncio
import functools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sdl import Campaign, clock
from sdl.data.callbacks import Callbacks
from sdl.journal import Journal, Trial, TrialState
from sdl.journal.writer import Writer
from sdl.recording import Recording
from sdl.suggest.process import OptimizerProcess

DEMO = Path(__file__).parents[1] / "examples" / "flow_chemistry"
BEAT = 0.001  # s
BAR = 0.05  # s beyond the idle loop's


async def stalls(work: Callable[[], Awaitable[object]]) -> list[float]:
    """Return how late each beat came (s) while `work` was done, shortest first."""
    late: list[float] = []
    task = asyncio.ensure_future(work())
    before = time.perf_counter()
    while not task.done():
        await asyncio.sleep(BEAT)
        now = time.perf_counter()
        late.append(max(now - before - BEAT, 0.0))
        before = now
    await task
    return sorted(late)


def history(campaign: Campaign, trials: int) -> list[dict[str, Any]]:
    """Make up trials whose outcomes are smooth functions of the parameters."""
    from sdl.plugins import load

    proposer = load("optimizers", "sobol", None)(campaign.task, seed=1)
    told = []
    for number in range(1, trials + 1):
        (point,) = proposer.suggest(1)
        (unit,) = campaign.space.to_unit([point])
        outcomes = {
            name: 1.0 + float(((unit - 0.3 * k) ** 2).sum())
            for k, name in enumerate(campaign.objectives, 1)
        }
        told.append({"_id": number, "_state": "completed", **point, **outcomes})
        proposer.ingest(told[-1:])
    return told


async def suggesting(suggestions: int, trials: int) -> dict[str, list[float]]:
    campaign = Campaign.load(DEMO / "campaign.yaml")
    told = history(campaign, trials)
    found: dict[str, list[float]] = {"idle": [], "suggesting": []}
    async with OptimizerProcess("botorch", campaign.task, seed=1) as process:
        await process.suggest(1, told)  # torch is imported
        for _ in range(suggestions):
            began = time.perf_counter()
            found["suggesting"] += await stalls(lambda: process.suggest(1, told))
            took = time.perf_counter() - began
            found["idle"] += await stalls(functools.partial(asyncio.sleep, took))
    return found


def running_trial(journal: Journal) -> Trial:
    journal.own("bench", time=0.0)
    journal.add_campaign("bench", {}, lab="bench", twin=False, versions={}, time=0.0)
    (trial,) = journal.suggest("bench", [({"x": 1.0}, {})], time=0.0)
    trial = journal.move(trial, TrialState.APPROVED, time=0.0, who="bench")
    return journal.move(trial, TrialState.RUNNING, time=0.0, who="bench")


async def journaling(documents: int) -> dict[str, list[float]]:
    """An event with a spectrum every 10 ms."""
    with tempfile.TemporaryDirectory() as folder, Journal.open(f"{folder}/j.db") as journal:
        loop, trial = asyncio.get_running_loop(), running_trial(journal)
        writer = Writer(journal, inline=False, loop=loop, on_failure=print, on_recovery=print)
        recording = Recording(journal, writer, trial, Callbacks((), print))
        event = {"uid": "e", "descriptor": "d", "data": {"spectrum": [0.1] * 156}, "time": 1.0}

        async def write() -> None:
            for n in range(documents):
                recording.document("event", {**event, "seq_num": n + 1})
                await asyncio.sleep(0.01)

        began = time.perf_counter()
        found = {"journaling": await stalls(write)}
        writer.close()
        found["idle"] = await stalls(lambda: asyncio.sleep(time.perf_counter() - began))
        return found


def show(what: str, late: list[float], idle: list[float]) -> float:
    late, idle = sorted(late), sorted(idle)
    print(
        f"{what:12} {len(late):6} beats  p99 {late[int(0.99 * (len(late) - 1))] * 1e3:7.2f} ms  "
        f"longest {late[-1] * 1e3:7.2f} ms  {late[-1] / idle[-1]:6.2f} times the idle loop's"
    )
    return late[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suggestions", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--documents", type=int, default=200)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=clock.new_loop) as runner:
        found = runner.run(suggesting(given.suggestions, given.trials))
        written = runner.run(journaling(given.documents))
    idle = found["idle"] + written["idle"]
    least = show("idle", idle, idle)
    longest = show("suggesting", found["suggesting"], idle)
    show("journaling", written["journaling"], idle)
    met = longest <= least + BAR
    print(f"{'meets' if met else 'MISSES'} the bar: at most {BAR * 1e3:g} ms longer than idle")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
