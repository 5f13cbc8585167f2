"""One of our strategies, asked and told in this process by somebody else's loop."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from sdl.errors import OptimizerError
from sdl.plugins import load
from sdl.space import Point
from sdl.suggest import Optimizer
from sdl.task import Task

ID = "_id"


class Dialogue:
    """Numbers the trials, and keeps what was said of them: an optimizer is a function of that.

    :param use: the strategy's name, as in a campaign.
    :param options: its options.

    :raises ConfigError: the strategy does not take the task or an option.
    :raises sdl.plugins.PluginError: there is no such strategy.
    """

    def __init__(
        self, task: Task, use: str, seed: int, options: Mapping[str, Any] | None = None
    ) -> None:
        self._task, self._use, self._seed = task, use, seed
        self._options = dict(options or {})
        self._points: dict[Hashable, dict[str, Any]] = {}
        self._optimizer = self._new()
        self._provenance: dict[str, Any] = {}

    @property
    def task(self) -> Task:
        return self._task

    @property
    def points(self) -> Sequence[Mapping[str, Any]]:
        """Everything that was said, as `sdl.suggest` has it, in the order of the trials."""
        return list(self._points.values())

    @property
    def provenance(self) -> dict[str, Any]:
        """How the last suggestion was made."""
        return self._provenance

    def knows(self, trial: Hashable) -> bool:
        return trial in self._points

    def suggest(self, n: int) -> list[dict[str, Any]]:
        """Return `n` points with their `_id`, which count as pending from now on."""
        if not getattr(self._optimizer, "incremental", False):
            self._optimizer = self._new()
            self._optimizer.ingest(self.points)
        suggested = self._optimizer.suggest(n)
        self._provenance = self._optimizer.provenance
        return [{ID: self.register(point), **point} for point in suggested]

    def register(self, point: Mapping[str, Any]) -> int:
        """Count a point as a new pending trial, and return its number.

        :raises OptimizerError: it is none of the space.
        """
        known = {name: point[name] for name in self._task.space.names if name in point}
        if mistakes := self._task.space.check(known):
            raise OptimizerError(f"{known} is outside the space: {'; '.join(mistakes)}")
        trial = len(self._points)
        self._tell(trial, {**self._task.space.round(known), "_state": "pending"})
        return trial

    def measured(self, trial: Hashable, outcomes: Mapping[str, Any]) -> None:
        """Take in what a trial gave; it counts as failed where no outcome is a finite number."""
        found = {n: _plain(v) for n, v in outcomes.items() if n in self._told_names}
        finite = any(_finite(found.get(name)) for name in self._task.outcomes)
        self._tell(trial, found | {"_state": "completed" if finite else "failed"})

    def failed(self, trial: Hashable) -> None:
        """Take in that a trial gave nothing."""
        self._tell(trial, {"_state": "failed", "_cause": "failed"})

    def best(self) -> list[tuple[Any, Point, dict[str, float]]]:
        """Return the trials that no other dominates, among those that keep all constraints.

        With one objective these are the best ones. Each: `_id`, parameters, outcomes.
        """
        goals = self._task.objectives
        found = [
            (point, [o.sign * point[name] for name, o in goals.items()])
            for point in self._points.values()
            if point["_state"] == "completed"
            and all(_finite(point.get(name)) for name in goals)
            and self._task.feasible(point)
        ]
        front = [p for p, gain in found if not any(_dominates(other, gain) for _, other in found)]
        names, outcomes = self._task.space.names, self._task.outcomes
        return [
            (p[ID], {n: p[n] for n in names}, {n: p[n] for n in outcomes if n in p}) for p in front
        ]

    @property
    def _told_names(self) -> set[str]:
        names = self._task.outcomes
        return {*names, *(f"{n}_sd" for n in names), *(f"{n}_censored" for n in names)}

    def restore(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Begin where another dialogue of the same task ended.

        :raises OptimizerError: something was said already, or a point breaks the contract.
        """
        if self._points:
            raise OptimizerError("it has trials already; restore into a new one")
        self._optimizer.ingest(points)
        self._points = {point[ID]: dict(point) for point in points}

    def _tell(self, trial: Hashable, news: Mapping[str, Any]) -> None:
        point = {**self._points.get(trial, {}), **news, ID: trial}
        self._optimizer.ingest([point])  # first, so that what it refuses is not kept
        self._points[trial] = point

    def _new(self) -> Optimizer:
        return load("optimizers", self._use)(self._task, seed=self._seed, **self._options)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _dominates(other: Sequence[float], gain: Sequence[float]) -> bool:
    return other != gain and all(a >= b for a, b in zip(other, gain, strict=True))
