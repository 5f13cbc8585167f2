"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_CURSOR = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _labs_and_campaigns()
    _trials()
    _documents_and_notes()
    _what_can_be_worked_out_again()


def _labs_and_campaigns() -> None:
    op.create_table(
        "owners",
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("lab", name="pk_owners"),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("twin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
        sa.UniqueConstraint("name", name="uq_campaigns_name"),
    )
    op.create_table(
        "revisions",
        sa.Column("campaign_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", name="pk_revisions"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_revisions_campaigns"),
    )


def _trials() -> None:
    op.create_table(
        "trials",
        sa.Column("campaign_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("outcomes", sa.Text),
        sa.Column("cause", sa.Text),
        sa.Column("suggestion", sa.Text, nullable=False),
        sa.Column("suggested_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", name="pk_trials"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_trials_campaigns"),
    )
    op.create_table(
        "history",
        sa.Column("id", _CURSOR, nullable=False),
        sa.Column("campaign_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("from_state", sa.Text),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
        _of_a_trial("history"),
    )
    op.create_index("ix_history_campaign_id_number", "history", ["campaign_id", "number"])
    op.create_table(
        "steps",
        sa.Column("campaign_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("n", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("instrument", sa.Text, nullable=False),
        sa.Column("argument", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", "n", "attempt", name="pk_steps"),
        _of_a_trial("steps"),
    )


def _documents_and_notes() -> None:
    op.create_table(
        "documents",
        sa.Column("cursor", _CURSOR, nullable=False),
        sa.Column("campaign_id", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("doc", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("cursor", name="pk_documents"),
        _of_a_trial("documents"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_documents_campaign_id_number", "documents", ["campaign_id", "number"])
    op.create_index("ix_documents_run", "documents", ["run"])
    op.create_table(
        "notes",
        sa.Column("id", _CURSOR, nullable=False),
        sa.Column("campaign_id", sa.Integer),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_notes_campaigns"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "followers",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("cursor", _CURSOR, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_followers"),
    )


def _what_can_be_worked_out_again() -> None:
    op.create_table(
        "activity",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_activity"),
    )
    op.create_table(
        "readings",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("units", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_readings"),
    )


def _of_a_trial(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["campaign_id", "number"],
        ["trials.campaign_id", "trials.number"],
        name=f"fk_{table}_trials",
    )
