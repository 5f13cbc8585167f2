"""The seam between the loop and whatever proposes points.

An optimizer is a class named in a campaign file. What it suggests is a pure function of task,
options, seed and history, so nothing of it is saved: it is built again from the history.

A point of the history has the shape of the field (gest-api, bluesky-adaptive): its parameters and
contexts, `_id` (the trial's number), `_state` and, once completed, its outcomes.

- `_state`: "completed", "failed" or "pending".
- `_cause`: of a failed one, the kind of failure ("failed", "rejected", "abandoned", …): causes are
  learned one by one.
- An outcome that is missing or no finite number was not measured (a partial result).
- `<outcome>_sd`: standard deviation of the measurement, where it is known.
- `<outcome>_censored`: -1 where the true value lies below the one given (a detection limit), +1
  where it lies above (saturation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sdl.space import Point
from sdl.task import Task


@dataclass(frozen=True)
class Suggestion:
    """A point to try, and how it came about."""

    parameters: Point
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Optimizer(Protocol):
    """Proposes points.

    Constructing is cheap and checks the options, so that a campaign file can be checked without
    loading what computes; anything heavy is imported by the first `suggest` that needs it.

    A class attribute `incremental = True` says that one that was told of points bit by bit answers
    like a new one that was told all at once: it is kept between requests then.
    """

    def __init__(self, task: Task, *, seed: int, **options: Any) -> None:
        """:raises ConfigError: an option is wrong; the message says what is allowed."""
        ...

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; one whose `_id` is known replaces the earlier (pending to completed).

        :raises OptimizerError: a point has no `_id` or an unknown `_state`; none was taken in.
        """
        ...

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return `n` points to try next, none of them tried or pending where the space allows it.

        :param pending: points under way that were not ingested as such.
        :param context: the present values of the task's contexts.
        :raises OptimizerError: no point can be proposed.
        """
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """How the last suggestion was made, as JSON: generator, model, seed, history, versions."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """An optimizer that also has a model which can be judged."""

    def leave_one_out(self) -> list[dict[str, Any]]:
        """Predict every completed trial from the others.

        :return: one mapping per trial and objective: `_id`, `objective`, `observed`, `mean`, `sd`.
        """
        ...


@runtime_checkable
class WarmsUp(Protocol):
    """An optimizer whose first suggestion is slow because of what it imports."""

    def warm_up(self) -> None: ...


@runtime_checkable
class Judges(Protocol):
    """An optimizer whose model says how far it can be trusted, and what it has learned."""

    def judge(self) -> dict[str, Any]:
        """Judge the model, as JSON; empty where there is none yet.

        :return: `predictions` as `Predicts` has them (with `z`, the residual in the model's own
            standard deviations, and `log_density`); `best`, the parameters through which slices go;
            `relevance`, `slices` and `grids` (see `sdl.report.model` for their form).
        """
        ...


@runtime_checkable
class Forecasts(Protocol):
    """An optimizer that can say what is left to be gained."""

    def forecast(self, points: Sequence[Point], wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Say what is left to be gained, as JSON (see `sdl.stoprule`).

        :param points: what was suggested just now.
        :param wanted: `of` (an improvement that matters, in the outcome's units), `until` (values
            of objectives that one trial must reach), `expected_gain` (worth one more trial),
            `trials` (how many more there may be); each may be missing.
        """
        ...
