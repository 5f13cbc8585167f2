"""Exactly once, under fire: doses, readings and trials counted after all that can go wrong.

    python -m benchmarks.torture --kills 300                  # half an hour on two cores
    python -m benchmarks.torture --kills 0 --mishaps 340      # every exchange: an hour
    python -m benchmarks.torture --kills 300 --keep torture   # journals and logs stay there

The demo plan (`flow_reaction`) runs on simulators that write down all that physically happens; what
they wrote is the truth that the journal is judged by (`sdl.judging`).

Kills, on real ports, with the simulators in a process of their own; two benches side by side:

- without a watchdog: what a killed runtime began goes on to its end. Kills at each boundary of each
  step of the plan, then at random moments;
- with the watchdog process, which stops the pumps a second after a kill: doses stay half given.

Then on such a bench: a full disk, a clock that was set back by an hour, a second runtime. At last,
on a twin in memory: one bad exchange per trial, at exchanges spread evenly over the trial.

Bars, which are the baseline too (an undisturbed plan has them): no dose repeated or skipped, no
reading lost, all trials accounted for, the audit's chain whole; kills leave no trial in doubt, and
no mishap a wrong outcome. Exit code 1 if one is missed.
"""

import argparse
import logging
import re
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sdl.endpoints.faults import Fault
from sdl.judging import Judgement
from tests.torture.bench import bench
from tests.torture.kills import Toll, Torment
from tests.torture.mishaps import Planned, Worlds, undisturbed
from tests.torture.others import clock_back, full_disk, two_runtimes

WHERE = ("before intent", "after intent", "after act", "done")
PART_WITHOUT = 0.75  # of the kills
PART_AT_RANDOM = 0.6  # of those with a watchdog

_speaking = threading.Lock()


def killed(
    folder: Path, name: str, *, watchdog: bool, kills: int, seed: int
) -> tuple[Toll, Judgement]:
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


SAFE = "safe mode, "
KINDS: dict[str, tuple[str, Fault, bool]] = {
    "pump: lost request": ("pumps", Fault("lost request", 1), False),
    "pump: lost reply": ("pumps", Fault("lost reply", 1), False),
    "pump: late reply": ("pumps", Fault("late reply", 1), False),
    "pump: double reply": ("pumps", Fault("double reply", 1), False),
    "pump: garbled reply": ("pumps", Fault("garbled reply", 1), False),
    "pump: wire cut 3 s": ("pumps", Fault("cut", 1, 3.0), False),
    "pump: wire cut 60 s": ("pumps", Fault("cut", 1, 60.0), False),
    "pump: power lost": ("pumps", Fault("event", 1), True),
    f"{SAFE}lost reply": ("pumps", Fault("lost reply", 1), False),
    f"{SAFE}garbled reply": ("pumps", Fault("garbled reply", 1), False),
    f"{SAFE}power lost": ("pumps", Fault("event", 1), True),
    "heater: lost request": ("heater", Fault("lost request", 1), False),
    "heater: lost reply": ("heater", Fault("lost reply", 1), False),
    "heater: late reply": ("heater", Fault("late reply", 1), False),
    "heater: double reply": ("heater", Fault("double reply", 1), False),
    "heater: garbled reply": ("heater", Fault("garbled reply", 1), False),
    "heater: wire cut 60 s": ("heater", Fault("cut", 1, 60.0), False),
}
FULL = [(10, "after intent"), (14, "after act"), (24, "after act"), (38, "before intent")]
SET_BACK = [(14, "after intent"), (30, "done"), (39, "after intent")]
COLUMNS = ("trials", "happened", "completed", "failed", "in doubt")
BARS = ("repeated", "skipped", "lost", "wrong")


def elsewhere(folder: Path) -> tuple[list[str], list[str]]:
    """A full disk, a clock set back, a second runtime; return lines for people, and findings."""
    said, wrong = [], []
    for name, befall in {
        f"disk full, {len(FULL)} times": lambda torment: full_disk(torment, FULL),
        f"clock set back, {len(SET_BACK)} times": lambda torment: clock_back(torment, SET_BACK),
        "a second runtime, 3 times": lambda torment: two_runtimes(torment, 3),
    }.items():
        own = folder / name.partition(",")[0].replace(" ", "-")
        own.mkdir(parents=True)
        with bench(own, watchdog=False) as place:
            torment = Torment(place, seed=0, tell=lambda text, name=name: print(f"{name}: {text}"))
            befall(torment)
            found = torment.judge()
        states = ", ".join(f"{n} {state}" for state, n in found.states.items())
        said.append(f"{name:<28}{states}; {found.doses} doses, {found.readings} readings")
        said += [f"{'':<28}failed: {cause}" for cause in found.causes]
        wrong += [f"{name}: {text}" for text in [*found.findings, *torment.toll.doubts]]
    return said, wrong


def disturbed(folder: Path, trials: int, only: str) -> tuple[list[str], list[str]]:
    """Mishaps of each kind with `only` in its name, one a trial; return a table and findings."""
    calm, right = undisturbed(folder / "calm", trials)
    head = "".join(f"{name:>11}" for name in (*COLUMNS, *BARS))
    said, wrong = [f"{'one bad exchange a trial':<24}{head}"], []
    chosen = {kind: what for kind, what in KINDS.items() if only in kind}
    for kind, (wire, mishap, power) in chosen.items():
        last = calm.exchanges[wire]
        count = min(trials, last)
        ats = [1 + k * last // count for k in range(count)]
        plans = [Planned(wire, replace(mishap, at=at), power) for at in ats]
        mode = "safe" if kind.startswith(SAFE) else "basic"
        own = folder / re.sub(r"\W+", "-", kind)
        worlds = Worlds(own, [*plans], mode=mode)
        worlds.run()
        told = worlds.told(right)
        found, doubts = told.judgement, len(worlds.doubts)
        states = [found.states[state] for state in ("completed", "failed")]
        bars = (found.repeated, found.skipped, found.lost, len(told.wrong))
        cells = (found.states.total(), told.happened, *states, doubts, *bars)
        said.append(f"{kind:<24}" + "".join(f"{cell:>11}" for cell in cells))
        print(said[-1], flush=True)
        wrong += [f"{kind}: {text}" for text in [*found.findings, *told.wrong]]
        for cause, number in found.causes.items():
            print(f"    failed {number}: {cause}")
        for doubt in worlds.doubts:
            print(f"    in doubt: {doubt}", flush=True)
    return said, wrong


def killing(folder: Path, kills: int, seed: int) -> tuple[list[str], list[str]]:
    """Two benches side by side; return a table and findings."""
    without = round(PART_WITHOUT * kills)
    shares = {"no watchdog": (False, without), "watchdog": (True, kills - without)}
    runs = {}
    with ThreadPoolExecutor(len(shares)) as pool:
        for name, (watchdog, share) in shares.items():
            own = folder / name.replace(" ", "-")
            own.mkdir(parents=True)
            run = pool.submit(killed, own, name, watchdog=watchdog, kills=share, seed=seed)
            runs[name] = run
        found = {name: run.result() for name, run in runs.items()}
    wrong = [f"{name}: {text}" for name, (_, s) in found.items() for text in s.findings]
    wrong += [f"{name}: in doubt: {text}" for name, (t, _) in found.items() for text in t.doubts]
    return table(found).splitlines(), wrong


def main() -> int:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--kills", type=int, default=300, help="in all; 0: none")
    parser.add_argument("--mishaps", type=int, default=20, help="of each kind; 0: none")
    parser.add_argument("--only", default="", help="mishaps with this in their name; default: all")
    parser.add_argument("--no-others", action="store_true", help="no full disk, clock, rival")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for journals and logs")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # libraries tell of every trial that fails
    began, said, wrong = time.monotonic(), list[str](), list[str]()
    with ExitStack() as stack:
        home = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        parts = []
        if options.kills:
            parts.append(lambda: killing(home, options.kills, options.seed))
        if not options.no_others:
            parts.append(lambda: elsewhere(home))
        if options.mishaps:
            parts.append(lambda: disturbed(home, options.mishaps, options.only))
        for part in parts:
            lines, findings = part()
            said += ["", *lines]
            wrong += findings
    print("\n".join(said))
    print(f"\n{time.monotonic() - began:.0f} s; bars: 0 repeated, skipped, lost, wrong")
    print("\n".join(wrong) or "all bars met")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
