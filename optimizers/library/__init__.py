"""Candidate libraries: the next molecules, or other rows of a file, out of up to 10^7.

A Gaussian process on fingerprints or descriptors, log expected improvement of every row, and
batches that are diverse because each pick is conditioned on (see `_screening`). Failed trials and
broken outcome constraints lower what resembles them by P(success). Before there is an outcome to
learn from, rows are chosen that stand for the library.

Several objectives are traded as their weights and desirabilities say; where none has one, by
weights that are drawn anew for each pick, in the augmented Chebyshev form (Knowles 2006, "ParEGO"),
so that the picks follow the front.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdl.errors import ConfigError, OptimizerError
from sdl.library import Library
from sdl.optimizers._history import History, number, option, unsupported, versions
from sdl.space import Objective, Point
from sdl.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdl.optimizers.library._model import Trials
    from sdl.optimizers.library._screening import Chosen

INITIAL = 10  # rows of the start, where the budget does not say fewer
AUGMENTED = 0.05  # share of the plain sum in the Chebyshev form
WORTH_A_GPU = 200_000  # rows; less is scored before torch is imported


class LibraryScreening:
    """Log expected improvement over a whole library.

    :param initial: trials of the start, which goes on until two have completed; default 10, at most
        a third of the budget.
    :param popcount: "numkong", "numpy" or "auto": the first that is installed. Results are equal.
    :param device: "auto" takes a GPU for large libraries where there is one.
    """

    incremental = True

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        initial: int | None = None,
        popcount: Literal["auto", "numkong", "numpy"] = "auto",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ConfigError(
                f"library: unknown option {', '.join(unknown)}; options are: initial, popcount, "
                "device"
            )
        if popcount not in ("auto", "numkong", "numpy"):
            raise ConfigError(f"library: popcount must be auto, numkong or numpy, not {popcount!r}")
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"library: device must be auto, cpu or cuda, not {device!r}")
        self._name, self._library = _only(task)
        least = INITIAL if task.trials is None else max(2, min(INITIAL, task.trials // 3))
        self._initial = (
            least if initial is None else option("initial", initial, 1, 10_000, "library")
        )
        self._task, self._seed = task, seed
        self._popcount, self._device = popcount, device
        self._history = History(task, whole=True)
        self._provenance: dict[str, Any] = {}

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced (see `sdl.suggest.Optimizer`)."""
        self._history.ingest(points)

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return `n` rows, new ones as long as there are any; then the best again.

        :raises OptimizerError: the library cannot be read, or is used up and nothing completed.
        """
        self._history.pend(pending)
        try:
            chosen = self._chosen(n)
        except ValueError as error:
            raise OptimizerError(f"library: {error}") from error
        rows, notes = list(chosen.rows), self._notes()
        if len(rows) < n:
            notes.append("every row of the library was tried; the best are repeated")
            rows += self._best_again(n - len(rows))
        index = self._library.index
        self._provenance = {
            **chosen.made,
            "rows": self._library.matrix.rows,
            "why": [self._in_words(row, why) for row, why in zip(rows, chosen.why, strict=False)],
            "seed": self._seed,
            "history": self._history.summary(),
            "notes": notes,
            "versions": versions("numpy", "scipy"),
        }
        return [{self._name: index[row]} for row in rows]

    @property
    def provenance(self) -> dict[str, Any]:
        return self._provenance

    def warm_up(self) -> None:
        """Import scipy, and compute the features of all rows if nobody has before.

        :raises OptimizerError: the library cannot be read.
        """
        from sdl.optimizers.library import _screening  # noqa: F401

        try:
            self._library.prepare()
        except ValueError as error:
            raise OptimizerError(f"library: {error}") from error

    def leave_one_out(self) -> list[dict[str, Any]]:
        """Predict each completed trial from the others, hyperparameters fitted to all.

        :return: see `sdl.suggest.Predicts`; empty with fewer than three completed trials.
        """
        from dataclasses import replace

        from sdl.optimizers.library._model import Model

        if len(self._history.ids("completed")) < 3:
            return []
        found: list[dict[str, Any]] = []
        for name in self._task.objectives:
            trials = replace(
                self._trials(self._history.outcomes(name)), failed=(), pending=(), succeeded=None
            )
            mean, sd = Model.of(trials, self._library.matrix, self._popcount).leave_one_out()
            found += [
                {"_id": i, "objective": name, "observed": y, "mean": float(m), "sd": float(s)}
                for i, y, m, s in zip(
                    self._history.ids("completed"), trials.outcomes, mean, sd, strict=True
                )
            ]
        return found

    def _chosen(self, n: int) -> "Chosen":
        import numpy as np

        from sdl.optimizers.library import _screening

        completed = self._history.records("completed")
        if len(completed) < 2 or len(self._history) < self._initial:
            from sdl.optimizers.library._start import spread

            trials = self._trials([0.0] * len(completed))
            few = min(n, self._library.matrix.rows - len(set(trials.rows)))
            rows = spread(
                self._library.matrix, trials, few, seed=self._seed, popcount=self._popcount
            )
            return _screening.Chosen(rows, [], {"generator": "spread over the library"})
        if not self._drawn:
            return self._screened(self._utility(None), n, ())
        chosen = _screening.Chosen([], [], {})
        for pick in range(n):  # each of its own trade-off, aware of those before
            random = np.random.default_rng([self._seed, len(self._history), pick])
            weights = random.dirichlet(np.ones(len(self._task.objectives)))
            more = self._screened(self._utility(weights), 1, chosen.rows)
            chosen = _screening.Chosen(
                chosen.rows + more.rows, chosen.why + more.why, more.made | chosen.made
            )
        return chosen

    def _screened(self, utility: Sequence[float], n: int, picks: Sequence[int]) -> "Chosen":
        from dataclasses import replace

        from sdl.optimizers.library import _screening

        trials = self._trials(utility)
        trials = replace(trials, pending=[*trials.pending, *picks])
        return _screening.choose(
            self._library.matrix,
            trials,
            n,
            seed=self._seed,
            popcount=self._popcount,
            device=self._chosen_device(),
        )

    def _trials(self, utility: Sequence[float]) -> "Trials":
        """Return what was tried, by row.

        :param utility: of each completed trial; more is better.
        """
        from sdl.optimizers.library._model import Trials

        completed = self._history.records("completed")
        kept = [self._task.feasible(point) for point in completed]
        return Trials(
            completed=self._rows("completed"),
            outcomes=list(utility),
            succeeded=None if all(kept) else kept,
            failed=self._rows("failed"),
            pending=self._rows("pending"),
            noise=self._noise(completed),
        )

    def _rows(self, state: str) -> list[int]:
        points = self._history.points(state)
        return [int(self._library.to_unit(point[self._name])) for point in points]

    def _noise(self, completed: Sequence[Mapping[str, Any]]) -> list[float] | None:
        """Return the noise of each outcome where it is known; None where of none it is."""
        if len(self._task.objectives) > 1:
            return None
        ((name, objective),) = self._task.objectives.items()
        if objective.desirability is not None:
            return None
        known = float("nan") if objective.noise is None else objective.noise
        each = [number(point.get(f"{name}_sd")) for point in completed]
        noise = [known if value != value else value for value in each]
        return None if all(value != value for value in noise) else noise

    @property
    def _drawn(self) -> bool:
        """Whether there are several objectives and nobody said what each is worth."""
        wanted = self._task.objectives.values()
        said = any(o.weight is not None or o.desirability is not None for o in wanted)
        return len(self._task.objectives) > 1 and not said

    def _utility(self, weights: "NDArray[np.float64] | None") -> list[float]:
        """Return how good each completed trial is, as one number.

        :param weights: of the objectives, for the Chebyshev form; None where the task says them.
        """
        import numpy as np

        wanted = self._task.objectives
        if len(wanted) == 1:
            ((name, objective),) = wanted.items()
            outcomes = np.array(self._history.outcomes(name))
            if objective.desirability is not None:
                return objective.desirability.of(outcomes).tolist()
            return (objective.sign * outcomes).tolist()
        columns = [_share(np.array(self._history.outcomes(n)), o) for n, o in wanted.items()]
        shares = np.stack(columns, axis=1)
        if weights is not None:
            worst = (weights * shares).min(1)
            return (worst + AUGMENTED * shares @ weights).tolist()
        worth = np.array([o.weight or 1.0 for o in wanted.values()])
        if all(o.desirability is not None for o in wanted.values()):
            logs = np.log(np.maximum(shares, 1e-3))  # a zero is as bad as a thousandth
            return np.exp(logs @ worth / worth.sum()).tolist()
        return (shares @ worth / worth.sum()).tolist()

    def _best_again(self, n: int) -> list[int]:
        """Return the best rows that completed, for replicates."""
        import numpy as np

        trials = self._trials(self._utility(None))
        if not trials.completed:
            raise OptimizerError(
                f"library: all {self._library.matrix.rows} rows were tried, none completed"
            )
        order = np.argsort(-np.asarray(trials.outcomes), kind="stable")
        rows = list(dict.fromkeys(trials.completed[i] for i in order))
        return [rows[k % len(rows)] for k in range(n)]

    def _in_words(self, row: int, why: Mapping[str, Any]) -> dict[str, Any]:
        """Name rows by their keys; and the outcome with the objective's own sign."""
        said = {self._name: self._library.index[row], **why}
        if "nearest" in said:
            near = said["nearest"]
            said["nearest"] = {
                self._name: self._library.index[near["row"]],
                "correlation": near["correlation"],
            }
        if "mean" in said and len(self._task.objectives) == 1:
            (objective,) = self._task.objectives.values()
            said["mean"] *= 1.0 if objective.desirability is not None else objective.sign
        return said

    def _notes(self) -> list[str]:
        names = [f"{name}_censored" for name in self._task.objectives]
        completed = self._history.records("completed")
        count = sum(any(point.get(name) for name in names) for point in completed)
        return [f"{count} censored outcomes are taken as if they were exact"] if count else []

    def _chosen_device(self) -> Literal["cpu", "cuda"]:
        if self._device != "auto":
            return self._device
        if self._library.matrix.rows < WORTH_A_GPU or not Path("/dev/nvidiactl").exists():
            return "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


def _only(task: Task) -> tuple[str, Library]:
    """Return the task's one parameter.

    :raises ConfigError: there are others, it is no library, or the task asks for more.
    """
    parameters = task.space.parameters
    libraries = {name: p for name, p in parameters.items() if isinstance(p, Library)}
    if len(libraries) != 1 or len(parameters) != 1:
        raise ConfigError(
            "library: it chooses the rows of one library and nothing else, but the parameters are "
            + ", ".join(f"{name} ({p.type})" for name, p in parameters.items())
        )
    without = task.model_copy(update={"outcome_constraints": {}})
    if unused := unsupported(without):
        raise ConfigError(f"library: {unused}")
    if task.costs.change:
        raise ConfigError("library: it does not heed what a change of the row costs")
    return next(iter(libraries.items()))


def _share(outcomes: "NDArray[np.float64]", objective: Objective) -> "NDArray[np.float64]":
    """Return outcomes from 0 (the worst, or the threshold) to 1 (the best so far)."""
    import numpy as np

    if objective.desirability is not None:
        return objective.desirability.of(outcomes)
    good = objective.sign * outcomes
    low = good.min() if objective.threshold is None else objective.sign * objective.threshold
    span = good.max() - low
    return (good - low) / span if span > 0 and np.isfinite(span) else good - good.max()
