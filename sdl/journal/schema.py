"""The tables. A change here needs a migration beside it (a test compares the two)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy import Text as PlainText

REVISION = "0002"
"""The newest migration in migrations/versions; revisions are numbers, in order."""

VERSION_TABLE = "sdl_journal_version"  # not Alembic's default: Tiled may live in the same database


class Text(TypeDecorator[str]):
    """Text that both databases take: an instrument's reply may hold NUL or half a character."""

    impl = PlainText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def storable(text: str) -> str:
    """What a column of `Text` makes of `text`; storable text stays as it is."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


Cursor = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only in INTEGER columns

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

owners = Table(
    "owners",
    metadata,
    Column("lab", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("held", Boolean, nullable=False),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("lab", Text, nullable=False),
    Column("twin", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("name"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("campaign_id", Integer, ForeignKey("campaigns.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("spec", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("time", Double, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("campaign_id", Integer, ForeignKey("campaigns.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("outcomes", Text),
    Column("cause", Text),
    Column("suggestion", Text, nullable=False),
    Column("suggested_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("epoch", Integer, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("id", Cursor, primary_key=True),
    Column("campaign_id", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("time", Double, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("cause", Text),
    Column("epoch", Integer, nullable=False),
    ForeignKeyConstraint(["campaign_id", "number"], ["trials.campaign_id", "trials.number"]),
    Index(None, "campaign_id", "number"),
)

steps = Table(
    "steps",
    metadata,
    Column("campaign_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("command", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("argument", Text, nullable=False),
    Column("result", Text),
    Column("error", Text),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("epoch", Integer, nullable=False),
    Column("mark", Text),
    Column("error_type", Text),
    Column("findings", Text),
    ForeignKeyConstraint(["campaign_id", "number"], ["trials.campaign_id", "trials.number"]),
)

claims = Table(
    "claims",
    metadata,
    Column("lab", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    Column("campaign_id", Integer),
    Column("number", Integer),
    Column("since", Double, nullable=False),
    Column("why", Text),
    ForeignKeyConstraint(["campaign_id", "number"], ["trials.campaign_id", "trials.number"]),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", Cursor, primary_key=True),
    Column("lab", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("time", Double, nullable=False),
    Column("change", Double, nullable=False),
    Column("campaign_id", Integer),
    Column("number", Integer),
    Column("n", Integer),
    Column("note", Text, nullable=False),
    ForeignKeyConstraint(["campaign_id", "number"], ["trials.campaign_id", "trials.number"]),
    Index(None, "lab", "item"),
    Index(None, "campaign_id", "number", "n"),
    sqlite_autoincrement=True,
)

# Append-only: triggers refuse changes (migration 0002), the chain of hashes tells of them.
audit = Table(
    "audit",
    metadata,
    Column("seq", Cursor, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "subject"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Cursor, primary_key=True),
    Column("lab", Text, nullable=False),
    Column("time", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("taken_at", Double),
    Column("answer", Text),
    Column("ok", Boolean),
    Index(None, "lab"),
    sqlite_autoincrement=True,
)

documents = Table(
    "documents",
    metadata,
    Column("cursor", Cursor, primary_key=True),
    Column("campaign_id", Integer),
    Column("number", Integer),
    Column("run", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("doc", Text, nullable=False),
    Column("time", Double, nullable=False),
    Column("epoch", Integer, nullable=False),
    ForeignKeyConstraint(["campaign_id", "number"], ["trials.campaign_id", "trials.number"]),
    Index(None, "campaign_id", "number"),
    Index(None, "run"),
    sqlite_autoincrement=True,  # a cursor is never used again, even if rows were deleted by hand
)

notes = Table(
    "notes",
    metadata,
    Column("id", Cursor, primary_key=True),
    Column("campaign_id", Integer, ForeignKey("campaigns.id")),
    Column("time", Double, nullable=False),
    Column("level", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("text", Text, nullable=False),
    sqlite_autoincrement=True,
)

followers = Table(
    "followers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("cursor", Cursor, nullable=False),
    Column("time", Double, nullable=False),
)

# What can be worked out again: overwritten in place, committed without waiting for the disk.

activity = Table(
    "activity",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("time", Double, nullable=False),
)

readings = Table(
    "readings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("units", Text, nullable=False),
    Column("time", Double, nullable=False),
)
