"""Connections to the journal's database: who may write, and what a commit waits for.

SQLite (3.35 or newer): write-ahead log; `synchronous=FULL` where a commit must outlive a power cut,
NORMAL where what is written can be worked out again (sqlite.org/pragma.html#pragma_synchronous).
Transactions that write begin IMMEDIATE, so none fails half-way because another one was faster;
readers see a snapshot and hold up nobody. In one process writers queue at a lock, not at SQLite's
polling. PostgreSQL: the same with `synchronous_commit`.
"""

import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool, QueuePool

from sdl.errors import JournalError
from sdl.journal.address import Address

WAIT = 10.0
"""Seconds that a writer waits for another one, a reader for a connection."""


class Database(ABC):
    """Thread-safe; each transaction has a connection of its own."""

    def __init__(self, address: Address, readonly: bool) -> None:
        self.address, self.readonly = address, readonly
        self.rederivable = False
        """Whether it can be worked out again, as a twin's can: commits do not wait for the disk."""
        self._lock = threading.Lock()

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back on any error."""
        if self.readonly:
            raise JournalError(f"{self.address}: it was opened for reading only")
        if not self._lock.acquire(timeout=WAIT):
            raise JournalError(
                f"{self.address}: another thread kept the journal for {WAIT:g} s"
            ) from TimeoutError()
        try:
            with self._begin(durable and not self.rederivable) as connection:
                yield connection
        finally:
            self._lock.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: all that is read in it belongs together."""
        with self._reader.begin() as connection:
            yield connection

    def close(self) -> None:
        for engine in self._engines():
            engine.dispose()

    _reader: Engine

    @abstractmethod
    def _begin(self, durable: bool) -> Any: ...

    @abstractmethod
    def _engines(self) -> list[Engine]: ...


class SqliteDatabase(Database):
    """A file; `mode=ro` (or `immutable`, on a medium nobody can write) where only read."""

    def __init__(self, address: Address, file: Path, readonly: bool) -> None:
        super().__init__(address, readonly)
        self.file = file
        self._durable = _sqlite(file, "rwc", "BEGIN IMMEDIATE", "FULL")
        self._volatile = _sqlite(file, "rwc", "BEGIN IMMEDIATE", "NORMAL")
        self._reader = _sqlite(file, "ro" if readonly else "rw", "BEGIN", "NORMAL")

    def _begin(self, durable: bool) -> Any:
        return (self._durable if durable else self._volatile).begin()

    def _engines(self) -> list[Engine]:
        return [self._reader, self._volatile, self._durable]


class PostgresqlDatabase(Database):
    """A database on a server."""

    def __init__(self, address: Address, readonly: bool) -> None:
        super().__init__(address, readonly)
        self._writer = _postgresql(address, isolation_level="READ COMMITTED")
        self._reader = _postgresql(address, isolation_level="REPEATABLE READ")

    @contextmanager
    def _begin(self, durable: bool) -> Iterator[Connection]:
        with self._writer.begin() as connection:
            if not durable:
                connection.execute(text("SET LOCAL synchronous_commit TO OFF"))
            yield connection

    def lock_connection(self) -> Connection:
        """A session of its own, outside the pool, for the owner's lock."""
        engine = _postgresql(self.address, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        return engine.connect()

    def _engines(self) -> list[Engine]:
        return [self._reader, self._writer]


def connect(address: Address, *, readonly: bool) -> Database:
    """Return the database at `address`; nothing is opened before the first transaction."""
    if address.file is not None:
        return SqliteDatabase(address, address.file, readonly)
    return PostgresqlDatabase(address, readonly)


def _sqlite(file: Path, mode: str, begin: str, synchronous: str) -> Engine:
    def open_file() -> sqlite3.Connection:
        uri = f"{file.as_uri()}?mode={mode}{_immutable(file, mode)}"
        # isolation_level=None: the `begin` event below says how a transaction begins
        connection = sqlite3.connect(
            uri, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        if begin == "BEGIN":
            connection.execute("PRAGMA query_only=ON")
        return connection

    engine = create_engine(
        "sqlite://", creator=open_file, poolclass=QueuePool, pool_timeout=WAIT, pool_size=5
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _immutable(file: Path, mode: str) -> str:
    """Reading needs a log beside the file: where none can be made and none is, nobody writes."""
    if mode != "ro" or file.with_name(f"{file.name}-wal").exists():
        return ""
    return "" if _writable(file.parent) else "&immutable=1"


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _postgresql(address: Address, **options: Any) -> Engine:
    assert address.url is not None  # an address is a file or a URL
    try:
        engine = create_engine(
            address.url,
            connect_args={"connect_timeout": int(WAIT)},
            pool_pre_ping=True,  # a server that was restarted meanwhile is no error
            **({"pool_timeout": WAIT} if "poolclass" not in options else {}),
            **options,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise JournalError(
            f"{address}: PostgreSQL needs psycopg: pip install 'sdl[postgresql]'"
        ) from error
    event.listen(engine, "connect", _set_up_session)
    return engine


def _set_up_session(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{WAIT:g}s'")
        cursor.execute("SET statement_timeout = '60s'")
        # a server set up to lose the last commits must not lose ours
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()
