"""What a job was worth: its trace, and numbers made of it.

Acceleration and enhancement factors are those of Liang et al., npj Comput. Mater. 7, 188 (2021):
how much sooner a level is reached than by random search, and how much more is reached with the same
trials. The level is what random search reaches with the whole budget. In a table it is counted in
rows found of the best 5 %, of which drawing at random finds as many as expected. Where there is no
table, random search is run, the median of its seeds counts, and shares are those of the way from
the mean after the initial trials to the best known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdl.leaderboard.problems import Known
from sdl.leaderboard.statistics import quantile
from sdl.pareto import hypervolume_growth

Trace = Sequence[float | None]
"""One value a trial; None before the first feasible one."""

NEAR = 0.95  # of the way from the start to the best known: the target, if none is given
SLACK = 1e-9  # relative, of a level that counts as reached


def trace(known: Known, trials: Sequence[Mapping[str, Any]], origin: Mapping[str, float]) -> Trace:
    """Return what was reached by each trial, noise-free.

    With one objective it is the true value of the trial that looks best among those that look
    feasible; with several the hypervolume of all feasible truths.

    :param origin: with several objectives, from where the hypervolume is measured.
    """
    if len(known.task.objectives) > 1:
        return _volumes(known, trials, origin)
    ((name, objective),) = known.task.objectives.items()
    found: list[float | None] = []
    best, value = -math.inf, None
    for trial in trials:
        outcomes = trial["outcomes"]
        if _usable(known, outcomes) and objective.sign * outcomes[name] > best:
            best = objective.sign * outcomes[name]
            value = trial["truth"][name] if known.task.feasible(trial["truth"]) else None
        found.append(value)
    return found


def _volumes(
    known: Known, trials: Sequence[Mapping[str, Any]], origin: Mapping[str, float]
) -> Trace:
    signs = {name: o.sign for name, o in known.task.objectives.items()}
    gains = [
        [signs[n] * trial["truth"][n] for n in signs] if _usable(known, trial["truth"]) else None
        for trial in trials
    ]
    return list(hypervolume_growth(gains, [signs[n] * origin[n] for n in signs]))


def _usable(known: Known, outcomes: Mapping[str, Any] | None) -> bool:
    return (
        outcomes is not None
        and all(_finite(outcomes.get(name)) for name in known.task.objectives)
        and known.task.feasible(outcomes)
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def worst(known: Known, jobs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return the worst true value of each objective in all trials of all jobs."""
    found: dict[str, float] = {}
    for name, objective in known.task.objectives.items():
        values = [t["truth"][name] for job in jobs for t in job if _usable(known, t["truth"])]
        found[name] = min(values, key=lambda v: objective.sign * v, default=0.0)
    return found


@dataclass(frozen=True)
class Scale:
    """Where a task starts and where it leads, the same for all strategies."""

    sign: float
    """1 where more is better, -1 where less is."""

    start: float | None
    """Mean after the initial trials."""

    goal: float | None
    """The best known: the optimum, or the best that any job reached."""

    target: float | None
    budget: int

    def share(self, value: float | None) -> float | None:
        """The share of the way from start to goal: 0 to 1, or below 0."""
        if value is None or self.start is None or self.goal is None or self.goal == self.start:
            return None
        return (value - self.start) / (self.goal - self.start)

    def reached(self, found: Trace, level: float | None) -> int | None:
        """Return the first trial, from 1, that is as good as a level."""
        if level is None:
            return None
        slack = SLACK * max(abs(level), 1e-12)
        for number, value in enumerate(found, 1):
            if value is not None and self.sign * (value - level) >= -slack:
                return number
        return None


def scale(known: Known, traces: Sequence[Trace], target: float | None) -> Scale:
    """Return a task's scale, from the traces of all jobs that did not fail."""
    objectives = list(known.task.objectives.values())
    sign = objectives[0].sign if len(objectives) == 1 else 1.0
    begun = [t[known.initial - 1] for t in traces if len(t) >= known.initial]
    starts = [v for v in begun if v is not None]
    ends = [t[-1] for t in traces if t and t[-1] is not None]
    goal = known.optimum
    if goal is None:
        goal = max((v for v in ends if v is not None), key=lambda v: sign * v, default=None)
    start = math.fsum(starts) / len(starts) if starts else None
    if target is None and start is not None and goal is not None:
        target = start + NEAR * (goal - start)
    return Scale(sign, start, goal, target, known.budget)


@dataclass(frozen=True)
class Factors:
    """How a job compares with random search."""

    acceleration: float | None
    enhancement: float | None


def factors_of_table(tops: Sequence[float], rows: int, best: int) -> Factors:
    """Return the factors of a job on a table.

    Drawn without replacement, the k-th of the best rows comes after k (rows + 1) / (best + 1) draws
    on average. A job that does not find as many counts as if it did with one trial more.

    :param tops: by trial of the whole budget, the share found of the best rows.
    :param best: how many these are.
    """
    expected = max(1, round(len(tops) * best / rows))
    by_chance = expected * (rows + 1) / (best + 1)
    level = expected / best - SLACK
    reached = next((i for i, share in enumerate(tops, 1) if share >= level), len(tops) + 1)
    return Factors(by_chance / reached, tops[-1] * rows / len(tops))


def factors(found: Trace, baseline: Sequence[Trace], scale: Scale) -> Factors:
    """Return the factors of a job where there is no table.

    :param baseline: the traces of random search. A job that does not reach its level counts as if
        it did with the first trial beyond the budget.
    """
    whole = [t for t in baseline if len(t) == scale.budget]
    if not whole or len(found) != scale.budget:
        return Factors(None, None)
    middle = [_middle([t[i] for t in whole], scale.sign) for i in range(scale.budget)]
    level = middle[-1]
    first, own = scale.reached(middle, level), scale.reached(found, level)
    acceleration = None if first is None else first / (own or scale.budget + 1)
    theirs, ours = scale.share(level), scale.share(found[-1])
    if theirs is None or theirs <= 0 or ours is None:
        return Factors(acceleration, None)
    return Factors(acceleration, ours / theirs)


def _middle(values: Sequence[float | None], sign: float) -> float | None:
    """The median, where a job without a feasible trial counts as worst."""
    gains = [-math.inf if v is None else sign * v for v in values]
    middle = quantile(gains, 0.5)
    return sign * middle if middle is not None and math.isfinite(middle) else None


def tops(trials: Sequence[Mapping[str, Any]], count: int) -> list[float]:
    """Return, by trial, the share found of a table's best rows; a row counts once."""
    seen: set[str] = set()
    found = []
    for trial in trials:
        if trial.get("top"):
            seen.add(repr(sorted(trial["parameters"].items())))
        found.append(len(seen) / count if count else 0.0)
    return found


def failures(trials: Sequence[Mapping[str, Any]]) -> int:
    return sum(trial["outcomes"] is None for trial in trials)


def violations(known: Known, trials: Sequence[Mapping[str, Any]]) -> int:
    """Count trials that were measured and broke an outcome constraint."""
    return sum(t["truth"] is not None and not known.task.feasible(t["truth"]) for t in trials)
