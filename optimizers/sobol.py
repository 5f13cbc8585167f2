"""Space-filling sampling without a model: what every optimizer must beat."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdl.errors import ConfigError
from sdl.optimizers._design import Design
from sdl.optimizers._history import History, versions
from sdl.space import Point
from sdl.task import Task


class Sobol:
    """A scrambled Sobol sequence, continued where the history (pending points included) ends."""

    incremental = True

    def __init__(self, task: Task, *, seed: int, **options: Any) -> None:
        if options:
            raise ConfigError(f"sobol: unknown option {', '.join(options)}; it has none")
        self._history = History(task)
        self._design, self._seed = Design(task.space, seed), seed
        self._provenance: dict[str, Any] = {}

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; outcomes change nothing."""
        self._history.ingest(points)

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return the next `n` points of the sequence that keep the constraints and are new."""
        self._history.pend(pending)
        points, fresh = self._design.next(n, len(self._history), self._history.points())
        self._provenance = {
            "generator": "sobol",
            "seed": self._seed,
            "index": len(self._history),
            "constraints": "rejection" if self._design.rejects else "filled by linear programming",
            "history": self._history.summary(),
            "notes": [] if fresh else ["every point of the space was tried; some are repeated"],
            "versions": versions("scipy"),
        }
        return points

    @property
    def provenance(self) -> dict[str, Any]:
        return self._provenance
