"""From history to suggestions: the part of `adaptive` that needs torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, qmc
from torch import Tensor

from sdl.optimizers._design import Design
from sdl.optimizers._history import History, number
from sdl.optimizers.adaptive._climb import Climb, Effort
from sdl.optimizers.adaptive._encoding import Encoding, to_unit
from sdl.optimizers.adaptive._gain import (
    DRAWS,
    NORMALS,
    Certainty,
    CompositeImprovement,
    Gain,
    HypervolumeImprovement,
    Improvement,
    Informative,
    Target,
)
from sdl.optimizers.adaptive._gaussian import NUMERICAL, GaussianProcess
from sdl.optimizers.adaptive._models import Models
from sdl.optimizers.adaptive._outcome import Fits, Outcome
from sdl.optimizers.adaptive._transfer import Earlier
from sdl.space import Categorical, Continuous, Integer, Point
from sdl.task import Fidelity, Task

MOST_EXACT = 4  # objectives up to which the hypervolume is taken
GOOD = 6  # trials around which one looks
BEYOND = 0.5  # of the front's range: how far beyond its end the reference point lies
LIKELY = 0.5  # P(feasible) from which on a trial counts as one that may be the best
Units = NDArray[np.float64]


@dataclass
class Proposer:
    """Keeps what makes the next proposal quicker; answers are the same without it."""

    task: Task
    design: Design
    seed: int
    effort: Effort = field(default_factory=Effort)
    device: str = "auto"
    outliers: bool = True
    earlier: Sequence[Mapping[str, Any]] = ()
    """Points of earlier campaigns."""
    _fits: Fits = field(default_factory=Fits)
    _taught: Earlier | None = None

    def propose(
        self, history: History, n: int, context: Mapping[str, Any], *, young: bool = False
    ) -> tuple[list[Point], dict[str, Any]]:
        """Return up to `n` suggestions and their provenance; fewer where no more can be made.

        :param young: own trials alone are too few for a model: make none that is not taught.
        """
        step = _seed_of(self.seed, len(history))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # how sums are rounded depends on the number of threads
        try:
            return self._propose(history, n, context, step, young)
        finally:
            torch.set_num_threads(threads)

    def models(self, history: History) -> Models:
        """Fit all models of a history."""
        encoding = Encoding(self.task, _device(self.device))
        if self.earlier and self._taught is None:
            self._taught = Earlier(self.task, encoding, self.earlier, self._fits)
        return Models(
            self.task, encoding, history, self._fits, outliers=self.outliers, earlier=self._taught
        )

    def _propose(
        self, history: History, n: int, context: Mapping[str, Any], step: int, young: bool
    ) -> tuple[list[Point], dict[str, Any]]:
        points: list[Point] = []
        models = self.models(history)
        made: dict[str, Any] = {"generator": "adaptive", "notes": models.notes}
        made["device"] = str(models.encoding.device)
        excluded: set[tuple[object, ...]] = {*history.keys()}
        pending = [dict(r) for r in history.records("pending")]
        if young and not models.taught:
            made["notes"].append("earlier campaigns say too little; initial design")
            return [], {**made, "generator": "sobol"}
        try:
            made["model"] = models.described()
            made["choice"] = reasons(self.task, models, self.design)
            for index in range(n):
                asked = Asked(models, self.task, pending, context, history, step)
                target, good, told = asked.target()
                climb = Climb(self.task.space, models.encoding, self.design, step + index)
                found = climb.best(target, good, excluded, target.fixed, self.effort)
                if found is None:
                    break
                point, value = found
                made.setdefault("acquisition", told)
                made.setdefault("why", []).append(asked.why(target, point, value))
                points.append(point)
                pending.append({**point, **asked.context_values})
                excluded.add(self.design.key(point))
        except NUMERICAL as error:
            made["notes"].append(
                f"the model cannot be evaluated: {type(error).__name__}: {str(error)[:200]}"
            )
        if not points:
            made["generator"] = "sobol"
        return points, made


def reasons(task: Task, models: Models, design: Design) -> list[str]:
    """Say what was chosen for this task, and why: for the journal and the report."""
    return [
        *_of_objectives(task, models),
        *_of_space(task, models, design),
        *_of_data(task, models),
    ]


def _of_objectives(task: Task, models: Models) -> Iterator[str]:
    objectives = task.objectives.values()
    count = len(objectives)
    if any(o.desirability is not None for o in objectives):
        yield "desirabilities: expected improvement of their geometric mean"
    elif any(o.weight is not None for o in objectives) and count > 1:
        yield "weights: expected improvement of the weighted sum, each outcome over its range"
    elif count == 1:
        yield "one objective: log expected improvement"
    elif count <= MOST_EXACT:
        yield f"{count} objectives: log expected hypervolume improvement, exact"
    else:
        yield f"{count} objectives: improvement of a sum with random weights, new for each trial"
    for name, model in models.objectives.items():
        told = (
            f"{name}: {model.h.kind} kernel, as the evidence of {len(model.observed)} trials says"
        )
        if not model.warp.plain:
            told += f"; warped (power {model.warp.power:g}), since the outcomes are skewed"
        yield told
    if task.outcome_constraints:
        yield f"{len(task.outcome_constraints)} outcome constraints: one model each"
    for cause in models.successes:
        yield f"failures of the cause {cause!r}: a classifier lowers what is expected near them"


def _of_space(task: Task, models: Models, design: Design) -> Iterator[str]:
    space, encoding = task.space, models.encoding
    if space.candidates is not None:
        yield f"a table: each of its {len(design.everything or [])} rows is scored"
    elif design.everything is not None:
        yield f"{len(design.everything)} points in all: each is scored"
    elif not space.boxed:
        yield "known constraints: steps are differences of allowed points"
    elif encoding.levels:
        yield "a mixed space: along the slope and between neighbours in turns"
    else:
        yield "a continuous space: along the slope from several starts"
    if task.fidelity is not None:
        yield f"fidelity {task.fidelity.parameter}: what is learned of the target, per cost"
    if task.costs.change:
        yield f"changes of {', '.join(task.costs.change)} cost: gain per cost"
    if task.contexts:
        yield f"contexts {', '.join(task.contexts)}: held at their present values"


def _of_data(task: Task, models: Models) -> Iterator[str]:
    for name in (*models.objectives, *models.constrained):
        rows = [models.completed[i] for i in models.rows(name)]
        if any(f"{name}_sd" in r for r in rows):
            yield f"{name}: the noise of each trial is known"
        if any(number(r.get(f"{name}_censored")) in (-1.0, 1.0) for r in rows):
            yield f"{name}: censored outcomes count as expected beyond their bounds"


class Asked:
    """One suggestion to make: what is known, what is pending, and under which contexts."""

    def __init__(
        self,
        models: Models,
        task: Task,
        pending: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any],
        history: History,
        seed: int,
    ) -> None:
        self._models, self._task, self._pending = models, task, pending
        self._encoding, self._seed = models.encoding, seed
        self._history = history
        self.context_values = dict(context)
        self._context = self._context_units(context)

    def target(self) -> tuple[Target, Units, dict[str, Any]]:
        """Return what to climb, unit coordinates of good points, and how to describe it."""
        certainty = self._certainty()
        places = self._places()
        gain: Gain | None = None
        told: dict[str, Any] = {}
        good = self._models.units[:0]
        objectives = self._models.objectives
        if len(objectives) == len(self._task.objectives) and len(places):
            feasible = self._feasible(certainty, places)
            if feasible.any():
                gain, told, order = self._gain(places[torch.as_tensor(feasible)])
                gain = self._informative(gain)
                rows = np.flatnonzero(feasible)[order]
                good = self._good(rows)
        if gain is None and len(places):
            value = certainty(places).detach().cpu().numpy() if certainty else np.zeros(len(places))
            order = np.argsort(-value, kind="stable")
            good = self._good(order)
        fixed = {self._encoding.names.index(n): v for n, v in self._context.items()}
        target = Target(
            self._encoding,
            gain,
            certainty,
            fixed=fixed,
            log_cost=self._log_cost(),
        )
        name = "log P(feasible)" if gain is None else gain.name
        return target, good, {"name": name, "pending": len(self._pending), **told}

    def _good(self, rows: NDArray[np.int64]) -> Units:
        """Unit coordinates of the first of these places that were trials."""
        units = self._models.units
        if not len(units) and self._models.earlier:
            units = self._encoding.units(self._models.earlier.allowed)
            for column, value in self._context.items():
                units[:, self._encoding.names.index(column)] = value
        return units[rows[rows < len(units)][:GOOD]]

    # -- what is known ----------------------------------------------------------------------------

    def _context_units(self, context: Mapping[str, Any]) -> dict[str, float]:
        """Present contexts in unit coordinates; one that is not known is the last that was."""
        found = {}
        records = self._history.records("completed")
        for name, parameter in self._task.contexts.items():
            value = context.get(name)
            if value is None:
                value = next((r[name] for r in reversed(records) if r.get(name) is not None), None)
            if value is not None:
                found[name] = float(to_unit(parameter, [value])[0])
            else:
                found[name] = 0.5
        return found

    def _places(self) -> Tensor:
        """All trials and pending points as they would be now, and at the target fidelity."""
        records = [*self._models.completed, *self._pending]
        if not self._models.completed and self._models.earlier:
            records = [*self._models.earlier.allowed, *records]  # the best of these is to be beaten
        fidelity = self._task.fidelity
        if fidelity is not None:
            records = [{**r, fidelity.parameter: fidelity.target} for r in records]
        return self._models.embedded(records, self._context)

    def _feasible(self, certainty: Certainty, places: Tensor) -> NDArray[np.bool_]:
        """Which trials may be the best: what is known of their constraints, expected of others."""
        count = len(self._models.completed)
        feasible = np.ones(len(places), dtype=bool)
        if self._task.outcome_constraints:
            constraints = Certainty(self._bounds())
            likely = constraints(places).detach().exp().cpu().numpy() >= LIKELY
            feasible = likely if self._models.constrained else feasible
            for i, record in enumerate(self._models.completed):
                if all(name in record for name in self._task.outcome_constraints):
                    feasible[i] = self._task.feasible(record)
        if count < len(places) and feasible[:count].any():
            feasible[count:] = feasible[count:] & (len(self._pending) > 0)
        return feasible

    def _bounds(self) -> list[tuple[GaussianProcess, float | None, float | None]]:
        found = []
        for name, model in self._models.constrained.items():
            constraint = self._task.outcome_constraints[name]
            low, high = (
                None if bound is None else model.to_model(bound)
                for bound in (constraint.low, constraint.high)
            )
            found.append((model.gp, low, high))
        return found

    def _certainty(self) -> Certainty:
        return Certainty(self._bounds(), list(self._models.successes.values()))

    # -- what is to be gained ---------------------------------------------------------------------

    def _gain(self, places: Tensor) -> tuple[Gain, dict[str, Any], NDArray[np.int64]]:
        """Return the gain over `places`, its description, and their order, best first."""
        objectives = list(self._task.objectives.values())
        gps = [self._with_pending(m, k) for k, m in enumerate(self._models.objectives.values())]
        if len(gps) == 1 and objectives[0].desirability is None:
            means = gps[0].mean(places)
            best = means.max(0).values
            gain: Gain = Improvement(gps[0], best)
            first = means if means.ndim == 1 else means.mean(1)
            told = {"best_mean": self._readable(0, float(first.max()))}
            return gain, told, np.argsort(-first.cpu().numpy(), kind="stable")
        preferred = any(o.weight is not None or o.desirability is not None for o in objectives)
        if preferred or len(gps) > MOST_EXACT:
            return self._composite(gps, places)
        return self._hypervolume(gps, places)

    def _informative(self, gain: Gain) -> Gain:
        """Where there is a fidelity: what a trial of any of them tells of the real thing."""
        fidelity = self._task.fidelity
        if fidelity is None:
            return gain
        column = self._encoding.names.index(fidelity.parameter)
        columns = (self._encoding.groups == column).nonzero().flatten().tolist()
        real = self._encoding.units([{fidelity.parameter: fidelity.target}])
        target = self._encoding.embed(self._encoding.tensor(np.nan_to_num(real)))[0, columns]
        gps = [model.gp for model in self._models.objectives.values()]
        return Informative(gain, gps, columns, target)

    def _readable(self, k: int, value: float) -> float:
        name, objective = list(self._task.objectives.items())[k]
        model = self._models.objectives[name]
        back = float(model.warp.back(np.array([value]))[0])
        return float(f"{objective.sign * back:.6g}")

    def _with_pending(self, model: Outcome, k: int) -> GaussianProcess:
        """Condition on draws of what is pending."""
        if not self._pending:
            return model.gp
        z = self._models.embedded(self._pending, self._context)
        normals = self._normals(len(z), DRAWS, k)
        return model.gp.conditioned(z, model.gp.samples(z, normals))

    def _normals(self, rows: int, columns: int, k: int) -> Tensor:
        """Quasi-random standard normal numbers, rows x columns."""
        engine = qmc.Sobol(min(rows, 1000), scramble=True, rng=self._seed + 7919 * (k + 1))
        numbers = norm.ppf(engine.random(columns).clip(1e-9, 1 - 1e-9)).T
        if rows > 1000:
            numbers = np.resize(numbers, (rows, columns))
        return self._encoding.tensor(numbers)

    def _hypervolume(
        self, gps: Sequence[GaussianProcess], places: Tensor
    ) -> tuple[Gain, dict[str, Any], NDArray[np.int64]]:
        from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
        from botorch.utils.multi_objective.pareto import is_non_dominated

        means = torch.stack([gp.mean(places).reshape(len(places), -1) for gp in gps], -1)
        means = means.transpose(0, 1)  # alternatives x places x objectives
        reference = self._reference(means.mean(0))
        alternatives = means if len(means) <= 4 else means[:4]
        kept = [
            _narrowed(gp, len(alternatives)) if means.shape[0] > len(alternatives) else gp
            for gp in gps
        ]
        fronts = [
            FastNondominatedPartitioning(reference, y).get_hypercell_bounds() for y in alternatives
        ]
        average = means.mean(0)
        front = is_non_dominated(average).cpu().numpy()
        order = np.argsort(~front, kind="stable")
        readable = [self._readable(k, float(v)) for k, v in enumerate(reference)]
        told = {"reference_point": dict(zip(self._task.objectives, readable, strict=True))}
        return HypervolumeImprovement(kept, fronts), told, order

    def _reference(self, means: Tensor) -> Tensor:
        """Thresholds; where there is none, beyond the front's worst by a share of its range.

        A reference point at the front's end would see no gain in making the front longer.
        """
        from botorch.utils.multi_objective.pareto import is_non_dominated

        front = means[is_non_dominated(means)]
        ideal, nadir = front.max(0).values, front.min(0).values
        worst, spread = means.min(0).values, means.max(0).values - means.min(0).values
        width = torch.where(ideal > nadir, ideal - nadir, spread)
        reference = torch.maximum(nadir - BEYOND * width, worst - 0.1 * width)
        for k, (name, objective) in enumerate(self._task.objectives.items()):
            if objective.threshold is not None:
                model = self._models.objectives[name]
                reference[k] = model.to_model(objective.sign * objective.threshold)
        return reference

    def _composite(
        self, gps: Sequence[GaussianProcess], places: Tensor
    ) -> tuple[Gain, dict[str, Any], NDArray[np.int64]]:
        means = torch.stack([gp.mean(places).reshape(len(places), -1) for gp in gps], -1)
        combine, told = self._combination(means.mean(1))
        values = combine(means.transpose(0, 1))  # alternatives x places
        normals = self._normals(len(gps), NORMALS, 99).T
        best = values.max(1).values
        kept = min(len(best), 4)
        gain = CompositeImprovement(
            [_narrowed(gp, kept) if len(best) > kept else gp for gp in gps],
            combine,
            best[:kept],
            normals,
        )
        order = np.argsort(-values.mean(0).cpu().numpy(), kind="stable")
        return gain, told, order

    def _combination(self, means: Tensor) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
        """How outcomes (model units, `... x m`) become one number."""
        objectives = list(self._task.objectives.items())
        models = list(self._models.objectives.values())
        if any(o.desirability is not None for _, o in objectives):
            return _desirability(objectives, models), {"combined": "desirabilities"}
        low, high = means.min(0).values, means.max(0).values
        width = (high - low).clamp_min(1e-9)
        if any(o.weight is not None for _, o in objectives):
            weights = means.new_tensor([o.weight or 1.0 for _, o in objectives])
            told = {"combined": "weights", "weights": weights.tolist()}
        else:
            drawn = np.random.default_rng(self._seed).dirichlet(np.ones(len(objectives)))
            weights = means.new_tensor(drawn)
            told = {"combined": "random Chebyshev weights (Knowles 2006)"}

        def combine(y: Tensor) -> Tensor:
            scaled = weights * (y - low) / width
            if told["combined"] == "weights":
                return scaled.sum(-1)
            return scaled.min(-1).values + 0.05 * scaled.sum(-1)

        return combine, told

    # -- what it costs ----------------------------------------------------------------------------

    def _log_cost(self) -> Callable[[Tensor], Tensor] | None:
        costs, before, fidelity = self._task.costs, self._last(), self._task.fidelity
        if (not costs.change or before is None) and fidelity is None:
            return None
        fidelity_costs = None if fidelity is None else self._fidelity_costs(fidelity)
        parts: list[tuple[int, float, float, bool]] = []
        for name, each in costs.change.items():
            if before is None:
                break
            parameter = self._task.space.parameters[name]
            column = self._encoding.names.index(name)
            at = float(to_unit(parameter, [before[name]])[0])
            if isinstance(parameter, Categorical):
                parts.append((column, at, each, True))
            else:
                parts.append((column, at, each * _range(parameter), False))

        def log_cost(units: Tensor) -> Tensor:
            cost = units.new_full((len(units),), costs.trial)
            if fidelity_costs is not None:
                column, known = fidelity_costs
                at = units[:, column].detach()
                size = 1.0 if self._encoding.is_choice(column) else 1.0 / (len(known) - 1)
                cost = cost * known[(at / size).round().long().clamp(0, len(known) - 1)]
            for column, at, each, choice in parts:
                off = (units[:, column] - at).abs()
                cost = cost + each * ((off > 0.5).to(cost) if choice else off)
            return cost.log()

        return log_cost

    def _fidelity_costs(self, fidelity: Fidelity) -> tuple[int, Tensor]:
        """The column, and what a trial costs along it: at each level, or on a fine grid."""
        column = self._encoding.names.index(fidelity.parameter)
        parameter = self._task.space.parameters[fidelity.parameter]
        units = self._encoding.levels.get(column, np.linspace(0.0, 1.0, 101))
        costs = [fidelity.cost(parameter.from_unit(float(u))) for u in units]
        return column, self._encoding.tensor(np.array(costs))

    def _last(self) -> Mapping[str, Any] | None:
        """The trial after which this one comes."""
        if self._pending:
            return self._pending[-1]
        records = self._history.records("completed", "failed")
        return records[-1] if records else None

    # -- why --------------------------------------------------------------------------------------

    def why(self, target: Target, point: Point, value: float) -> dict[str, Any]:
        """Say in numbers why this point: what is expected, how sure, how feasible, how new."""
        z = self._models.embedded([point], self._context)
        told: dict[str, Any] = {"log_acquisition": float(f"{value:.5g}")}
        expected = {}
        for name, model in {**self._models.objectives, **self._models.constrained}.items():
            mean, sd = model.gp.posterior(z)
            sign = self._task.objectives[name].sign if name in self._models.objectives else 1.0
            middle, spread = model.unwarped(mean.cpu().numpy(), sd.cpu().numpy())
            expected[name] = {
                "mean": float(f"{sign * middle[0]:.5g}"),
                "sd": float(f"{spread[0]:.3g}"),
            }
        told["expected"] = expected
        if target.certainty:
            certain = float(target.certainty(z).exp()[0])
            told["p_feasible"] = float(f"{certain:.3g}")
        everything = self._encoding.units([point])[:, : self._encoding.chosen]
        tried = self._encoding.units(self._history.records())[:, : self._encoding.chosen]
        if len(tried):
            difference = tried - everything
            for column in range(self._encoding.chosen):
                if self._encoding.is_choice(column):
                    difference[:, column] = np.abs(difference[:, column]) > 0.5
            distance = float(np.sqrt(np.square(difference).sum(1)).min())
            told["distance_to_nearest"] = float(f"{distance:.3g}")
        return told


def _desirability(
    objectives: Sequence[tuple[str, Any]], models: Sequence[Outcome]
) -> Callable[[Tensor], Tensor]:
    """Geometric mean of desirabilities; an objective without one does not count."""

    def combine(y: Tensor) -> Tensor:
        total = y.new_zeros(y.shape[:-1])
        weight = 0.0
        for k, ((_, objective), model) in enumerate(zip(objectives, models, strict=True)):
            if objective.desirability is None:
                continue
            share = objective.weight or 1.0
            wish = objective.desirability
            ends = sorted(model.to_model(objective.sign * v) for v in (wish.worst, wish.best))
            low, high = ends[0], ends[1]
            d = ((y[..., k] - low) / max(high - low, 1e-12)).clamp(1e-3, 1.0)
            total = total + share * wish.exponent * d.log()
            weight += share
        return (total / weight).exp()

    return combine


def _narrowed(gp: GaussianProcess, count: int) -> GaussianProcess:
    """Keep some of the alternatives."""
    narrow = object.__new__(type(gp))
    narrow.__dict__.update(gp.__dict__)
    narrow._y = gp._y[:, :count]  # noqa: SLF001
    narrow._mean = gp._mean[:count]  # noqa: SLF001
    narrow._weights = gp._weights[:, :count]  # noqa: SLF001
    return narrow


def _range(parameter: Any) -> float:
    if isinstance(parameter, Continuous | Integer):
        return float(parameter.high - parameter.low)
    return float(parameter.values[-1] - parameter.values[0])


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _seed_of(seed: int, count: int) -> int:
    """Mix the campaign's seed with the length of its history."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1)[0] >> 1)
