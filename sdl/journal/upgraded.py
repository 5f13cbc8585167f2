"""Rows from before there was a chain (migration 0002): one entry covers them all.

Its body: how many rows, a digest over them, and which trials and steps were still open. Of those
only what can no longer change is in the digest. The columns are those of migration 0001.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, text

from sdl.journal.chain import append, canonical
from sdl.journal.states import ENDED

Row = Mapping[str, Any]

_REVISIONS = """
    SELECT campaigns.name, revisions.number, spec, versions, revisions.time
    FROM revisions JOIN campaigns ON campaigns.id = revisions.campaign_id
    ORDER BY campaigns.id, revisions.number"""
_TRIALS = """
    SELECT campaigns.name, trials.campaign_id, number, state, parameters, suggestion, suggested_at,
        outcomes, cause
    FROM trials JOIN campaigns ON campaigns.id = trials.campaign_id
    ORDER BY trials.campaign_id, number"""
_HISTORY = """
    SELECT time, from_state, to_state, who, note, cause FROM history
    WHERE campaign_id = :campaign_id AND number = :number ORDER BY id"""
_STEPS = """
    SELECT n, attempt, command, instrument, argument, started_at, result, error, ended_at
    FROM steps WHERE campaign_id = :campaign_id AND number = :number ORDER BY n, attempt"""


class Digest:
    """Rows, counted and digested in order."""

    def __init__(self) -> None:
        self._hash, self.rows = hashlib.sha256(), 0

    def _add(self, table: str, row: Row, *columns: str) -> None:
        self._hash.update(canonical([table, *(row[c] for c in columns)]).encode() + b"\n")
        self.rows += 1

    def revision(self, row: Row) -> None:
        self._add("revisions", row, "name", "number", "spec", "versions", "time")

    def trial(self, row: Row, ended: bool) -> None:
        last = ("state", "outcomes", "cause") if ended else ()
        self._add(
            "trials", row, "name", "number", "parameters", "suggestion", "suggested_at", *last
        )

    def transition(self, row: Row) -> None:
        self._add("history", row, "time", "from_state", "to_state", "who", "note", "cause")

    def step(self, row: Row, ended: bool) -> None:
        last = ("result", "error", "ended_at") if ended else ()
        columns = ("n", "attempt", "command", "instrument", "argument", "started_at")
        self._add("steps", row, *columns, *last)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def begin_chain(connection: Connection) -> None:
    """Write the entry, if there is anything to cover. Nobody else may write meanwhile."""
    digest, open_trials, open_steps, newest = Digest(), [], [], 0.0
    for row in _rows(connection, _REVISIONS):
        digest.revision(row)
        newest = max(newest, row["time"])
    for trial in list(_rows(connection, _TRIALS)):
        which = {"campaign_id": trial["campaign_id"], "number": trial["number"]}
        name = f"{trial['name']}/{trial['number']}"
        digest.trial(trial, trial["state"] in ENDED)
        if trial["state"] not in ENDED:
            open_trials.append(name)
        for row in _rows(connection, _HISTORY, which):
            digest.transition(row)
            newest = max(newest, row["time"])
        for row in _rows(connection, _STEPS, which):
            digest.step(row, row["ended_at"] is not None)
            newest = max(newest, row["ended_at"] or row["started_at"])
            if row["ended_at"] is None:
                open_steps.append([name, row["n"], row["attempt"]])
    if digest.rows:
        body = {
            "rows": digest.rows,
            "digest": digest.hexdigest(),
            "open_trials": open_trials,
            "open_steps": open_steps,
        }
        append(connection, "upgraded", "journal", body, time=newest, who="sdl")


def _rows(connection: Connection, query: str, which: Row | None = None) -> Iterator[Row]:
    for row in connection.execute(text(query), which or {}).mappings():
        yield dict(row)  # type: ignore[arg-type]  # its keys are the columns' names


def is_open(name: str, entry: Row, step: tuple[int, int] | None = None) -> bool:
    """Whether a trial (or a step of it) had not ended when the entry with this body was made."""
    wanted: Collection[Any] = entry["open_trials"] if step is None else entry["open_steps"]
    return (name if step is None else [name, *step]) in wanted
