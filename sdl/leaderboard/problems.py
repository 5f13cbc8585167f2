"""What can be solved on a leaderboard: a task, how a trial of it is made, and its truth.

A problem is judged by its own truth: the noise-free outcomes at what was tried.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sdl.space import Point
from sdl.task import Task

Ask = Callable[[int, Sequence[Mapping[str, Any]], Mapping[str, Any]], list[Point]]
"""How many points, all points so far as `sdl.suggest` has them, contexts: the next points."""


@dataclass(frozen=True)
class Tried:
    """One trial of a problem."""

    parameters: Point
    outcomes: Mapping[str, float] | None
    """As measured; None: it failed."""

    truth: Mapping[str, float] | None
    """Noise-free; None: it failed."""

    cause: str = ""
    top: bool | None = None
    """Of a table: whether it is one of the best 5 % of the rows."""

    context: Mapping[str, Any] = field(default_factory=dict)

    def told(self, number: int) -> dict[str, Any]:
        """Return it as an optimizer is told of it (see `sdl.suggest`)."""
        point = {"_id": number, **self.parameters, **self.context}
        if self.outcomes is None:
            return {**point, "_state": "failed", "_cause": self.cause or "failed"}
        return {**point, "_state": "completed", **self.outcomes}


@dataclass(frozen=True)
class Known:
    """What is known of a problem beforehand."""

    task: Task
    budget: int
    initial: int
    """How many of the trials are the same for all strategies: they come first."""

    about: str = ""
    optimum: float | None = None
    """Best value of the one objective; with several, the greatest hypervolume."""

    reference: Mapping[str, float] | None = None
    """With several objectives: from where the hypervolume is measured."""

    rows: int | None = None
    """Of a table: how many there are."""

    top: int | None = None
    """Of a table: how many are the best 5 %."""


class Problem(Protocol):
    """Something to be solved. Made anew for every job."""

    @property
    def known(self) -> Known: ...

    def starts(self, seed: int) -> list[Point]:
        """Return the first points, the same for all strategies."""
        ...

    def run(self, ask: Ask, *, seed: int, batch: int, record: Callable[[Tried], None]) -> None:
        """Make trials until the budget is spent.

        :param record: told of each trial as soon as it has ended.
        """
        ...


def in_turn(
    evaluate: Callable[[Point, int], Tried],
    ask: Ask,
    *,
    budget: int,
    batch: int,
    record: Callable[[Tried], None],
) -> None:
    """Ask, evaluate, tell; the number of a trial is given with its point."""
    told: list[dict[str, Any]] = []
    while len(told) < budget:
        for point in ask(min(batch, budget - len(told)), told, {}):
            tried = evaluate(point, len(told))
            record(tried)
            told.append(tried.told(len(told)))
