import pytest

from sdl.errors import ConflictError, JournalError
from sdl.journal import Journal


def test_a_request_is_seen_answered_and_kept(journal: Journal, other: Journal) -> None:
    number = other.request(
        "bench", "abort", "7", who="ada", why="it leaks", body={"now": True}, time=4.0
    )
    other.request("bench-2", "stop", "", who="ada", why="", time=4.0)
    (asked,) = journal.open_requests("bench")
    assert (asked.id, asked.kind, asked.target, asked.who, asked.why, asked.body) == (
        number,
        "abort",
        "7",
        "ada",
        "it leaks",
        {"now": True},
    )
    assert other.request_answer(number).ok is None
    journal.answer_request(number, True, "trial 7 is aborted", time=5.0)
    assert journal.open_requests("bench") == []
    answer = other.request_answer(number)
    assert (answer.ok, answer.answer, answer.taken_at) == (True, "trial 7 is aborted", 5.0)
    with pytest.raises(ConflictError, match="none that is open"):
        journal.answer_request(number, False, "no", time=6.0)
    with pytest.raises(JournalError, match="no request 99"):
        journal.request_answer(99)
    told = [e for e in journal.audit_entries() if e.kind == "operator"]
    assert [(e.who, e.body["event"]) for e in told] == [
        ("ada", "request"),
        ("ada", "request"),
        ("runtime", "answer"),
    ]


def test_a_request_is_not_lost_when_the_asker_was_an_owner_once(
    journal: Journal, other: Journal
) -> None:
    journal.own("bench", time=1.0).release()
    other.own("bench", time=2.0)
    journal.request("bench", "stop", "", who="ada", why="", time=3.0)
    assert [r.kind for r in other.open_requests("bench")] == ["stop"]
