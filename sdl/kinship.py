"""Earlier campaigns of a journal that are about the same thing as the present one, or nearly.

    for relative in relatives(journal, "snar-flow-2"):
        print(relative.campaign, relative.similarity, len(relative.points))

Only trials count that had ended when the present campaign began, in the order of the journal's
audit: whatever happens later, the same campaign is always told the same.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sdl.errors import ConfigError
from sdl.journal import Journal, Trial, TrialState
from sdl.journal.records import CampaignRecord
from sdl.space import Categorical, Continuous, Integer, Ordinal, Parameter
from sdl.task import Task
from sdl.telling import task_of, told

CAMPAIGN, SIMILARITY = "_campaign", "_similarity"
"""Keys of a point that was of another campaign: of which, and how much alike that is."""

MOST = 8
LEAST_TRIALS = 3
LEAST_SIMILARITY = 0.05
FEW = 5  # trials of which a campaign counts half
OTHER_PLAN, OTHER_LAB, OTHER_TWIN, OTHER_FIXED, OTHER_DIRECTION = 0.6, 0.8, 0.7, 0.8, 0.7
FIXED_THERE, FIXED_HERE, UNKNOWN_HERE = 0.5, 0.7, 0.5
NEAR = 0.1  # of its range: a number that counts as the one that is fixed here
BEYOND = 1.0  # of its range: how far outside the present bounds a trial still tells something

Value = float | int | str
Numeric = Continuous | Integer | Ordinal


@dataclass(frozen=True)
class Relative:
    """An earlier campaign, in the words of the present one."""

    campaign: str
    similarity: float
    """From 0 to 1: parameters and outcomes in common, plan, lab, and how many trials there are."""
    twin: bool
    points: tuple[Mapping[str, Any], ...]
    """Completed trials as `sdl.suggest` has them, with `_campaign` and `_similarity`."""
    differs: tuple[str, ...]
    """In what, in words."""


def relatives(
    journal: Journal, name: str, *, most: int = MOST, only: Iterable[str] | None = None
) -> list[Relative]:
    """Return the campaigns most like the campaign `name`, most similar first.

    :param most: how many at most.
    :param only: names of the campaigns that may count; none: all.
    :raises ConfigError: one of `only` is no other campaign of the journal.
    :raises JournalError: there is no campaign `name`.
    """
    present = journal.campaign(name)
    others = _others(journal, present, only)
    task = task_of(present.spec)
    alike = [_Likeness(present, task, other) for other in others]
    alike = sorted((a for a in alike if a.similarity > 0), key=lambda a: a.order)[: 2 * most]
    if not alike:
        return []
    later = _later(journal, present)
    found = [r for a in alike if (r := a.relative(_ended(journal, a.name, later))) is not None]
    found.sort(key=lambda relative: (-relative.similarity, relative.campaign))
    return found[:most]


def points_of(found: Sequence[Relative]) -> list[dict[str, Any]]:
    """Return what an optimizer is told of relatives, before its own campaign's trials."""
    return [dict(point) for relative in found for point in relative.points]


def told_before(
    journal: Journal, name: str, transfer: bool | Sequence[str] = True
) -> list[dict[str, Any]]:
    """Return what an optimizer is told before the trials of the campaign `name`.

    :param transfer: the option of that name: whether to look for relatives, or which may count.
    :raises ConfigError: a name is no earlier campaign's.
    """
    if transfer is False:
        return []
    return points_of(relatives(journal, name, only=None if transfer is True else transfer))


def told_first(
    journal: Journal, name: str, strategy: type, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what a strategy is told before the campaign's own trials, if it can use it.

    :param strategy: the optimizer's class; one that learns from other campaigns has `transfers`.
    :param options: the optimizer's, as the campaign file has them.
    :raises ConfigError: a campaign that the option `transfer` names is none.
    """
    if not getattr(strategy, "transfers", False):
        return []
    return told_before(journal, name, options.get("transfer", True))


def _others(
    journal: Journal, present: CampaignRecord, only: Iterable[str] | None
) -> list[CampaignRecord]:
    everything = journal.campaigns()
    earlier = [c for c in everything if c.id < present.id]
    if only is None:
        return earlier
    named = list(only)
    if unknown := [n for n in named if n not in {c.name for c in earlier}]:
        known = ", ".join(c.name for c in earlier) or "none"
        raise ConfigError(
            f"optimizer: transfer: {unknown[0]} is no earlier campaign of {journal.place}; "
            f"earlier than {present.name} are: {known}"
        )
    return [c for c in earlier if c.name in named]


def _later(journal: Journal, present: CampaignRecord) -> "_Later":
    """What moved after the present campaign began; no clock is asked, as it may have been set."""
    began = journal.audit_entries(limit=1, subject=f"campaign {present.name}")
    if not began:  # a journal from before the audit
        return _Later(None, present.created_at)
    moved: set[str] = set()
    seq = began[0].seq
    while page := journal.audit_entries(after=seq):
        moved |= {entry.subject for entry in page if entry.kind == "trial"}
        seq = page[-1].seq
    return _Later(moved, present.created_at)


@dataclass(frozen=True)
class _Later:
    moved: set[str] | None
    began: float

    def __contains__(self, trial: object) -> bool:
        assert isinstance(trial, Trial)
        if self.moved is not None:
            return trial.id in self.moved
        return trial.ended_at is None or trial.ended_at > self.began


def _ended(journal: Journal, name: str, later: _Later) -> list[Trial]:
    return [t for t in journal.trials(name, {TrialState.COMPLETED}) if t not in later]


class _Likeness:
    """How much alike two campaigns are by what their files say, and how one reads in the other."""

    def __init__(self, present: CampaignRecord, task: Task, other: CampaignRecord) -> None:
        self.name, self._other, self._task = other.name, other, task
        self._fixed_here: Mapping[str, Any] = present.spec.get("fixed") or {}
        self._fixed_there: Mapping[str, Any] = other.spec.get("fixed") or {}
        self.differs: list[str] = []
        self.similarity = 0.0
        try:
            self._theirs = task_of(other.spec)
        except (KeyError, ValidationError):  # written by another version of sdl
            return
        self.similarity = math.prod(self._shares(present))

    @property
    def order(self) -> tuple[float, int]:
        """Most similar first, then the newest."""
        return (-self.similarity, -self._other.id)

    def _shares(self, present: CampaignRecord) -> Iterator[float]:
        parameters = [self._parameter(*item) for item in self._task.space.parameters.items()]
        yield 0.0 if min(parameters) == 0 else sum(parameters) / len(parameters)
        yield self._outcomes()
        yield from self._varied_there()
        yield from self._fixed_in_both()
        spec, other = present.spec, self._other
        yield self._unless("plan", spec.get("plan") == other.spec.get("plan"), OTHER_PLAN)
        yield self._unless("lab", present.lab == other.lab, OTHER_LAB)
        what = "it was done on a twin" if other.twin else "it was no twin's"
        yield self._unless(what, present.twin == other.twin, OTHER_TWIN)

    def _unless(self, what: str, same: bool, share: float) -> float:
        if not same:
            self.differs.append(what)
        return 1.0 if same else share

    def _parameter(self, name: str, here: Parameter) -> float:
        """How alike a parameter is; 0 where nobody knows where the trials lie along it."""
        there = self._theirs.space.parameters.get(name)
        if there is None:
            value = self._fixed_there.get(name)
            fits = value is not None and _placed(here, value)
            return self._unless(f"{name} was {value!r} there", False, FIXED_THERE) if fits else 0.0
        overlap = _overlap(here, there)
        return self._unless(f"{name} has another range", overlap == 1.0, overlap)

    def _outcomes(self) -> float:
        """Which share of the present objectives was measured there."""
        total = 0.0
        for name, objective in self._task.objectives.items():
            if name in self.shared:
                same = self._theirs.objectives.get(name)
                turned = same is not None and same.direction != objective.direction
                total += self._unless(f"{name} was wanted otherwise", not turned, OTHER_DIRECTION)
            else:
                self.differs.append(f"{name} was not measured, or in other units")
        return total / len(self._task.objectives)

    @property
    def shared(self) -> set[str]:
        """Outcomes that both measure, in the same units."""
        here, there = (
            {**task.outcome_constraints, **task.objectives} for task in (self._task, self._theirs)
        )
        return {n for n in here if n in there and here[n].units == there[n].units}

    def _varied_there(self) -> Iterator[float]:
        here = self._task.space.parameters
        for name in self._theirs.space.parameters:
            if name in here:
                continue
            known = name in self._fixed_here or name in self._task.contexts
            yield self._unless(f"{name} varied there", False, FIXED_HERE if known else UNKNOWN_HERE)

    def _fixed_in_both(self) -> Iterator[float]:
        for name in sorted(self._fixed_here.keys() & self._fixed_there.keys()):
            same = self._fixed_here[name] == self._fixed_there[name]
            yield self._unless(f"{name} was {self._fixed_there[name]!r} there", same, OTHER_FIXED)

    # -- its trials -------------------------------------------------------------------------------

    def relative(self, trials: Sequence[Trial]) -> Relative | None:
        """Return its trials in the words of the present campaign; None if too few are left."""
        points = [p for t in trials if (p := self._point(t)) is not None]
        similarity = self.similarity * len(points) / (len(points) + FEW)
        if len(points) < LEAST_TRIALS or similarity < LEAST_SIMILARITY:
            return None
        similarity = round(similarity, 4)
        marked = tuple({**p, CAMPAIGN: self.name, SIMILARITY: similarity} for p in points)
        return Relative(self.name, similarity, self._other.twin, marked, tuple(self.differs))

    def _point(self, trial: Trial) -> dict[str, Any] | None:
        """One trial; None where it has no place in the present space, or measured nothing of it."""
        if not all(self._is_as_fixed_here(name, value) for name, value in trial.parameters.items()):
            return None
        place: dict[str, Any] = {}
        for name, parameter in self._task.space.parameters.items():
            value = trial.parameters.get(name, self._fixed_there.get(name))
            if value is None or not _placed(parameter, value):
                return None
            place[name] = value
        known = told(trial, self._theirs)
        outcomes = {
            key: known[key]
            for name in self._task.outcomes
            if name in self.shared
            for key in (name, f"{name}_sd", f"{name}_censored")
            if key in known
        }
        if not any(name in outcomes for name in self._task.objectives):
            return None
        contexts = {n: known[n] for n in self._task.contexts if known.get(n) is not None}
        return {"_id": trial.id, "_state": "completed", **place, **contexts, **outcomes}

    def _is_as_fixed_here(self, name: str, value: Value) -> bool:
        """Whether a trial has what the present campaign holds fixed, or nearly."""
        if name in self._task.space.parameters or name not in self._fixed_here:
            return True
        parameter, fixed = self._theirs.space.parameters[name], self._fixed_here[name]
        if not isinstance(parameter, Numeric):
            return value == fixed
        if isinstance(fixed, bool) or not isinstance(fixed, int | float):
            return False
        width = float(parameter.to_unit(value)) - _unit(parameter, fixed)
        return abs(width) <= NEAR + 1e-9


def _unit(parameter: Numeric, value: Any) -> float:
    """The unit coordinate of a number, not finite where it has none."""
    if _logarithmic(parameter) and value <= 0:
        return math.inf
    return float(parameter.to_unit(value))


def _placed(parameter: Parameter, value: Any) -> bool:
    """Whether a value has a place along a parameter.

    A number beyond the present bounds has one: what lies near a bound is told by both sides of it.
    One that lies very far off tells nothing of the inside.
    """
    if not isinstance(parameter, Continuous | Integer):
        return parameter.check(value) is None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return -BEYOND <= _unit(parameter, value) <= 1.0 + BEYOND


def _overlap(here: Parameter, there: Parameter) -> float:
    """What two parameters of one name have in common, of all that both may be: 0 to 1."""
    if isinstance(here, Numeric) and isinstance(there, Numeric):
        if here.units != there.units:
            return 0.0
        scale = math.log if _logarithmic(here) and _logarithmic(there) else float
        low, high = map(scale, _range(here))
        bottom, top = map(scale, _range(there))
        common = min(high, top) - max(low, bottom)
        union = max(high, top) - min(low, bottom)
        return max(common, 0.0) / union
    if isinstance(here, Categorical) and isinstance(there, Categorical):
        one, other = set(here.choices), set(there.choices)
        return len(one & other) / len(one | other)
    return 0.0


def _logarithmic(parameter: Numeric) -> bool:
    return isinstance(parameter, Continuous) and parameter.scale == "log"


def _range(parameter: Numeric) -> tuple[float, float]:
    if isinstance(parameter, Ordinal):
        return parameter.values[0], parameter.values[-1]
    return parameter.low, parameter.high
