"""What happened to the sample of one trial, as events in the order of the lab's time."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sdl.cli import doubt, words
from sdl.journal import CampaignRecord, Journal, Step, Transition, Trial, TrialState

RESTING = frozenset({"sleep", "wait"})
LOOKING = frozenset({"read", "locate", *RESTING})
"""Steps that are told together where several follow each other: nothing was done to the sample."""

QUIET = frozenset({"stage", "unstage", "stop"})
"""Steps that are told only on request, where they went well."""

WISHES = ("pause", "resume", "abort", "stop")
SHOWN = 0.05  # s; what took less is not worth a number
MOST_DOCUMENTS = 1_000_000


class Event(NamedTuple):
    """One thing that happened, and lines that belong below it."""

    time: float
    order: int
    """Of what happened in one moment."""
    text: str
    below: tuple[str, ...] = ()


def tell(
    journal: Journal, record: CampaignRecord, trial: Trial, *, everything: bool = False
) -> list[Event]:
    """Return all that the journal knows of a trial, oldest first.

    :param everything: each step by itself; else steps that only look, or wait, are folded.
    """
    units = {name: reading.units for name, reading in journal.readings().items()}
    steps = journal.steps(trial)
    found = [*_moves(journal.history(trial), record, trial)]
    found += _steps(steps, units, everything=everything)
    found += _interruptions(journal, trial)
    found += _notes(journal, trial)
    found += _wishes(journal, record, trial)
    return sorted(found, key=lambda event: event[:2])


# -- the trial itself -----------------------------------------------------------------------------


def _moves(history: Sequence[Transition], record: CampaignRecord, trial: Trial) -> Iterator[Event]:
    for move in history:
        order = 0 if move.to_state in (TrialState.SUGGESTED, TrialState.APPROVED) else 1
        if move.from_state is not TrialState.APPROVED and order:
            order = 9  # it follows from what happened in the same moment
        note = f": {move.note}" if move.note else ""
        yield Event(move.time, order, f"{_move(move, record, trial)}{note}")


def _move(move: Transition, record: CampaignRecord, trial: Trial) -> str:
    match move.to_state:
        case TrialState.SUGGESTED:
            by = trial.suggestion.get("generator") or move.who
            point = _numbers(trial.parameters, record.spec.get("parameters", {}))
            return f"suggested by {by}: {point}"
        case TrialState.RUNNING:
            return "started" if move.from_state is TrialState.APPROVED else f"{move.who}: goes on"
        case TrialState.COMPLETED:
            outcomes = _numbers(trial.outcomes or {}, record.spec.get("objectives", {}))
            return f"completed: {outcomes}"
        case TrialState.IN_DOUBT:
            return f"in doubt: {move.cause or 'nobody can tell whether a step happened'}"
        case TrialState.APPROVED | TrialState.REJECTED:
            return f"{move.to_state} by {move.who}"
    return f"{move.to_state}: {move.cause}" if move.cause else str(move.to_state)


def _numbers(values: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {words.quantity(value, (described.get(name) or {}).get('units') or '')}"
        for name, value in values.items()
    )


# -- its steps ------------------------------------------------------------------------------------


def _steps(steps: Sequence[Step], units: Mapping[str, str], *, everything: bool) -> Iterator[Event]:
    attempts = [
        (step, steps[i - 1] if i and steps[i - 1].n == step.n else None)
        for i, step in enumerate(steps)
    ]
    newest = {step.n: step.attempt for step in steps}

    def looks(pair: tuple[Step, Step | None]) -> bool:
        step = pair[0]
        plain = step.command in LOOKING | QUIET and _went_well(step) and newest[step.n] == 1
        return plain and not everything

    for folded, pairs in groupby(attempts, key=looks):
        if folded:
            yield from _folded([step for step, _ in pairs], units)
        else:
            for step, before in pairs:
                yield Event(step.started_at, 2, *_step(step, before, units))


def _went_well(step: Step) -> bool:
    return step.done and step.error is None and not step.findings


def _folded(steps: Sequence[Step], units: Mapping[str, str]) -> Iterator[Event]:
    shown = [step for step in steps if step.command not in QUIET]
    if len(shown) == 1:
        yield Event(shown[0].started_at, 2, *_step(shown[0], None, units))
    if len(shown) < 2:
        return
    parts = []
    reads = [step for step in shown if step.command not in RESTING]
    waited = sum(step.argument or 0.0 for step in shown if step.command == "sleep")
    if reads:
        of = ", ".join(dict.fromkeys(step.instrument for step in reads))
        parts.append(f"{len(reads)} readings of {of}")
    if waited:
        parts.append(f"{words.duration(waited)} of waiting")
    last = {step.instrument: step for step in reads}
    values = "; ".join(filter(None, (_readings(step.result, units) for step in last.values())))
    below = (f"at last: {values}",) if values else ()
    numbers = f"steps {shown[0].n} to {shown[-1].n}"
    yield Event(shown[0].started_at, 2, f"{numbers}  {', '.join(parts)}", below)


def _step(step: Step, before: Step | None, units: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    name = f"step {step.n}  "
    if step.command == "sleep":
        what = f"wait {words.duration(step.argument or 0.0)}"
    else:
        what = doubt.said(step)
    why = "" if before is None else f", {_again(before)}"
    values = _readings(step.result, units) if step.command in ("read", "collect") else ""
    below = tuple(_finding(finding) for finding in step.findings)
    return f"{name}{what}{why}: {_end(step, values)}", below


def _again(before: Step) -> str:
    """Why there is another attempt."""
    if before.not_done:
        return "done now"
    if before.ended_at is None:
        return "again, as its end was not heard"
    return "tried again" if before.error else "sent again after an interruption"


def _end(step: Step, values: str) -> str:
    if step.ended_at is None:
        return "begun; nobody heard its end"
    if step.not_done:
        return "was not done"
    took = step.ended_at - step.started_at
    if step.error is not None:
        after = f" after {_took(took)}" if took >= SHOWN else ""
        return f"failed{after}: {step.error}"
    if values:
        return values
    return f"done in {_took(took)}" if took >= SHOWN else "done"


def _took(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else words.duration(seconds)


def _readings(result: Any, units: Mapping[str, str]) -> str:
    """`temperature 23.4 degC, humidity 40 %` of what an instrument told."""
    if not isinstance(result, Mapping):
        return ""
    said = []
    for key, reading in result.items():
        if isinstance(reading, Mapping) and "value" in reading:
            said.append(f"{key} {doubt.short(reading)} {units.get(key, '')}".rstrip())
    return ", ".join(said)


def _finding(finding: Mapping[str, Any]) -> str:
    by_person = "@" in str(finding.get("who", ""))
    return f"{'decided' if by_person else 'found'}: {doubt.found(finding)}"


# -- what else happened ---------------------------------------------------------------------------


def _interruptions(journal: Journal, trial: Trial) -> Iterator[Event]:
    """Runs that were broken off, and those that went on from them."""
    for document in journal.documents(trial=trial, limit=MOST_DOCUMENTS):
        if document.name == "start" and document.doc.get("continues"):
            yield Event(document.time, 1, "its run is continued by a new one, on the same sample")
        elif document.name == "stop" and document.doc.get("exit_status") == "abort":
            reason = document.doc.get("reason") or "no reason was given"
            yield Event(document.time, 3, f"its run was broken off: {reason}")


def _notes(journal: Journal, trial: Trial) -> Iterator[Event]:
    """What was noted of this trial, beside what its own lines say."""
    mine = re.compile(rf"\btrial ({re.escape(trial.campaign)}/)?{trial.number}\b")
    own = re.compile(r"^trial \d+ (failed|completed|is in doubt)\b")
    for note in journal.notes(campaign=trial.campaign, limit=MOST_DOCUMENTS):
        if mine.search(note.text) and not own.match(note.text):
            yield Event(note.time, 4, f"{note.source}: {note.text}")


def _wishes(journal: Journal, record: CampaignRecord, trial: Trial) -> Iterator[Event]:
    """What operators wished of the runtime while the trial was under way, and what came of it."""
    if trial.started_at is None:
        return
    ended = math.inf if trial.ended_at is None else trial.ended_at
    for kind in WISHES:
        for entry in journal.audit_entries(subject=kind, limit=MOST_DOCUMENTS):
            wish = entry.body
            other = wish.get("target") not in ("", str(trial.number))
            if entry.kind != "operator" or wish.get("lab") != record.lab or other:
                continue
            if trial.started_at <= entry.time <= ended:
                why = f" ({wish['why']})" if wish.get("why") else ""
                answer = journal.request_answer(wish["request"]).answer or "no answer yet"
                yield Event(entry.time, 5, f"{entry.who} wished: {kind}{why}: {answer}")
