"""What an optimizer was told."""

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from sdl.errors import ConfigError, OptimizerError
from sdl.space import Objective, Point, Space

STATES = ("completed", "failed", "pending")


class History:
    """The points of a campaign by trial number, whatever the order in which they were told."""

    def __init__(self, space: Space, objectives: Mapping[str, Objective]) -> None:
        if not objectives:
            raise ConfigError("an optimizer needs at least one objective")
        self._space, self._objectives = space, objectives
        self._points: dict[Any, dict[str, Any]] = {}

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced.

        :raises OptimizerError: a point breaks the seam's contract; none of them was taken in.
        """
        for point in points:
            self._check(point)
        self._points |= {point["_id"]: dict(point) for point in points}

    def _check(self, point: Mapping[str, Any]) -> None:
        if "_id" not in point:
            raise OptimizerError(f"a point needs an _id: {dict(point)}")
        trial = f"trial {point['_id']}"
        if point.get("_state") not in STATES:
            raise OptimizerError(
                f"{trial}: _state is {point.get('_state')!r}; allowed are {', '.join(STATES)}"
            )
        if point["_state"] == "completed":
            for name in self._objectives:
                value = point.get(name)
                if not isinstance(value, int | float) or not math.isfinite(value):
                    raise OptimizerError(f"{trial}: completed, but {name} is {value!r}, no number")

    def __len__(self) -> int:
        return len(self._points)

    def ids(self, *states: str) -> list[Any]:
        """Return the numbers of the usable trials in these states (default: all), in order."""
        return [point["_id"] for point in self._of(*states)]

    def points(self, *states: str) -> list[Point]:
        """Return the parameters of the usable trials in these states (default: all), in order."""
        return [{n: point[n] for n in self._space.names} for point in self._of(*states)]

    def outcomes(self, objective: str) -> list[float]:
        """Return an outcome of the completed trials, in order."""
        return [float(point[objective]) for point in self._of("completed")]

    def _of(self, *states: str) -> list[dict[str, Any]]:
        return [
            point
            for _, point in sorted(self._points.items(), key=lambda item: _key(item[0]))
            if point["_state"] in (states or STATES) and self._usable(point)
        ]

    def _usable(self, point: Mapping[str, Any]) -> bool:
        """Whether it has coordinates: bounds may have moved; a choice that is gone has none."""
        try:
            return all(map(math.isfinite, self._space.to_unit([point])[0]))
        except (KeyError, TypeError, ValueError):
            return False

    def summary(self) -> dict[str, Any]:
        """Count the points, as provenance."""
        counts: dict[str, Any] = {state: len(self._of(state)) for state in STATES}
        ignored = len(self._points) - sum(counts.values())
        return counts | ({"not in the space, ignored": ignored} if ignored else {})


def _key(trial: Any) -> tuple[bool, Any]:
    return (True, trial) if isinstance(trial, int | float) else (False, str(trial))


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
