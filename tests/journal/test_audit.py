import random
import subprocess
import sys

import pytest
from sqlalchemy import Connection

from sdl.errors import JournalError
from sdl.journal import Booking, Journal, Trial, TrialState


def tell_a_story(journal: Journal, running: Trial) -> Trial:
    """A trial with all that the chain tells of."""
    journal.open_item("bench", "water", 10.0, time=3.0)
    booking = [Booking("water", -1.5)]
    argument = {"volume": 1.5, "b": [1, float("nan")], "odd": "\0\udcff"}
    journal.begin_step(running, 1, "set", "pump", argument, time=4.0, mark=0.5, bookings=booking)
    journal.note_finding(running, 1, {"verdict": "unknown", "who": "pump"}, time=5.0)
    trial = journal.move(running, TrialState.IN_DOUBT, time=5.0, who="runtime", cause="\0odd")
    journal.settle_step(trial, 1, "not done", time=6.0, who="ada", note="looked")
    trial = journal.move(trial, TrialState.RUNNING, time=7.0, who="ada")
    journal.begin_step(trial, 1, "set", "pump", argument, time=8.0, again=True, bookings=booking)
    journal.end_step(trial, 1, {"given": 1.5}, None, time=9.0)
    journal.begin_step(trial, 2, "trigger", "spectrometer", None, time=9.0)
    journal.end_step(trial, 2, None, "spectrometer: fault", time=9.5, error_type="x:Y")
    journal.quarantine("bench", "pump", "leak\0", time=9.5, who="gu\0ard\udcff")
    journal.book("bench", "water", 1.0, time=9.6, note="refill", who="ada")
    journal.audit("rules", "safety.yaml", {"digest": "abc"}, time=9.7, who="runtime")
    outcomes = {"yield": 0.5}
    return journal.move(trial, TrialState.COMPLETED, time=10.0, who="runtime", outcomes=outcomes)


def by_hand(journal: Journal, *statements: str) -> None:
    with journal._write("by hand") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def without_triggers(connection: Connection) -> None:
    for statement in {
        "sqlite": ["DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"],
        "postgresql": ["DROP TRIGGER audit_append_only ON audit"],
    }[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def test_what_happened_is_told_and_holds(journal: Journal, running: Trial) -> None:
    tell_a_story(journal, running)
    found = journal.verify(journal.export_anchor())
    assert found.breaks == []
    assert found.head == journal.audit_head()
    told = journal.audit_entries()
    assert [e.seq for e in told] == list(range(1, found.entries + 1))
    assert [e.kind for e in told] == [
        "rules",  # the campaign
        *["trial"] * 3,
        "inventory",
        *["step"] * 2,
        "trial",
        *["step"] * 2,
        "trial",
        *["step"] * 4,
        "instrument",
        "inventory",
        "rules",
        "trial",
    ]
    settled = told[8]
    assert (settled.who, settled.subject, settled.body["finding"]["verdict"]) == (
        "ada",
        "screen/1",
        "not done",
    )
    assert len(journal.audit_entries(subject="screen/1", after=5, limit=3)) == 3


@pytest.mark.parametrize("change", ["UPDATE audit SET who = 'x'", "DELETE FROM audit"])
def test_the_audit_takes_no_change(journal: Journal, running: Trial, change: str) -> None:
    with pytest.raises(JournalError, match="append-only"):
        by_hand(journal, change)
    assert journal.verify().breaks == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE steps SET argument = '1.6' WHERE attempt = 2",
            "step 1 of screen/1, attempt 2: argument: the journal says 1.6, the chain says {",
        ),
        ("UPDATE steps SET argument = 'x' WHERE n = 2", "step 2 of screen/1: argument: the journa"),
        ("UPDATE steps SET result = '2' WHERE attempt = 2", "the result is not the one"),
        ("UPDATE steps SET result = NULL WHERE n = 2", "step 2 of screen/1: the result"),
        ("UPDATE steps SET error = NULL WHERE n = 2", "step 2 of screen/1: error: the journal"),
        ("UPDATE steps SET error_type = 'x' WHERE n = 2", "step 2 of screen/1: error_type: "),
        ("UPDATE steps SET mark = '0.6' WHERE attempt = 1 AND n = 1", "mark: the journal says 0.6"),
        ("UPDATE steps SET findings = NULL", "step 1 of screen/1: findings: "),
        ("UPDATE steps SET started_at = 3 WHERE n = 2", "step 2 of screen/1: started_at: "),
        ("UPDATE steps SET ended_at = 99 WHERE n = 2", "ended_at: the journal says 99.0, the chai"),
        ("UPDATE steps SET instrument = 'x' WHERE n = 2", "instrument: the journal says x, the"),
        ("UPDATE steps SET n = 3 WHERE n = 2", "step 3 of screen/1: the chain does not tell of it"),
        ("DELETE FROM steps WHERE n = 2", "step 2 of screen/1, attempt 1: the chain tells of it"),
        ("UPDATE trials SET outcomes = '{\"yield\":0.6}'", "trial screen/1: outcomes: the journal"),
        ("UPDATE trials SET state = 'failed'", "state: the journal says failed, the chain says co"),
        ("UPDATE trials SET parameters = '{}'", "trial screen/1: parameters: "),
        ("UPDATE trials SET cause = 'x'", "trial screen/1: cause: "),
        ("UPDATE history SET note = 'x' WHERE to_state = 'approved'", "history of trial screen/1,"),
        ("UPDATE history SET cause = NULL", "history of trial screen/1, line 4"),
        ("DELETE FROM history WHERE to_state = 'approved'", "history of trial screen/1, line 2"),
        ("UPDATE revisions SET spec = '{}'", "campaign screen, revision 1: spec or versions"),
        ("UPDATE ledger SET change = 2 WHERE note = 'refill'", "ledger, lines of operators"),
        ("DELETE FROM ledger WHERE n = 1 AND id > 3", "ledger of trial screen/1"),
        ("UPDATE campaigns SET name = 'x'", "trial screen/1: the chain tells of it, the journal"),
    ],
)
def test_a_changed_row_is_found_and_named(
    journal: Journal, running: Trial, change: str, told: str
) -> None:
    tell_a_story(journal, running)
    by_hand(journal, change)
    breaks = journal.verify().breaks
    assert any(told in line for line in breaks), breaks


def test_an_entry_changed_taken_out_or_cut_off_is_found(journal: Journal, running: Trial) -> None:
    tell_a_story(journal, running)
    anchor = journal.export_anchor()
    with journal._write("by hand") as connection:
        without_triggers(connection)
    by_hand(journal, "UPDATE audit SET body = replace(body, '\"n\":2', '\"n\":7') WHERE seq = 14")
    assert journal.verify().breaks[0].startswith("entry 14 (step 7 of screen/1, 1970-01-01 00:00:0")
    by_hand(journal, "DELETE FROM audit WHERE seq IN (2, 3)")
    assert "entry 2 to 3 are missing" in journal.verify().breaks[0]
    last = "(SELECT max(seq) FROM audit)"
    by_hand(journal, f"DELETE FROM audit WHERE seq = {last}")
    assert any("its tail was cut off" in line for line in journal.verify(anchor).breaks)


def test_entries_of_a_forger_who_can_count_are_told_and_stop_nothing(journal: Journal) -> None:
    from sdl.journal.chain import append

    with journal._write("forging") as connection:
        for kind in ("step", "trial", "inventory"):
            append(connection, kind, "screen/1", {"event": "begun"}, time=1.0, who="mallory")
    breaks = journal.verify().breaks
    assert [line.endswith("is none that sdl writes") for line in breaks] == [True] * 3


def test_an_anchor_and_a_kind_of_no_use_are_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="anchor: must hold format"):
        journal.verify({"seq": 1, "hash": "x"})
    with pytest.raises(JournalError, match="no kind 'step'; allowed: operator, rules, runtime"):
        journal.audit("step", "screen/1", {}, time=1.0, who="x")


def test_many_writers_make_one_chain(journal: Journal, other: Journal) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def write(n: int) -> None:
        (journal, other)[n % 2].suggest("screen", [({"x": float(n)}, {})] * 2, time=n)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(24)))
    found = journal.verify()
    assert (found.entries, found.breaks) == (49, [])


WORK = """
import sys
from sdl.journal import Booking, Journal, TrialState as S
with Journal.open(sys.argv[1]) as journal:
    journal.add_campaign("c", {}, lab="bench", twin=False, versions={}, time=0.0)
    journal.open_item("bench", "water", 10.0, time=0.0)
    while True:
        (t,) = journal.suggest("c", [({"x": 1.0}, {})], time=1.0)
        t = journal.move(t, S.APPROVED, time=2.0, who="x")
        t = journal.move(t, S.RUNNING, time=3.0, who="x")
        for n in range(1, 4):
            with journal.batch():
                journal.begin_step(t, n, "set", "p", 1.0, time=4.0, bookings=[Booking("water", -1)])
                journal.note_finding(t, n, {"verdict": "unknown"}, time=4.5)
            journal.end_step(t, n, 1.0, None, time=5.0)
            print(t.number, n, flush=True)
        journal.move(t, S.COMPLETED, time=6.0, who="x", outcomes={"y": 1.0})
"""


def test_a_killed_writer_leaves_chain_and_tables_in_agreement(journal_url: str) -> None:
    chance = random.Random(3)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, journal_url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randint(3, 40))]
        process.kill()
        process.communicate(timeout=10)
        with Journal.open(journal_url) as journal:
            assert journal.verify().breaks == []
            number, n = map(int, lines[-1].split())
            assert any(s.done and s.n == n for s in journal.steps(journal.trial("c", number)))
