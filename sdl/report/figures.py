"""The figures of a report: findings in, charts out."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from sdl.journal import Trial, TrialState
from sdl.library import Library
from sdl.report import words
from sdl.report.axes import Axis, bounded, fitted, levels, named
from sdl.report.charts import Chart
from sdl.report.findings import Findings
from sdl.report.fit import Fit
from sdl.space import Categorical, Continuous, Integer, Ordinal, Parameter

WIDE = (880.0, 300.0)
MEDIUM = (460.0, 340.0)
SMALL = (232.0, 190.0)
MOST_PAIRS = 10
CROWD = 150  # trials above which dots are smaller
WIDEST = 0.95  # of a prediction's intervals: what lies outside is marked
SPREAD = 0.5  # how far trials of one choice are put apart, of the distance to the next choice


def convergence(findings: Findings) -> list[Chart]:
    """Return what was reached by each trial: the hypervolume first, where there is one."""
    charts = []
    if findings.hypervolumes:
        charts.append(_hypervolume(findings))
    size = MEDIUM if findings.several else WIDE
    return charts + [_best_so_far(findings, name, size) for name in findings.objectives]


def _hypervolume(findings: Findings) -> Chart:
    values = findings.hypervolumes
    chart = Chart(
        _trial_axis(findings),
        bounded("hypervolume", 0.0, (max(values) or 1.0) * 1.06),
        name="hypervolume",
        title="Hypervolume by trial",
        description=f"It grows from {words.number(values[0])} to {words.number(values[-1])} "
        f"in {words.count(len(values), 'trial')}.",
        width=WIDE[0],
        height=WIDE[1],
        strip=_strip(findings),
    )
    _start_phase(chart, findings)
    numbers = [float(t.number) for t in findings.trials]
    chart.line(list(zip(numbers, values, strict=True)), "best", steps=True)
    for trial, value in zip(findings.trials, values, strict=True):
        if trial.state is TrialState.COMPLETED:
            tip = f"trial {trial.number}: hypervolume {words.number(value)}"
            chart.dot(trial.number, value, _kind(trial, findings), tip, _radius(findings, 2.8))
    _failures(chart, findings, [(t, float(t.number)) for t in findings.trials])
    return chart


def _best_so_far(findings: Findings, name: str, size: tuple[float, float]) -> Chart:
    objective, best = findings.objectives[name], findings.best_so_far(name)
    known = [v for v in best if v is not None]
    reached = f"from {words.number(known[0])} to {words.number(known[-1])}" if known else "none"
    chart = Chart(
        _trial_axis(findings),
        _outcome_axis(findings, name),
        name=f"best-{name}",
        title=f"{words.name(name)} by trial, and the best so far",
        description=f"The best so far goes {reached}.",
        width=size[0],
        height=size[1] if size == WIDE else 240.0,
        strip=_strip(findings),
    )
    _start_phase(chart, findings)
    if objective.threshold is not None:
        chart.level(objective.threshold)
    steps = [(t.number, v) for t, v in zip(findings.trials, best, strict=True) if v is not None]
    chart.line(steps, "best", steps=True)
    for trial in findings.measured:
        value = findings.outcome(trial, name)
        tip = f"trial {trial.number}: {words.quantity(value, objective.units)}"
        chart.dot(trial.number, value, _kind(trial, findings), tip, _radius(findings, 3.0))
    _failures(chart, findings, [(t, float(t.number)) for t in findings.trials])
    return chart


def dependence(findings: Findings) -> dict[str, list[Chart]]:
    """Return, for each objective, its outcomes against each parameter."""
    return {
        objective: [
            _against(findings, objective, name)
            for name, parameter in findings.space.parameters.items()
            if not isinstance(parameter, Library)  # its rows have no order
        ]
        for objective in findings.objectives
    }


def _against(findings: Findings, objective: str, name: str) -> Chart:
    parameter, goal = findings.space.parameters[name], findings.objectives[objective]
    chart = Chart(
        _parameter_axis(name, parameter),
        replace(_outcome_axis(findings, objective, 4), label=""),
        name=f"of-{objective}-{name}",
        title=f"{words.name(objective)} against {words.name(name)}",
        description=f"{words.count(len(findings.measured), 'completed trial')}.",
        width=SMALL[0],
        height=SMALL[1] + (18 if _strip(findings) else 0),
        strip=_strip(findings),
    )
    if goal.threshold is not None:
        chart.level(goal.threshold)
    best = {t.number for t in findings.best}
    for trial in sorted(findings.measured, key=lambda t: t.number in best):
        value, at = findings.outcome(trial, objective), trial.parameters[name]
        written = words.quantity(at, getattr(parameter, "units", ""))
        tip = f"trial {trial.number}: {written}, {words.quantity(value, goal.units)}"
        chart.dot(
            _along(parameter, trial, name),
            value,
            _kind(trial, findings),
            tip,
            _radius(findings, 3.2),
        )
    places = [(t, _along(parameter, t, name)) for t in findings.trials]
    _failures(chart, findings, places)
    return chart


def fronts(findings: Findings) -> list[Chart]:
    """Return each pair of objectives against each other; none for a single objective."""
    pairs = list(combinations(findings.objectives, 2))[:MOST_PAIRS]
    return [_front(findings, x, y) for x, y in pairs] if findings.measured else []


def _front(findings: Findings, x: str, y: str) -> Chart:
    across, down = findings.objectives[x], findings.objectives[y]
    points = {t.number: (findings.outcome(t, x), findings.outcome(t, y)) for t in findings.measured}
    chart = Chart(
        _outcome_axis(findings, x),
        _outcome_axis(findings, y),
        name=f"front-{x}-{y}",
        title=f"{words.name(y)} against {words.name(x)}",
        description=f"{words.count(len(findings.best), 'trial')} on the Pareto front "
        f"of {words.count(len(points), 'completed trial')}.",
        width=MEDIUM[0],
        height=MEDIUM[1],
    )
    if across.threshold is not None:
        chart.border(across.threshold, "threshold")
    if down.threshold is not None:
        chart.level(down.threshold, "threshold")
    best = {t.number for t in findings.best}
    if len(findings.objectives) == 2:
        edge = sorted((points[n] for n in best), key=lambda p: across.sign * p[0])
        chart.line(_staircase(edge), "front")
    for trial in sorted(findings.measured, key=lambda t: t.number in best):
        tip = f"trial {trial.number}: {_values(findings, trial, (x, y))}"
        chart.dot(*points[trial.number], _kind(trial, findings), tip, _radius(findings, 4.0))
    return chart


def _staircase(edge: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The border of what the front dominates, its points from the worst along x to the best."""
    corners: list[tuple[float, float]] = []
    for point, after in zip(edge, [*edge[1:], None], strict=True):
        corners.append(point)
        if after is not None:
            corners.append((point[0], after[1]))
    return corners


def prediction(findings: Findings, fit: Fit) -> Chart:
    """Return what the model predicts of trials that it has not seen, against what was measured."""
    units, rows = units_of(findings, fit.objective), fit.predictions
    ends = [v for p in rows for v in (p.observed, p.mean - p.sd, p.mean + p.sd)]
    measured = fitted(f"measured {words.labelled(fit.objective, units)}", ends)
    predicted = fitted(f"predicted {words.labelled(fit.objective, units)}", ends)
    chart = Chart(
        measured,
        predicted,
        name=f"fit-{fit.objective}",
        title=f"{words.name(fit.objective)}: predicted without the trial, against measured",
        description=f"{words.count(len(rows), 'trial')}; {fit.covered} within their 95 % interval.",
        width=MEDIUM[0],
        height=MEDIUM[1],
    )
    chart.line([(measured.low, measured.low), (measured.high, measured.high)], "diagonal")
    for p in rows:
        chart.interval(
            p.observed, p.mean - p.sd, p.mean + p.sd, "" if p.within(WIDEST) else "missed"
        )
    for p in rows:
        said = f"{words.number(p.mean)} ± {words.number(p.sd, 2)}"
        tip = f"trial {p.trial}: predicted {said}, measured {words.number(p.observed)}"
        chart.dot(p.observed, p.mean, "model" if p.within(WIDEST) else "model missed", tip, 3.4)
    return chart


# -- what figures share -------------------------------------------------------------------------


def units_of(findings: Findings, outcome: str) -> str:
    """The units of an objective, or of what is constrained."""
    task = findings.task
    wanted = task.objectives.get(outcome) or task.outcome_constraints.get(outcome)
    return wanted.units if wanted is not None else ""


def from_model(trial: Trial) -> bool:
    """Whether a model proposed it; the Sobol start and points of people were proposed without."""
    return bool(trial.suggestion.get("model"))


def _kind(trial: Trial, findings: Findings) -> str:
    kind = "model" if from_model(trial) else "start"
    return f"{kind} best" if any(t.number == trial.number for t in findings.best) else kind


def _radius(findings: Findings, usual: float) -> float:
    return usual if len(findings.trials) <= CROWD else usual * 0.65


def _strip(findings: Findings) -> str:
    return "failed" if TrialState.FAILED in findings.counts else ""


def _failures(chart: Chart, findings: Findings, places: Sequence[tuple[Trial, float]]) -> None:
    for trial, at in places:
        if trial.state is TrialState.FAILED:
            cause = (trial.cause or "no cause was given").partition("\n")[0]
            chart.cross(at, "failed", f"trial {trial.number} failed: {cause}")


def _start_phase(chart: Chart, findings: Findings) -> None:
    """Shade the trials that come from the Sobol sequence."""
    begun: list[list[int]] = []
    for trial in findings.trials:
        if trial.suggestion.get("generator") != "sobol":
            continue
        if begun and begun[-1][-1] == trial.number - 1:
            begun[-1].append(trial.number)
        else:
            begun.append([trial.number])
    for numbers in begun:
        chart.band(numbers[0] - 0.5, numbers[-1] + 0.5)


def _trial_axis(findings: Findings) -> Axis:
    last = findings.trials[-1].number if findings.trials else 1
    return bounded("trial", 0.5, last + 0.5, whole=True, ticks=8)


def _outcome_axis(findings: Findings, name: str, ticks: int = 5) -> Axis:
    """An axis for what was measured, and for the threshold unless it is far from all of that."""
    objective = findings.objectives[name]
    values = [findings.outcome(t, name) for t in findings.measured]
    span, limit = max(values) - min(values), objective.threshold
    if limit is not None and min(values) - span <= limit <= max(values) + span:
        values.append(limit)
    better = "higher" if objective.direction == "maximize" else "lower"
    return fitted(f"{words.labelled(name, objective.units)} ({better} is better)", values, ticks)


def _parameter_axis(name: str, parameter: Parameter) -> Axis:
    assert not isinstance(parameter, Library)
    if isinstance(parameter, Categorical):
        return named(words.name(name), parameter.choices)
    label = words.labelled(name, parameter.units)
    if isinstance(parameter, Ordinal):
        return levels(label, parameter.values)
    low, high = float(parameter.low), float(parameter.high)
    if isinstance(parameter, Continuous) and parameter.scale == "log":
        room = (high / low) ** 0.03
        return bounded(label, low / room, high * room, log=True)
    room = (high - low) * 0.03
    whole = isinstance(parameter, Integer)
    return bounded(label, low - room, high + room, whole=whole, ticks=4)


def _along(parameter: Parameter, trial: Trial, name: str) -> float:
    """Where on its axis; trials of one choice stand a little apart, the same ones every time."""
    value = trial.parameters[name]
    if not isinstance(parameter, Categorical):
        return float(value)
    place = parameter.choices.index(str(value))
    return place + ((trial.number * 0.618034) % 1.0 - 0.5) * SPREAD


def _values(findings: Findings, trial: Trial, names: Sequence[str]) -> str:
    return ", ".join(
        f"{words.name(n)} {words.quantity(findings.outcome(trial, n), o.units)}"
        for n, o in findings.objectives.items()
        if n in names
    )
