"""From task and history to models of all outcomes: the part of `adaptive` that learns."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdl.optimizers._history import History, number
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._failures import Success
from sdl.optimizers.adaptive._outcome import Fits, Observed, Outcome
from sdl.optimizers.adaptive._transfer import Earlier, Informed
from sdl.space import Objective
from sdl.task import Task

LOCAL = 1500  # trials that a model heeds; of more, the best and their surroundings
Record = Mapping[str, Any]


class Models:
    """One model an outcome, and one for each cause of failure.

    :param fits: memory of what was fitted before; changes speed only.
    """

    def __init__(
        self,
        task: Task,
        encoding: Encoding,
        history: History,
        fits: Fits,
        *,
        outliers: bool = True,
        most: int = LOCAL,
        earlier: Earlier | None = None,
    ) -> None:
        self.task, self.encoding, self._history, self._fits = task, encoding, history, fits
        self._outliers, self.earlier = outliers, earlier
        self.notes: list[str] = []
        completed = history.records("completed")
        units = encoding.units(completed)
        units = self._with_contexts(units)
        chosen = self._nearest(completed, units, most)
        self.completed: list[Record] = [completed[i] for i in chosen]
        self.units: NDArray[np.float64] = units[chosen]
        self.z = encoding.embed(encoding.tensor(self.units))

    def _with_contexts(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """A context that nobody noted is what it was on average."""
        for column in range(self.encoding.chosen, self.encoding.dimension):
            unknown = np.isnan(units[:, column])
            if unknown.all():
                units[:, column] = 0.0 if self.encoding.is_choice(column) else 0.5
            elif unknown.any():
                mean = np.nanmean(units[:, column])
                units[unknown, column] = round(mean) if self.encoding.is_choice(column) else mean
        return units

    def _nearest(self, completed: Sequence[Record], units: NDArray[np.float64], most: int) -> Any:
        """Of too many trials: the best, those nearest to the best, and some of all the rest."""
        n = len(completed)
        if n <= most:
            return np.arange(n)
        values = np.zeros(n)
        for name, objective in self.task.objectives.items():
            y = np.array([number(r.get(name)) for r in completed]) * objective.sign
            ranks = np.nan_to_num(y, nan=-math.inf).argsort(kind="stable").argsort(kind="stable")
            values += ranks
        feasible = np.array([self.task.feasible(r) for r in completed])
        order = np.argsort(-(values + n * len(self.task.objectives) * feasible), kind="stable")
        best = order[: most // 4]
        distance = np.full(n, math.inf)
        for row in best[:32]:
            distance = np.minimum(distance, np.square(units - units[row]).sum(1))
        near = np.argsort(distance, kind="stable")[: most // 2]
        spread = np.linspace(0, n - 1, most - most // 4 - most // 2).astype(int)
        chosen = np.unique(np.concatenate([best, near, spread]))
        self.notes.append(f"a local model: {len(chosen)} of {n} completed trials")
        return chosen

    @cached_property
    def objectives(self) -> dict[str, Outcome]:
        """Models of the objectives that were measured at least once; more is better."""
        return {
            name: model
            for name, objective in self.task.objectives.items()
            if (model := self._outcome(name, objective.sign, objective)) is not None
        }

    @property
    def taught(self) -> bool:
        """Whether earlier campaigns have a say in each objective."""
        return len(self.objectives) == len(self.task.objectives) and all(
            isinstance(model, Informed) for model in self.objectives.values()
        )

    @cached_property
    def constrained(self) -> dict[str, Outcome]:
        """Models of the constrained outcomes, in their own direction."""
        return {
            name: model
            for name in self.task.outcome_constraints
            if (model := self._outcome(name, 1.0, None)) is not None
        }

    def rows(self, name: str) -> NDArray[np.int64]:
        """Which of `completed` have a value of this outcome."""
        measured = [i for i, r in enumerate(self.completed) if math.isfinite(number(r.get(name)))]
        return np.array(measured, dtype=int)

    @property
    def _alone(self) -> bool:
        (first, *others) = self.task.objectives.values()
        return not others and first.desirability is None

    def _outcome(self, name: str, sign: float, objective: Objective | None) -> Outcome | None:
        rows = self.rows(name)
        if not len(rows):
            return self._informed(name, sign, objective, None, None)
        records = [self.completed[i] for i in rows]
        known = objective.noise if objective is not None else None
        sd = [number(r.get(f"{name}_sd")) for r in records]
        if known is not None:
            sd = [known if math.isnan(s) else s for s in sd]
        observed = Observed(
            self.z[torch.as_tensor(rows, device=self.z.device)],
            sign * np.array([float(r[name]) for r in records]),
            np.square(np.array(sd)),
            sign * np.array([_side(r.get(f"{name}_censored")) for r in records]),
            self.encoding.groups,
            self.encoding.dimension,
            # several objectives are traded against each other in their own units
            warped=self._warped(objective),
        )
        model = Outcome(observed, self._fits, outliers=self._outliers)
        if model.outliers:
            numbers = ", ".join(str(records[i]["_id"]) for i in model.outliers)
            self.notes.append(f"{name}: trials {numbers} contradict all others: heeded less")
        return self._informed(name, sign, objective, observed, model)

    def _warped(self, objective: Objective | None) -> bool:
        return objective is None or self._alone

    def _informed(
        self,
        name: str,
        sign: float,
        objective: Objective | None,
        observed: Observed | None,
        plain: Outcome | None,
    ) -> Outcome | None:
        """Add what earlier campaigns teach, where that is of use."""
        if self.earlier is None:
            return plain
        warped = self._warped(objective)
        return self.earlier.informed(name, sign, observed, plain, warped=warped)

    @cached_property
    def successes(self) -> dict[str, Success]:
        """A classifier for each cause of failure."""
        failed = self._history.records("failed")
        causes = sorted({str(r.get("_cause", "failed")) for r in failed})
        found = {}
        for cause in causes:
            of_it = [r for r in failed if str(r.get("_cause", "failed")) == cause]
            units = self._with_contexts(self.encoding.units(of_it))
            z = self.encoding.embed(self.encoding.tensor(units))
            found[cause] = Success(self.z, z)
        return found

    def embedded(self, points: Sequence[Record], context: Mapping[str, float]) -> Tensor:
        """Embed points as they would be under the present contexts (unit coordinates)."""
        units = self._with_contexts(self.encoding.units(points))
        for column, value in context.items():
            units[:, self.encoding.names.index(column)] = value
        return self.encoding.embed(self.encoding.tensor(units))

    def described(self) -> dict[str, Any]:
        """Return all models as JSON, for provenance."""
        names = self.encoding.names
        parts = {n: m.described(names) for n, m in {**self.objectives, **self.constrained}.items()}
        for name, weights in self.earlier.weights.items() if self.earlier else ():
            parts[name]["transfer"] = weights
        for cause, success in self.successes.items():
            parts[f"P(not {cause})"] = success.described
        return parts


def _side(value: Any) -> float:
    side = number(value)
    return 0.0 if math.isnan(side) else float(np.sign(side))
