"""What earlier campaigns are worth: trials to target with them and without, in one run.

    python benchmarks/transfer.py [--seeds 0-19] [--trials 24] [--functions chemistry,branin]

The baseline is `adaptive` with no transfer, on the same seeds. Earlier campaigns of 30 trials (half
of them at random, half around their best) are of the same function, moved and scaled ("helpful"),
of its negative, of a random function ("unrelated"), or one of each ("mixed"). The target is reached
with the first trial that comes as near to the best value as `FUNCTIONS` says; a campaign that never
reaches it counts as one trial more than there were.

CPU time is compared too: of a suggestion at d = 6 and 50 own trials, with five earlier campaigns of
50 trials and without (`--latency`: only that).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdl.optimizers.adaptive import Adaptive
from sdl.space import Objective, Space
from sdl.task import Task

Rows = NDArray[np.float64]
Function = Callable[[Rows], Rows]
KINDS = ("helpful", "negated", "unrelated", "mixed")
HELPFUL = 0.67  # times the baseline's trials, at most
MISLEADING = 1.25
LATENCY = 2.0
NOISE = 0.01  # of the function's spread
EARLIER = 30

_A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14]]
_A += [[3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
_P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991]]
_P += [[2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]


def branin(u: Rows) -> Rows:
    x, y = 15 * u[:, 0] - 5, 15 * u[:, 1]
    inner = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return -(inner**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


def hartmann6(u: Rows) -> Rows:
    distance = (np.array(_A) * np.square(u[:, None] - np.array(_P) / 1e4)).sum(-1)
    return np.exp(-distance) @ [1.0, 1.2, 3.0, 3.2]


def chemistry(u: Rows) -> Rows:
    """A yield: temperature, time, equivalents, concentration and a catalyst that heat kills."""
    heat = np.exp(-np.square((u[:, 0] - 0.7) / 0.25))
    turned = 1 - np.exp(-3 * u[:, 1] - 0.5)
    excess = np.exp(-np.square((u[:, 2] - 0.4) / 0.35))
    active = heat * np.exp(-np.square((u[:, 4] - 0.3) / 0.2))
    return 40 * heat + 25 * turned + 20 * excess + 10 * u[:, 3] + 15 * active


FUNCTIONS: dict[str, tuple[Function, int, float, float]] = {
    "chemistry": (chemistry, 5, 40 + 25 * (1 - np.exp(-3.5)) + 20 + 10 + 15, 0.3),
    "branin": (branin, 2, -0.397887, 0.02),
    "hartmann6": (hartmann6, 6, 3.32237, 1.0),
}
"""Function, dimension, its best value, and how near one has to come (of its spread)."""


def names(d: int) -> list[str]:
    return [f"x{j}" for j in range(d)]


def task(d: int) -> Task:
    bounds = {name: {"low": 0.0, "high": 1.0} for name in names(d)}
    space = Space.model_validate({"parameters": bounds})
    return Task.of(space, {"y": Objective(direction="maximize")})


def record(u: Rows, y: float, number: Any, **more: Any) -> dict[str, Any]:
    place = dict(zip(names(len(u)), u.tolist(), strict=True))
    return {"_id": number, "_state": "completed", **place, "y": float(y), **more}


def spread(f: Function, d: int) -> float:
    return float(f(np.random.default_rng(9).random((2000, d))).std())


def moved(f: Function, d: int, size: float, rng: np.random.Generator) -> Function:
    offset, factor, level = rng.normal(size=d) * 0.05, rng.uniform(0.6, 1.5), rng.normal() * size
    return lambda u: factor * f(u - offset) + level


def unrelated(d: int, size: float, rng: np.random.Generator) -> Function:
    """A smooth random function: 40 cosines."""
    waves, phases = rng.normal(size=(d, 40)) * 2.5, rng.random(40) * 2 * np.pi
    heights = rng.normal(size=40) * size / np.sqrt(20)
    return lambda u: np.cos(u @ waves + phases) @ heights


def negated(f: Function) -> Function:
    return lambda u: -f(u)


def trials_of(f: Function, d: int, n: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """As a campaign leaves them: half of them spread, half around the best."""
    u = rng.random((n // 2, d))
    y = f(u)
    while len(u) < n:
        near = np.clip(u[y.argmax()] + 0.1 * rng.normal(size=d), 0, 1)[None]
        u, y = np.vstack([u, near]), np.append(y, f(near))
    return u, y


def earlier(kind: str, f: Function, d: int, seed: int, n: int = EARLIER) -> list[dict[str, Any]]:
    rng, size = np.random.default_rng([seed, 7]), spread(f, d)
    made: dict[str, Callable[[], list[Function]]] = {
        "none": list,
        "helpful": lambda: [moved(f, d, size, rng)],
        "negated": lambda: [negated(f)],
        "unrelated": lambda: [unrelated(d, size, rng)],
        "mixed": lambda: [moved(f, d, size, rng), negated(f), unrelated(d, size, rng)],
        "five": lambda: [moved(f, d, size, rng) for _ in range(5)],
    }
    points = []
    for k, function in enumerate(made[kind]()):
        u, y = trials_of(function, d, n, rng)
        y = y + NOISE * size * rng.normal(size=n)
        told = zip(u, y, strict=True)
        points += [record(p, v, f"r{k}/{i}", _campaign=f"r{k}") for i, (p, v) in enumerate(told, 1)]
    return points


def to_target(name: str, kind: str, seed: int, trials: int) -> int:
    """Return the first trial that reaches the target."""
    f, d, best, near = FUNCTIONS[name]
    size = spread(f, d)
    optimizer = Adaptive(task(d), seed=seed)
    optimizer.ingest(earlier(kind, f, d, seed))
    rng = np.random.default_rng([seed, 11])
    for number in range(1, trials + 1):
        (point,) = optimizer.suggest(1)
        u = np.array([[point[n] for n in names(d)]], dtype=float)
        y = float(f(u)[0])
        if y >= best - near * size:
            return number
        optimizer.ingest([record(u[0], y + NOISE * size * rng.normal(), number)])
    return trials + 1


def compare(function_names: list[str], seeds: list[int], trials: int) -> bool:
    """Print trials to target; return whether all bars are met."""
    print(
        f"{'function':10} {'earlier':10} {'with':>11} {'no transfer':>12} {'ratio':>6}  wins/ties"
    )
    met = True
    for name in function_names:
        baseline = [to_target(name, "none", seed, trials) for seed in seeds]
        for kind in KINDS:
            found = [to_target(name, kind, seed, trials) for seed in seeds]
            ratio = statistics.fmean(found) / statistics.fmean(baseline)
            wins = sum(a < b for a, b in zip(found, baseline, strict=True))
            ties = sum(a == b for a, b in zip(found, baseline, strict=True))
            bar = HELPFUL if kind in ("helpful", "mixed") else MISLEADING
            met &= ratio <= bar
            cells = f"{_told(found):>11} {_told(baseline):>12} {ratio:6.2f}  {wins}/{ties}"
            verdict = "" if ratio <= bar else f"  MISSES the bar {bar}"
            print(f"{name:10} {kind:10} {cells} of {len(seeds)}{verdict}", flush=True)
    return met


def _told(numbers: list[int]) -> str:
    error = statistics.stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else 0.0
    return f"{statistics.fmean(numbers):.1f} ± {error:.1f}"


def latency(rounds: int) -> bool:
    """Print CPU ms of a suggestion; both sides take turns."""
    f, d, _, _ = FUNCTIONS["hartmann6"]
    u, y = trials_of(f, d, 51 + rounds, np.random.default_rng(1))
    own = [record(p, v, k) for k, (p, v) in enumerate(zip(u, y, strict=True), 1)]
    sides = {kind: Adaptive(task(d), seed=0) for kind in ("five", "none")}
    took: dict[str, list[float]] = {kind: [] for kind in sides}
    for kind, optimizer in sides.items():
        optimizer.ingest([*earlier(kind, f, d, 0, 50), *own[:50]])
        optimizer.suggest(1)
    for number in range(50, 50 + rounds):
        for kind, optimizer in sides.items():
            optimizer.ingest(own[number : number + 1])
            start = time.process_time()
            optimizer.suggest(1)
            took[kind].append(1e3 * (time.process_time() - start))
    with_them, without = (statistics.median(took[kind]) for kind in sides)
    ratio = with_them / without
    print(
        f"CPU ms of a suggestion at 50 trials: {with_them:.0f} with five earlier campaigns of 50, "
        f"{without:.0f} with no transfer: {ratio:.2f} times"
    )
    return ratio <= LATENCY


def seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=seeds, default=seeds("0-19"))
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--functions", default=",".join(FUNCTIONS))
    parser.add_argument("--latency", action="store_true", help="only the time of a suggestion")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    met = latency(given.rounds)
    if not given.latency:
        met &= compare(given.functions.split(","), given.seeds, given.trials)
    print(f"{'meets' if met else 'MISSES'} the bars")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
