import math

import pytest

from sdl.errors import JournalError
from sdl.journal import Activity, Journal, Reading


def test_activities_are_overwritten_and_removed(journal: Journal, other: Journal) -> None:
    journal.set_activity("optimizer", {"doing": "fitting"}, time=1.0)
    journal.set_activity("trial/7", {"step": 3, "of": 9}, time=2.0)
    journal.set_activity("optimizer", {"doing": "idle"}, time=3.0)
    assert other.activities() == {
        "optimizer": Activity({"doing": "idle"}, 3.0),
        "trial/7": Activity({"step": 3, "of": 9}, 2.0),
    }
    journal.set_activity("trial/7", None, time=4.0)
    assert set(other.activities()) == {"optimizer"}


def test_readings_keep_the_newest_of_each_signal(journal: Journal, other: Journal) -> None:
    journal.put_readings({"heater": (60.0, "degC", 1.0), "valve": ("A", "", 1.0)})
    journal.put_readings({"heater": (math.nan, "degC", 2.0)})
    journal.put_readings({})
    found = other.readings()
    assert found["valve"] == Reading("A", "", 1.0)
    assert math.isnan(found["heater"].value)
    assert found["heater"].time == 2.0


def test_notes_are_read_on_from_a_cursor_or_from_the_end(journal: Journal) -> None:
    ids = [journal.note("info", "runtime", f"line {n}", time=n) for n in range(5)]
    about = journal.note("warning", "pump", "slow", time=9.0, campaign="screen")
    assert [n.id for n in journal.notes()] == [*ids, about]
    assert [n.text for n in journal.notes(after=ids[2], limit=2)] == ["line 3", "line 4"]
    assert [n.text for n in journal.notes(limit=2, newest=True)] == ["line 4", "slow"]
    (note,) = journal.notes(campaign="screen")
    assert (note.level, note.source, note.time, note.campaign) == ("warning", "pump", 9.0, "screen")


def test_a_note_of_no_known_level_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="'fatal' is no level; allowed: info, warning, error"):
        journal.note("fatal", "x", "y", time=0.0)  # type: ignore[arg-type]
