"""How fast the demo's twin is: simulated hours per CPU second, against its physics alone, one run.

    python benchmarks/twin_speed.py [--trials 8] [--profile 30] [--sort tottime]

The campaign of `examples/flow_chemistry` runs on virtual time with the sobol optimizer, everything
included: drivers, wires, simulators, RunEngine, journal. The baseline is the simulated world by
itself, stepped through as many hours with liquid flowing half of the time. CPU time, not wall time,
so that what else the machine does counts little.
"""

import argparse
import asyncio
import cProfile
import logging
import pstats
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdl import Campaign, Lab
from sdl.campaign import OptimizerEntry
from sdl.results import Results
from sdl.simulators.snar_flow import SnArFlow

DEMO = Path(__file__).parents[1] / "examples" / "flow_chemistry"
DAY = 86_400.0
FLOWS = {"substrate": 0.5, "amine": 0.6, "solvent": 1.4}  # mL/min
TARGET = 60.0  # CPU s per simulated day


def cpu(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def run_demo(trials: int, journal: Path) -> tuple[Results, float]:
    """Return the results and the CPU seconds of this process."""
    lab, campaign = Lab.load(DEMO / "lab.yaml").twin(), Campaign.load(DEMO / "campaign.yaml")
    campaign = campaign.model_copy(
        update={
            "optimizer": OptimizerEntry(use="sobol"),
            "budget": campaign.budget.model_copy(update={"trials": trials}),
        }
    )
    before = cpu()
    results = campaign.run_blocking(lab, journal=str(journal))
    return results, cpu() - before


def simulated_seconds(results: Results) -> float:
    ended = [t.ended_at for t in results.trials if t.ended_at is not None]
    return max(ended) - min(t.suggested_at for t in results.trials)


def world_alone(seconds: float) -> float:
    """Return the CPU seconds of the physics for so many simulated seconds."""
    now = [0.0]
    world = SnArFlow(seed=1, clock=lambda: now[0])
    world.parts["reactor"].attach_controller(lambda dt, t: 0.2 * (80.0 - t))
    before = cpu()
    while now[0] < seconds:
        for name in FLOWS:
            world.parts[name].start(-20.0, 240.0 / 60.0 * FLOWS[name])
        now[0] += 240.0
        for name in FLOWS:
            world.parts[name].start(FLOWS[name])
        now[0] += 240.0
        world.advance()
    return cpu() - before


@contextmanager
def profiled(lines: int, sort: str) -> Iterator[None]:
    """Profile event loops, in whatever thread they run, and print what took longest."""
    run_forever = asyncio.base_events.BaseEventLoop.run_forever
    profile = cProfile.Profile()

    def run(self: asyncio.base_events.BaseEventLoop) -> None:
        profile.enable()
        try:
            run_forever(self)
        finally:
            profile.disable()

    asyncio.base_events.BaseEventLoop.run_forever = run
    try:
        yield
    finally:
        asyncio.base_events.BaseEventLoop.run_forever = run_forever
        pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats(sort).print_stats(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--profile", type=int, default=0, metavar="LINES")
    parser.add_argument("--sort", default="tottime")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        if given.profile:
            with profiled(given.profile, given.sort):
                run_demo(given.trials, Path(folder) / "journal.db")
            return 0
        run_demo(1, Path(folder) / "warm.db")  # imports
        results, used = run_demo(given.trials, Path(folder) / "journal.db")
    seconds = simulated_seconds(results)
    alone = world_alone(seconds)
    day = used * DAY / seconds
    verdict = "meets" if day <= TARGET else "MISSES"
    done, hours = len(results.completed), seconds / 3600
    print(f"{done} of {given.trials} trials, {hours:.2f} simulated hours")
    print(f"twin           {used:6.2f} CPU s  {used / given.trials:.3f} CPU s/trial")
    print(f"world alone    {alone:6.2f} CPU s  (baseline)  twin / world alone = {used / alone:.1f}")
    print(f"simulated hours per CPU second: {hours / used:.2f}")
    print(f"CPU s per simulated day: {day:.1f} ({verdict} the target of {TARGET:g})")
    return 0 if day <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
