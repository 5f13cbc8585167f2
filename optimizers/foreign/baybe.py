"""BayBE (Merck KGaA) as a strategy: `optimizer: {use: baybe}`, with `pip install "sdl[baybe]"`.

Its Bayesian recommender with its default model and acquisition; categories are one-hot encoded.
Continuous, discrete and hybrid spaces, linear constraints between continuous parameters, mixtures
without further conditions, tables of candidates, several objectives with thresholds and pending
points are told to it. A discrete space is enumerated, so that any constraint is kept there.

Fitzner et al., "BayBE: a Bayesian back end for experimental planning in the low-to-no-data regime",
Digital Discovery (2025); BayBE 0.15.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from sdl.optimizers.foreign._translate import CANDIDATES, SEVERAL, Foreign, Told, sizes
from sdl.space import Categorical, Continuous, Integer, Point, Value
from sdl.task import Task

LARGEST = 100_000  # combinations of discrete values: BayBE holds the table of all of them
FINE = 1000  # an integer with more levels is continuous to it
HYBRID = 32  # combinations tried beside continuous parameters; of more, so many are drawn


class BayBE(Foreign):
    """A recommender without memory, asked with all measurements."""

    NAME = PACKAGE = "baybe"
    HEEDS = frozenset({SEVERAL, CANDIDATES, "mixtures", "constraints that are not linear"})

    def __init__(self, task: Task, *, seed: int, **options: Any) -> None:
        super().__init__(task, seed=seed, **options)
        self._continuous = [n for n in task.space.names if _is_continuous(task, n)]

    def warm_up(self) -> None:
        import baybe.recommenders  # noqa: F401  # pyright: ignore

    def _cannot(self, task: Task) -> Iterator[str]:
        space = task.space
        if space.candidates is not None:
            return
        continuous = {n for n in space.names if _is_continuous(task, n)}
        if (
            count := math.prod(c for n, c in sizes(space).items() if n not in continuous)
        ) > LARGEST:
            yield f"parameters: {count} combinations of discrete values; at most {LARGEST}"
        if not continuous:
            return  # every combination is looked at
        if space.nonlinear:
            yield f"constraints: {space.nonlinear[0]} is not linear; use adaptive"
        for constraint in space.linear:
            for name in constraint.names:
                if name not in continuous or _is_log(task, name):
                    kind = "has a log scale" if name in continuous else "is discrete"
                    yield f"constraints: {constraint}: {name} {kind}; use adaptive"
        for mixture in space.mixtures:
            if mixture.at_most is not None or mixture.minimum > 0:
                yield "mixtures: it does not know at_most and minimum; use adaptive, which does"

    def _ask(self, told: Told, n: int, seed: int, notes: list[str]) -> Sequence[Mapping[str, Any]]:
        import pandas as pd
        from baybe.recommenders import BotorchRecommender  # pyright: ignore[reportMissingImports]

        space = self._search_space(told)
        if space is None:
            return []
        rows = [
            {**self._row(trial.point), **{name: trial.outcomes[name] for name in self._goals}}
            for trial in told.measured
        ]
        if not space.discrete.is_empty:
            n = min(n, len(space.discrete.exp_rep)) if space.continuous.is_empty else n
        pending = [self._row(point) for point in told.pending]
        found = BotorchRecommender(**self._recommender(space)).recommend(
            n,
            space,
            self._objective(),
            pd.DataFrame(rows),
            pd.DataFrame(pending) if pending else None,
        )
        return [self._point(row) for row in found.to_dict("records")]

    @property
    def _goals(self) -> Sequence[str]:
        return list(self._task.objectives)

    def _recommender(self, space: Any) -> dict[str, Any]:
        from baybe.acquisition import qLogNEHVI  # pyright: ignore[reportMissingImports]

        found: dict[str, Any] = {}
        thresholds = [o.threshold for o in self._task.objectives.values()]
        if len(thresholds) > 1 and all(t is not None for t in thresholds):
            signed = (
                o.sign * o.threshold
                for o in self._task.objectives.values()
                if o.threshold is not None
            )
            found["acquisition_function"] = qLogNEHVI(reference_point=tuple(signed))
        if not space.continuous.is_empty and len(space.discrete.exp_rep) > HYBRID:
            share = HYBRID / len(space.discrete.exp_rep)
            found |= {"hybrid_sampler": "Random", "sampling_percentage": share}
        return found

    def _objective(self) -> Any:
        from baybe.objectives import ParetoObjective, SingleTargetObjective  # pyright: ignore[reportMissingImports]
        from baybe.targets import NumericalTarget  # pyright: ignore[reportMissingImports]

        targets = [
            NumericalTarget(name, minimize=objective.direction == "minimize")
            for name, objective in self._task.objectives.items()
        ]
        return SingleTargetObjective(targets[0]) if len(targets) == 1 else ParetoObjective(targets)

    def _search_space(self, told: Told) -> Any:
        """Return what may be tried; None where all of a discrete space was."""
        import pandas as pd
        from baybe.searchspace import SearchSpace, SubspaceDiscrete  # pyright: ignore[reportMissingImports]

        parameters = [self._parameter(name) for name in self._space.names]
        if self._continuous and self._space.candidates is None:
            return SearchSpace.from_product(parameters, [*self._constraints()])
        tried = {self._design.key(p) for p in self._history.points()}
        tried |= {self._design.key(p) for p in told.pending}
        rows = [self._row(p) for p in self._rows() if self._design.key(p) not in tried]
        if not rows:
            return None
        return SearchSpace(SubspaceDiscrete.from_dataframe(pd.DataFrame(rows), parameters))

    def _rows(self) -> Iterator[Point]:
        """Yield every point of a discrete space."""
        if self._space.candidates is not None:
            yield from self._space.candidates.points(self._space.parameters)
            return
        levels = [
            p.choices if isinstance(p, Categorical) else p.levels
            for p in self._space.parameters.values()
            if not isinstance(p, Continuous)
        ]
        for values in product(*levels):
            point = dict(zip(self._space.names, values, strict=True))
            if self._space.boxed or not self._space.check(point):
                yield point

    def _parameter(self, name: str) -> Any:
        from baybe.parameters import (  # pyright: ignore[reportMissingImports]
            CategoricalParameter,
            NumericalContinuousParameter,
            NumericalDiscreteParameter,
        )

        parameter = self._space.parameters[name]
        if isinstance(parameter, Categorical):
            return CategoricalParameter(name=name, values=parameter.choices, encoding="OHE")
        if self._space.candidates is not None:
            values = {self._number(name, p[name]) for p in self._rows()}
            return NumericalDiscreteParameter(name, tuple(sorted(values)))
        if isinstance(parameter, Continuous) or name in self._continuous:
            assert isinstance(parameter, Continuous | Integer)
            bounds = (self._number(name, parameter.low), self._number(name, parameter.high))
            return NumericalContinuousParameter(name, bounds)
        return NumericalDiscreteParameter(name, tuple(map(float, parameter.levels)))

    def _constraints(self) -> Iterator[Any]:
        from baybe.constraints import ContinuousLinearConstraint  # pyright: ignore[reportMissingImports]

        for c in self._space.linear:
            operator = "=" if c.equality else "<=" if math.isfinite(c.upper) else ">="
            bound = c.upper if math.isfinite(c.upper) else c.lower
            yield ContinuousLinearConstraint([*c.names], operator, [*c.terms.values()], bound)
        for mixture in self._space.mixtures:
            ones = [1.0] * len(mixture.of)
            yield ContinuousLinearConstraint([*mixture.of], "=", ones, mixture.total)

    def _row(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._number(name, point[name]) for name in self._space.names}

    def _number(self, name: str, value: Any) -> Any:
        """Return a value as BayBE has it: the logarithm on a log scale."""
        if isinstance(self._space.parameters[name], Categorical):
            return value
        return math.log10(value) if _is_log(self._task, name) else float(value)

    def _point(self, row: Mapping[str, Any]) -> dict[str, Value]:
        return {n: 10 ** row[n] if _is_log(self._task, n) else row[n] for n in self._space.names}


def _is_log(task: Task, name: str) -> bool:
    parameter = task.space.parameters[name]
    return isinstance(parameter, Continuous) and parameter.scale == "log"


def _is_continuous(task: Task, name: str) -> bool:
    parameter = task.space.parameters[name]
    if isinstance(parameter, Integer):
        return len(parameter.levels) > FINE
    return isinstance(parameter, Continuous)
