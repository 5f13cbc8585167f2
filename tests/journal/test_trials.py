from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from sdl.errors import ConflictError, JournalError
from sdl.journal import Journal, Trial, TrialState

S = TrialState


def test_numbers_continue_and_kinds_are_kept(journal: Journal) -> None:
    parameters = {"temperature": 60.0, "cycles": 3, "solvent": "DMSO"}
    journal.suggest("screen", [(parameters, {"generator": "sobol"})] * 2, time=1.0)
    (third,) = journal.suggest("screen", [(parameters, {"seed": 7})], time=2.0)
    assert (third.number, third.id, third.state) == (3, "screen/3", S.SUGGESTED)
    read = journal.trial("screen", 3)
    assert read == third
    assert [type(v) for v in read.parameters.values()] == [float, int, str]


def test_a_trial_runs_from_suggestion_to_outcomes(journal: Journal, running: Trial) -> None:
    done = journal.move(
        running, S.COMPLETED, time=9.0, who="runtime", outcomes={"yield": 0.5, "cost": 1.0}
    )
    assert done == journal.trial("screen", 1)
    assert (done.started_at, done.ended_at) == (3.0, 9.0)
    assert done.outcomes == {"yield": 0.5, "cost": 1.0}
    lines = [
        (line.time, line.from_state, line.to_state, line.who) for line in journal.history(done)
    ]
    assert lines == [
        (1.0, None, S.SUGGESTED, "optimizer"),
        (2.0, S.SUGGESTED, S.APPROVED, "autonomy"),
        (3.0, S.APPROVED, S.RUNNING, "runtime"),
        (9.0, S.RUNNING, S.COMPLETED, "runtime"),
    ]


def test_a_settled_doubt_keeps_its_cause_in_the_history_only(
    journal: Journal, running: Trial
) -> None:
    doubt = journal.move(running, S.IN_DOUBT, time=4.0, who="runtime", cause="pump: no reply")
    assert doubt.cause == "pump: no reply"
    assert doubt.ended_at is None
    again = journal.move(doubt, S.RUNNING, time=50.0, who="ada", note="looked: dose was given")
    assert (again.cause, again.started_at) == (None, 3.0)
    line = journal.history(again)[3]
    assert (line.to_state, line.cause) == (S.IN_DOUBT, "pump: no reply")
    assert journal.history(again)[4].note == "looked: dose was given"


def test_of_two_that_move_a_trial_one_is_told_of_the_other(
    journal: Journal, other: Journal, trial: Trial
) -> None:
    journal.move(trial, S.REJECTED, time=2.0, who="ada")
    with pytest.raises(ConflictError, match="is rejected, no longer suggested"):
        other.move(trial, S.APPROVED, time=2.1, who="bob")
    assert other.trial("screen", 1).state is S.REJECTED
    assert len(other.history(trial)) == 2


def test_a_trial_is_dispatched_once_when_many_try(
    journal: Journal, other: Journal, trial: Trial
) -> None:
    start = Barrier(8)

    def approve(n: int) -> bool:
        start.wait(timeout=10)
        try:
            (journal, other)[n % 2].move(trial, S.APPROVED, time=2.0, who=f"thread {n}")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(approve, range(8))) == 1
    assert len(journal.history(trial)) == 2


def test_suggestions_made_at_once_get_numbers_without_gaps(
    journal: Journal, other: Journal
) -> None:
    def suggest(n: int) -> list[int]:
        made = (journal, other)[n % 2].suggest("screen", [({"x": n}, {})] * 3, time=n)
        return [t.number for t in made]

    with ThreadPoolExecutor(6) as pool:
        batches = list(pool.map(suggest, range(12)))
    assert sorted(n for batch in batches for n in batch) == list(range(1, 37))
    assert all(b == list(range(b[0], b[0] + 3)) for b in batches)


def test_outcomes_come_with_completed_and_only_then(journal: Journal, running: Trial) -> None:
    with pytest.raises(JournalError, match="outcomes come with completed"):
        journal.move(running, S.COMPLETED, time=4.0, who="runtime")
    with pytest.raises(JournalError, match="outcomes come with completed"):
        journal.move(running, S.FAILED, time=4.0, who="runtime", outcomes={"yield": 1.0})
    assert journal.trial("screen", 1).state is S.RUNNING


def test_a_batch_that_cannot_be_written_writes_none_of_it(journal: Journal) -> None:
    with pytest.raises(JournalError, match="parameters of a trial of screen: x: object"):
        journal.suggest("screen", [({"x": 1.0}, {}), ({"x": object()}, {})], time=1.0)
    assert journal.trials("screen") == []


def test_trials_can_be_asked_for_by_state(journal: Journal, running: Trial) -> None:
    journal.suggest("screen", [({"x": 1.0}, {})], time=4.0)
    assert [t.number for t in journal.trials("screen", {S.RUNNING, S.APPROVED})] == [1]
    assert [t.number for t in journal.trials("screen")] == [1, 2]
    assert journal.trials("screen", []) == []


def test_what_is_not_there_is_named(journal: Journal, trial: Trial) -> None:
    with pytest.raises(JournalError, match="no trial screen/9"):
        journal.trial("screen", 9)
    with pytest.raises(JournalError, match="no campaign 'scren'; it has screen"):
        journal.trials("scren")


def test_odd_characters_in_what_an_instrument_said_do_no_harm(
    journal: Journal, running: Trial
) -> None:
    said = "pump: got '\0\udcff\x1b'"
    failed = journal.move(running, S.FAILED, time=4.0, who="runtime", cause=said)
    assert journal.trial("screen", failed.number).cause == "pump: got '\\x00\\udcff\x1b'"
