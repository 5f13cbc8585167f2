"""What is left to be gained, and how many trials a target is away, by the models of `adaptive`.

What is left is judged on a finite set of places where the best may lie: spread over the space,
around good trials and suggestions, those kept that are promising. The truth may hide between them,
so that what is said is a little less than what there is; in many dimensions more so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from sdl.optimizers._history import History
from sdl.optimizers.adaptive._gain import Certainty
from sdl.optimizers.adaptive._gaussian import NUMERICAL, GaussianProcess
from sdl.optimizers.adaptive._judge import FEWEST, best_trial, one_thread, predictions, sign_of
from sdl.optimizers.adaptive._models import Models
from sdl.optimizers.adaptive._outcome import Outcome
from sdl.optimizers.adaptive._pool import pool, promising
from sdl.optimizers.adaptive._propose import Asked, Proposer
from sdl.optimizers.adaptive._simulate import Simulated, root, simulate
from sdl.optimizers.adaptive._uncertain import uncertain
from sdl.space import Point
from sdl.suggest.calibration import Calibration, Prediction

PLACES = 512  # that joint draws look at
PROCESSES = 16  # that differ in their hyperparameters
DRAWS = 128  # of the function
QUADRATURE = 32  # nodes, where outcomes are warped
BETA = 2.0  # standard deviations of the bound on the regret
LIKELY = 0.5  # P(feasible) from which on a place counts as feasible
MOST_TRIALS = 100  # ahead that are simulated
CAMPAIGNS = 64  # that are simulated
SHARES = (0.1, 0.5, 0.9)  # 80 % interval and median


def forecast(
    proposer: Proposer, history: History, points: Sequence[Point], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what is left to be gained; see `sdl.suggest.Forecasts` and `sdl.stoprule`.

    :param points: what was suggested just now.
    :return: `completed` (trials), and either `cannot_say` or `expected_gain` (of the best next
        trial), `of` (what it is a gain of), `units`, `gain_per_cost`; with one objective also
        `probability` (that more than `wanted["of"]` is left), `regret_bound`, `doubt` of the
        model (empty: none) and `trials_to_target`, `trials_to_gain` where they are asked for.
    """
    completed = len(history.ids("completed"))
    said: dict[str, Any] = {"completed": completed}
    if completed < FEWEST:
        return said | {"cannot_say": f"{completed} completed trials are too few for a model"}
    with one_thread():
        try:
            return said | _forecast(proposer, history, points, wanted)
        except NUMERICAL as error:
            why = f"the model cannot be evaluated: {type(error).__name__}: {str(error)[:200]}"
            return said | {"cannot_say": why}


def _forecast(
    proposer: Proposer, history: History, points: Sequence[Point], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    models = proposer.models(history)
    if len(models.objectives) < len(proposer.task.objectives):
        return {"cannot_say": "not every objective was measured yet"}
    if len(proposer.task.objectives) > 1:
        return _of_several(proposer, models, history, points)
    return Single(proposer, models, history, points).forecast(wanted)


# -- one objective ---------------------------------------------------------------------------------


class Single:
    """A campaign with one objective, as it stands."""

    def __init__(
        self, proposer: Proposer, models: Models, history: History, points: Sequence[Point]
    ) -> None:
        self._task, self._models = proposer.task, models
        ((self._name, self._model),) = models.objectives.items()
        self.seed = proposer.seed
        asked = Asked(models, proposer.task, [], {}, history, proposer.seed)
        self._target, good, _ = asked.target()
        self._incumbent, _ = best_trial(proposer, models, history)
        encoding = models.encoding
        centres = [*encoding.points(good), *points] if len(good) else list(points)
        tried = {proposer.design.key(p) for p in history.points("completed", "failed")}
        # what was suggested is not tried yet, but pending
        self.points = pool(
            proposer.task.space, encoding, proposer.design, proposer.seed, centres, tried
        )
        known = {proposer.design.key(p) for p in self.points}
        self.points += [p for p in points if proposer.design.key(p) not in known | tried]
        self._certainty: Certainty = self._target.certainty
        context = {encoding.names[c]: v for c, v in self._target.fixed.items()}
        self._context = context
        self._before: Mapping[str, Any] | None = None
        records = history.records("completed", "failed")
        if records:
            self._before = records[-1]

    def forecast(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        objective = self._task.objectives[self._name]
        said: dict[str, Any] = {"of": self._name, "units": objective.units, "doubt": self._doubt()}
        if self._target.gain is None:
            return {"cannot_say": "no trial is known that keeps all outcome constraints"}
        if not self.points:
            nothing = {"expected_gain": 0.0, "gain_per_cost": 0.0, "probability": 0.0}
            return said | nothing | {"regret_bound": 0.0}
        places = Places.of(self)
        gains = places.gains()
        costs = np.array([self._task.cost(p, self._before) for p in places.points])
        said["expected_gain"] = _short(gains.max())
        said["gain_per_cost"] = _short((gains / costs).max())
        said |= places.regret(float(wanted.get("of") or 0.0), self.seed)
        target = (wanted.get("until") or {}).get(self._name)
        least = wanted.get("expected_gain")
        if target is None and least is None:
            return said
        return said | self._ahead(places, target, least, wanted.get("trials"))

    def _ahead(
        self, places: "Places", target: float | None, least: float | None, left: int | None
    ) -> dict[str, Any]:
        asked = {"trials_to_target": target, "trials_to_gain": least}
        keys = [key for key, value in asked.items() if value is not None]
        if doubt := self._doubt():
            return {key: {"cannot_say": doubt} for key in keys}
        ahead = MOST_TRIALS if left is None else max(min(left, MOST_TRIALS), 1)
        level = None if target is None else self._to_model(target)
        made = [
            simulate(
                known,
                draws=max(CAMPAIGNS // len(places.gps), 1),
                trials=ahead,
                seed=self.seed + k,
                target=level,
                gain=None if least is None else least * places.slope,
            )
            for k, known in enumerate(places.simulated)
        ]
        found = {
            "trials_to_target": np.concatenate([m.to_target for m in made]),
            "trials_to_gain": np.concatenate([m.to_gain for m in made]),
        }
        goal = {"trials_to_target": "target", "trials_to_gain": "expected_gain"}
        return {key: {goal[key]: asked[key], **_counted(found[key], ahead)} for key in keys}

    def _doubt(self) -> str:
        rows = predictions(self._models, self._name)
        if not rows:
            return "every measurement is censored"
        return Calibration([Prediction.of({**r, "_id": k}) for k, r in enumerate(rows)]).doubt

    def _to_model(self, value: float) -> float:
        return self._model.to_model(sign_of(self._models, self._name) * value)

    # -- what `Places` needs -----------------------------------------------------------------------

    @property
    def model(self) -> Outcome:
        return self._model

    def embedded(self, points: Sequence[Mapping[str, Any]]) -> Tensor:
        return self._models.embedded(points, self._context)

    def likely(self, z: Tensor) -> Tensor:
        """P(feasible) of embedded points."""
        with torch.no_grad():
            return self._certainty(z).exp() if self._certainty else z.new_ones(len(z))

    @property
    def best(self) -> Tensor:
        """The trial with the best expectation, as it would be now; embedded, 1 x D."""
        units = self._models.encoding.tensor(self._incumbent[None].copy())
        for column, value in self._target.fixed.items():
            units[:, column] = value
        return self._models.encoding.embed(units)


@dataclass(frozen=True)
class Places:
    """Where the best may lie, and last the best trial."""

    gps: Sequence[GaussianProcess]
    """Of equal weight."""
    model: Outcome
    points: Sequence[Point]
    z: Tensor
    """b + 1 x D"""
    likely: Tensor
    """b: P(feasible)."""

    @classmethod
    def of(cls, single: Single) -> "Places":
        z = single.embedded(single.points)
        likely = single.likely(z)
        kept = promising(single.model.gp, z, likely, PLACES)
        points = [single.points[i] for i in kept.tolist()]
        everything = torch.cat([z[kept], single.best])
        gps = uncertain(single.model.gp, single.seed, PROCESSES)
        return cls(gps, single.model, points, everything, likely[kept])

    @property
    def slope(self) -> float:
        """Of the warp at the best trial's expectation: model units an outcome's unit."""
        with torch.no_grad():
            mean = self.model.gp.mean(self.z[-1:]).cpu().numpy()
        return float(np.exp(self.model.warp.log_slope(self.model.warp.back(mean)))[0])

    @cached_property
    def simulated(self) -> list[Simulated]:
        """The posteriors at all places."""
        likely = np.append(self.likely.cpu().numpy(), 1.0)
        found = []
        for gp in self.gps:
            with torch.no_grad():
                mean = gp.mean(self.z).cpu().numpy()
                covariance = gp.data.scale**2 * gp.covariance(self.z, self.z).cpu().numpy()
            found.append(Simulated(mean, covariance, gp.noise, likely))
        return found

    def gains(self) -> NDArray[np.float64]:
        """Return the expected improvement of each place over the best trial's expectation, in the
        outcome's units; by Gauss-Hermite quadrature where outcomes are warped.
        """
        found = np.mean([self._gains(known) for known in self.simulated], axis=0)
        return found * self.likely.cpu().numpy()

    def _gains(self, known: Simulated) -> NDArray[np.float64]:
        sd = np.sqrt(known.covariance.diagonal().clip(1e-300))[:-1]
        mean, best, back = known.mean[:-1], known.mean[-1], self.model.warp.back
        if self.model.warp.plain:
            u = (mean - best) / sd
            return sd * (u * norm.cdf(u) + norm.pdf(u))
        nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
        better = back(mean[:, None] + sd[:, None] * nodes) - back(np.array([best]))
        return np.maximum(better, 0.0) @ weights / math.sqrt(2 * math.pi)

    def regret(self, of: float, seed: int) -> dict[str, float]:
        """Say how much better than the best trial the best place may be.

        `probability`: that it is better by more than `of`, from joint draws (Wilson 2024).
        `regret_bound`: highest upper less highest lower confidence bound (Makarova et al. 2022).
        """
        rng, back = np.random.default_rng(seed), self.model.warp.back
        left, bounds = list[NDArray[np.float64]](), list[float]()
        for known in self.simulated:
            possible = known.likely >= LIKELY  # the best trial is one of them
            normals = rng.standard_normal((len(self.z), max(DRAWS // len(self.gps), 1)))
            drawn = known.mean[:, None] + root(known.covariance) @ normals
            left.append(back(drawn[possible].max(0)) - back(drawn[-1]))
            sd = np.sqrt(known.covariance.diagonal().clip(0.0))
            upper, lower = (
                back((known.mean + k * sd)[possible].max(keepdims=True))[0] for k in (BETA, -BETA)
            )
            bounds.append(upper - lower)
        chance = (np.concatenate(left) > of).mean()
        return {"probability": _short(chance), "regret_bound": _short(np.median(bounds))}


# -- several objectives ----------------------------------------------------------------------------


def _of_several(
    proposer: Proposer, models: Models, history: History, points: Sequence[Point]
) -> dict[str, Any]:
    asked = Asked(models, proposer.task, [], {}, history, proposer.seed)
    target, good, told = asked.target()
    if target.gain is None:
        return {"cannot_say": "no trial is known that keeps all outcome constraints"}
    if told.get("combined", "").startswith("random"):
        return {"cannot_say": "the objectives are weighed anew for each trial: give weights"}
    tried = {proposer.design.key(p) for p in history.points("completed", "failed")}
    encoding = models.encoding
    centres = [*encoding.points(good), *points]
    places = pool(proposer.task.space, encoding, proposer.design, proposer.seed, centres, tried)
    if not places:
        return {"expected_gain": 0.0, "gain_per_cost": 0.0, "of": target.gain.name, "units": ""}
    units = encoding.units(places)
    for column, value in target.fixed.items():
        units[:, column] = value
    with torch.no_grad():
        z = encoding.embed(encoding.tensor(units))
        log_gain = target.gain(z)
        if target.certainty:
            log_gain = log_gain + target.certainty(z)
    gains = log_gain.exp().cpu().numpy()
    costs = np.array([proposer.task.cost(p) for p in places])
    of = "hypervolume" if target.gain.name == "LogEHVI" else "the combined objective"
    warped = any(not m.warp.plain for m in models.objectives.values())
    return {
        "expected_gain": _short(gains.max()),
        "gain_per_cost": _short((gains / costs).max()),
        "of": of + (" of the transformed outcomes" if warped else ""),
        "units": "",
        "doubt": "",
    }


def _counted(counts: NDArray[np.float64], ahead: int) -> dict[str, Any]:
    """Quantiles of the trials until something happened; None: not within what was simulated."""
    share = float(np.isfinite(counts).mean())
    if share <= SHARES[0]:
        # a model that has seen nothing as good knows little of how good it can get
        return {
            "cannot_say": f"the model sees no way there: {share:.0%} of the campaigns that were "
            f"simulated got there within {ahead} trials"
        }
    low, middle, high = np.quantile(counts, SHARES, method="higher")
    return {
        "median": None if math.isinf(middle) else int(middle),
        "low": None if math.isinf(low) else int(low),
        "high": None if math.isinf(high) else int(high),
        "within": ahead,
        "share": _short(share),
    }


def _short(value: Any) -> float:
    return float(f"{float(value):.4g}")
