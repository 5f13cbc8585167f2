"""Notes: what a person should know, in plain lines."""

from typing import get_args

from sqlalchemy import RowMapping, insert, select

from sdl.errors import JournalError
from sdl.journal.records import Level, Note
from sdl.journal.schema import campaigns, notes
from sdl.journal.store import Store


class Notes(Store):
    def note(
        self, level: Level, source: str, text: str, *, time: float, campaign: str | None = None
    ) -> int:
        """Write one line and return its id; ids rise in the order of the commits."""
        if level not in get_args(Level):
            raise JournalError(
                f"note: {level!r} is no level; allowed: {', '.join(get_args(Level))}"
            )
        with self._write(f"note of {source}") as connection:
            row = {"level": level, "source": source, "text": text, "time": float(time)}
            if campaign is not None:
                row["campaign_id"] = self._campaign_id(connection, campaign)
            statement = insert(notes).values(row).returning(notes.c.id)
            return connection.execute(statement).scalar_one()

    def notes(
        self,
        after: int = 0,
        campaign: str | None = None,
        limit: int = 200,
        *,
        newest: bool = False,
    ) -> list[Note]:
        """Notes with an id above `after`, in order: the first `limit` of them, or the newest.

        :param campaign: only what was noted for this one (notes of no campaign are left out).
        """
        query = (
            select(notes, campaigns.c.name.label("campaign"))
            .outerjoin(campaigns, campaigns.c.id == notes.c.campaign_id)
            .where(notes.c.id > after)
            .order_by(notes.c.id.desc() if newest else notes.c.id)
            .limit(limit)
        )
        with self._read("notes") as connection:
            if campaign is not None:
                query = query.where(notes.c.campaign_id == self._campaign_id(connection, campaign))
            found = [_note(row) for row in connection.execute(query).mappings()]
        return found[::-1] if newest else found


def _note(row: RowMapping) -> Note:
    return Note(
        id=row["id"],
        time=row["time"],
        level=row["level"],
        source=row["source"],
        text=row["text"],
        campaign=row["campaign"],
    )
