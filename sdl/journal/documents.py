"""Bluesky documents, in the order they were written, and how far each follower has read."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, insert, select

from sdl.journal.jsontext import decode, encode
from sdl.journal.records import RunRecord, StoredDocument, Trial
from sdl.journal.schema import campaigns, documents, followers
from sdl.journal.store import Store, upsert

_INSERT = insert(documents).returning(documents.c.cursor)


class Documents(Store):
    def add_document(
        self, trial: Trial | None, run: str, name: str, doc: Mapping[str, Any], *, time: float
    ) -> int:
        """Write one document and return its cursor; when this returns it outlives a power cut.

        Cursors rise in the order of the commits and are never used again: a reader that has seen
        one misses none below it.

        :param run: the uid of the run (of its start document).
        :param name: the kind of document: start, descriptor, event, stop, …
        :raises JournalError: the document holds what JSON cannot; says under which key.
        """
        text = encode(doc, f"document {name} of run {run}")
        with self._write(f"document {name} of run {run}") as connection:
            row = {"run": run, "name": name, "doc": text, "time": float(time), "epoch": self._epoch}
            if trial is not None:
                row["campaign_id"] = self._campaign_id(connection, trial.campaign)
                row["number"] = trial.number
            return connection.execute(_INSERT, row).scalar_one()

    def documents(
        self,
        after: int = 0,
        limit: int = 1000,
        run: str | None = None,
        trial: Trial | None = None,
    ) -> list[StoredDocument]:
        """The next documents with a cursor above `after`, at most `limit`, in order."""
        query = (
            select(documents, campaigns.c.name.label("campaign"))
            .outerjoin(campaigns, campaigns.c.id == documents.c.campaign_id)
            .where(documents.c.cursor > after)
            .order_by(documents.c.cursor)
            .limit(limit)
        )
        with self._read("documents") as connection:
            if run is not None:
                query = query.where(documents.c.run == run)
            if trial is not None:
                query = query.where(
                    documents.c.campaign_id == self._campaign_id(connection, trial.campaign),
                    documents.c.number == trial.number,
                )
            return [_document(row) for row in connection.execute(query).mappings()]

    def runs(self, trial: Trial) -> list[RunRecord]:
        """The runs of a trial in the order they began."""
        query = (
            select(documents.c.cursor, documents.c.run, documents.c.name, documents.c.doc)
            .where(documents.c.number == trial.number, documents.c.name.in_(["start", "stop"]))
            .order_by(documents.c.cursor)
        )
        started: dict[str, int] = {}
        stopped: dict[str, str] = {}
        with self._read(f"runs of trial {trial.id}") as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            for row in connection.execute(query.where(documents.c.campaign_id == campaign_id)):
                if row.name == "start":
                    started[row.run] = row.cursor
                else:
                    stopped[row.run] = str(decode(row.doc).get("exit_status", ""))
        return [RunRecord(run, cursor, stopped.get(run)) for run, cursor in started.items()]

    def follower_cursor(self, name: str) -> int:
        """The cursor of the last document that follower `name` is done with; 0 at first."""
        query = select(followers.c.cursor).where(followers.c.name == name)
        with self._read(f"follower {name}") as connection:
            return connection.scalar(query) or 0

    def set_follower_cursor(self, name: str, cursor: int, *, time: float) -> None:
        """Remember how far follower `name` is; going back (to send again) is allowed."""
        with self._write(f"follower {name}") as connection:
            row = {"name": name, "cursor": int(cursor), "time": float(time)}
            upsert(connection, followers, [row])


def _document(row: RowMapping) -> StoredDocument:
    campaign = row["campaign"]
    return StoredDocument(
        cursor=row["cursor"],
        run=row["run"],
        trial=None if campaign is None else f"{campaign}/{row['number']}",
        name=row["name"],
        doc=decode(row["doc"]),
        time=row["time"],
    )
