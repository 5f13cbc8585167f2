"""Write results into the journal, each trial whole or not at all."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sdl.byhand.comparing import Change
from sdl.byhand.notebook import Notebook
from sdl.journal import Journal, Trial, TrialState

MADE = frozenset({TrialState.COMPLETED, TrialState.FAILED})
"""States of trials that somebody has begun."""


def enter(
    notebook: Notebook, journal: Journal, changes: Sequence[Change], file: str
) -> Iterator[Trial]:
    """Write one trial after the other and yield it; what was yielded is in the journal for good.

    Broken off in the middle, the same again writes what is left.

    :param file: the name of the sheet, for the record.
    :raises ConflictError: somebody else has moved a trial meanwhile; it is as they left it.
    """
    for change in changes:
        yield _entered(notebook, journal, change, file)


def _entered(notebook: Notebook, journal: Journal, change: Change, file: str) -> Trial:
    who, now = notebook.who, time.time()
    note = _note(change, file)

    def move(trial: Trial, to: TrialState, **result: Any) -> Trial:
        return journal.move(trial, to, time=now, who=who, **result)

    with journal.batch():
        trial = change.trial
        if trial is None:
            point = (change.result.parameters, change.suggestion)
            (trial,) = journal.suggest(notebook.name, [point], time=now, who=who)
        if change.state in MADE:
            if trial.state is TrialState.SUGGESTED:
                trial = move(trial, TrialState.APPROVED)
            trial = move(trial, TrialState.RUNNING, note="by hand")
        return move(trial, change.state, note=note, outcomes=change.outcomes, cause=change.cause)


def _note(change: Change, file: str) -> str:
    """From where it was taken, and what the person noted beside it."""
    result = change.result
    mean = f", the mean of {len(result.lines)}" if len(result.lines) > 1 else ""
    mean = mean if change.state is TrialState.COMPLETED else ""
    said = f": {result.note}" if result.note and change.state is TrialState.COMPLETED else ""
    return f"{file}, {result.where}{mean}{said}"
