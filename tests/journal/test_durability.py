import random
import subprocess
import sys
from pathlib import Path

import pytest

from sdl.errors import JournalError
from sdl.journal import Journal, TrialState
from sdl.journal.database import SqliteDatabase

WRITE = """
import sys
from sdl.errors import JournalError
from sdl.journal import Journal
with Journal.open(sys.argv[1]) as journal, journal.own("bench", time=0.0):
    n = 0
    while True:
        n += 1
        cursor = journal.add_document(None, "r", "event", {"seq_num": n, "y": [1.0] * 50}, time=n)
        print(cursor, n, flush=True)
"""


def test_a_killed_writer_loses_no_document_that_it_reported(journal_url: str) -> None:
    reported: list[tuple[int, int]] = []
    chance = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, journal_url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(chance.randint(5, 60)):
            reported.append(_pair(process.stdout.readline()))
        process.kill()
        rest = process.communicate(timeout=10)[0]
        reported += [_pair(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    with Journal.open(journal_url) as journal:
        found = {d.cursor: d.doc["seq_num"] for d in journal.documents(limit=100_000)}
    assert {cursor: found.get(cursor) for cursor, _ in reported} == dict(reported)
    assert list(found) == sorted(found)


def _pair(line: str) -> tuple[int, int]:
    cursor, n = line.split()
    return int(cursor), int(n)


def test_what_must_last_is_committed_with_full_synchronisation(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.db") as journal:
        database = journal._database
        assert isinstance(database, SqliteDatabase)
        with database.write() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        with database.write(durable=False) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_server_set_to_lose_commits_does_not_lose_ours(postgresql_database: str) -> None:
    url = f"{postgresql_database}%20-csynchronous_commit%3Doff"
    with Journal.open(url) as journal:
        query = "SHOW synchronous_commit"
        with journal._database.write() as connection:
            assert connection.exec_driver_sql(query).scalar() == "on"
        with journal._database.write(durable=False) as connection:
            assert connection.exec_driver_sql(query).scalar() == "off"
        with journal._database.write() as connection:
            assert connection.exec_driver_sql(query).scalar() == "on"


def test_everything_is_there_when_opened_again(journal_url: str) -> None:
    with Journal.open(journal_url) as journal:
        journal.add_campaign("c", {"seed": 1}, lab="bench", twin=True, versions={}, time=0.0)
        (trial,) = journal.suggest("c", [({"x": 1.0}, {})], time=1.0)
        journal.move(trial, TrialState.APPROVED, time=2.0, who="ada", note="fine")
        journal.add_document(trial, "r", "start", {"uid": "r"}, time=3.0)
    with Journal.open(journal_url, readonly=True) as journal:
        assert journal.campaign("c").spec == {"seed": 1}
        assert journal.trial("c", 1).state is TrialState.APPROVED
        assert journal.history(trial)[1].note == "fine"
        assert [d.name for d in journal.documents()] == ["start"]


def test_a_reader_in_a_transaction_does_not_hold_up_the_writer(
    journal: Journal, other: Journal
) -> None:
    with other._read("a long look") as connection:
        before = connection.exec_driver_sql("SELECT count(*) FROM documents").scalar()
        journal.add_document(None, "r", "start", {}, time=1.0)
        after = connection.exec_driver_sql("SELECT count(*) FROM documents").scalar()
    assert (before, after) == (0, 0)  # and sees one moment
    assert len(other.documents()) == 1


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.add_document(None, "r", "start", {}, time=0.0)
        with journal._database.write() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(JournalError, match="document event of run r: the disk is full"):
            journal.add_document(None, "r", "event", {"y": [1.0] * 200_000}, time=1.0)
        assert [d.name for d in journal.documents()] == ["start"]
        with journal._database.write() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        cursor = journal.add_document(None, "r", "stop", {}, time=2.0)
        assert journal.documents()[-1].cursor == cursor
