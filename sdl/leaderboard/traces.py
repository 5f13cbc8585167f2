"""Figures of a task: what was reached by trial, mean and 95 % interval of each strategy."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdl.report.axes import Axis, bounded, fitted
from sdl.report.charts import Chart

COLOURS = 8  # series of the style sheet
SIZE = (560.0, 330.0)
RATIO = 30.0  # between the largest and the smallest regret, above which the axis is logarithmic

Line = tuple[str, list[tuple[float, float]], list[tuple[float, float, float]]]
"""A strategy, its mean by trial, and its interval: trial, low, high."""


def charts(task: Mapping[str, Any], colours: Mapping[str, int], number: int) -> list[Chart]:
    """Return a task's charts: value or regret by trial, and of a table the share found.

    :param number: of the task on the page, for names that must differ.
    """
    found = [_reached(task, colours, number)]
    lines = [_line(s["name"], s["top_trace"]) for s in task["strategies"] if s["top_trace"]]
    if lines:
        found.append(_shares(task, lines, colours, number))
    return [chart for chart in found if chart is not None]


def _reached(task: Mapping[str, Any], colours: Mapping[str, int], number: int) -> Chart | None:
    lines = [_line(s["name"], s["trace"]) for s in task["strategies"] if s["trace"]]
    if not lines:
        return None
    label = task["measure"].replace("_", " ")
    if task["optimum"] is not None and len(task["objectives"]) == 1:
        sign = 1.0 if task["better"] == "more" else -1.0
        lines = [_regret(line, task["optimum"], sign) for line in lines]
        label = f"regret of {label}"
    values = [v for _, mean, _ in lines for _, v in mean]
    ends = [v for _, _, edges in lines for _, low, high in edges for v in (low, high)]
    positive = [v for v in values if v > 0]
    log = label.startswith("regret") and bool(positive) and max(positive) > RATIO * min(positive)
    if log:
        floor = min(positive) / 1.5
        ceiling = max([*positive, *(v for v in ends if v > 0)]) * 1.2
        upward = bounded(label, floor, min(ceiling, max(positive) * 10), log=True)
    elif label == "hypervolume":
        upward = bounded(label, 0.0, max([*values, *ends]) * 1.05 or 1.0)
    else:
        upward = fitted(label, [*values, *ends])
    title = f"{task['name']}: {label} by trial"
    return _drawn(task, lines, upward, title, colours, f"reached-{number}")


def _shares(
    task: Mapping[str, Any], lines: Sequence[Line], colours: Mapping[str, int], number: int
) -> Chart:
    top = max(max(v for _, v in mean) for _, mean, _ in lines)
    upward = bounded("share found of the best 5 % of the rows", 0.0, min(top * 1.15, 1.02) or 1.0)
    title = f"{task['name']}: share found of the best rows by trial"
    return _drawn(task, lines, upward, title, colours, f"shares-{number}")


def _drawn(
    task: Mapping[str, Any],
    lines: Sequence[Line],
    upward: Axis,
    title: str,
    colours: Mapping[str, int],
    name: str,
) -> Chart:
    chart = Chart(
        bounded("trial", 1, max(task["budget"], 2), whole=True),
        upward,
        name=name,
        title=title,
        description=f"Mean over the seeds of {', '.join(line[0] for line in lines)}.",
        width=SIZE[0],
        height=SIZE[1],
    )
    if task["initial"] > 1:
        chart.band(1, task["initial"])
    for strategy, _, edges in lines:
        if len(edges) > 1:
            chart.area(*zip(*edges, strict=True), kind=f"s{colours[strategy]}")
    for strategy, mean, _ in reversed(lines):  # the best is drawn last, above the others
        chart.line(mean, f"s{colours[strategy]}", steps=True)
    return chart


def _line(name: str, trace: Mapping[str, Any]) -> Line:
    numbers = range(trace["first"], trace["first"] + len(trace["mean"]))
    mean = [(float(n), value) for n, value in zip(numbers, trace["mean"], strict=True)]
    edges = [
        (float(n), low, high)
        for n, low, high in zip(numbers, trace["low"], trace["high"], strict=True)
        if low is not None and high is not None
    ]
    return name, mean, edges


def _regret(line: Line, optimum: float, sign: float) -> Line:
    name, mean, edges = line
    flipped = [
        (x, *sorted((sign * (optimum - low), sign * (optimum - high)))) for x, low, high in edges
    ]
    return name, [(x, sign * (optimum - v)) for x, v in mean], [(x, a, b) for x, a, b in flipped]
