"""Marks and findings of steps; claims, ledger, requests; the append-only audit chain."""

import sqlalchemy as sa
from alembic import op

from sdl.journal.upgraded import begin_chain

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CURSOR = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for column in ("mark", "error_type", "findings"):
        op.add_column("steps", sa.Column(column, sa.Text))
    _claims_and_ledger()
    _requests()
    _audit()
    begin_chain(op.get_bind())


def _claims_and_ledger() -> None:
    op.create_table(
        "claims",
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("instrument", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("why", sa.Text),
        sa.PrimaryKeyConstraint("lab", "instrument", name="pk_claims"),
        _of_a_trial("claims"),
    )
    op.create_table(
        "ledger",
        sa.Column("id", _CURSOR, nullable=False),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("change", sa.Double, nullable=False),
        sa.Column("campaign_id", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("n", sa.Integer),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger"),
        _of_a_trial("ledger"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ledger_lab_item", "ledger", ["lab", "item"])
    op.create_index("ix_ledger_campaign_id_number_n", "ledger", ["campaign_id", "number", "n"])


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", _CURSOR, nullable=False),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("taken_at", sa.Double),
        sa.Column("answer", sa.Text),
        sa.Column("ok", sa.Boolean),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_requests_lab", "requests", ["lab"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", _CURSOR, nullable=False, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        for change in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
    ],
}


def _of_a_trial(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["campaign_id", "number"],
        ["trials.campaign_id", "trials.number"],
        name=f"fk_{table}_trials",
    )
