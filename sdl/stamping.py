"""Documents made on a simulated clock: its time, and identifiers that two runs share.

Bluesky stamps documents with the wall clock and random identifiers. On a simulated clock the first
is wrong and the second makes two equal runs differ, so both are replaced before anybody sees them.
"""

import uuid
from collections.abc import Mapping
from typing import Any

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "sdl:document")


class Stamper:
    """Renames the documents of one trial."""

    def __init__(self, trial: str) -> None:
        self._trial, self._names = trial, dict[str, str]()

    def __call__(self, doc: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return the document with its identifiers replaced and no time later than `now`."""
        if isinstance(doc.get("uid"), str):
            name = f"{self._trial}/{len(self._names)}"
            self._names[doc["uid"]] = str(uuid.uuid5(NAMESPACE, name))
        stamped = self._renamed(doc)
        if "time" in stamped:
            stamped["time"] = now
        for timestamps in _timestamps(stamped):
            for key, time in timestamps.items():
                if isinstance(time, int | float) and time > now:
                    timestamps[key] = now
        return stamped

    def name(self, uid: str) -> str:
        """What became of an identifier."""
        return self._names.get(uid, uid)

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._names.get(value, value)
        if isinstance(value, Mapping):
            return {self._renamed(k): self._renamed(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._renamed(v) for v in value]
        return value


def _timestamps(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    of_devices = doc.get("configuration", {}).values()
    return [d["timestamps"] for d in (doc, *of_devices) if isinstance(d.get("timestamps"), dict)]


def readings_by(now: float, readings: Any) -> Any:
    """Return what was read on a simulated clock, none of it later than `now`."""
    if not isinstance(readings, Mapping):
        return readings
    return {
        key: {**reading, "timestamp": min(reading["timestamp"], now)}
        if isinstance(reading, Mapping) and isinstance(reading.get("timestamp"), int | float)
        else reading
        for key, reading in readings.items()
    }
