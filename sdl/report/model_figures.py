"""The figures of a model: findings and what was learned in, charts out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from sdl.report import words
from sdl.report.axes import Axis, bounded, fitted, levels, named
from sdl.report.charts import Chart
from sdl.report.figures import MEDIUM, SMALL, units_of
from sdl.report.findings import Findings
from sdl.report.fit import Fit
from sdl.report.model import Grid, Learned, Slice
from sdl.space import Categorical, Continuous, Integer, Ordinal
from sdl.suggest.calibration import BINS

EDGE = 0.03  # room beyond a parameter's range, of it


def histogram(fit: Fit) -> Chart:
    """Return the histogram of the probability integral transform: flat of an honest model."""
    counts, even = fit.histogram, len(fit) / BINS
    chart = Chart(
        bounded("predicted probability of less than was measured", 0.0, 1.0),
        bounded("trials", 0.0, max(*counts, even) * 1.1, whole=True, ticks=4),
        name=f"pit-{fit.objective}",
        title=f"{words.name(fit.objective)}: where outcomes lie in their predictions",
        description=f"Counts in {BINS} equal bins: {', '.join(map(str, counts))}.",
        width=MEDIUM[0],
        height=240.0,
    )
    for k, count in enumerate(counts):
        low, high = k / BINS, (k + 1) / BINS
        tip = f"{low:g} to {high:g}: {words.count(count, 'trial')}"
        chart.bar(low, high, 0.0, count, "pit", tip)
    chart.level(even)  # of an honest model
    return chart


def slices(findings: Findings, known: Learned, outcome: str) -> list[Chart]:
    """Return what is expected along each parameter."""
    found = known.slices.get(outcome, ())
    ends = [v for s in found for v in (*s.low, *s.high)]
    measured = known.trial
    axis = fitted("", ends, 4)
    return [_slice(findings, known, outcome, s, axis, measured) for s in found]


def _slice(
    findings: Findings, known: Learned, outcome: str, along: Slice, axis: Axis, best: Any
) -> Chart:
    name, parameter = along.parameter, findings.space.parameters.get(along.parameter)
    chart = Chart(
        _axis(name, parameter),
        axis,
        name=f"slice-{outcome}-{name}",
        title=f"{words.name(outcome)} expected along {words.name(name)}",
        description=f"From {words.number(min(along.mean))} to {words.number(max(along.mean))}.",
        width=SMALL[0],
        height=SMALL[1],
    )
    places = [_place(parameter, v) for v in along.at]
    if isinstance(parameter, Categorical):
        for at, mean, low, high in zip(places, along.mean, along.low, along.high, strict=True):
            chart.interval(at, low, high, "")
            chart.dot(at, mean, "model", words.number(mean), 3.2)
    else:
        chart.area(places, along.low, along.high, "model")
        chart.line(list(zip(places, along.mean, strict=True)), "best")
    here = known.best.get(name)
    value = _measured(findings, outcome, best)
    if here is not None and value is not None:
        tip = f"trial {best}: {words.quantity(value, units_of(findings, outcome))}"
        chart.dot(_place(parameter, here), value, "model best", tip, 3.6)
    return chart


def grid(findings: Findings, known: Learned, outcome: str) -> Chart | None:
    """Return what is expected along the two most relevant parameters."""
    over = known.grids.get(outcome)
    if over is None or not over.mean:
        return None
    across, up = (findings.space.parameters.get(name) for name in (over.x, over.y))
    low, high = _ends(over)
    units = units_of(findings, outcome)
    chart = Chart(
        _axis(over.x, across),
        _axis(over.y, up),
        name=f"grid-{outcome}",
        title=f"{words.name(outcome)} expected over {words.name(over.x)} and {words.name(over.y)}",
        description=f"From {words.quantity(low, units)} to {words.quantity(high, units)}.",
        width=MEDIUM[0],
        height=MEDIUM[1],
    )
    xs, ys = ([_place(p, v) for v in at] for p, at in ((across, over.xs), (up, over.ys)))
    (x_edges, y_edges) = _edges(xs, _log(across)), _edges(ys, _log(up))
    for row, values in enumerate(over.mean):
        for column, value in enumerate(values):
            share = (value - low) / (high - low) if high > low else 0.5
            chart.cell(x_edges[column], y_edges[row], share, words.quantity(value, units))
    for trial in findings.measured:
        at = [_place(p, trial.parameters[n]) for p, n in ((across, over.x), (up, over.y))]
        kind = "start best" if trial.number == known.trial else "start"
        chart.dot(at[0], at[1], kind, f"trial {trial.number}", 2.6)
    return chart


def _ends(over: Grid) -> tuple[float, float]:
    return min(map(min, over.mean)), max(map(max, over.mean))


def scale(known: Learned, outcome: str, units: str) -> str:
    """What the shades of a grid mean."""
    low, high = _ends(known.grids[outcome])
    return f"pale {words.quantity(low, units)}, dark {words.quantity(high, units)}"


def _measured(findings: Findings, outcome: str, number: Any) -> float | None:
    found = (t for t in findings.trials if t.number == number)
    value = next(((t.outcomes or {}).get(outcome) for t in found), None)
    return None if value is None else float(value)


def _axis(name: str, parameter: Any) -> Axis:
    if isinstance(parameter, Categorical):
        return named(words.name(name), parameter.choices)
    label = words.labelled(name, getattr(parameter, "units", ""))
    if isinstance(parameter, Ordinal):
        return levels(label, parameter.values)
    if not isinstance(parameter, Continuous | Integer):
        return bounded(label, 0.0, 1.0)
    low, high = float(parameter.low), float(parameter.high)
    if _log(parameter):
        room = (high / low) ** EDGE
        return bounded(label, low / room, high * room, log=True)
    room = (high - low) * EDGE
    whole = isinstance(parameter, Integer)
    return bounded(label, low - room, high + room, whole=whole, ticks=4)


def _log(parameter: Any) -> bool:
    return getattr(parameter, "scale", "") == "log"


def _place(parameter: Any, value: Any) -> float:
    if isinstance(parameter, Categorical):
        return float(parameter.choices.index(str(value)))
    return float(value)


def _edges(at: Sequence[float], log: bool) -> list[tuple[float, float]]:
    """Where the cell around each place begins and ends: half way to its neighbours."""
    if len(at) == 1:
        return [(at[0] - 0.5, at[0] + 0.5)]
    middles = [(a * b) ** 0.5 if log else (a + b) / 2 for a, b in pairwise(at)]
    return list(zip([at[0], *middles], [*middles, at[-1]], strict=True))


def charts(findings: Findings, known: Learned) -> list[Mapping[str, Any]]:
    """Return for each outcome its relevance, slices and grid, for the page."""
    return [
        {
            "outcome": outcome,
            "units": units_of(findings, outcome),
            "relevance": known.relevance.get(outcome, ()),
            "slices": slices(findings, known, outcome),
            "grid": grid(findings, known, outcome),
            "over": known.grids.get(outcome),
            "scale": scale(known, outcome, units_of(findings, outcome))
            if outcome in known.grids
            else "",
        }
        for outcome in known.outcomes
    ]
