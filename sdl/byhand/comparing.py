"""What a sheet says against what stands in the journal: what is new, known, or differs."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdl.byhand.filled import Filled, Result
from sdl.byhand.sheet import SD, known_context
from sdl.campaign import Campaign
from sdl.errors import Problem
from sdl.journal import ENDED, Trial, TrialState
from sdl.library import Library
from sdl.space import Categorical, Integer, Ordinal, Space

CLOSE = 1e-3
"""Of a parameter's range: what differs by less was rounded by a spreadsheet program."""

ENTERED = "entered"
"""Key of a suggestion under which stands from which row of which file a trial was taken."""

OPEN = frozenset({TrialState.SUGGESTED, TrialState.APPROVED})


@dataclass(frozen=True)
class Change:
    """One thing to be written: the end of a trial that waits, or a whole new trial."""

    result: Result
    trial: Trial | None
    """None: it is not in the journal yet."""
    state: TrialState
    outcomes: Mapping[str, float] | None
    """Of a completed one; with contexts that were measured anew."""
    cause: str | None
    suggestion: Mapping[str, Any] = field(default_factory=dict)
    """Of a new one: from where it was taken."""


@dataclass
class Comparison:
    """What is to be written, what need not be, and all that is wrong."""

    changes: list[Change] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    """Trials that stand in the journal as the sheet has them."""
    waiting: list[str] = field(default_factory=list)
    """Trials, or rows, of which the sheet has no result yet."""
    remarks: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def compare(filled: Filled, campaign: Campaign, trials: Sequence[Trial]) -> Comparison:
    """Say what a sheet adds to the trials of the journal; all mistakes of both kinds in order."""
    found = Comparison(remarks=list(filled.remarks), problems=list(filled.problems))
    numbered, index = {trial.number: trial for trial in trials}, _Index.of(trials, campaign)
    for result in filled.results:
        if result.trial is None:
            _own(found, filled, result, campaign, index)
        elif result.trial in numbered:
            _suggested(found, filled, result, campaign, numbered[result.trial])
        else:
            there = f"it has trials 1 to {len(trials)}" if trials else "it has no trial yet"
            message = f"{campaign.campaign} has no trial {result.trial}; {there}"
            found.problems.append(filled.table.problem(result.lines[0], "trial", message))
    found.problems = sorted(set(found.problems), key=lambda p: (p.line or 0, p.key))
    return found


# -- a trial that was suggested -------------------------------------------------------------------


def _suggested(
    found: Comparison, filled: Filled, result: Result, campaign: Campaign, trial: Trial
) -> None:
    wrong = list(_unlike(filled, result, campaign, trial))
    outcomes = _outcomes(result, trial)
    if not wrong and result.state is not None:
        wrong = list(_late(filled, result, trial, outcomes))
    found.problems += wrong
    if wrong:
        return
    if trial.state in ENDED:
        found.known.append(trial.number)
    elif result.state is None:
        found.waiting.append(f"trial {trial.number}")
    else:
        completed = result.state is TrialState.COMPLETED
        change = Change(
            result, trial, result.state, outcomes if completed else None, _cause(result)
        )
        found.changes.append(change)


def _unlike(filled: Filled, result: Result, campaign: Campaign, trial: Trial) -> Iterator[Problem]:
    """Where a row was not made as it was suggested."""
    line, space = result.lines[0], campaign.parameters
    advice = (
        "if it was made differently, clear the trial's number in this row, so that it is a trial "
        f"of its own, and add a row that says that trial {trial.number} is rejected"
    )
    for name, value in result.parameters.items():
        wanted = trial.parameters.get(name)
        if not _close(space[name], wanted, value):
            message = f"trial {trial.number} was suggested with {wanted}, not {value}; {advice}"
            yield filled.table.problem(line, name, message)
    for name, value in result.context.items():
        wanted = known_context(trial).get(name)
        if isinstance(value, str) and wanted is not None and value != wanted:
            message = f"trial {trial.number} was suggested for {wanted}, not {value}; {advice}"
            yield filled.table.problem(line, name, message)


def _late(
    filled: Filled, result: Result, trial: Trial, outcomes: Mapping[str, float]
) -> Iterator[Problem]:
    """What cannot be written of a trial any more, or not from here."""
    line = result.lines[0]
    if trial.state in OPEN:
        return
    if trial.state not in ENDED:
        state = trial.state.value.replace("_", " ")
        way = "`sdl resolve`" if trial.state is TrialState.IN_DOUBT else "`sdl abort`"
        message = f"trial {trial.number} is {state} on its lab: its result comes from there ({way})"
        yield filled.table.problem(line, "trial", message)
        return
    ended = f"trial {trial.number} has ended, and what has ended is not changed"
    if result.state is not trial.state:
        message = f"is {trial.state.value} in the journal, {result.state} here; {ended}"
        yield filled.table.problem(line, "state", message)
        return
    stored = trial.outcomes or {}
    differ = [name for name, value in outcomes.items() if not _same(stored.get(name), value)]
    for name in differ:
        if name.removesuffix(SD) in differ and name.endswith(SD):
            continue  # it follows from the other
        before = f"{stored[name]:.12g}" if name in stored else "nothing"
        message = f"is {before} in the journal, {outcomes[name]:.12g} here; {ended}"
        yield filled.table.problem(line, name, message)


def _same(stored: float | None, value: float) -> bool:
    return stored is not None and math.isclose(stored, value, rel_tol=1e-9)


def _outcomes(result: Result, trial: Trial) -> dict[str, float]:
    """What was measured, with contexts that were not as they were when it was suggested."""
    known = known_context(trial)
    anew = {
        name: float(value)
        for name, value in result.context.items()
        if not isinstance(value, str) and known.get(name) != value
    }
    return {**result.outcomes, **anew}


def _close(parameter: Any, wanted: Any, value: Any) -> bool:
    """Whether a value is the one that was suggested, or that one as a spreadsheet rounds it."""
    if wanted == value or isinstance(parameter, Categorical | Library):
        return wanted == value
    if isinstance(parameter, Integer | Ordinal):
        return parameter.check(value) is None and parameter.round(value) == wanted
    try:
        return abs(parameter.to_unit(wanted) - parameter.to_unit(value)) <= CLOSE
    except (TypeError, ValueError):  # no logarithm
        return False


# -- a trial of somebody's own --------------------------------------------------------------------


@dataclass
class _Index:
    """The journal's trials, to find those that a row without a number may be."""

    entered: dict[str, list[int]] = field(default_factory=dict)
    """The numbers of those that were taken from a row, by its digest."""
    points: dict[tuple[Any, ...], int] = field(default_factory=dict)
    """The newest of each point."""
    waiting: list[Trial] = field(default_factory=list)

    @classmethod
    def of(cls, trials: Sequence[Trial], campaign: Campaign) -> "_Index":
        index = cls()
        for trial in trials:
            if digest := _digest_of(trial):
                index.entered.setdefault(digest, []).append(trial.number)
            index.points[_key(trial.parameters, campaign)] = trial.number
            index.waiting += [trial] if trial.state in OPEN else []
        return index


def _key(point: Mapping[str, Any], campaign: Campaign) -> tuple[Any, ...]:
    return tuple(point.get(name) for name in campaign.parameters)


def _own(
    found: Comparison, filled: Filled, result: Result, campaign: Campaign, index: _Index
) -> None:
    line = result.lines[0]
    missing = [name for name in campaign.parameters if name not in result.parameters]
    if result.state is None:
        found.waiting.append(f"row {line}")
        return
    for name in missing:
        message = "is empty; a row without the number of a trial needs all parameters"
        found.problems.append(filled.table.problem(line, name, message))
    if missing:
        return
    digest = _digest(result)
    if same := index.entered.get(digest):
        found.known.append(same.pop(0))
        return
    space = campaign.space
    why = _unusable(space, result.parameters)
    mistakes = space.check(result.parameters)
    if why:
        found.remarks.append(f"row {line} is not taken in: {why}, which no optimizer can use")
        return
    found.remarks += [
        f"row {line} is out of bounds: {mistake}; it is taken in, for the optimizer to learn from"
        for mistake in mistakes
    ]
    found.remarks += [
        f"row {line} says nothing of {name}; an optimizer that needs it will not use the row"
        for name in campaign.contexts
        if name not in result.context
    ]
    found.remarks += list(_alike(result, campaign, index))
    completed = result.state is TrialState.COMPLETED
    source = {"file": filled.table.file.replace("\\", "/").rpartition("/")[2], "row": line}
    suggestion: dict[str, Any] = {ENTERED: {**source, "sha256": digest}}
    if result.context:
        suggestion["context"] = dict(result.context)
    outcomes = dict(result.outcomes) if completed else None
    found.changes.append(Change(result, None, result.state, outcomes, _cause(result), suggestion))


def _alike(result: Result, campaign: Campaign, index: _Index) -> Iterator[str]:
    """Say of which trials it has the point: perhaps their number was forgotten."""
    row = f"row {result.lines[0]}"
    for trial in index.waiting:
        if all(
            _close(parameter, trial.parameters.get(name), result.parameters[name])
            for name, parameter in campaign.parameters.items()
        ):
            yield (
                f"{row} has the parameters of trial {trial.number}, which still waits for a "
                "result; it is taken for another one, as it has no number"
            )
            return
    if (number := index.points.get(_key(result.parameters, campaign))) is not None:
        yield f"{row} repeats trial {number}"


def _unusable(space: Space, point: Mapping[str, Any]) -> str:
    """Why a point has no coordinates; empty if it has."""
    for name, parameter in space.parameters.items():
        value = point[name]
        if isinstance(parameter, Integer) and value != int(value):
            return f"{name} is {value:g}, no whole number"
        if isinstance(parameter, Ordinal) and parameter.check(value) is not None:
            return f"{name} is {value:g}, none of {', '.join(map(str, parameter.values))}"
        try:
            unit = parameter.to_unit(value)
        except (TypeError, ValueError):
            unit = math.nan
        if not math.isfinite(unit):
            return f"{name} is {value}, which has no place on its scale"
    return ""


def _digest(result: Result) -> str:
    """What makes a row the same row again, in whatever file."""
    said = {
        "parameters": dict(result.parameters),
        "context": dict(result.context),
        "outcomes": dict(result.outcomes),
        "state": result.state,
        "note": result.note,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _digest_of(trial: Trial) -> str:
    entered = trial.suggestion.get(ENTERED)
    return str(entered.get("sha256", "")) if isinstance(entered, Mapping) else ""


def _cause(result: Result) -> str | None:
    if result.state is TrialState.COMPLETED:
        return None
    return result.note or "nobody said why"
