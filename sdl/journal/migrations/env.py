"""Run by Alembic: use the connection, and the transaction, that `preparing` opened."""

from alembic import context

from sdl.journal.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
