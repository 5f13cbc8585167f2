import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sdl.errors import JournalError
from sdl.journal import Journal
from sdl.journal.preparing import _MIGRATIONS, _make_file
from sdl.journal.schema import REVISION, VERSION_TABLE, metadata


def test_the_migrations_make_the_tables_that_the_code_knows(journal: Journal) -> None:
    with journal._write("comparing") as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_foreign_keys_hold(journal: Journal) -> None:
    row = (
        "INSERT INTO notes (campaign_id, time, level, source, text) VALUES (99, 0, 'info', '', '')"
    )
    with pytest.raises(JournalError), journal._write("by hand") as connection:
        connection.exec_driver_sql(row)


def _set_revision(journal: Journal, revision: str) -> None:
    with journal._write("pretending") as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")


def test_a_newer_journal_is_left_alone(journal: Journal, journal_url: str) -> None:
    _set_revision(journal, "9999")
    for readonly in (True, False):
        with pytest.raises(JournalError, match=r"written by a newer sdl .*upgrade sdl"):
            Journal.open(journal_url, readonly=readonly)


def test_an_older_journal_is_not_migrated_by_a_reader(journal: Journal, journal_url: str) -> None:
    _set_revision(journal, "0000")
    with pytest.raises(JournalError, match=r"written by an older sdl .*`sdl run` brings it up"):
        Journal.open(journal_url, readonly=True)


def test_a_reader_creates_nothing(journal_url: str, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal; `sdl run` makes one"):
        Journal.open(journal_url, readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_writes_nothing(journal: Journal, journal_url: str) -> None:
    with Journal.open(journal_url, readonly=True) as reader:
        with pytest.raises(JournalError, match="opened for reading only"):
            reader.note("info", "reader", "hello", time=0.0)
        with pytest.raises(JournalError, match="opened for reading only"):
            reader.own("bench", time=0.0)
    assert journal.notes() == []


def test_a_reader_that_was_there_first_sees_what_is_written_later(
    journal: Journal, journal_url: str
) -> None:
    with Journal.open(journal_url, readonly=True) as reader:
        journal.note("info", "runtime", "hello", time=0.0)
        assert [n.text for n in reader.notes()] == ["hello"]


def test_many_may_open_a_new_journal_at_once(journal_url: str) -> None:
    start = Barrier(8)

    def open_it(_: int) -> str:
        start.wait(timeout=10)
        with Journal.open(journal_url) as journal:
            return journal.place

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(open_it, range(8)))) == 8


def test_making_the_log_of_one_file_at_once_locks_nobody_out(tmp_path: Path) -> None:
    """SQLite answers "locked" at once to one of two that make the log: some of these meet that."""
    places, at_once = 60, 4
    start = Barrier(at_once)

    def make(_: int) -> None:
        for n in range(places):
            start.wait(timeout=10)
            _make_file(tmp_path / f"{n}.db")

    with ThreadPoolExecutor(at_once) as pool:
        assert list(pool.map(make, range(at_once))) == [None] * at_once


def test_many_new_journals_may_be_opened_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = pool.map(lambda n: Journal.open(tmp_path / f"{n}.db").close(), range(8))
        assert list(opened) == [None] * 8


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is a folder; give a file in it"):
        Journal.open(tmp_path)
    with pytest.raises(JournalError, match="is a folder"):
        Journal.open(tmp_path, readonly=True)


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    Journal.open(tmp_path / "a b%20" / "c?#" / "journal.db").close()
    assert (tmp_path / "a b%20" / "c?#" / "journal.db").is_file()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path, readonly: bool) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("instruments:\n" * 200)
    with pytest.raises(JournalError, match=r"lab\.yaml: open: the file is not a journal"):
        Journal.open(file, readonly=readonly)
    assert file.read_text() == "instruments:\n" * 200


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE recipes (x)")
    connection.commit()
    connection.close()
    with pytest.raises(JournalError, match=r"tables of something else \(recipes\)"):
        Journal.open(file)


def test_tables_of_ours_that_are_not_ours_stop_the_opening(postgresql_database: str) -> None:
    import psycopg

    with psycopg.connect(postgresql_database) as connection:
        connection.execute("CREATE TABLE nodes (x int)")
    Journal.open(postgresql_database).close()  # as Tiled's tables beside ours
    with psycopg.connect(postgresql_database) as connection:
        connection.execute(f"DROP TABLE {VERSION_TABLE}".encode())
    with pytest.raises(JournalError, match="tables of something else"):
        Journal.open(postgresql_database)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    with Journal.open(file) as journal:
        for n in range(200):
            journal.add_document(None, "r", "event", {"y": [1.0] * 200}, time=n)
    content = bytearray(file.read_bytes())
    content[4096 * 3 :] = b"\xa5" * len(content[4096 * 3 :])
    file.write_bytes(content)
    with pytest.raises(JournalError, match="the file is damaged"), Journal.open(file) as journal:
        journal.documents()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_place_where_no_file_can_be_made_is_told() -> None:
    with pytest.raises(JournalError, match=r"/proc/journal\.db: open: the file cannot be opened"):
        Journal.open("/proc/journal.db")
    with pytest.raises(JournalError, match=r"its folder cannot be made"):
        Journal.open("/proc/lab/journal.db")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
class TestWithoutPermission:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        for folder in (tmp_path, *tmp_path.parents):
            if folder != folder.parent and folder.stat().st_uid == os.geteuid():
                folder.chmod(folder.stat().st_mode | 0o055)
        with Journal.open(tmp_path / "journal.db") as journal:
            journal.note("info", "runtime", "hello", time=0.0)
        (tmp_path / "journal.db").chmod(0o444)
        tmp_path.chmod(0o555)
        return tmp_path / "journal.db"

    def test_writing_is_refused_in_plain_words(self, file: Path, unprivileged: None) -> None:
        with pytest.raises(JournalError, match=r"no permission to write|cannot be opened"):
            Journal.open(file)

    def test_an_archived_journal_can_be_read(self, file: Path, unprivileged: None) -> None:
        with Journal.open(file, readonly=True) as journal:
            assert [n.text for n in journal.notes()] == ["hello"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("mysql://host/db", "mysql:// is not a database known here; give a file"),
        (":memory:", "needs a file"),
        ("sqlite://", "needs a file"),
        ("postgresql://host:port/db", "cannot be read; give a file"),
    ],
)
def test_a_url_of_no_use_is_told_with_those_that_are(given: str, told: str) -> None:
    with pytest.raises(JournalError, match=told):
        Journal.open(given)


def test_a_url_of_sqlite_is_a_file(tmp_path: Path) -> None:
    with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        assert journal.place == str(tmp_path / "journal.db")


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://ada:secret@/lab?host={tmp_path}"
    with pytest.raises(
        JournalError, match=r"postgresql://ada:\*\*\*@/lab.*: open: no connection"
    ) as told:
        Journal.open(url)
    assert "secret" not in str(told.value)


def test_a_database_that_is_not_there_is_told(postgresql_url: str) -> None:
    with pytest.raises(JournalError, match=r'no connection .*database "nowhere" does not exist'):
        Journal.open(postgresql_url.replace("/postgres?", "/nowhere?"))


def test_a_restarted_connection_is_no_error(postgresql_database: str) -> None:
    with Journal.open(postgresql_database) as journal, Journal.open(postgresql_database) as other:
        journal.note("info", "x", "before", time=0.0)
        with other._write("cutting all others off") as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        journal.note("info", "x", "after", time=1.0)
        assert [n.text for n in journal.notes()] == ["before", "after"]
