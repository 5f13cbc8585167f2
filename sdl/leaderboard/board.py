"""The leaderboard as data: jobs in, scores, intervals, comparisons and ranks out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdl.leaderboard import scoring
from sdl.leaderboard.asked import Bench, TaskEntry
from sdl.leaderboard.baseline import NAME as BASELINE
from sdl.leaderboard.problems import Known
from sdl.leaderboard.running import Order, orders, problems, read
from sdl.leaderboard.scoring import Factors, Scale, Trace
from sdl.leaderboard.statistics import Mean, geometric_mean, mean, means, median, quantile, ranks

SCHEMA = "sdl-leaderboard/1"
TIE = 3  # digits of the share of the way in which two results must differ, not to be a tie
ASK_SHARE = 0.95
TIMES = ("ask_cpu", "tell_cpu", "warm_up_cpu", "peak_mb")
"""What is measured anew with every job: all else follows from task, strategy and seed."""


@dataclass(frozen=True)
class Job:
    """What came of one job."""

    order: Order
    result: Mapping[str, Any]
    trace: Trace

    @property
    def error(self) -> str:
        return (self.result["error"] or {}).get("message", "")

    @property
    def trials(self) -> list[dict[str, Any]]:
        return self.result["trials"]

    @property
    def final(self) -> float | None:
        """What was reached; None where the job failed or no trial was feasible."""
        return self.trace[-1] if self.trace and not self.error else None

    @property
    def asks(self) -> list[float]:
        return [ask["cpu"] for ask in self.result.get("asks", ())]


@dataclass(frozen=True)
class Solved:
    """All jobs of one task."""

    entry: TaskEntry
    known: Known
    scale: Scale
    origin: Mapping[str, float]
    jobs: Mapping[str, Sequence[Job]]
    """By strategy, in the order of the seeds; those that were not done yet are left out."""


def assemble(bench: Bench, out: Path, folder: Path) -> dict[str, Any]:
    """Return the leaderboard of what has been done so far, as JSON.

    :raises ConfigError: something is wrong with what is compared.
    """
    wanted = orders(bench, folder)
    results = {order.key: read(order, out) for order in wanted}
    found = problems(bench, out)
    solved = [
        _solved(entry, found[entry.title].known, [o for o in wanted if o.task == entry], results)
        for entry in bench.tasks
    ]
    tasks = [_task(one, bench) for one in solved]
    done = sum(result is not None for result in results.values())
    return {
        "schema": SCHEMA,
        "batch": bench.batch,
        "seeds": list(bench.seeds),
        "jobs_wanted": len(wanted),
        "jobs_done": done,
        "jobs_failed": sum(bool(r and r["error"]) for r in results.values()),
        "overall": _overall(tasks, bench),
        "tasks": tasks,
        "strategies": [
            {
                "name": s.title,
                "use": s.use,
                "options": s.options,
                "versions": _versions(wanted, results, s.title),
            }
            for s in bench.compared
        ],
    }


def _versions(wanted: Sequence[Order], results: Mapping[str, Any], strategy: str) -> dict[str, str]:
    keys = [o.key for o in wanted if o.strategy.title == strategy]
    return next((results[k]["versions"] for k in keys if results[k]), {})


def _solved(
    entry: TaskEntry, known: Known, wanted: Sequence[Order], results: Mapping[str, Any]
) -> Solved:
    done = [(order, result) for order in wanted if (result := results[order.key]) is not None]
    trials = [result["trials"] for _, result in done]
    origin = known.reference or scoring.worst(known, trials)
    jobs: dict[str, list[Job]] = {order.strategy.title: [] for order in wanted}
    for order, result in done:
        found = scoring.trace(known, result["trials"], origin)
        jobs[order.strategy.title].append(Job(order, result, found))
    whole = [job.trace for each in jobs.values() for job in each if not job.error]
    return Solved(entry, known, scoring.scale(known, whole, entry.target), origin, jobs)


def _task(solved: Solved, bench: Bench) -> dict[str, Any]:
    known, scale = solved.known, solved.scale
    strategies = [_strategy(solved, name) for name in solved.jobs]
    for said, rank in zip(strategies, _ranks(solved, bench), strict=True):
        said["rank"] = rank
    for said in strategies:
        said["against_best_other"] = _paired(solved, said["name"], strategies)
    several = len(known.task.objectives) > 1
    return {
        "name": solved.entry.title,
        "about": known.about,
        "objectives": {n: o.direction for n, o in known.task.objectives.items()},
        "measure": "hypervolume" if several else next(iter(known.task.objectives)),
        "better": "more" if scale.sign > 0 else "less",
        "dimension": known.task.space.dimension,
        "outcome_constraints": sorted(known.task.outcome_constraints),
        "rows": known.rows,
        "budget": known.budget,
        "initial": known.initial,
        "reference": dict(solved.origin) if several else None,
        "optimum": known.optimum,
        "start": scale.start,
        "best_known": scale.goal,
        "target": scale.target,
        "strategies": sorted(strategies, key=lambda s: (s["rank"]["mean"], s["name"])),
    }


def _strategy(solved: Solved, name: str) -> dict[str, Any]:
    jobs, scale = solved.jobs[name], solved.scale
    whole = [job for job in jobs if not job.error]
    scores = [_job(solved, job) for job in jobs]
    counted = [score for score in scores if not score["error"]]
    reached = [s["trials_to_target"] for s in counted if s["trials_to_target"] is not None]
    asks = [cpu for job in jobs for cpu in job.asks]
    tells = [cpu for job in jobs for cpu in job.result.get("tells", ())]
    return {
        "name": name,
        "done": len(jobs),
        "failed": len(jobs) - len(whole),
        "errors": _errors(jobs),
        "without_value": sum(score["final"] is None for score in counted),
        "final": _json(mean([s["final"] for s in counted])),
        "final_median": median([s["final"] for s in counted if s["final"] is not None]),
        "regret": _json(mean([s["regret"] for s in counted])),
        "share": _json(mean([s["share"] for s in counted])),
        "top_share": _json(mean([s["top_share"] for s in counted])),
        "acceleration": _json(geometric_mean([s["acceleration"] for s in counted])),
        "enhancement": _json(mean([s["enhancement"] for s in counted])),
        "reached_target": len(reached),
        "trials_to_target": median(reached),
        "failures": _json(mean([s["failures"] for s in counted])),
        "violations": _json(mean([s["violations"] for s in counted])),
        "duplicates": _json(mean([s["duplicates"] for s in counted])),
        "ask_cpu": {"median": median(asks), "p95": quantile(asks, ASK_SHARE), "n": len(asks)},
        "tell_cpu": {"median": median(tells), "p95": quantile(tells, ASK_SHARE), "n": len(tells)},
        "warm_up_cpu": median([j.result["warm_up"] for j in jobs if "warm_up" in j.result]),
        "peak_mb": max(
            (j.result["peak_mb"] for j in jobs if j.result.get("peak_mb")), default=None
        ),
        "trace": _band([job.trace for job in whole if len(job.trace) == scale.budget]),
        "top_trace": _band(_top_traces(solved, whole)) if solved.known.top else None,
        "jobs": scores,
    }


def _job(solved: Solved, job: Job) -> dict[str, Any]:
    known, scale = solved.known, solved.scale
    found = scoring.tops(job.trials, known.top) if known.top else None
    made = Factors(None, None)
    if not job.error and found and known.rows and known.top:
        made = scoring.factors_of_table(found, known.rows, known.top)
    elif not job.error:
        made = scoring.factors(job.trace, _baseline(solved), scale)
    final, optimum = job.final, known.optimum
    regret = None if final is None or optimum is None else scale.sign * (optimum - final)
    return {
        "seed": job.order.seed,
        "key": job.order.key,
        "error": job.error,
        "trials": len(job.trials),
        "final": final,
        "regret": regret,
        "share": scale.share(final),
        "top_share": found[-1] if found and not job.error else None,
        "trials_to_target": None if job.error else scale.reached(job.trace, scale.target),
        "acceleration": made.acceleration,
        "enhancement": made.enhancement,
        "failures": scoring.failures(job.trials),
        "violations": scoring.violations(known, job.trials),
        "duplicates": job.result.get("duplicates", 0),
        "trace": job.trace,
    }


def _baseline(solved: Solved) -> list[Trace]:
    jobs = [job for each in solved.jobs.values() for job in each]
    return [j.trace for j in jobs if j.order.strategy.use == BASELINE and not j.error]


def _errors(jobs: Sequence[Job]) -> dict[str, list[int]]:
    """Messages of failed jobs, and with which seeds."""
    found: dict[str, list[int]] = {}
    for job in jobs:
        if job.error:
            found.setdefault(job.error, []).append(job.order.seed)
    return found


def _top_traces(solved: Solved, jobs: Sequence[Job]) -> list[Trace]:
    return [list(scoring.tops(job.trials, solved.known.top or 0)) for job in jobs]


def _band(traces: Sequence[Trace]) -> dict[str, Any] | None:
    """Return mean and interval by trial, from the first trial at which all jobs have a value."""
    if not traces:
        return None
    first = max(sum(value is None for value in found) for found in traces)
    rows = [[v for v in found[first:] if v is not None] for found in traces]
    if not rows[0] or len({len(row) for row in rows}) > 1:
        return None
    columns = means(rows)
    return {
        "first": first + 1,
        "mean": [c.mean for c in columns],
        "low": [c.low for c in columns],
        "high": [c.high for c in columns],
    }


def _score(solved: Solved, job: Job) -> float | None:
    """What jobs of one seed are ranked by: the share of the way, rounded so that ties are ties."""
    share = solved.scale.share(job.final)
    if share is None:
        return None if job.final is None else 0.0
    return round(share, TIE)


def _ranks(solved: Solved, bench: Bench) -> list[dict[str, Any]]:
    """Return each strategy's mean rank over the seeds that all strategies have done."""
    by_seed = {name: {j.order.seed: j for j in jobs} for name, jobs in solved.jobs.items()}
    common = [seed for seed in bench.seeds if all(seed in found for found in by_seed.values())]
    places = [ranks([_score(solved, found[seed]) for found in by_seed.values()]) for seed in common]
    if not places:
        nothing = {"mean": (1 + len(by_seed)) / 2, "low": None, "high": None, "n": 0}
        return [dict(nothing) for _ in by_seed]
    return [asdict(column) for column in means(places)]


def _paired(
    solved: Solved, name: str, strategies: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Compare with the best of the others on the same seeds; above 0 is better."""
    others = [s for s in strategies if s["name"] != name and s["share"] is not None]
    if not others:
        return None
    best = max(others, key=lambda s: s["share"]["mean"])["name"]
    theirs = {job.order.seed: job.final for job in solved.jobs[best]}
    differences = [
        solved.scale.sign * (job.final - their)
        for job in solved.jobs[name]
        if job.final is not None and (their := theirs.get(job.order.seed)) is not None
    ]
    found = mean(differences)
    if found is None:
        return None
    verdict = ("better" if found.mean > 0 else "worse") if found.sure else "no difference shown"
    return {"other": best, "difference": asdict(found), "verdict": verdict}


def _overall(tasks: Sequence[Mapping[str, Any]], bench: Bench) -> list[dict[str, Any]]:
    """Rank strategies over all tasks by their mean rank."""
    found = []
    for name in (s.title for s in bench.compared):
        own = [next(s for s in task["strategies"] if s["name"] == name) for task in tasks]
        ranked = [s["rank"]["mean"] for s in own if s["rank"]["n"]]
        verdicts = [(s["against_best_other"] or {}).get("verdict") for s in own]
        found.append(
            {
                "name": name,
                "rank": _json(mean(ranked)),
                "share": _json(mean([s["share"]["mean"] for s in own if s["share"]])),
                "better": verdicts.count("better"),
                "worse": verdicts.count("worse"),
                "failed": sum(s["failed"] for s in own),
                "done": sum(s["done"] for s in own),
                "ask_cpu": median([s["ask_cpu"]["median"] for s in own if s["ask_cpu"]["n"]]),
                "peak_mb": max((s["peak_mb"] for s in own if s["peak_mb"]), default=None),
            }
        )
    last = len(found) + 1.0
    return sorted(found, key=lambda s: (s["rank"]["mean"] if s["rank"] else last, s["name"]))


def _json(found: Mean | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)
