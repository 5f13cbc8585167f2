"""What other people's optimizers have in common when they are strategies of a campaign.

The peer keeps no state: at each suggestion its study is built again from the history and a seed
that is mixed of the campaign's and the history's length, so a restarted campaign goes on as it
would have. The first trials come from the Sobol sequence, as with our own strategies.

Failed trials: no peer but SMAC models them, so they are told as the worst that was measured so far
(`failures: worst`) and the peer learns to keep away; `failures: ignore` leaves them to the peer.
"""

import random
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers._design import Design
from sdl.optimizers._history import History, number, option, versions
from sdl.optimizers.foreign._settle import settle
from sdl.space import Continuous, Integer, Point, Space
from sdl.task import Task

FRUITLESS = 4  # times in a row that a peer may answer with nothing that can be tried
# a fit that fails, and not a mistake of the adapter; those of libraries that the peer has loaded
NUMERICAL = (ArithmeticError, RuntimeError)
NUMERICAL_ELSEWHERE = (
    ("botorch.exceptions.errors", "ModelFittingError"),
    ("linear_operator.utils.errors", "NotPSDError"),
    ("linear_operator.utils.errors", "NanError"),
)
OUTCOME_CONSTRAINTS, SEVERAL, CANDIDATES = "outcome_constraints", "objectives", "candidates"
Outcomes = dict[str, float]
OUTDATED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)  # for the peer's authors


@dataclass(frozen=True)
class Measured:
    """A completed trial: every outcome, and the standard deviation of each where it is known."""

    point: Point
    outcomes: Outcomes
    sds: Outcomes


@dataclass(frozen=True)
class Told:
    """The history as a peer is told of it: points within the space only."""

    measured: Sequence[Measured]
    lost: Sequence[Point]
    """Failed trials, where they are not among the measured as the worst."""

    pending: Sequence[Point]


class Foreign(ABC):
    """A strategy around somebody else's optimizer; a subclass translates (`_ask`).

    :param initial: trials of the Sobol start, which goes on until two have completed; default
        2 (d + 1), from 5 to 20.
    :param failures: "worst" tells a failed trial as the worst measured so far, "ignore" as the peer
        itself does with failed trials.
    """

    NAME: ClassVar[str]
    PACKAGE: ClassVar[str]
    """As the registry calls it; the extra of ours that brings it has the strategy's name."""

    HEEDS: ClassVar[frozenset[str]] = frozenset()
    """Keys of a campaign that not every peer knows, but this one does."""

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        initial: int | None = None,
        failures: Literal["worst", "ignore"] = "worst",
        **unknown: Any,
    ) -> None:
        if unknown:
            known = ", ".join((*self._options, "initial", "failures"))
            raise ConfigError(
                f"{self.NAME}: unknown option {', '.join(unknown)}; options are: {known}"
            )
        if failures not in ("worst", "ignore"):
            raise ConfigError(f"{self.NAME}: failures must be worst or ignore, not {failures!r}")
        _installed(self.NAME, self.PACKAGE)
        if problems := [*_not_heeded(task, self.HEEDS), *self._cannot(task)]:
            raise ConfigError(*(f"{self.NAME}: {problem}" for problem in problems))
        default = min(max(2 * (task.space.dimension + 1), 5), 20)
        self._initial = (
            default if initial is None else option("initial", initial, 2, 10_000, self.NAME)
        )
        self._task, self._space, self._seed, self._failures = task, task.space, seed, failures
        self._history = History(task, whole=True)
        self._design = Design(task.space, seed)
        self._provenance: dict[str, Any] = {}

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; a known `_id` is replaced (see `sdl.suggest.Optimizer`)."""
        self._history.ingest(points)

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return `n` points, new ones where the space allows it.

        :raises OptimizerError: the peer proposes nothing that the space allows.
        """
        self._history.pend(pending)
        notes: list[str] = []
        points: list[Point] = []
        why = self._why_sobol()
        if why is None:
            points = self._proposed(n, notes)
        else:
            notes.append(why)
        generator = self.NAME if points else "sobol"
        if len(points) < n:
            points += self._filled(n - len(points), points, notes)
        self._provenance = {
            "generator": generator,
            **self._describe(),
            "failures": self._failures,
            "seed": self._seed,
            "history": self._history.summary(),
            "notes": notes,
            "versions": versions(self.PACKAGE),
        }
        return points

    @property
    def provenance(self) -> dict[str, Any]:
        return self._provenance

    @property
    def _options(self) -> tuple[str, ...]:
        """Options besides those of all peers."""
        return ()

    @property
    def _torch(self) -> bool:
        """Whether the peer draws random numbers from torch."""
        return True

    @abstractmethod
    def warm_up(self) -> None:
        """Import the peer."""

    @abstractmethod
    def _ask(self, told: Told, n: int, seed: int, notes: list[str]) -> Sequence[Mapping[str, Any]]:
        """Return 1 to `n` points in the space's parameters, each within a rounding of them."""

    def _cannot(self, task: Task) -> Iterator[str]:
        """Say what else of a task the peer cannot express, and who can."""
        yield from ()

    def _describe(self) -> dict[str, Any]:
        """Return what provenance says of the peer's options."""
        return {}

    def _why_sobol(self) -> str | None:
        """Say why the peer is not asked yet, or return None."""
        completed, trials = len(self._history.ids("completed")), len(self._history.ids())
        if completed < 2:
            return f"{completed} completed trials are too few for a model"
        if trials < self._initial:
            return f"initial design: {trials} of {self._initial} trials"
        return None

    def _proposed(self, n: int, notes: list[str]) -> list[Point]:
        """Return up to `n` new points that the peer proposes; fewer where it repeats itself."""
        told = self._told(notes)
        step = _seed_of(self._seed, len(self._history))
        taken = {self._design.key(point) for point in self._history.points()}
        chosen: list[Point] = []
        mistakes: Sequence[str] = ()
        asked = fruitless = 0
        while len(chosen) < n and fruitless < FRUITLESS:
            before = len(chosen)
            known = replace(told, pending=[*told.pending, *chosen])
            try:
                with _reproducible(step + asked, notes, torch=self._torch):
                    answers = self._ask(known, n - len(chosen), step + asked, notes)
            except _numerical() as error:
                notes.append(f"{self.NAME} failed: {type(error).__name__}: {error}")
                return chosen
            for answer in answers[: n - len(chosen)]:
                point, wrong = settle(self._space, answer)
                mistakes = wrong or mistakes
                if point is not None and (key := self._design.key(point)) not in taken:
                    taken.add(key)
                    chosen.append(point)
            asked += 1
            fruitless = fruitless + 1 if len(chosen) == before else 0
        if not chosen and mistakes:
            raise OptimizerError(
                f"{self.NAME}: proposed nothing that the space allows, {asked} times: "
                + "; ".join(mistakes)
            )
        return chosen

    def _filled(self, n: int, points: list[Point], notes: list[str]) -> list[Point]:
        """Return `n` points of the Sobol sequence to follow these."""
        tried = self._history.points() + points
        more, fresh = self._design.next(n, len(self._history) + len(points), tried)
        if self._why_sobol() is None:
            notes.append(f"the last {n} come from the Sobol sequence: nothing new was proposed")
        if not fresh:
            notes.append("every point of the space was tried; some are repeated")
        return more

    def _told(self, notes: list[str]) -> Told:
        names = self._space.names
        measured: list[Measured] = []
        lost: list[Point] = []
        pending: list[Point] = []
        outside = partial = 0
        for record in self._history.records():
            point = {name: record[name] for name in names}
            if self._space.check(point):
                outside += 1
            elif record["_state"] == "completed":
                measured.append(self._measured(point, record))
            elif record["_state"] == "pending":
                pending.append(self._space.round(point))
            elif any(_finite(record.get(name)) for name in self._task.outcomes):
                partial += 1
            else:
                lost.append(self._space.round(point))
        if outside:
            notes.append(f"{outside} trials lie outside the space; {self.NAME} is not told of them")
        if partial:
            notes.append(f"{partial} trials lack an outcome; {self.NAME} is not told of them")
        if self._failures == "worst" and measured:
            worst, sds = self._worst(measured), self._widest(measured)
            measured += [Measured(point, worst, sds) for point in lost]
            lost = []
        return Told(measured, lost, pending)

    def _measured(self, point: Point, record: Mapping[str, Any]) -> Measured:
        outcomes = {name: number(record[name]) for name in self._task.outcomes}
        sds: Outcomes = {}
        for name in self._task.outcomes:
            objective = self._task.objectives.get(name)
            sd = number(record.get(f"{name}_sd"))
            if sd >= 0:
                sds[name] = sd
            elif objective is not None and objective.noise is not None:
                sds[name] = objective.noise
        return Measured(self._space.round(point), outcomes, sds)

    def _worst(self, measured: Sequence[Measured]) -> Outcomes:
        """Return the worst value of each outcome: what a failed trial is told as."""
        worst: Outcomes = {}
        for name in self._task.outcomes:
            values = [trial.outcomes[name] for trial in measured]
            objective = self._task.objectives.get(name)
            if objective is not None:
                worst[name] = min(values) if objective.direction == "maximize" else max(values)
            else:
                constraint = self._task.outcome_constraints[name]
                low = -float("inf") if constraint.low is None else constraint.low
                high = float("inf") if constraint.high is None else constraint.high
                worst[name] = max(values, key=lambda value: max(low - value, value - high))
        return worst

    def _widest(self, measured: Sequence[Measured]) -> Outcomes:
        """Return the largest standard deviation of each outcome for which all are known."""
        return {
            name: max(trial.sds[name] for trial in measured)
            for name in self._task.outcomes
            if all(name in trial.sds for trial in measured)
        }


def only_inequalities(task: Task) -> Iterator[str]:
    """Say which linear constraints are more than inequalities of linear numbers."""
    for constraint in task.space.linear:
        if constraint.equality:
            yield f"constraints: {constraint} is an equality, which it does not know; use adaptive"
        for name in constraint.names:
            parameter = task.space.parameters[name]
            if isinstance(parameter, Continuous) and parameter.scale == "log":
                yield f"constraints: {constraint}: {name} has a log scale; use adaptive"
            elif not isinstance(parameter, Continuous | Integer):
                yield f"constraints: {constraint}: {name} is ordinal; use adaptive"


def no_linear(task: Task) -> Iterator[str]:
    """Say that no linear constraint can be expressed, where there are some."""
    if task.space.linear:
        text = task.space.linear[0]
        yield f"constraints: it knows no constraints between parameters ({text}); use adaptive"


def sizes(space: Space) -> Mapping[str, int]:
    """Return the number of levels of each parameter that has levels."""
    return {
        name: len(p.choices if p.type == "categorical" else p.levels)
        for name, p in space.parameters.items()
        if not isinstance(p, Continuous)
    }


def _installed(name: str, package: str) -> None:
    """Look without importing: a campaign is checked in the runtime's process.

    :raises ConfigError: it is not.
    """
    try:
        version(package)
    except PackageNotFoundError:
        raise ConfigError(
            f'{name}: the package {package} is not installed; pip install "sdl[{name}]"'
        ) from None


def _not_heeded(task: Task, heeds: frozenset[str]) -> Iterator[str]:
    several = len(task.objectives) > 1
    preferred = [
        f"objectives: {name}: {key}"
        for name, objective in task.objectives.items()
        for key in ("weight", "desirability")
        if several and getattr(objective, key) is not None
    ]
    given = {
        OUTCOME_CONSTRAINTS: task.outcome_constraints,
        SEVERAL: several,
        CANDIDATES: task.space.candidates is not None,
        "contexts": task.contexts,
        "fidelity": task.fidelity is not None,
        "mixtures": task.space.mixtures,
        "costs: change": task.costs.change,
        "constraints that are not linear": task.space.nonlinear,
        **dict.fromkeys(preferred, True),
    }
    for key, wanted in given.items():
        if wanted and key not in heeds:
            what = "more than one of them" if key == SEVERAL else "that"
            yield f"{key}: it does not know {what}; use adaptive, which does"


def _numerical() -> tuple[type[Exception], ...]:
    """Return the errors that a fit may end with; called when one was raised."""
    loaded = [(sys.modules.get(module), name) for module, name in NUMERICAL_ELSEWHERE]
    return (*NUMERICAL, *(getattr(module, name) for module, name in loaded if module is not None))


def _finite(value: Any) -> bool:
    return number(value) == number(value)  # NaN is not itself


def _seed_of(seed: int, count: int) -> int:
    """Mix the campaign's seed with the length of its history; below 2^31."""
    import numpy as np

    return int(np.random.SeedSequence([seed, count]).generate_state(1)[0] >> 1)


@contextmanager
def _reproducible(seed: int, notes: list[str], *, torch: bool) -> Iterator[None]:
    """Seed every generator that a peer may draw from; put all back afterwards.

    One thread, since the number of threads changes how sums are rounded. Warnings go to `notes`.
    """
    import numpy as np

    python, legacy = random.getstate(), np.random.get_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            if torch:
                with _torch_seeded(seed):
                    yield
            else:
                yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
    told = [w.category for w in caught if not issubclass(w.category, OUTDATED)]
    if kinds := sorted({category.__name__ for category in told}):
        text = f"warnings: {', '.join(kinds)}"
        if text not in notes:
            notes.append(text)


@contextmanager
def _torch_seeded(seed: int) -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
