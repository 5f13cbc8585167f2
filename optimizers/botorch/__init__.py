"""Bayesian optimization with BoTorch: Sobol start, then Gaussian processes.

One objective: log noisy expected improvement; several: log noisy expected hypervolume improvement
(Ament et al. 2023, "Unexpected improvements to expected improvement"), from the objectives'
thresholds or, where one is missing, from the reference point that BoTorch infers from the front.
Pending points are part of the acquisition. Failed trials lower it: log P(success) is added
(see `_success`).

Where numbers fail, in this order: a model that cannot be fitted keeps its prior's hyperparameters;
an acquisition that cannot be optimized gives the best of its raw samples; a model that cannot be
evaluated gives the next point of the Sobol sequence. `provenance` says which.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sdl.errors import ConfigError
from sdl.library import Library
from sdl.optimizers._design import Design
from sdl.optimizers._history import History, option, unsupported, versions
from sdl.space import Point
from sdl.task import Task


class BoTorch:
    """SingleTaskGP with qLogNEI or qLogNEHVI.

    :param initial: trials of the Sobol start, which goes on until two have completed; default
        2 (d + 1), from 5 to 20.
    :param restarts: starting points of the acquisition's optimization.
    :param raw_samples: points from which these are chosen.
    :param device: "auto" takes a GPU where there is one. Suggestions are the same again on the same
        kind of device only.
    """

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        initial: int | None = None,
        restarts: int = 8,
        raw_samples: int = 256,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ConfigError(
                f"botorch: unknown option {', '.join(unknown)}; options are: initial, restarts, "
                "raw_samples, device"
            )
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"botorch: device must be auto, cpu or cuda, not {device!r}")
        if unused := unsupported(task):
            raise ConfigError(f"botorch: {unused}; use adaptive")
        if any(isinstance(p, Library) for p in task.space.parameters.values()):
            raise ConfigError("botorch: it knows no libraries; use adaptive")
        space = task.space
        default = min(max(2 * (space.dimension + 1), 5), 20)
        self._initial = (
            default if initial is None else option("initial", initial, 2, 10_000, "botorch")
        )
        self._restarts = option("restarts", restarts, 1, 1000, "botorch")
        self._raw_samples = option("raw_samples", raw_samples, 1, 100_000, "botorch")
        self._space, self._objectives, self._seed = space, task.objectives, seed
        self._device = device
        self._history = History(task, whole=True)
        self._design = Design(space, seed)
        self._provenance: dict[str, Any] = {}

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced (see `sdl.suggest.Optimizer`)."""
        self._history.ingest(points)

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return `n` points, new ones where the space allows it."""
        self._history.pend(pending)
        why = self._why_sobol()
        if why is None:
            from sdl.optimizers.botorch import _propose

            points, made = _propose.propose(
                self._space,
                self._objectives,
                self._history,
                self._design,
                n,
                seed=self._seed,
                restarts=self._restarts,
                raw_samples=self._raw_samples,
                device=self._device,
            )
            notes = made["notes"]
        else:
            points, made, notes = [], {"generator": "sobol"}, [why]
        if len(points) < n:
            tried = self._history.points() + points
            more, fresh = self._design.next(
                n - len(points), len(self._history) + len(points), tried
            )
            if points or why is None:
                notes = [*notes, f"the last {len(more)} of {n} come from the Sobol sequence"]
            if not fresh:
                notes = [*notes, "every point of the space was tried; some are repeated"]
            points += more
        self._provenance = {
            **made,
            "seed": self._seed,
            "history": self._history.summary(),
            "notes": notes,
            "versions": versions("botorch", "gpytorch", "torch", "scipy"),
        }
        return points

    @property
    def provenance(self) -> dict[str, Any]:
        return self._provenance

    def warm_up(self) -> None:
        """Import torch and what the first modelled suggestion needs besides."""
        from sdl.optimizers.botorch import _propose  # noqa: F401

    def leave_one_out(self) -> list[dict[str, Any]]:
        """Predict each completed trial from the others, hyperparameters fitted to all.

        :return: see `sdl.suggest.Predicts`; empty with fewer than three completed trials.
        """
        if len(self._history.ids("completed")) < 3:
            return []
        from sdl.optimizers.botorch import _propose

        return _propose.leave_one_out(self._space, self._objectives, self._history, self._seed)

    def _why_sobol(self) -> str | None:
        """Say why there is no model yet, or return None."""
        completed = len(self._history.ids("completed"))
        if completed < 2:
            return f"{completed} completed trials are too few for a model"
        if len(self._history.ids()) < self._initial:
            return f"initial design: {len(self._history.ids())} of {self._initial} trials"
        return None
