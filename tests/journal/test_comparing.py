from pathlib import Path
from uuid import uuid4

from sdl.journal import Booking, Journal, TrialState, dump


def _record(where: str | Path, *, outcome: float = 0.5) -> str:
    """The same short campaign, with uids as Bluesky makes them."""
    with Journal.open(where) as journal, journal.own("bench", time=0.0):
        spec = {"b": 1, "a": float("nan")}
        journal.add_campaign("c", spec, lab="bench", twin=True, versions={"sdl": "0"}, time=0.0)
        (trial,) = journal.suggest("c", [({"x": 1.0}, {"seed": 3})], time=1.0)
        trial = journal.move(trial, TrialState.APPROVED, time=2.0, who="autonomy")
        trial = journal.move(trial, TrialState.RUNNING, time=3.0, who="runtime")
        run, descriptor = str(uuid4()), str(uuid4())
        journal.open_item("bench", "water", 10.0, time=4.0)
        booking = [Booking("water", -1.0)]
        journal.begin_step(trial, 1, "set", "pump", 1.0, time=4.0, mark=[1], bookings=booking)
        journal.add_document(trial, run, "start", {"uid": run, "time": 4.0}, time=4.0)
        journal.add_document(trial, run, "descriptor", {"uid": descriptor}, time=5.0)
        journal.end_step(trial, 1, None, None, time=5.0)
        journal.set_activity("runtime", {"at": str(uuid4())}, time=5.0)
        outcomes = {"yield": outcome}
        journal.move(trial, TrialState.COMPLETED, time=6.0, who="runtime", outcomes=outcomes)
        journal.note("info", "runtime", "done", time=6.0, campaign="c")
        return dump(journal)


def test_equal_runs_give_equal_text_on_any_database(tmp_path: Path, journal_url: str) -> None:
    assert _record(tmp_path / "first.db") == _record(journal_url)


def test_another_outcome_gives_another_text(tmp_path: Path) -> None:
    first = _record(tmp_path / "a.db").splitlines()
    second = _record(tmp_path / "b.db", outcome=0.6).splitlines()
    assert [a for a, b in zip(first, second, strict=True) if a != b] == [
        line for line in first if line.startswith("trials ")
    ]


def test_a_dump_holds_every_durable_table(tmp_path: Path) -> None:
    tables = {line.split()[0] for line in _record(tmp_path / "a.db").splitlines()}
    assert tables == {
        "campaigns",
        "revisions",
        "trials",
        "history",
        "steps",
        "ledger",
        "documents",
        "notes",
    }
