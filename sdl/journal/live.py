"""What is going on now: overwritten in place; a power cut may cost the last moments of it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select

from sdl.journal.jsontext import decode, encode
from sdl.journal.records import Activity, Reading
from sdl.journal.schema import activity, readings
from sdl.journal.store import Store, upsert


class Live(Store):
    def set_activity(self, key: str, value: Mapping[str, Any] | None, *, time: float) -> None:
        """Say what `key` ("trial/7", "optimizer", "runtime") does now; None: nothing any more."""
        with self._write(f"activity {key}", durable=False) as connection:
            if value is None:
                connection.execute(delete(activity).where(activity.c.key == key))
                return
            text = encode(value, f"activity {key}")
            upsert(connection, activity, [{"key": key, "value": text, "time": float(time)}])

    def probe(self) -> None:
        """Write something and take it away again. :raises JournalError: it cannot be written."""
        row = {"key": "journal", "value": encode(" " * 1000, "probe"), "time": 0.0}
        with self._write("probe") as connection:
            upsert(connection, activity, [row])
        with self._write("probe") as connection:
            connection.execute(delete(activity).where(activity.c.key == "journal"))

    def activities(self) -> dict[str, Activity]:
        """What everything does now, by key."""
        with self._read("activities") as connection:
            rows = connection.execute(select(activity).order_by(activity.c.key)).mappings()
            return {row["key"]: Activity(decode(row["value"]), row["time"]) for row in rows}

    def put_readings(self, readings_now: Mapping[str, tuple[Any, str, float]]) -> None:
        """Overwrite the newest (value, units, time) of each signal named."""
        rows = [
            {
                "name": name,
                "value": encode(value, f"reading {name}"),
                "units": units,
                "time": float(time),
            }
            for name, (value, units, time) in readings_now.items()
        ]
        if not rows:
            return
        with self._write("readings", durable=False) as connection:
            upsert(connection, readings, sorted(rows, key=lambda row: row["name"]))

    def readings(self) -> dict[str, Reading]:
        """The newest reading of each signal, by name."""
        with self._read("readings") as connection:
            rows = connection.execute(select(readings).order_by(readings.c.name)).mappings()
            return {
                row["name"]: Reading(decode(row["value"]), row["units"], row["time"])
                for row in rows
            }
