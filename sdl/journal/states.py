"""The life of a trial, as one table.

A trial is `suggested` by an optimizer, `approved` by a person or by the campaign's autonomy, and
`running` once its plan may touch the world. It ends `completed` (outcomes are known), `failed` (it
ran, and why it gave nothing is known), `rejected` (not approved) or `abandoned` (given up). It is
`in_doubt` when nobody can tell whether an action happened; a person settles that, or lets it go on.
"""

from enum import StrEnum

from sdl.errors import JournalError


class TrialState(StrEnum):
    SUGGESTED = "suggested"
    APPROVED = "approved"
    RUNNING = "running"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    ABANDONED = "abandoned"
    IN_DOUBT = "in_doubt"


_S = TrialState

ALLOWED: dict[TrialState, frozenset[TrialState]] = {
    _S.SUGGESTED: frozenset({_S.APPROVED, _S.REJECTED, _S.ABANDONED}),
    _S.APPROVED: frozenset({_S.RUNNING, _S.ABANDONED, _S.REJECTED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.ABANDONED, _S.IN_DOUBT}),
    _S.IN_DOUBT: frozenset({_S.COMPLETED, _S.FAILED, _S.ABANDONED, _S.RUNNING}),
    _S.COMPLETED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.FAILED: frozenset(),
    _S.ABANDONED: frozenset(),
}
"""From each state, the states a trial may go to."""

ENDED = frozenset(state for state, onward in ALLOWED.items() if not onward)
"""States that nothing leads out of."""


def check_transition(trial: str, before: TrialState, after: TrialState) -> None:
    """:raises JournalError: the table has no way from `before` to `after`."""
    if after in ALLOWED[before]:
        return
    onward = ", ".join(sorted(ALLOWED[before])) or "nothing, it has ended"
    raise JournalError(f"trial {trial}: {before} cannot become {after}; allowed: {onward}")
