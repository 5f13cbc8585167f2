"""Ax (Meta) as a strategy: `optimizer: {use: ax}`, installed with `pip install "sdl[ax]"`.

Ax's own choice of model and acquisition for the task ("fast"), or its fully Bayesian model
("quality"; needs what Ax needs for that). Linear inequalities, outcome constraints, several
objectives with thresholds, known noise and pending points are told to it.

Bakshy et al., "AE: a domain-agnostic platform for adaptive experimentation" (2018); Ax 1.3.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from sdl.errors import ConfigError
from sdl.optimizers.foreign._translate import (
    OUTCOME_CONSTRAINTS,
    SEVERAL,
    Foreign,
    Told,
    only_inequalities,
)
from sdl.space import Categorical, Continuous, Integer, Ordinal
from sdl.task import Task


class Ax(Foreign):
    """The `Client` of Ax, made anew for each suggestion.

    :param method: "fast" or "quality", as Ax calls them.
    """

    NAME, PACKAGE = "ax", "ax-platform"
    HEEDS = frozenset({OUTCOME_CONSTRAINTS, SEVERAL})

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        method: Literal["fast", "quality"] = "fast",
        **options: Any,
    ) -> None:
        if method not in ("fast", "quality"):
            raise ConfigError(f"ax: method must be fast or quality, not {method!r}")
        super().__init__(task, seed=seed, **options)
        self._method: Literal["fast", "quality"] = method
        # Ax reads names as formulas, in which S, E or lambda mean something else
        self._parameters = {name: f"x{k}" for k, name in enumerate(task.space.names)}
        self._metrics = {name: f"m{k}" for k, name in enumerate(task.outcomes)}

    @property
    def _options(self) -> tuple[str, ...]:
        return ("method",)

    def warm_up(self) -> None:
        import ax.api.client  # noqa: F401  # pyright: ignore

    def _cannot(self, task: Task) -> Iterator[str]:
        yield from only_inequalities(task)
        if both := sorted(task.objectives.keys() & task.outcome_constraints):
            yield (
                f"outcome_constraints: {both[0]} is an objective, which it does not constrain "
                "besides; use adaptive, which does"
            )

    def _describe(self) -> dict[str, Any]:
        return {"method": self._method}

    def _ask(self, told: Told, n: int, seed: int, notes: list[str]) -> Sequence[Mapping[str, Any]]:
        from ax.exceptions.core import SearchSpaceExhausted  # pyright: ignore[reportMissingImports]

        for count in dict.fromkeys((n, 1)):
            try:
                answers = self._client(told, seed).get_next_trials(max_trials=count).values()
            except SearchSpaceExhausted:
                continue  # so many new points a discrete space does not have
            return [{name: x[short] for name, short in self._parameters.items()} for x in answers]
        return []

    def _client(self, told: Told, seed: int) -> Any:
        """Return a client that knows the task and the history."""
        from ax.api.client import Client  # pyright: ignore[reportMissingImports]
        from ax.utils.common.logger import set_ax_logger_levels  # pyright: ignore[reportMissingImports]

        set_ax_logger_levels(logging.ERROR)
        client = Client(random_seed=seed)
        client.configure_experiment(
            parameters=[self._parameter(name) for name in self._parameters],
            parameter_constraints=[*self._constraints()],
        )
        client.configure_optimization(
            objective=", ".join(
                ("-" if o.direction == "minimize" else "") + self._metrics[name]
                for name, o in self._task.objectives.items()
            ),
            outcome_constraints=[*self._outcome_constraints()] or None,
        )
        client.configure_generation_strategy(
            method=self._method,
            initialization_budget=1,  # the start is ours
            initialization_random_seed=seed,
            initialize_with_center=False,
            min_observed_initialization_trials=1,
            allow_exceeding_initialization_budget=True,
            torch_device="cpu",
        )
        self._tell(client, told)
        return client

    def _tell(self, client: Any, told: Told) -> None:
        # a metric's noise is known for all trials or estimated
        noisy = {n for n in self._metrics if all(n in trial.sds for trial in told.measured)}
        for trial in told.measured:
            index = client.attach_trial(parameters=self._short(trial.point))
            raw = {
                self._metrics[name]: (value, trial.sds[name]) if name in noisy else value
                for name, value in trial.outcomes.items()
            }
            client.complete_trial(index, raw_data=raw)
        for point in told.lost:
            client.mark_trial_abandoned(client.attach_trial(parameters=self._short(point)))
        for point in told.pending:
            client.attach_trial(parameters=self._short(point))

    def _short(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {
            short: float(point[name])
            if isinstance(self._space.parameters[name], Continuous | Ordinal)
            else point[name]
            for name, short in self._parameters.items()
        }

    def _parameter(self, name: str) -> Any:
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig  # pyright: ignore[reportMissingImports]

        parameter, short = self._space.parameters[name], self._parameters[name]
        if isinstance(parameter, Categorical):
            choices = list(parameter.choices)
            return ChoiceParameterConfig(short, choices, "str", is_ordered=False)
        if isinstance(parameter, Continuous):
            bounds = (parameter.low, parameter.high)
            return RangeParameterConfig(short, bounds, "float", scaling=parameter.scale)
        if isinstance(parameter, Integer):
            return RangeParameterConfig(short, (parameter.low, parameter.high), "int")
        values = [float(value) for value in parameter.values]
        return ChoiceParameterConfig(short, values, "float", is_ordered=True)

    def _constraints(self) -> Iterator[str]:
        for constraint in self._space.linear:
            total = " + ".join(
                f"{coefficient!r}*{self._parameters[name]}"
                for name, coefficient in constraint.terms.items()
            )
            if constraint.upper < float("inf"):
                yield f"{total} <= {constraint.upper!r}"
            else:
                yield f"{total} >= {constraint.lower!r}"

    def _outcome_constraints(self) -> Iterator[str]:
        for name, constraint in self._task.outcome_constraints.items():
            if constraint.low is not None:
                yield f"{self._metrics[name]} >= {constraint.low!r}"
            if constraint.high is not None:
                yield f"{self._metrics[name]} <= {constraint.high!r}"
        for name, objective in self._task.objectives.items():
            if len(self._task.objectives) > 1 and objective.threshold is not None:
                sense = ">=" if objective.direction == "maximize" else "<="
                yield f"{self._metrics[name]} {sense} {objective.threshold!r}"
