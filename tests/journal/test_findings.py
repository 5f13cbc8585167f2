import pytest

from sdl.errors import ConflictError, JournalError
from sdl.journal import Booking, Journal, Trial, TrialState

UNKNOWN = {"verdict": "unknown", "evidence": "no reply", "who": "pump"}


@pytest.fixture
def in_doubt(journal: Journal, running: Trial) -> Trial:
    journal.open_item("bench", "water", 10.0, time=1.0)
    booking = [Booking("water", -1.5)]
    journal.begin_step(running, 1, "set", "pump", 1.5, time=4.0, mark=[0.5], bookings=booking)
    journal.note_finding(running, 1, UNKNOWN, time=5.0)
    return journal.move(running, TrialState.IN_DOUBT, time=5.0, who="runtime", cause="pump")


def test_a_step_keeps_its_mark_its_attempt_and_the_kind_of_its_error(
    journal: Journal, running: Trial
) -> None:
    assert journal.begin_step(running, 1, "set", "pump", 1.5, time=4.0, mark={"ml": 0.5}) == 1
    kind = "sdl.errors:NoReplyError"
    journal.end_step(running, 1, None, "pump: no reply", time=5.0, error_type=kind)
    assert journal.begin_step(running, 1, "set", "pump", 1.5, time=6.0, again=True) == 2
    first, second = journal.steps(running)
    assert (first.mark, first.error_type, first.done) == ({"ml": 0.5}, kind, True)
    assert (second.mark, second.error_type, second.done) == (None, None, False)


def test_findings_are_kept_in_order_and_end_nothing(journal: Journal, in_doubt: Trial) -> None:
    again = {**UNKNOWN, "evidence": "still none"}
    journal.note_finding(in_doubt, 1, again, time=6.0)
    (step,) = journal.steps(in_doubt)
    assert list(step.findings) == [UNKNOWN, again]
    assert (step.done, step.not_done) == (False, False)
    journal.end_step(in_doubt, 1, 1.5, None, time=7.0, finding={"verdict": "done"})
    (step,) = journal.steps(in_doubt)
    assert (step.done, len(step.findings)) == (True, 3)


def test_a_step_settled_as_done_is_done_and_stays_booked(journal: Journal, in_doubt: Trial) -> None:
    journal.settle_step(in_doubt, 1, "done", time=6.0, who="ada", note="the vial is full")
    (step,) = journal.steps(in_doubt)
    assert (step.done, step.not_done, step.error, step.result) == (True, False, None, None)
    assert step.findings[-1] == {"verdict": "done", "evidence": "the vial is full", "who": "ada"}
    assert journal.balances("bench") == {"water": 8.5}


def test_a_step_settled_as_not_done_is_booked_back_and_may_be_acted_again(
    journal: Journal, in_doubt: Trial
) -> None:
    journal.settle_step(in_doubt, 1, "not done", time=6.0, who="ada", note="the vial is empty")
    (step,) = journal.steps(in_doubt)
    assert (step.done, step.not_done) == (False, True)
    assert journal.balances("bench") == {"water": 10.0}
    trial = journal.move(in_doubt, TrialState.RUNNING, time=7.0, who="ada")
    booking = [Booking("water", -1.5)]
    journal.begin_step(trial, 1, "set", "pump", 1.5, time=8.0, again=True, bookings=booking)
    assert journal.balances("bench") == {"water": 8.5}
    assert journal.verify().breaks == []


def test_only_what_is_in_doubt_and_open_is_settled(journal: Journal, running: Trial) -> None:
    journal.begin_step(running, 1, "set", "pump", 1.5, time=4.0)
    with pytest.raises(ConflictError, match="the trial is running, not in_doubt"):
        journal.settle_step(running, 1, "done", time=5.0, who="ada", note="")
    journal.end_step(running, 1, None, None, time=5.0)
    trial = journal.move(running, TrialState.IN_DOUBT, time=5.0, who="runtime")
    with pytest.raises(ConflictError, match="has ended already"):
        journal.settle_step(trial, 1, "done", time=6.0, who="ada", note="")
    with pytest.raises(ConflictError, match="was not begun"):
        journal.settle_step(trial, 2, "done", time=6.0, who="ada", note="")
    with pytest.raises(JournalError, match="'maybe' is no verdict"):
        journal.settle_step(trial, 1, "maybe", time=6.0, who="ada", note="")  # type: ignore[arg-type]


def test_a_finding_that_says_nothing_is_refused(journal: Journal, in_doubt: Trial) -> None:
    for finding in (None, "unknown"):
        with pytest.raises(JournalError, match="finding about step 1 of trial screen/1"):
            journal.note_finding(in_doubt, 1, finding, time=6.0)
