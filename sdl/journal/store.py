"""What all parts of the journal share: transactions with plain errors, and the fence."""

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


class Store:
    """One journal. Every method may be called from any thread of the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fence: tuple[str, int] | None = None  # (lab, epoch), once this journal owned one
        self._campaign_ids: dict[str, int] = {}  # a campaign keeps its id for ever

    @property
    def place(self) -> str:
        """Where the journal is, without a password."""
        return str(self._database.address)

    @property
    def _epoch(self) -> int:
        return self._fence[1] if self._fence else 0

    @contextmanager
    def _write(self, what: str, *, durable: bool = True) -> Iterator[Connection]:
        """All or nothing. :raises ConflictError: another owner has taken the lab meanwhile."""
        with told_plainly(self.place, what), self._database.write(durable=durable) as connection:
            self._check_fence(connection)
            yield connection

    @contextmanager
    def _read(self, what: str) -> Iterator[Connection]:
        with told_plainly(self.place, what), self._database.read() as connection:
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
