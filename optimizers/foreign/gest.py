"""Any generator of the gest-api as a strategy, installed with `pip install "sdl[gest]"`:

    optimizer:
      use: gest
      generator: "xopt.generators.bayesian:ExpectedImprovementGenerator"
      options: {n_monte_carlo_samples: 64}

The generator is made anew for each suggestion with a VOCS that says the same as the campaign, its
options, and all completed trials. VOCS (0.2) has no scale, no failed and no pending trials and no
relation between parameters; so a log scale is told as the logarithm, failed trials as the worst
measured so far, and pending trials as the mean of what was measured (a "constant liar";
Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to parallelize optimization", 2010).
Numbers that have levels are discrete variables; a generator that knows none gets their range, and
is rounded.

A generator from outside the packages of `sdl.packages` is used by a class in the lab's folder:

    class Mine(Gest):
        def __init__(self, task, *, seed, **options):
            super().__init__(task, seed=seed, generator=TheirGenerator, options=options)
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers.foreign._translate import (
    OUTCOME_CONSTRAINTS,
    SEVERAL,
    Foreign,
    Measured,
    Told,
    no_linear,
)
from sdl.plugins import PluginError, load
from sdl.space import Categorical, Continuous, Integer
from sdl.task import Task

FINE = 200  # an integer with more levels is given by its range


class Gest(Foreign):
    """A generator named `module:Class`, or the class itself.

    :param options: what the generator's constructor takes besides `vocs`. `reference_point` is
        filled from the thresholds where the generator knows it.
    """

    NAME = "gest"
    PACKAGE = "gest-api"
    HEEDS = frozenset({OUTCOME_CONSTRAINTS, SEVERAL})

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        generator: str | Callable[..., Any] = "",
        options: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        if isinstance(generator, str):
            _check_name(generator)
        if options is not None and not isinstance(options, Mapping):
            raise ConfigError(
                f"gest: options must be a mapping of names to values, not {options!r}"
            )
        super().__init__(task, seed=seed, **common)
        self._generator, self._given = generator, dict(options or {})

    @property
    def _options(self) -> tuple[str, ...]:
        return ("generator", "options")

    def warm_up(self) -> None:
        self._class()

    def _cannot(self, task: Task) -> Iterator[str]:
        yield from no_linear(task)
        for name, constraint in task.outcome_constraints.items():
            if constraint.low is not None and constraint.low == constraint.high:
                yield f"outcome_constraints: {name}: low and high are the same; use adaptive"
            if name in task.objectives:
                yield f"outcome_constraints: {name} is an objective too; use adaptive"

    def _describe(self) -> dict[str, Any]:
        given = self._generator
        name = given if isinstance(given, str) else getattr(given, "__qualname__", repr(given))
        return {"class": name, "options": {k: repr(v) for k, v in self._given.items()}}

    def _ask(self, told: Told, n: int, seed: int, notes: list[str]) -> Sequence[Mapping[str, Any]]:
        rows = [*map(self._row, told.measured), *self._lies(told)]
        for count in dict.fromkeys((n, 1)):
            generator = self._made(notes)
            generator.ingest([dict(row) for row in rows])
            try:
                answers = generator.suggest(count)
            except (NotImplementedError, ValueError) as error:
                if count == 1:
                    kind = type(generator).__name__
                    raise OptimizerError(f"gest: {kind}: {error}{self._doubt}") from error
                continue  # so many at once it does not make
            finally:
                if hasattr(generator, "finalize"):
                    generator.finalize()
            return [self._point(answer) for answer in answers]
        raise AssertionError("unreachable")

    def _class(self) -> Callable[..., Any]:
        if not isinstance(self._generator, str):
            return self._generator
        try:
            return load("optimizers", self._generator)
        except PluginError as error:
            raise OptimizerError(f"gest: generator: {error}") from error

    def _made(self, notes: list[str]) -> Any:
        """Return a new generator; one that refuses discrete numbers gets their ranges.

        :raises OptimizerError: it refuses this campaign, or its options.
        """
        make = self._class()
        refused = ""
        fields = getattr(make, "model_fields", {})  # of Xopt's generators
        knows = getattr(fields.get("supports_discrete_variables"), "default", True)
        for discrete in (True, False) if self._has_levels and knows else (not self._has_levels,):
            try:
                made = make(vocs=self._vocs(discrete=discrete), **self._all_options(make))
            except (TypeError, ValueError) as error:
                refused = refused or str(error)
                continue
            if not discrete and (text := "numbers with levels were told as ranges") not in notes:
                notes.append(text)
            return made
        raise OptimizerError(
            f"gest: the generator does not take this campaign: {refused}{self._doubt}"
        )

    @property
    def _doubt(self) -> str:
        """Return what a person should look at when a generator refuses."""
        texts = [n for n, p in self._space.parameters.items() if isinstance(p, Categorical)]
        return f" (not every generator knows categories: {', '.join(texts)})" if texts else ""

    @property
    def _has_levels(self) -> bool:
        kinds = self._space.parameters.values()
        return any(not isinstance(p, Continuous | Categorical) for p in kinds)

    def _all_options(self, make: Any) -> dict[str, Any]:
        thresholds = {name: o.threshold for name, o in self._task.objectives.items()}
        known = getattr(make, "model_fields", {})
        if "reference_point" in known and None not in thresholds.values():
            return {"reference_point": thresholds, **self._given}
        return dict(self._given)

    def _vocs(self, *, discrete: bool) -> Any:
        from gest_api.vocs import VOCS

        return VOCS.model_validate(
            {
                "variables": {n: self._variable(n, discrete) for n in self._space.names},
                "objectives": {n: o.direction.upper() for n, o in self._task.objectives.items()},
                "constraints": self._constraints(),
            }
        )

    def _variable(self, name: str, discrete: bool) -> Any:
        from gest_api.vocs import ContinuousVariable, DiscreteVariable

        parameter = self._space.parameters[name]
        if isinstance(parameter, Categorical):
            return DiscreteVariable(values=set(parameter.choices))
        if isinstance(parameter, Continuous):
            ends = (parameter.low, parameter.high)
        elif discrete and not (isinstance(parameter, Integer) and len(parameter.levels) > FINE):
            return DiscreteVariable(values=set(parameter.levels))
        else:
            ends = (parameter.levels[0], parameter.levels[-1])
        return ContinuousVariable(domain=[self._told_value(name, end) for end in ends])

    def _constraints(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, c in self._task.outcome_constraints.items():
            if c.low is None:
                found[name] = ["LESS_THAN", c.high]
            elif c.high is None:
                found[name] = ["GREATER_THAN", c.low]
            else:
                found[name] = ["BOUNDS", c.low, c.high]
        return found

    def _row(self, trial: Measured) -> dict[str, Any]:
        names = self._space.names
        return {n: self._told_value(n, trial.point[n]) for n in names} | trial.outcomes

    def _lies(self, told: Told) -> Iterator[dict[str, Any]]:
        if not told.pending:
            return
        means = {
            name: math.fsum(trial.outcomes[name] / len(told.measured) for trial in told.measured)
            for name in self._task.outcomes
        }
        for point in told.pending:
            yield self._row(Measured(point, means, {}))

    def _told_value(self, name: str, value: Any) -> Any:
        parameter = self._space.parameters[name]
        log = isinstance(parameter, Continuous) and parameter.scale == "log"
        return math.log10(value) if log else value

    def _point(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(answer)
        for name, parameter in self._space.parameters.items():
            if isinstance(parameter, Continuous) and parameter.scale == "log" and name in found:
                found[name] = 10 ** float(found[name])
        return found


def _check_name(generator: str) -> None:
    """:raises ConfigError: it is no name of a class, or its package is not there."""
    module, _, attribute = generator.partition(":")
    if not module or not attribute:
        raise ConfigError(
            "gest: generator must name a class such as "
            f"'xopt.generators.bayesian:ExpectedImprovementGenerator', not {generator!r}"
        )
    packages = sorted({point.value for point in entry_points(group="sdl.packages")})
    if not any(f"{module}.".startswith(f"{package}.") for package in packages):
        raise ConfigError(
            f"gest: generator: {module} is in no allowed package ({', '.join(packages)}); others "
            "register themselves in the entry-point group sdl.packages"
        )
    if find_spec(module.partition(".")[0]) is None:
        raise ConfigError(f"gest: generator: {module.partition('.')[0]} is not installed")
