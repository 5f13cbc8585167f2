"""What all parts of the journal share: transactions with plain errors, and the fence."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, TextClause, bindparam, select, text

from sdl.errors import ConflictError, JournalError
from sdl.journal.database import Database
from sdl.journal.failures import told_plainly
from sdl.journal.schema import campaigns, owners

# Statements are made once: making one costs more than executing it.
# FOR SHARE (PostgreSQL): the next owner waits until this write is done, or goes first
_FENCE = select(owners).where(owners.c.lab == bindparam("lab")).with_for_update(read=True)

_ORDER_LOCK = 0x73646C_0002  # an advisory lock of PostgreSQL; any number that is ours


class _Batch(threading.local):
    """The transaction that this thread's writes share, while there is one."""

    connection: Connection | None = None
    spoilt: Exception | None = None


class Store:
    """One journal. Every method may be called from any thread of the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fence: tuple[str, int] | None = None  # (lab, epoch), once this journal owned one
        self._campaign_ids: dict[str, int] = {}  # a campaign keeps its id for ever
        self._campaign_labs: dict[str, str] = {}
        self._batch = _Batch()

    @property
    def place(self) -> str:
        """Where the journal is, without a password."""
        return str(self._database.address)

    @property
    def _epoch(self) -> int:
        return self._fence[1] if self._fence else 0

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All writes of this thread until the end of the block are one transaction, or none is.

        A write that fails spoils it, even where its error was caught: the end of the block raises
        it. What was read meanwhile by this thread saw the writes.
        """
        if self._batch.connection is not None:
            raise JournalError(f"{self.place}: a batch within a batch")
        self._batch.spoilt = None
        try:
            with told_plainly(self.place, "batch"), self._database.write() as connection:
                self._batch.connection = connection
                yield
                if self._batch.spoilt is not None:
                    raise self._batch.spoilt
        except BaseException:
            self._forget()
            raise
        finally:
            self._batch.connection = None

    def _forget(self) -> None:
        """What was learnt in a transaction that was rolled back may not be so."""
        self._campaign_ids.clear()
        self._campaign_labs.clear()

    @contextmanager
    def _write(
        self, what: str, *, durable: bool = True, fenced: bool = True
    ) -> Iterator[Connection]:
        """All or nothing. :raises ConflictError: another owner has taken the lab meanwhile.

        On PostgreSQL durable writes take their turns, as they do on SQLite by themselves: cursors
        and the audit's chain grow in the order of the commits, and no two block each other.
        """
        with told_plainly(self.place, what), self._transaction(durable) as connection:
            if fenced:
                self._check_fence(connection)
            if durable:
                self._in_order(connection)
            yield connection

    @contextmanager
    def _transaction(self, durable: bool) -> Iterator[Connection]:
        within = self._batch.connection
        if within is None:
            with self._database.write(durable=durable) as connection:
                yield connection
            return
        if self._batch.spoilt is not None:
            raise self._batch.spoilt
        try:
            yield within
        except Exception as error:
            self._batch.spoilt = error
            raise

    @contextmanager
    def _read(self, what: str) -> Iterator[Connection]:
        within = self._batch.connection
        with told_plainly(self.place, what):
            if within is not None:
                yield within
                return
            with self._database.read() as connection:
                yield connection

    def _check_fence(self, connection: Connection) -> None:
        if self._fence is None:
            return
        lab, epoch = self._fence
        owner = connection.execute(_FENCE, {"lab": lab}).mappings().one()
        if owner["epoch"] != epoch:
            raise ConflictError(
                f"{self.place}: lab {lab} was taken over by process {owner['pid']} on "
                f"{owner['host']} (epoch {owner['epoch']}, ours was {epoch}); nothing was written, "
                "this runtime must stop"
            )

    def _campaign_id(self, connection: Connection, name: str) -> int:
        if name not in self._campaign_ids:
            found = connection.scalar(select(campaigns.c.id).where(campaigns.c.name == name))
            if found is None:
                raise JournalError(self._unknown_campaign(connection, name))
            self._campaign_ids[name] = found
        return self._campaign_ids[name]

    def _campaign_lab(self, connection: Connection, name: str) -> str:
        if name not in self._campaign_labs:
            query = select(campaigns.c.lab).where(campaigns.c.name == name)
            self._campaign_labs[name] = connection.execute(query).scalar_one()
        return self._campaign_labs[name]

    def _unknown_campaign(self, connection: Connection, name: str) -> str:
        known = list(connection.scalars(select(campaigns.c.name).order_by(campaigns.c.id)))
        there = f"it has {', '.join(known)}" if known else "it has none yet"
        return f"{self.place}: there is no campaign {name!r}; {there}"

    def _in_order(self, connection: Connection) -> None:
        """Commit in the order of the numbers, or a reader with a cursor would step over a late one.

        SQLite has one writer at a time; PostgreSQL hands out numbers before the commit.
        """
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ORDER_LOCK})")


def upsert(connection: Connection, table: Table, rows: list[Mapping[str, Any]]) -> None:
    """Insert rows, or overwrite those whose primary key is there already."""
    connection.execute(_upsert(table), rows)


@cache
def _upsert(table: Table) -> TextClause:
    """Written out, as both databases understand it: SQLAlchemy compiles its own each time anew."""
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
    new = ", ".join(f'"{c.name}" = excluded."{c.name}"' for c in table.columns if not c.primary_key)
    names = ", ".join(f'"{c.name}"' for c in table.columns)
    values = ", ".join(f":{c.name}" for c in table.columns)
    statement = text(
        f'INSERT INTO "{table.name}" ({names}) VALUES ({values}) '
        f"ON CONFLICT ({keys}) DO UPDATE SET {new}"
    )
    return statement.bindparams(*(bindparam(c.name, type_=c.type) for c in table.columns))
