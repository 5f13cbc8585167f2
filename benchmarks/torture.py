"""Exactly once, under fire: runtimes killed, and doses, readings and trials counted afterwards.

    python -m benchmarks.torture --kills 300                # half an hour on two cores
    python -m benchmarks.torture --kills 300 --keep torture # journals and logs stay there

The demo plan (`flow_reaction`) runs on simulators on real ports, which are processes of their own
and write down all that physically happens; what they wrote is the truth that the journal is judged
by (tests/torture/judge.py). Two benches at the same time, in pumps' basic mode:

- without a watchdog: what a killed runtime began goes on to its end. Kills at each boundary of each
  step of the plan, then at random moments;
- with the watchdog process, which stops the pumps a second after a kill: doses stay half given.

Bars: no dose repeated or skipped, no reading lost, all trials completed, the audit's chain whole.
Exit code 1 if one is missed.
"""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.torture.bench import bench
from tests.torture.judge import Judgement
from tests.torture.kills import Toll, Torment

WHERE = ("before intent", "after intent", "after act", "done")
PART_WITHOUT = 0.75  # of the kills
PART_AT_RANDOM = 0.6  # of those with a watchdog

_speaking = threading.Lock()


def killed(folder: Path, name: str, *, watchdog: bool, kills: int, seed: int) -> tuple[Toll, Judgement]:
    """Kill runtimes on a bench of its own; return what was done and what came of it."""

    def tell(text: str) -> None:
        with _speaking:
            print(f"{name}: {text}", flush=True)

    with bench(folder, watchdog=watchdog) as place:
        torment = Torment(place, seed=seed, tell=tell)
        torment.learn()
        at_boundaries = min(round(kills * (1 - PART_AT_RANDOM)), len(torment.open))
        if not watchdog:
            at_boundaries = min(kills, len(torment.open))
        torment.at_boundaries(at_boundaries)
        torment.at_random(kills - torment.toll.kills)
        return torment.toll, torment.judge()


def table(found: dict[str, tuple[Toll, Judgement]]) -> str:
    names = list(found)
    rows: list[tuple[str, list[object]]] = [("", [*names, "bar"])]

    def row(label: str, cells: list[object], bar: object = "") -> None:
        rows.append((label, [*cells, bar]))

    tolls, said = [found[n][0] for n in names], [found[n][1] for n in names]
    for where in WHERE:
        row(f"kills {where}", [t.at_boundaries[where] for t in tolls])
    row("kills at random moments", [t.at_random for t in tolls])
    row("kills", [t.kills for t in tolls])
    row("lives", [t.lives for t in tolls])
    row("s per life", [f"{t.seconds / max(t.lives, 1):.1f}" for t in tolls])
    states = [", ".join(f"{n} {state}" for state, n in s.states.items()) for s in said]
    row("trials", [*states])
    row("doses checked", [s.doses for s in said])
    row("  given in pieces", [s.pieces for s in said])
    row("  most that one differs, mL", [f"{s.worst:.3f}" for s in said])
    row("doses repeated", [s.repeated for s in said], 0)
    row("doses skipped", [s.skipped for s in said], 0)
    row("readings checked", [s.readings for s in said])
    row("readings lost", [s.lost for s in said], 0)
    row("trials that were in doubt", [len(t.doubts) for t in tolls], 0)
    row("breaks of the audit", [s.breaks for s in said], 0)
    return "\n".join(
        f"{label:<28}" + "".join(f"{cell!s:>24}" for cell in cells) for label, cells in rows
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--kills", type=int, default=300, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for journals and logs")
    options = parser.parse_args()
    began = time.monotonic()
    without = round(PART_WITHOUT * options.kills)
    shares = {"no watchdog": (False, without), "watchdog": (True, options.kills - without)}
    with ExitStack() as stack:
        home = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = stack.enter_context(ThreadPoolExecutor(len(shares)))
        runs = {}
        for name, (watchdog, kills) in shares.items():
            folder = home / name.replace(" ", "-")
            folder.mkdir(parents=True)
            runs[name] = pool.submit(
                killed, folder, name, watchdog=watchdog, kills=kills, seed=options.seed
            )
        found = {name: run.result() for name, run in runs.items()}
    print(f"\n{table(found)}\n{time.monotonic() - began:.0f} s")
    wrong = [f"{name}: {text}" for name, (_, s) in found.items() for text in s.findings]
    wrong += [f"{name}: in doubt: {text}" for name, (t, _) in found.items() for text in t.doubts]
    print("\n".join(wrong) or "all bars met")
    return 1 if wrong else 0


class _Formatter(argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    sys.exit(main())
