"""Optuna as a strategy: `optimizer: {use: optuna, sampler: tpe}`, with `pip install "sdl[optuna]"`.

Samplers: `gp` (Gaussian process, log expected improvement; the default), `tpe`, `nsgaii` and
`cmaes` (which needs the package cmaes besides; the extra brings it). Outcome constraints are told
as Optuna's constraints, and so are thresholds of several objectives. A population-based sampler
gets the trials one by one in their order, as it would have met them.

Akiba et al., "Optuna: a next-generation hyperparameter optimization framework" (2019); Optuna 5.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

from sdl.errors import ConfigError
from sdl.optimizers.foreign._translate import (
    OUTCOME_CONSTRAINTS,
    SEVERAL,
    Foreign,
    Measured,
    Told,
    no_linear,
)
from sdl.space import Categorical, Continuous, Integer, Ordinal, Value
from sdl.task import Task

SAMPLERS = {
    "gp": ("deterministic_objective",),
    "tpe": ("multivariate", "group", "n_ei_candidates", "prior_weight"),
    "nsgaii": ("population_size", "mutation_prob", "crossover_prob", "swapping_prob"),
    "cmaes": ("sigma0", "popsize", "use_separable_cma", "with_margin", "lr_adapt"),
}
"""Options that each takes, as Optuna calls them."""

POPULATION = ("nsgaii", "cmaes")


class Optuna(Foreign):
    """An in-memory study, made anew for each suggestion.

    :param sampler: one of `SAMPLERS`; its options stand beside it.
    """

    NAME = PACKAGE = "optuna"
    HEEDS = frozenset({OUTCOME_CONSTRAINTS, SEVERAL})

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        sampler: Literal["gp", "tpe", "nsgaii", "cmaes"] = "gp",
        **options: Any,
    ) -> None:
        if sampler not in SAMPLERS:
            raise ConfigError(
                f"optuna: sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r}"
            )
        own = {name: options.pop(name) for name in SAMPLERS[sampler] if name in options}
        for name, value in own.items():
            if not isinstance(value, bool | int | float):
                raise ConfigError(f"optuna: {name} must be a number or a flag, not {value!r}")
        self._sampler, self._own = sampler, own
        super().__init__(task, seed=seed, **options)

    @property
    def _options(self) -> tuple[str, ...]:
        return ("sampler", *SAMPLERS[self._sampler])

    @property
    def _torch(self) -> bool:
        return self._sampler == "gp"

    def warm_up(self) -> None:
        import optuna  # noqa: F401

        if self._sampler == "gp":
            import torch  # noqa: F401

    def _cannot(self, task: Task) -> Iterator[str]:
        yield from no_linear(task)
        if self._sampler != "cmaes":
            return
        if find_spec("cmaes") is None:
            yield 'sampler: cmaes needs the package cmaes; pip install "sdl[optuna]"'
        if len(task.objectives) > 1:
            yield "objectives: cmaes knows one only; use sampler: gp, tpe or nsgaii"
        if task.outcome_constraints:
            yield "outcome_constraints: cmaes knows none; use sampler: gp, tpe or nsgaii"
        for name, parameter in task.space.parameters.items():
            if isinstance(parameter, Categorical):
                yield f"parameters: {name} is categorical, which cmaes is not for; use sampler: gp"

    def _describe(self) -> dict[str, Any]:
        return {"sampler": self._sampler, "options": dict(self._own)}

    def _ask(self, told: Told, n: int, seed: int, notes: list[str]) -> Sequence[Mapping[str, Any]]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            directions=[objective.direction for objective in self._task.objectives.values()],
            sampler=self._made(seed),
        )
        if self._sampler in POPULATION:
            self._replay(study, told)
        else:
            self._tell(study, told)
        asked = [study.ask(self._distributions()).params for _ in range(n)]
        return [{name: self._value(name, x[name]) for name in self._space.names} for x in asked]

    def _made(self, seed: int) -> Any:
        from optuna import samplers

        match self._sampler:
            case "gp":
                return samplers.GPSampler(seed=seed, n_startup_trials=0, **self._own)
            case "tpe":
                return samplers.TPESampler(seed=seed, n_startup_trials=0, **self._own)
            case "nsgaii":
                return samplers.NSGAIISampler(seed=seed, **self._own)
            case _:
                return samplers.CmaEsSampler(seed=seed, n_startup_trials=0, **self._own)

    def _tell(self, study: Any, told: Told) -> None:
        from optuna.trial import TrialState, create_trial

        distributions = self._distributions()
        for trial in told.measured:
            study.add_trial(
                create_trial(
                    params=self._params(trial.point),
                    distributions=distributions,
                    values=self._values(trial),
                    constraints=self._violations(trial) or None,
                )
            )
        for state, points in ((TrialState.FAIL, told.lost), (TrialState.RUNNING, told.pending)):
            for point in points:
                params = self._params(point)
                study.add_trial(
                    create_trial(state=state, params=params, distributions=distributions)
                )

    def _replay(self, study: Any, told: Told) -> None:
        """Let the sampler meet the trials as if it had proposed them: it marks their generation."""
        from optuna.trial import TrialState

        def began(point: Mapping[str, Any]) -> Any:
            study.enqueue_trial(self._params(point))
            return study.ask(self._distributions())

        for trial in told.measured:
            running = began(trial.point)
            for name, violation in self._violations(trial).items():
                running.set_constraint(name, violation)
            study.tell(running, self._values(trial))
        for point in told.lost:
            study.tell(began(point), state=TrialState.FAIL)
        for point in told.pending:
            began(point)

    def _values(self, trial: Measured) -> list[float]:
        return [trial.outcomes[name] for name in self._task.objectives]

    def _violations(self, trial: Measured) -> dict[str, float]:
        """Return by how much each limit is broken; at most 0 where it is kept."""
        found: dict[str, float] = {}
        for name, constraint in self._task.outcome_constraints.items():
            value = trial.outcomes[name]
            if constraint.low is not None:
                found[f"{name} low"] = constraint.low - value
            if constraint.high is not None:
                found[f"{name} high"] = value - constraint.high
        for name, objective in self._task.objectives.items():
            if len(self._task.objectives) > 1 and objective.threshold is not None:
                gap = objective.threshold - trial.outcomes[name]
                found[f"{name} threshold"] = objective.sign * gap
        return found

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        found: dict[str, Any] = {}
        for name, parameter in self._space.parameters.items():
            if isinstance(parameter, Categorical):
                found[name] = CategoricalDistribution(parameter.choices)
            elif isinstance(parameter, Continuous):
                log = parameter.scale == "log"
                found[name] = FloatDistribution(parameter.low, parameter.high, log=log)
            elif isinstance(parameter, Integer):
                found[name] = IntDistribution(parameter.low, parameter.high)
            else:  # a categorical one would lose its order
                found[name] = IntDistribution(0, len(parameter.values) - 1)
        return found

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: parameter.values.index(point[name])
            if isinstance(parameter := self._space.parameters[name], Ordinal)
            else point[name]
            for name in self._space.names
        }

    def _value(self, name: str, given: Any) -> Value:
        parameter = self._space.parameters[name]
        return parameter.values[given] if isinstance(parameter, Ordinal) else given
