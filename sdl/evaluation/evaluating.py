"""A whole evaluation: benchmark tasks, then the campaign's own space and trials."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl.campaign import Campaign
from sdl.errors import OptimizerError
from sdl.evaluation import bias
from sdl.evaluation.scores import Better, Evaluation, Score
from sdl.evaluation.suite import Suite
from sdl.journal import Trial
from sdl.leaderboard import running, scoring
from sdl.leaderboard.problems import Known
from sdl.library import Library
from sdl.modelversion import ModelVersion, model_version
from sdl.suggest.calibration import LEVELS, Calibration, calibrations
from sdl.suggest.process import OptimizerProcess
from sdl.task import Task
from sdl.telling import history

PATIENCE = 600.0  # s of real time for one answer
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """An optimizer, as a campaign would use it, and what the campaign has tried so far."""

    name: str
    use: str
    options: Mapping[str, Any]
    seed: int
    task: Task
    folder: Path | None
    """Whose `optimizers/` it may come from."""
    trials: Sequence[Trial] = ()
    contexts: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, campaign: Campaign, folder: Path | None, trials: Sequence[Trial] = ()) -> "Case":
        entry = campaign.optimizer
        return cls(
            campaign.campaign,
            entry.use,
            entry.options,
            campaign.seed,
            campaign.task,
            folder,
            trials,
        )

    @property
    def version(self) -> ModelVersion:
        return model_version(self.use, self.options, self.folder)

    def process(self, task: Task, seed: int) -> OptimizerProcess:
        return OptimizerProcess(
            self.use,
            task,
            options=self.options,
            seed=seed,
            folder=self.folder,
            timeout=PATIENCE,
        )


def evaluate(
    case: Case, suite: Suite, place: Path, *, workers: int = 1, tell: Tell = lambda _: None
) -> Evaluation:
    """Measure everything. What was done of the tasks is kept in `place`, and not done again.

    :param workers: processes side by side.
    :param tell: told what is done.
    :raises ConfigError: suite or optimizer are wrong.
    """
    version = case.version
    found = _Found()
    _on_tasks(case, suite, place, found, workers, tell)
    tell("the campaign's own space")
    asyncio.run(_on_campaign(case, suite, found))
    return Evaluation(
        campaign=case.name,
        version=version.as_json(),
        digest=version.digest,
        suite=suite.digest,
        seeds=tuple(range(suite.seeds)),
        scores=tuple(found.scores),
        violations=tuple(found.violations),
        remarks=tuple(found.remarks),
        gate=suite.gate,
    )


class _Found:
    """What was measured so far."""

    def __init__(self) -> None:
        self.scores: list[Score] = []
        self.violations: list[str] = []
        self.remarks: list[str] = []

    def add(self, name: str, kind: str, better: Better, values: Sequence[float | None]) -> None:
        if (score := Score.of(name, kind, better, values)) is not None:
            self.scores.append(score)


# -- benchmark tasks ------------------------------------------------------------------------------


def _on_tasks(
    case: Case, suite: Suite, place: Path, found: _Found, workers: int, tell: Tell
) -> None:
    bench = suite.bench(case.use, dict(case.options))
    out, folder = place / "tasks", case.folder or Path()
    running.run(
        bench,
        out,
        workers=workers,
        folder=folder,
        tell=lambda p: tell(f"{p.order.task.title}, seed {p.order.seed}"),
    )
    problems = running.problems(bench, out)
    results: dict[str, list[dict[str, Any]]] = {title: [] for title in problems}
    for order in running.orders(bench, folder):
        result = running.read(order, out)
        assert result is not None  # it was just done
        results[order.task.title].append(result)
    for title, jobs in results.items():
        _of_task(title, problems[title].known, jobs, suite, found)
        tell(f"{title}: leave-one-out")
        asyncio.run(_calibration(case, title, problems[title].known, jobs, found))


def _of_task(
    title: str, known: Known, jobs: Sequence[Mapping[str, Any]], suite: Suite, found: _Found
) -> None:
    whole = [job if job["error"] is None else None for job in jobs]
    for seed, job in enumerate(jobs):
        if job["error"] is not None:
            found.violations.append(f"{title}, seed {seed}: {job['error']['message'][:200]}")
    trials = [None if job is None else job["trials"] for job in whole]
    found.add(f"{title}: regret", "regret", "lower", [_regret(known, t) for t in trials])
    asked = [None if t is None else t[known.initial :] for t in trials]
    if known.task.outcome_constraints:
        broken = [None if t is None else scoring.violations(known, t) / len(t) for t in asked]
        found.add(f"{title}: outcome constraints broken", "safety", "lower", broken)
    lost = [None if t is None else scoring.failures(t) / len(t) for t in asked]
    if any(lost):
        found.add(f"{title}: failed trials", "safety", "lower", lost)
    again = [None if j is None else j["duplicates"] / len(j["trials"]) for j in whole]
    if any(again):
        found.add(f"{title}: tried again", "safety", "lower", again)
    points = [None if t is None else [trial["parameters"] for trial in t] for t in trials]
    space = known.task.space
    shares = [None if p is None else bias.visited(space, p) for p in points]
    found.add(f"{title}: visited", "bias", "higher", shares)
    even = [None if p is None else bias.discrepancy(space, p) for p in points]
    found.add(f"{title}: discrepancy", "bias", "lower", even)
    times = [None if j is None else _ask_time(j) for j in whole]
    found.add(f"{title}: CPU s an ask", "latency", "lower", times)
    slow = Score.of("", "", "lower", times)
    if suite.latency is not None and slow is not None and slow.mean > suite.latency:
        text = f"{title}: an ask takes {slow.mean:.3g} CPU s, more than {suite.latency:g}"
        found.violations.append(text)


def _ask_time(job: Mapping[str, Any]) -> float | None:
    asks = [ask["cpu"] for ask in job["asks"]]
    return sum(asks) / len(asks) if asks else None


def _regret(known: Known, trials: Sequence[Mapping[str, Any]] | None) -> float | None:
    """How far the end is from the best known, or from 0 where that is not known."""
    if not trials:
        return None
    origin = dict(known.reference or {}) or scoring.worst(known, [trials])
    last = scoring.trace(known, trials, origin)[-1]
    if last is None:
        return None
    objectives = list(known.task.objectives.values())
    sign = objectives[0].sign if len(objectives) == 1 else 1.0
    return sign * ((known.optimum or 0.0) - last)


async def _calibration(
    case: Case, title: str, known: Known, jobs: Sequence[Mapping[str, Any]], found: _Found
) -> None:
    """How far shares inside intervals are from what they should be, by seed."""
    off, density = list[float | None](), list[float | None]()
    async with case.process(known.task, 0) as process:
        for job in jobs:
            told = [_told(trial, k) for k, trial in enumerate(job["trials"])]
            try:
                rows = await process.leave_one_out(told)
                judged = list(calibrations(rows).values())
            except (OptimizerError, KeyError, TypeError, ValueError) as error:
                found.remarks.append(f"{title}: no leave-one-out predictions: {error}")
                return
            off.append(_mean([miscalibration(c) for c in judged]))
            density.append(_mean([c.log_density for c in judged]))
    found.add(f"{title}: miscalibration", "calibration", "lower", off)
    found.add(f"{title}: log predictive density", "calibration", "higher", density)


def miscalibration(judged: Calibration) -> float:
    """The mean distance of the shares inside intervals from their levels."""
    return sum(abs(c.share - c.level) for c in judged.coverage) / len(LEVELS)


def _told(trial: Mapping[str, Any], number: int) -> dict[str, Any]:
    point = {"_id": number, **trial["parameters"]}
    if trial["outcomes"] is None:
        return {**point, "_state": "failed", "_cause": trial.get("cause") or "failed"}
    return {**point, "_state": "completed", **trial["outcomes"]}


def _mean(values: Sequence[float]) -> float | None:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else None


# -- the campaign ---------------------------------------------------------------------------------


async def _on_campaign(case: Case, suite: Suite, found: _Found) -> None:
    task, told = case.task, history(case.trials, case.task)
    context = _last_contexts(task, told)
    try:
        async with case.process(task, case.seed) as process:
            made = await process.suggest(suite.proposals, told, context)
            rows = await process.leave_one_out(told) if told else []
    except OptimizerError as error:
        found.violations.append(f"{case.name}: {error}")
        return
    points = [suggestion.parameters for suggestion in made]
    found.violations += list(broken(case, suite, points))
    _repeated(case, points, told, found)
    before = [{n: p[n] for n in task.space.names} for p in told if set(task.space.names) <= set(p)]
    _visited(case, [*before, *points], found)
    _of_journal(case, rows, found)


def broken(case: Case, suite: Suite, points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every proposal that breaks a constraint of the campaign or a limit of the suite."""
    for point in points:
        for mistake in case.task.space.check(point):
            yield f"{case.name}: proposed {dict(point)}: {mistake}"
        for name, limit in suite.limits.items():
            if name in point and not limit.holds(point[name]):
                yield f"{case.name}: proposed {name} {point[name]:g}, beyond its limit"


def _repeated(
    case: Case,
    points: Sequence[Mapping[str, Any]],
    told: Sequence[Mapping[str, Any]],
    found: _Found,
) -> None:
    names = case.task.space.names
    seen = {tuple(p.get(n) for n in names) for p in told}
    again = 0
    for point in points:
        key = tuple(point[n] for n in names)
        again += key in seen
        seen.add(key)
    name = f"{case.name}: tried again"
    found.scores.append(Score.of_share(name, "safety", "lower", again, len(points)))


def _visited(case: Case, points: Sequence[Mapping[str, Any]], found: _Found) -> None:
    space = case.task.space
    found.add(f"{case.name}: visited", "bias", "higher", [bias.visited(space, points)])
    found.add(f"{case.name}: discrepancy", "bias", "lower", [bias.discrepancy(space, points)])
    for name, parameter in space.parameters.items():
        library: object = parameter
        if not isinstance(library, Library):
            continue
        try:
            counted = bias.clusters_visited(library, [str(point[name]) for point in points])
        except ValueError as error:
            found.remarks.append(f"{case.name}: {name}: {error}")
            continue
        if counted is not None:
            title = f"{case.name}: clusters of {name} visited"
            found.scores.append(Score.of_share(title, "bias", "higher", *counted))


def _of_journal(case: Case, rows: Sequence[Mapping[str, Any]], found: _Found) -> None:
    try:
        judged = calibrations(rows)
    except (KeyError, TypeError, ValueError) as error:
        found.remarks.append(f"{case.name}: its predictions are not usable: {error}")
        return
    if not judged:
        found.remarks.append(f"{case.name}: no trials, or no model, to judge on the journal")
    for outcome, one in judged.items():
        name = f"{case.name}: {outcome}"
        found.remarks.append(f"{name}: {one.verdict}")
        wide = one.coverage[-1]
        title = f"{name}: share within 95 % intervals"
        scored = Score.of_share(title, "calibration", "higher", wide.inside, wide.n)
        found.scores.append(scored)


def _last_contexts(task: Task, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for point in told:
        known |= {name: point[name] for name in task.contexts if name in point}
    return known
