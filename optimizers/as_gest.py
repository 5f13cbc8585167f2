"""Our strategies as generators of the gest-api (0.2), for loops such as Xopt's or libEnsemble's.

    vocs = VOCS(variables={"x": [0, 1], "y": [0, 5]}, objectives={"f": "MINIMIZE"})
    generator = StrategyGenerator(vocs, use="botorch", seed=3)
    generator.ingest([{**point, "f": f(point)} for point in generator.suggest(4)])

Needs the package gest-api: `pip install "sdl[gest]"`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers.foreign._dialogue import ID, Dialogue
from sdl.task import Task

try:
    from gest_api import Generator
    from gest_api.vocs import (
        VOCS,
        BoundsConstraint,
        ContextualVariable,
        ContinuousVariable,
        ExploreObjective,
        GreaterThanConstraint,
        LessThanConstraint,
        MaximizeObjective,
    )
except ModuleNotFoundError as error:
    raise ConfigError(
        'as_gest: the package gest-api is not installed; pip install "sdl[gest]"'
    ) from error


class StrategyGenerator(Generator):
    """A generator that asks one of our strategies.

    :param vocs: continuous and discrete variables, constants, objectives and constraints.
    :param use: the strategy's name, as in a campaign.
    :param scale: the scale ("log") of variables that do not have a linear one.
    :param constraints: relations between variables, as in a campaign: `"x + 2*y <= 3"`. For these,
        the variables must have names that a formula can have.
    :param options: options of the strategy.

    Points come with an `_id`. One told without any outcome, with NaN, or with `xopt_error` counts
    as failed, and the strategy learns from that.

    :raises ValueError: VOCS says something that a campaign cannot.
    :raises ConfigError: the strategy does not take this task or an option.
    """

    returns_id = True

    def __init__(
        self,
        vocs: VOCS,
        *,
        use: str = "botorch",
        seed: int = 0,
        scale: Mapping[str, str] | None = None,
        constraints: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(vocs)
        for name in scale or {}:
            if not _is_range(vocs.variables.get(name)):
                raise ValueError(f"scale: {name} is no continuous variable")
        # a name such as QUAD:LTU1:680 is none of ours, so that they get others inside
        self._names = {
            name: name if name.isidentifier() and not name.startswith("_") else f"variable_{k}"
            for k, name in enumerate(_chosen(vocs))
        }
        self._constants = {name: constant.value for name, constant in vocs.constants.items()}
        self._constants |= {n: _only(v) for n, v in vocs.variables.items() if _is_constant(v)}
        parameters = {
            short: _parameter(vocs.variables[name], (scale or {}).get(name, "linear"))
            for name, short in self._names.items()
        }
        task = {
            "space": {"parameters": parameters, "constraints": list(constraints)},
            "objectives": {
                name: {"direction": "maximize" if isinstance(o, MaximizeObjective) else "minimize"}
                for name, o in vocs.objectives.items()
            },
            "outcome_constraints": {n: _constraint(c) for n, c in vocs.constraints.items()},
        }
        self._said = Dialogue(Task.model_validate(task), use, seed, options)

    def _validate_vocs(self, vocs: VOCS) -> None:
        """:raises ValueError: it says something that a campaign cannot."""
        if not _chosen(vocs):
            raise ValueError("VOCS needs a variable with more than one value")
        if not vocs.objectives:
            raise ValueError("VOCS needs an objective")
        for name, objective in vocs.objectives.items():
            if isinstance(objective, ExploreObjective):
                raise ValueError(f"{name}: EXPLORE is no objective of ours; MINIMIZE or MAXIMIZE")
        for name, variable in vocs.variables.items():
            if isinstance(variable, ContextualVariable):
                raise ValueError(f"{name}: a contextual variable has no value in suggest()")
            if not _is_range(variable) and len({type(v) is str for v in variable.values}) > 1:
                raise ValueError(f"{name}: values must be all numbers or all texts")

    @property
    def provenance(self) -> dict[str, Any]:
        """How the last suggestion was made."""
        return self._said.provenance

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """Return points (default: one), each with its `_id` and the constants.

        :raises ValueError: `num_points` is below 1.
        """
        n = 1 if num_points is None else num_points
        if n < 1:
            raise ValueError(f"num_points must be at least 1, not {n}")
        return [
            {
                ID: point[ID],
                **{name: point[short] for name, short in self._names.items()},
                **self._constants,
            }
            for point in self._said.suggest(n)
        ]

    def ingest(self, results: list[dict[str, Any]]) -> None:
        """Take in results; those without `_id` are trials that somebody else made.

        :raises ValueError: an `_id` is unknown, or a point without one is outside the space; none
            of the results was taken in then.
        """
        space = self._said.task.space
        points = [{s: r.get(n) for n, s in self._names.items()} for r in results]
        for result, point in zip(results, points, strict=True):
            if result.get(ID) is None:
                if mistakes := space.check(point):
                    raise ValueError(f"{point} is outside the space: {'; '.join(mistakes)}")
            elif not self._said.knows(result[ID]):
                raise ValueError(f"{ID} {result[ID]!r} is none that was suggested")
        for result, point in zip(results, points, strict=True):
            trial = result.get(ID)
            trial = self._said.register(point) if trial is None else trial
            if result.get("xopt_error") is True:
                self._said.failed(trial)
            else:
                self._said.measured(trial, result)

    def get_best_points(self) -> list[dict[str, Any]]:
        """Return the best point, or the Pareto front, with outcomes."""
        names = self._names.items()
        return [
            {ID: trial, **{n: point[s] for n, s in names}, **outcomes}
            for trial, point, outcomes in self._said.best()
        ]


def _chosen(vocs: VOCS) -> list[str]:
    return [name for name, variable in vocs.variables.items() if not _is_constant(variable)]


def _is_range(variable: Any) -> bool:
    return isinstance(variable, ContinuousVariable)


def _is_constant(variable: Any) -> bool:
    return not _is_range(variable) and len(variable.values) == 1


def _only(variable: Any) -> Any:
    return next(iter(variable.values))


def _parameter(variable: Any, scale: str) -> dict[str, Any]:
    if _is_range(variable):
        low, high = variable.domain
        return {"type": "continuous", "low": low, "high": high, "scale": scale}
    values = sorted(variable.values)  # a set, whose order differs between processes
    if isinstance(values[0], str):
        return {"type": "categorical", "choices": values}
    return {"type": "ordinal", "values": values}


def _constraint(constraint: Any) -> dict[str, float]:
    if isinstance(constraint, LessThanConstraint):
        return {"high": constraint.value}
    if isinstance(constraint, GreaterThanConstraint):
        return {"low": constraint.value}
    if isinstance(constraint, BoundsConstraint):
        low, high = constraint.range
        ends = {"low": low, "high": high}
        return {name: end for name, end in ends.items() if math.isfinite(end)}
    raise OptimizerError(f"a constraint of an unknown kind: {constraint!r}")
