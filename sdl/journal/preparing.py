"""Make a journal ready when it is opened: create it, migrate it, or say why not."""

import sqlite3
import threading
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sdl.errors import JournalError
from sdl.journal.database import WAIT, Database, SqliteDatabase
from sdl.journal.schema import REVISION, VERSION_TABLE, metadata

_MIGRATIONS = Path(__file__).parent / "migrations"
_one_migration = threading.Lock()  # Alembic's context is a global of the process
_MIGRATION_LOCK = 0x73646C_0001  # an advisory lock of PostgreSQL; any number that is ours


def prepare(database: Database) -> None:
    """Create the tables where there are none and bring older ones up to date, in one transaction.

    :raises JournalError: the place holds something else, or a newer journal; nothing was changed.
    """
    if isinstance(database, SqliteDatabase):
        _make_file(database.file)
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        found = _revision(connection)
        if found == REVISION:
            return
        if found is None:
            _check_nothing_else_here(database, connection)
        elif found > REVISION:
            raise _newer(database, found)
        _migrate(connection)


def check(database: Database) -> None:
    """:raises JournalError: there is no journal of this version to read; nothing was changed."""
    if isinstance(database, SqliteDatabase):
        if database.file.is_dir():
            raise JournalError(f"{database.file}: is a folder; give the journal's file in it")
        if not database.file.exists():
            raise JournalError(f"{database.file}: there is no journal; `sdl run` makes one")
    with database.read() as connection:
        found = _revision(connection)
    if found is None:
        raise JournalError(f"{database.address}: holds no journal; `sdl run` makes one")
    if found > REVISION:
        raise _newer(database, found)
    if found < REVISION:
        raise JournalError(
            f"{database.address}: was written by an older sdl (schema {found}, this one reads "
            f"{REVISION}); keep a copy, then `sdl run` brings it up to date"
        )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))


def _newer(database: Database, found: str) -> JournalError:
    return JournalError(
        f"{database.address}: was written by a newer sdl (schema {found}, this one knows up to "
        f"{REVISION}); upgrade sdl on this machine"
    )


def _check_nothing_else_here(database: Database, connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names())
    if connection.dialect.name == "postgresql":  # may be shared, say with Tiled
        tables &= set(metadata.tables)
    if tables:
        some = ", ".join(sorted(tables)[:5])
        raise JournalError(
            f"{database.address}: holds tables of something else ({some}); "
            "give the journal a place of its own"
        )


def _migrate(connection: Connection) -> None:
    from alembic import command  # only here: most openings need no migration
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_migration:
        command.upgrade(config, "head")


def _make_file(file: Path) -> None:
    if file.is_dir():
        raise JournalError(f"{file}: is a folder; give a file in it, such as {file / 'journal.db'}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JournalError(f"{file}: its folder cannot be made: {error.strerror}") from error
    # Two processes that make the log at once: SQLite tells one of them "locked" without waiting.
    pause = threading.Event()
    for _ in range(int(WAIT / 0.05)):
        try:
            return _turn_on_log(file)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        pause.wait(0.05)
    raise JournalError(f"{file}: another process kept the journal locked for {WAIT:g} s")


def _turn_on_log(file: Path) -> None:
    connection = sqlite3.connect(f"{file.as_uri()}?mode=rwc", uri=True, timeout=WAIT)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    finally:
        connection.close()
    if mode != "wal":
        raise JournalError(
            f"{file}: this file system has no shared memory for SQLite's log (a network share?); "
            "use a local disk, or PostgreSQL"
        )
