import pytest

from sdl.errors import JournalError
from sdl.journal import Booking, Journal, Trial


def test_the_first_amount_is_written_once(journal: Journal) -> None:
    journal.open_item("bench", "water", 10.0, time=1.0)
    journal.open_item("bench", "water", 99.0, time=2.0)
    assert journal.balances("bench") == {"water": 10.0}
    assert [line.note for line in journal.ledger("bench", "water")] == ["at first"]


def test_a_refill_says_who_and_why(journal: Journal) -> None:
    journal.open_item("bench", "waste", 0.0, time=1.0)
    journal.book("bench", "waste", -5.0, time=2.0, note="emptied", who="ada")
    assert [(x.change, x.note) for x in journal.ledger("bench", "waste", limit=1)] == [
        (-5.0, "emptied")
    ]
    assert journal.audit_entries()[-1].who == "ada"
    with pytest.raises(JournalError, match=r"no item 'wate'.*it has waste"):
        journal.book("bench", "wate", 1.0, time=3.0, note="", who="ada")
    with pytest.raises(JournalError, match="not finite"):
        journal.book("bench", "waste", float("nan"), time=3.0, note="", who="ada")


def test_a_second_attempt_of_a_step_books_nothing_twice(journal: Journal, running: Trial) -> None:
    journal.open_item("bench", "water", 10.0, time=1.0)
    bookings = [Booking("water", -1.0), Booking("waste", 1.0), Booking("water", -0.5)]
    journal.begin_step(running, 3, "set", "pump", 1.5, time=4.0, bookings=bookings)
    journal.end_step(running, 3, None, "pump: refused", time=5.0)
    journal.begin_step(running, 3, "set", "pump", 1.5, time=6.0, again=True, bookings=bookings)
    assert journal.balances("bench") == {"waste": 1.0, "water": 8.5}
    line = journal.ledger("bench", "water")[-1]
    assert (line.trial, line.n, line.change) == ("screen/1", 3, -1.5)


def test_bookings_are_booked_back_once(journal: Journal, running: Trial) -> None:
    journal.open_item("bench", "water", 10.0, time=1.0)
    booking = [Booking("water", -1.5)]
    journal.begin_step(running, 1, "set", "pump", 1.5, time=4.0, bookings=booking)
    for _ in range(2):
        journal.reverse_bookings(running, 1, time=5.0, note="was not done")
    assert journal.balances("bench") == {"water": 10.0}
    assert len(journal.ledger("bench", "water")) == 3
    assert journal.verify().breaks == []


def test_a_step_that_is_not_begun_books_nothing(journal: Journal, running: Trial) -> None:
    booking = [Booking("water", -1.5)]
    journal.begin_step(running, 1, "set", "pump", 1.5, time=4.0)
    with pytest.raises(JournalError, match="was begun already"):
        journal.begin_step(running, 1, "set", "pump", 1.5, time=4.0, bookings=booking)
    with pytest.raises(JournalError, match="not finite"):
        journal.begin_step(
            running, 2, "set", "pump", 1.5, time=4.0, bookings=[Booking("water", float("inf"))]
        )
    assert journal.balances("bench") == {}
    assert [s.n for s in journal.steps(running)] == [1]
