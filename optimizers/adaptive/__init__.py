"""Bayesian optimization that fits itself to the task: what campaigns use by default."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sdl.errors import ConfigError
from sdl.library import Library
from sdl.optimizers._design import Design
from sdl.optimizers._history import History, option, versions
from sdl.optimizers.library import LibraryScreening
from sdl.space import Point
from sdl.task import Task

SCREENED = "a library alone: all of its rows are screened (strategy library)"
OPTIONS = "initial, raw_samples, restarts, outliers, device, transfer"


class Adaptive:
    """Gaussian processes of all outcomes and failures, and the acquisition that the task wants.

    :param initial: trials of the Sobol start, which goes on until two have completed; default
        d + 2, from 4 to 12, and no more than a quarter of the budget.
    :param raw_samples: points that are scored before the search climbs.
    :param restarts: points from which it climbs.
    :param outliers: whether outcomes that all others contradict are heeded less.
    :param device: "auto" takes a GPU where there is one. Suggestions are the same again on the same
        kind of device only.
    :param transfer: whether earlier campaigns' points (with `_campaign`) are learned from; which
        ones are told is the runtime's choice (see `sdl.kinship`).
    """

    incremental = True
    transfers = True

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        initial: int | None = None,
        raw_samples: int = 384,
        restarts: int = 5,
        outliers: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        transfer: bool | Sequence[str] = True,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ConfigError(
                f"adaptive: unknown option {', '.join(unknown)}; options are: {OPTIONS}"
            )
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"adaptive: device must be auto, cpu or cuda, not {device!r}")
        if isinstance(transfer, str) or not isinstance(transfer, bool | Sequence):
            raise ConfigError(
                f"adaptive: transfer must be true, false or a list of names, not {transfer!r}"
            )
        if not isinstance(outliers, bool):
            raise ConfigError(f"adaptive: outliers must be true or false, not {outliers!r}")
        default = min(max(task.space.dimension + 2, 4), 12)
        if task.trials is not None:
            default = max(min(default, task.trials // 4), 2)
        self._initial = (
            default if initial is None else option("initial", initial, 2, 10_000, "adaptive")
        )
        self._raw = option("raw_samples", raw_samples, 8, 100_000, "adaptive")
        self._restarts = option("restarts", restarts, 1, 1000, "adaptive")
        self._task, self._seed = task, seed
        self._outliers, self._device = outliers, device
        self._history = History(task)
        self._design = Design(task.space, seed)
        self._provenance: dict[str, Any] = {}
        self._made: Any = None
        self._transfer = transfer
        self._earlier: list[Mapping[str, Any]] = []
        self._screening = self._of_library(initial, device)

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced (see `sdl.suggest.Optimizer`)."""
        own = [point for point in points if "_campaign" not in point]
        (self._screening or self._history).ingest(own)
        if self._transfer and len(own) < len(points):
            self._earlier += [point for point in points if "_campaign" in point]
            self._made = None

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return `n` points, new ones where the space allows it."""
        if self._screening is not None:
            points = self._screening.suggest(n, pending, **context)
            self._provenance = {**self._screening.provenance, "choice": [SCREENED]}
            return points
        self._history.pend(pending)
        why = self._why_sobol()
        points: list[Point] = []
        made: dict[str, Any] = {"generator": "sobol", "notes": [why]}
        if why is None:
            points, made = self._proposer.propose(self._history, n, context, young=self._young())
        notes = list(made["notes"])
        if len(points) < n:
            tried = self._history.points() + points
            place = len(self._history) + len(points)
            more, fresh = self._design.next(n - len(points), place, tried)
            if points or why is None:
                notes.append(f"the last {len(more)} of {n} come from the Sobol sequence")
            if not fresh:
                notes.append("every point of the space was tried; some are repeated")
            points += more
        self._provenance = {
            **made,
            "seed": self._seed,
            "history": self._history.summary(),
            "notes": notes,
            "versions": versions("botorch", "torch", "scipy"),
        }
        return points

    @property
    def provenance(self) -> dict[str, Any]:
        return self._provenance

    def warm_up(self) -> None:
        """Import torch and what the first modelled suggestion needs besides."""
        if self._screening is not None:
            self._screening.warm_up()
            return
        from sdl.optimizers.adaptive import _propose  # noqa: F401

    def leave_one_out(self) -> list[dict[str, Any]]:
        """Predict each completed trial from the others, hyperparameters fitted to all.

        :return: see `sdl.suggest.Predicts`; empty with fewer than three completed trials.
        """
        if self._screening is not None:
            return self._screening.leave_one_out()
        if len(self._history.ids("completed")) < 3:
            return []
        models = self._proposer.models(self._history)
        predictions: list[dict[str, Any]] = []
        for name, model in {**models.objectives, **models.constrained}.items():
            objective = self._task.objectives.get(name)
            sign = 1.0 if objective is None else objective.sign
            means, sds = model.leave_one_out()
            records = [models.completed[i] for i in models.rows(name)]
            predictions += [
                {
                    "_id": record["_id"],
                    "objective": name,
                    "observed": float(record[name]),
                    "mean": sign * float(mean),
                    "sd": float(sd),
                }
                for record, mean, sd in zip(records, means, sds, strict=True)
            ]
        return predictions

    def _of_library(self, initial: int | None, device: Any) -> LibraryScreening | None:
        """What does the work where a library is all that is varied."""
        task = self._task
        (first, *others) = task.space.parameters.values()
        extra = task.contexts or task.fidelity or task.costs.change
        if others or extra or not isinstance(first, Library):
            return None
        return LibraryScreening(task, seed=self._seed, initial=initial, device=device)

    def judge(self) -> dict[str, Any]:
        """Judge the models (see `sdl.suggest.Judges`)."""
        from sdl.optimizers.adaptive._judge import judge

        return judge(self._proposer, self._history)

    def forecast(self, points: Sequence[Point], wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Say what is left to be gained, and when (see `sdl.suggest.Forecasts`)."""
        from sdl.optimizers.adaptive._forecast import forecast

        return forecast(self._proposer, self._history, points, wanted)

    @property
    def _proposer(self) -> Any:
        if self._made is None:
            from sdl.optimizers.adaptive._climb import Effort
            from sdl.optimizers.adaptive._propose import Proposer

            effort = Effort(self._raw, self._restarts)
            self._made = Proposer(
                self._task,
                self._design,
                self._seed,
                effort,
                self._device,
                self._outliers,
                self._earlier,
            )
        return self._made

    def _young(self) -> bool:
        """Whether own trials alone are too few for a model."""
        few = len(self._history.ids("completed")) < 2
        return few or len(self._history.ids()) < self._initial

    def _why_sobol(self) -> str | None:
        """Say why there is no model yet, or return None."""
        completed = len(self._history.ids("completed"))
        if self._earlier and self._young():
            if len(self._history.ids()) == 1:
                return "a spread trial, by which earlier campaigns are judged"
            return None
        if completed < 2:
            return f"{completed} completed trials are too few for a model"
        if len(self._history.ids()) < self._initial:
            return f"initial design: {len(self._history.ids())} of {self._initial} trials"
        return None
