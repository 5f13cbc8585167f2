"""What an optimizer is asked to solve: everything of a campaign that proposals depend on."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdl.library import Library
from sdl.space import Categorical, Objective, Parameter, Space, Value


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class OutcomeConstraint(_Model):
    """An outcome that must stay within bounds: nobody knows beforehand where it does."""

    low: float | None = None
    high: float | None = None
    units: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("constrains nothing; give low or high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) should not be above high ({self.high:g})")
        return self

    def holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


class Fidelity(_Model):
    """One parameter says how a trial is made: a cheap assay, a simulation, the real experiment."""

    parameter: str
    target: Value
    """Its value for the real thing: what the objectives are about."""

    costs: dict[str, Annotated[float, Field(gt=0)]] = {}
    """What a trial costs at each of its values (written as text); others in between."""

    def cost(self, value: Value) -> float:
        """Return the cost at a value: what is said, else between its neighbours, else 1."""
        if str(value) in self.costs:
            return self.costs[str(value)]
        try:
            known = sorted((float(text), cost) for text, cost in self.costs.items())
            at = float(value)
        except ValueError:
            return 1.0
        if not known:
            return 1.0
        below = [pair for pair in known if pair[0] <= at] or known[:1]
        above = [pair for pair in known if pair[0] >= at] or known[-1:]
        (left, low), (right, high) = below[-1], above[0]
        return low if left == right else low + (high - low) * (at - left) / (right - left)


class Costs(_Model):
    """What trials cost, in one unit of the lab's choice (hours, money)."""

    trial: Annotated[float, Field(gt=0)] = 1.0
    change: dict[str, Annotated[float, Field(gt=0)]] = {}
    """What it costs besides to change a parameter by one unit from the trial before (a furnace
    that cools slowly); of a categorical one, to change it at all."""


class Task(_Model):
    """Space, objectives, what else must hold, costs and the budget."""

    space: Space
    objectives: Annotated[dict[str, Objective], Field(min_length=1)]
    outcome_constraints: dict[str, OutcomeConstraint] = {}
    contexts: dict[str, Parameter] = {}
    """What is known when a trial begins and matters, but cannot be chosen: humidity, a batch."""

    fidelity: Fidelity | None = None
    costs: Costs = Costs()
    trials: Annotated[int, Field(gt=0)] | None = None
    """How many trials the budget has in all."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        parameters = self.space.parameters
        for kind, names in {
            "objectives": self.objectives,
            "outcome_constraints": self.outcome_constraints,
            "contexts": self.contexts,
        }.items():
            if both := sorted(parameters.keys() & names):
                raise ValueError(f"{kind}: {both[0]} is a parameter too")
        for name in self.costs.change:
            if name not in parameters:
                known = ", ".join(parameters)
                raise ValueError(f"costs: change: {name} is no parameter; parameters are: {known}")
        if self.fidelity is not None:
            name = self.fidelity.parameter
            if name not in parameters:
                known = ", ".join(parameters)
                raise ValueError(f"fidelity: {name} is no parameter; parameters are: {known}")
            if mistake := parameters[name].check(self.fidelity.target):
                raise ValueError(f"fidelity: target of {name} {mistake}")
        return self

    @classmethod
    def of(cls, space: Space, objectives: Mapping[str, Objective], **more: Any) -> Self:
        """Make a task of its parts."""
        return cls(space=space, objectives=dict(objectives), **more)

    @cached_property
    def outcomes(self) -> tuple[str, ...]:
        """What a trial's plan must measure: objectives first, then what is constrained."""
        return tuple(dict.fromkeys([*self.objectives, *self.outcome_constraints]))

    def feasible(self, outcomes: Mapping[str, Any]) -> bool:
        """Whether measured outcomes keep all constraints; what is missing or no number does not."""
        return all(
            isinstance(value := outcomes.get(name), int | float)
            and math.isfinite(value)
            and constraint.holds(value)
            for name, constraint in self.outcome_constraints.items()
        )

    def cost(self, point: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> float:
        """What a trial costs, after the trial `before`, if it is known."""
        cost = self.costs.trial
        if self.fidelity is not None:
            cost *= self.fidelity.cost(point[self.fidelity.parameter])
        for name, each in self.costs.change.items():
            if before is not None and name in before:
                if isinstance(self.space.parameters[name], Categorical | Library):
                    cost += each * (point[name] != before[name])
                else:
                    cost += each * abs(float(point[name]) - float(before[name]))
        return cost
