"""The durable part of a journal as canonical text, to compare two runs."""

import json
import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, select

from sdl.journal.schema import (
    campaigns,
    documents,
    history,
    ledger,
    notes,
    revisions,
    steps,
    trials,
)
from sdl.journal.store import Store

_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TABLES = (campaigns, revisions, trials, history, steps, ledger, documents, notes)
_LEFT_OUT = {"id", "cursor", "epoch"}  # the order says it; who wrote it is not what was written
_JSON = {
    "spec",
    "versions",
    "parameters",
    "outcomes",
    "suggestion",
    "argument",
    "result",
    "mark",
    "findings",
    "doc",
}
_ORDER = {
    campaigns: ("id",),
    revisions: ("campaign_id", "number"),
    trials: ("campaign_id", "number"),
    history: ("campaign_id", "number", "id"),
    steps: ("campaign_id", "number", "n", "attempt"),
    ledger: ("id",),
    documents: ("cursor",),
    notes: ("id",),
}


def dump(journal: Store) -> str:
    """Return one line of JSON per row: equal text means equal campaigns, trials, documents, notes.

    Random uids (Bluesky's) are replaced by numbers in the order they appear. Owners, claims,
    requests, followers and what is only live are left out; so is the audit, which tells the same
    and whose hashes hang on the uids.
    """
    with journal._read("dump") as connection:  # noqa: SLF001 (one snapshot of all tables)
        text = "\n".join(line for table in _TABLES for line in _lines(connection, table))
    seen: dict[str, str] = {}
    return _UID.sub(lambda found: seen.setdefault(found[0], f"uid-{len(seen) + 1}"), text)


def _lines(connection: Connection, table: Table) -> Iterator[str]:
    columns = [c for c in table.columns if c.name not in _LEFT_OUT]
    query = select(*columns).order_by(*(table.c[name] for name in _ORDER[table]))
    if "campaign_id" in table.c:  # the id is the database's; the name is the campaign's
        query = query.add_columns(campaigns.c.name.label("campaign"))
        query = query.outerjoin_from(table, campaigns, campaigns.c.id == table.c.campaign_id)
    for row in connection.execute(query).mappings():
        values = {name: _value(name, value) for name, value in row.items() if name != "campaign_id"}
        yield f"{table.name} {json.dumps(values, sort_keys=True)}"


def _value(column: str, value: Any) -> Any:
    return json.loads(value) if column in _JSON and value is not None else value
