import contextlib

import pytest

from sdl.errors import ConflictError, JournalError
from sdl.journal import Journal, Trial


def test_writes_of_a_batch_are_seen_all_at_once(
    journal: Journal, other: Journal, running: Trial
) -> None:
    with journal.batch():
        journal.begin_step(running, 1, "set", "pump", 1.0, time=4.0)
        journal.end_step(running, 1, None, None, time=5.0)
        journal.add_document(running, "r", "start", {}, time=5.0)
        assert other.steps(running) == []
        assert journal.steps(running)[0].done  # by who writes it, at once
    assert other.steps(running)[0].done
    assert journal.verify().breaks == []


def test_one_bad_write_spoils_the_batch_even_if_it_was_caught(
    journal: Journal, running: Trial
) -> None:
    def spoil() -> None:
        with journal.batch():
            journal.add_document(running, "r", "start", {}, time=4.0)
            for n in (1, 2):
                with contextlib.suppress(ConflictError):
                    journal.end_step(running, n, None, None, time=5.0)

    with pytest.raises(ConflictError, match=r"step 1 .* was not begun"):
        spoil()
    assert (journal.documents(), journal.steps(running)) == ([], [])
    journal.begin_step(running, 1, "set", "pump", 1.0, time=6.0)


def test_what_a_batch_made_and_lost_is_not_remembered(journal: Journal) -> None:
    def lose() -> None:
        with journal.batch():
            journal.add_campaign("c", {}, lab="bench", twin=False, versions={}, time=1.0)
            journal.suggest("c", [({"x": 1.0}, {})], time=1.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        lose()
    with pytest.raises(JournalError, match="no campaign 'c'; it has screen"):
        journal.suggest("c", [({"x": 1.0}, {})], time=1.0)


def test_a_batch_in_a_batch_is_refused(journal: Journal) -> None:
    told = pytest.raises(JournalError, match="a batch within a batch")
    with told, journal.batch(), journal.batch():
        pass
    assert journal.note("info", "x", "goes on", time=1.0) == 1
