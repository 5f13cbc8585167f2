"""Our strategies as optimizers of blop: for Bluesky plans that ask and tell.

    optimizer = BlopOptimizer(space, {"y": Objective(direction="maximize")}, use="botorch")
    problem = OptimizationProblem(optimizer, actuators, sensors, evaluation_function)
    RE(blop.plans.optimize(problem, iterations=20))

It keeps blop's protocols `Optimizer`, `CanRegisterSuggestions`, `TrialFaultAware` and
`Checkpointable` (blop 1.2, `blop.protocols`); these are structural, so blop is not imported here.
Parameters have the names of the actuators. A step whose plan or evaluation fails is told as failed
trials, and so is a point without a finite outcome.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sdl.errors import OptimizerError
from sdl.optimizers.foreign._dialogue import ID, Dialogue
from sdl.space import Objective, Space
from sdl.task import Task


class BlopOptimizer:
    """What blop's plans ask for points.

    :param use: the strategy's name, as in a campaign, and `options` its options.
    :param checkpoint_path: where `checkpoint` writes what was said so far.
    :param more: other fields of `sdl.task.Task`, such as `outcome_constraints`.

    :raises ConfigError: the strategy does not take this task or an option.
    """

    def __init__(
        self,
        space: Space,
        objectives: Mapping[str, Objective],
        *,
        use: str = "botorch",
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        checkpoint_path: Path | str | None = None,
        **more: Any,
    ) -> None:
        self._path = None if checkpoint_path is None else Path(checkpoint_path)
        self._said = Dialogue(Task.of(space, objectives, **more), use, seed, options)
        self._recipe = {"use": use, "seed": seed, "options": dict(options or {})}

    @classmethod
    def from_checkpoint(cls, path: Path | str) -> Self:
        """Go on where `checkpoint` left off; suggestions are those that would have followed.

        :raises OptimizerError: the file is not there, or no checkpoint.
        """
        path = Path(path)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            task, points = Task.model_validate(kept.pop("task")), kept.pop("points")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise OptimizerError(f"{path} is no checkpoint that can be read: {error}") from error
        more = {n: getattr(task, n) for n in Task.model_fields if n not in ("space", "objectives")}
        made = cls(task.space, task.objectives, checkpoint_path=path, **kept, **more)
        made._said.restore(points)
        return made

    @property
    def provenance(self) -> dict[str, Any]:
        """How the last suggestion was made."""
        return self._said.provenance

    def suggest(self, num_points: int | None = None) -> Sequence[Mapping[str, Any]]:
        """Return points (default: one), each with its `_id`."""
        return self._said.suggest(1 if num_points is None else num_points)

    def register_suggestions(
        self, suggestions: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """Return somebody else's points with an `_id` of ours; they count as pending.

        :raises OptimizerError: one is outside the space.
        """
        return [{**point, ID: self._said.register(point)} for point in suggestions]

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in outcomes of suggestions by their `_id`, or of other points by parameters.

        :raises OptimizerError: an `_id` that is not ours comes without parameters.
        """
        for point in points:
            if not self._said.knows(trial := point.get(ID)):
                missing = [n for n in self._said.task.space.names if n not in point]
                if missing:
                    raise OptimizerError(
                        f"{ID} {trial!r} is of no suggestion, and parameters are missing: "
                        f"{', '.join(missing)}"
                    )
                trial = self._said.register(point)
            self._said.measured(trial, point)

    def register_failures(self, suggestions: Sequence[Mapping[str, Any]]) -> None:
        """Take in that suggestions could not be measured.

        :raises OptimizerError: an `_id` is of no suggestion; those before it are taken in.
        """
        for suggestion in suggestions:
            if not self._said.knows(suggestion.get(ID)):
                raise OptimizerError(f"{ID} {suggestion.get(ID)!r} is of no suggestion")
            self._said.failed(suggestion[ID])

    def get_best_points(self) -> Sequence[tuple[Any, Mapping[str, Any], Mapping[str, Any]]]:
        """Return the best point, or the Pareto front: `_id`, parameters and outcomes of each."""
        return self._said.best()

    def checkpoint(self) -> None:
        """Write everything said so far to `checkpoint_path`, all of it or nothing.

        :raises OptimizerError: there is no such path.
        """
        if self._path is None:
            raise OptimizerError("give a checkpoint_path to write checkpoints to")
        kept = {
            **self._recipe,
            "task": self._said.task.model_dump(mode="json"),
            "points": self._said.points,
        }
        new = self._path.with_name(self._path.name + ".new")
        new.write_text(json.dumps(kept), encoding="utf-8")
        new.replace(self._path)
