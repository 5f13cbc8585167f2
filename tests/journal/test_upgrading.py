"""A journal of the first schema is brought up to date, stays usable, and stays covered."""

import pytest
from alembic import command
from alembic.config import Config

from sdl.journal import Journal, TrialState
from sdl.journal.address import parse_address
from sdl.journal.database import SqliteDatabase, connect
from sdl.journal.preparing import _MIGRATIONS, _make_file

ROWS = [
    "INSERT INTO campaigns VALUES (1, 'old', 'bench', false, 1.0)",
    "INSERT INTO revisions VALUES (1, 1, '{}', '{}', 1.0)",
    "INSERT INTO trials VALUES (1, 1, 'completed', '{\"x\":1.0}', '{\"y\":2.0}', NULL, '{}',"
    " 1.0, 2.0, 9.0, 1)",
    "INSERT INTO trials VALUES (1, 2, 'running', '{\"x\":2.0}', NULL, NULL, '{}', 1.0, 2.0,"
    " NULL, 1)",
    "INSERT INTO history (campaign_id, number, time, from_state, to_state, who, note, cause, epoch)"
    " VALUES (1, 1, 9.0, 'running', 'completed', 'runtime', '', NULL, 1)",
    "INSERT INTO history (campaign_id, number, time, from_state, to_state, who, note, cause, epoch)"
    " VALUES (1, 2, 2.0, 'approved', 'running', 'runtime', '', NULL, 1)",
    "INSERT INTO steps VALUES (1, 1, 1, 1, 'set', 'pump', '1.5', 'null', NULL, 3.0, 4.0, 1)",
    "INSERT INTO steps VALUES (1, 2, 1, 1, 'set', 'pump', '2.5', NULL, NULL, 3.0, NULL, 1)",
]


@pytest.fixture
def old_journal(journal_url: str) -> str:
    database = connect(parse_address(journal_url), readonly=False)
    if isinstance(database, SqliteDatabase):
        _make_file(database.file)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for row in ROWS:
            connection.exec_driver_sql(row)
    database.close()
    return journal_url


def test_an_older_journal_goes_on_after_the_upgrade(old_journal: str) -> None:
    with Journal.open(old_journal) as journal:
        trial = journal.trial("old", 2)
        (step,) = journal.steps(trial)
        assert (step.argument, step.mark, step.findings, step.done) == (2.5, None, (), False)
        journal.end_step(trial, 1, 2.5, None, time=10.0)
        journal.begin_step(trial, 2, "trigger", "spectrometer", None, time=11.0, mark={"n": 3})
        journal.move(trial, TrialState.FAILED, time=12.0, who="runtime", cause="leak")
        assert journal.verify().breaks == []


def test_one_entry_covers_what_was_there_before_the_chain(old_journal: str) -> None:
    with Journal.open(old_journal) as journal:
        (entry,) = journal.audit_entries()
        assert (entry.kind, entry.body["rows"]) == ("upgraded", 7)
        assert entry.body["open_trials"] == ["old/2"]
        assert journal.verify().breaks == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE steps SET argument = '1.6' WHERE number = 1",
        "UPDATE steps SET argument = '2.6' WHERE number = 2",
        "UPDATE steps SET ended_at = 5.0 WHERE number = 2",
        "UPDATE trials SET outcomes = '{\"y\":3.0}' WHERE number = 1",
        "UPDATE trials SET parameters = '{\"x\":3.0}' WHERE number = 2",
        "UPDATE trials SET state = 'failed' WHERE number = 2",
        "UPDATE history SET who = 'ada' WHERE number = 1",
        "UPDATE revisions SET spec = '{\"a\":1}'",
        "DELETE FROM steps WHERE number = 1",
        "INSERT INTO steps VALUES (1, 1, 2, 1, 'set', 'pump', '1', NULL, NULL, 3, 4, 1,"
        " NULL, NULL, NULL)",
    ],
)
def test_a_changed_old_row_is_found(old_journal: str, change: str) -> None:
    with Journal.open(old_journal) as journal:
        with journal._write("by hand") as connection:
            connection.exec_driver_sql(change)
        assert len(journal.verify().breaks) == 1
