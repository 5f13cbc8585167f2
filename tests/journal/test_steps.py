import pytest

from sdl.errors import ConflictError
from sdl.journal import Journal, Trial, TrialState


def test_a_step_is_written_before_and_after(journal: Journal, running: Trial) -> None:
    journal.begin_step(running, 1, "set", "pump", {"volume": 1.5}, time=4.0)
    (step,) = journal.steps(running)
    assert (step.n, step.command, step.instrument, step.argument) == (
        1,
        "set",
        "pump",
        {"volume": 1.5},
    )
    assert not step.done
    journal.end_step(running, 1, {"given": 1.5}, None, time=6.0)
    (step,) = journal.steps(running)
    assert step.done
    assert (step.result, step.error, step.started_at, step.ended_at) == (
        {"given": 1.5},
        None,
        4.0,
        6.0,
    )


def test_a_step_begun_twice_is_a_conflict_unless_meant(journal: Journal, running: Trial) -> None:
    journal.begin_step(running, 1, "set", "pump", 1.0, time=4.0)
    with pytest.raises(ConflictError, match="step 1 of trial screen/1: was begun already"):
        journal.begin_step(running, 1, "set", "pump", 1.0, time=5.0)
    journal.end_step(running, 1, None, "pump: no reply", time=6.0)
    journal.begin_step(running, 1, "set", "pump", 1.0, time=7.0, again=True)
    journal.end_step(running, 1, 1.0, None, time=8.0)
    attempts = [(s.n, s.attempt, s.error, s.ended_at) for s in journal.steps(running)]
    assert attempts == [(1, 1, "pump: no reply", 6.0), (1, 2, None, 8.0)]


def test_a_step_ends_once(journal: Journal, running: Trial) -> None:
    with pytest.raises(ConflictError, match="was not begun"):
        journal.end_step(running, 2, None, None, time=4.0)
    journal.begin_step(running, 2, "trigger", "spectrometer", None, time=4.0)
    journal.end_step(running, 2, None, None, time=5.0)
    with pytest.raises(ConflictError, match="has ended already"):
        journal.end_step(running, 2, 1.0, None, time=6.0)


def test_a_trial_that_somebody_ended_begins_no_step(
    journal: Journal, other: Journal, running: Trial
) -> None:
    other.move(running, TrialState.ABANDONED, time=4.0, who="ada", cause="leak")
    with pytest.raises(ConflictError, match="the trial is abandoned, not running"):
        journal.begin_step(running, 1, "set", "pump", 1.0, time=5.0)
    assert journal.steps(running) == []
