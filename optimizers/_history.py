"""What an optimizer was told."""

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from sdl.errors import ConfigError, OptimizerError
from sdl.space import Point
from sdl.task import Task

STATES = ("completed", "failed", "pending")


class History:
    """The points of a campaign by trial number, whatever the order in which they were told."""

    def __init__(self, task: Task, *, whole: bool = False) -> None:
        """Prepare.

        :param whole: a trial counts as completed only if all of its outcomes were measured.
        """
        self._task, self._enough = task, all if whole else any
        self._points: dict[Any, dict[str, Any]] = {}
        self._pending: list[dict[str, Any]] = []
        self._sorted: list[dict[str, Any]] | None = None

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced.

        :raises OptimizerError: a point breaks the seam's contract; none of them was taken in.
        """
        for point in points:
            _check(point)
        self._points |= {point["_id"]: dict(point) for point in points}
        self._sorted = None

    def pend(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Count these points, besides those that were told, as pending; until the next time."""
        if points or self._pending:
            self._pending = [
                {**p, "_id": f"pending {k}", "_state": "pending"} for k, p in enumerate(points)
            ]
            self._sorted = None

    def __len__(self) -> int:
        return len(self._points) + len(self._pending)

    def ids(self, *states: str) -> list[Any]:
        """Return the numbers of the usable trials in these states (default: all), in order."""
        return [point["_id"] for point in self.records(*states)]

    def points(self, *states: str) -> list[Point]:
        """Return the parameters of the usable trials in these states (default: all), in order."""
        names = self._task.space.names
        return [{n: point[n] for n in names} for point in self.records(*states)]

    def records(self, *states: str) -> list[dict[str, Any]]:
        """Return the usable trials in these states (default: all) as they were told, in order.

        A completed trial of which no outcome was measured is a failed one, of the cause "no value".
        """
        if self._sorted is None:
            everything = [*self._points.values(), *self._pending]
            everything.sort(key=lambda point: _key(point["_id"]))
            usable = [point for point in everything if self._usable(point)]
            self._sorted = [self._judged(point) for point in usable]
        return [p for p in self._sorted if p["_state"] in (states or STATES)]

    def outcomes(self, outcome: str) -> list[float]:
        """Return an outcome of the completed trials, in order; NaN where it was not measured."""
        return [number(point.get(outcome)) for point in self.records("completed")]

    def _judged(self, point: dict[str, Any]) -> dict[str, Any]:
        if point["_state"] != "completed":
            return point
        measured = (math.isfinite(number(point.get(name))) for name in self._task.outcomes)
        if self._enough(measured):
            return point
        return {**point, "_state": "failed", "_cause": "no value"}

    def _usable(self, point: Mapping[str, Any]) -> bool:
        """Whether it has coordinates: bounds may have moved; a choice that is gone has none."""
        try:
            return all(map(math.isfinite, self._task.space.to_unit([point])[0]))
        except (KeyError, TypeError, ValueError):
            return False

    def summary(self) -> dict[str, Any]:
        """Count the points, as provenance."""
        counts: dict[str, Any] = dict.fromkeys(STATES, 0)
        for point in self.records():
            counts[point["_state"]] += 1
        ignored = len(self) - sum(counts.values())
        return counts | ({"not in the space, ignored": ignored} if ignored else {})


def number(value: Any) -> float:
    """Return a finite number as it is, anything else as NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)


def _check(point: Mapping[str, Any]) -> None:
    if "_id" not in point:
        raise OptimizerError(f"a point needs an _id: {dict(point)}")
    if point.get("_state") not in STATES:
        raise OptimizerError(
            f"trial {point['_id']}: _state is {point.get('_state')!r}; allowed are "
            f"{', '.join(STATES)}"
        )


def _key(trial: Any) -> tuple[bool, Any]:
    return (True, trial) if isinstance(trial, int | float) else (False, str(trial))


def unsupported(task: Task) -> str | None:
    """Say what of a task a strategy of plain spaces and objectives would not heed, or None."""
    unheeded = {
        "outcome constraints": task.outcome_constraints,
        "contexts": task.contexts,
        "a fidelity": task.fidelity,
        "mixtures": task.space.mixtures,
        "a table of candidates": task.space.candidates,
        "nonlinear constraints": task.space.nonlinear,
    }
    named = [name for name, given in unheeded.items() if given]
    return f"it does not heed {', '.join(named)}" if named else None


def option(name: str, value: Any, low: int, high: int, optimizer: str) -> int:
    """Check a whole-number option.

    :raises ConfigError: it is none, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(
            f"{optimizer}: {name} must be a whole number from {low} to {high}, not {value!r}"
        )
    return value


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, as provenance."""
    return {package: version(package) for package in ("sdl", *packages)}
