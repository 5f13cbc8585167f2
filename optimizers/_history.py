"""What an optimizer was told."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

from sdl.errors import ConfigError, OptimizerError
from sdl.space import Point, Space
from sdl.task import Task

STATES = ("completed", "failed", "pending")


class History:
    """The points of a campaign by trial number, whatever the order in which they were told."""

    def __init__(self, task: Task, *, whole: bool = False) -> None:
        """Prepare.

        :param whole: a trial counts as completed only if all of its outcomes were measured.
        """
        self._task, self._enough = task, all if whole else any
        self._known: dict[Any, Known | None] = {}  # None: not in the space
        self._pending: list[Known] = []
        self._sorted: list[Known] | None = None

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced.

        :raises OptimizerError: a point breaks the seam's contract; none of them was taken in.
        """
        for point in points:
            _check(point)
        self._known |= {point["_id"]: self._judged(point) for point in points}
        self._sorted = None

    def pend(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Count these points, besides those that were told, as pending; until the next time."""
        if points or self._pending:
            judged = [
                self._judged({**point, "_id": f"pending {k}", "_state": "pending"})
                for k, point in enumerate(points)
            ]
            self._pending = [known for known in judged if known is not None]
            self._sorted = None

    def __len__(self) -> int:
        return len(self._known) + len(self._pending)

    def ids(self, *states: str) -> list[Any]:
        """Return the numbers of the usable trials in these states (default: all), in order."""
        return [point["_id"] for point in self.records(*states)]

    def points(self, *states: str) -> list[Point]:
        """Return the parameters of the usable trials in these states (default: all), in order."""
        names = self._task.space.names
        return [{n: point[n] for n in names} for point in self.records(*states)]

    def records(self, *states: str) -> list[Mapping[str, Any]]:
        """Return the usable trials in these states (default: all) as they were told, in order.

        A completed trial of which no outcome was measured is a failed one, of the cause "no value".
        """
        wanted = states or STATES
        return [k.point for k in self._in_order() if k.point["_state"] in wanted]

    def keys(self) -> set[tuple[float, ...]]:
        """Return what points have in common that count as the same (`Design.key`), of all."""
        return {known.key for known in self._in_order()}

    def outcomes(self, outcome: str) -> list[float]:
        """Return an outcome of the completed trials, in order; NaN where it was not measured."""
        return [number(point.get(outcome)) for point in self.records("completed")]

    def _in_order(self) -> "list[Known]":
        if self._sorted is None:
            usable = [known for known in self._known.values() if known is not None]
            self._sorted = sorted([*usable, *self._pending], key=lambda known: known.place)
        return self._sorted

    def _judged(self, point: Mapping[str, Any]) -> "Known | None":
        """A point without coordinates is not used: bounds move, a choice may be gone."""
        try:
            key = same(self._task.space, point)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        told = dict(point)
        if told["_state"] == "completed":
            measured = (math.isfinite(number(told.get(name))) for name in self._task.outcomes)
            if not self._enough(measured):
                told |= {"_state": "failed", "_cause": "no value"}
        return Known(told, key, _place(told["_id"]))

    def summary(self) -> dict[str, Any]:
        """Count the points, as provenance."""
        counts: dict[str, Any] = dict.fromkeys(STATES, 0)
        for known in self._in_order():
            counts[known.point["_state"]] += 1
        ignored = len(self) - sum(counts.values())
        return counts | ({"not in the space, ignored": ignored} if ignored else {})


class Known(NamedTuple):
    """A point as it was told, and where it belongs."""

    point: Mapping[str, Any]
    key: tuple[float, ...]
    place: tuple[bool, Any]


def same(space: Space, point: Mapping[str, Any]) -> tuple[float, ...]:
    """Return what two points have in common that count as the same.

    :raises ValueError: the point has no coordinates in this space; or KeyError, TypeError.
    """
    units = [p.to_unit(p.round(point[name])) for name, p in space.parameters.items()]
    if not all(map(math.isfinite, units)):
        raise ValueError(f"{point} has no coordinates")
    return tuple(round(unit, 6) + 0.0 for unit in units)


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


def _place(trial: Any) -> tuple[bool, Any]:
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


@cache
def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, as provenance."""
    return {package: version(package) for package in ("sdl", *packages)}
