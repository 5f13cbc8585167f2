"""The audit's chain: each entry's hash covers the entry and the hash of the one before it.

hash = SHA-256 over the hash before, a line feed, and the JSON text of
[seq, time, kind, who, subject, body], in hexadecimal; before the first entry stand 64 zeros.
"""

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, insert, select

from sdl.journal.jsontext import plain
from sdl.journal.schema import audit, storable

GENESIS = "0" * 64
"""What stands before the first entry."""

_LAST = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_INSERT = insert(audit)


def canonical(value: object, what: str = "audit") -> str:
    """Return JSON text that is the same for equal values: keys sorted, no blanks, ASCII.

    :raises JournalError: something in it is not JSON; says what and under which key.
    """
    return json.dumps(plain(value, what), sort_keys=True, separators=(",", ":"))


def chained(
    before: str, seq: int, time: float, kind: str, who: str, subject: str, body: str
) -> str:
    """Return the hash of an entry after the one with hash `before`."""
    text = json.dumps([seq, time, kind, who, subject, body], separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def last(connection: Connection) -> tuple[int, str]:
    """Return number and hash of the newest entry; (0, GENESIS) where there is none."""
    found = connection.execute(_LAST).one_or_none()
    return (0, GENESIS) if found is None else (found.seq, found.hash)


def append(
    connection: Connection, kind: str, subject: str, body: Any, *, time: float, who: str
) -> int:
    """Add an entry in the caller's transaction and return its number.

    Nobody else may append meanwhile: SQLite has one writer; on PostgreSQL hold the order lock.
    """
    before, hash_before = last(connection)
    # as the columns will hold it, or the chain would not follow when read back
    subject, who, text = storable(subject), storable(who), canonical(body, f"audit of {subject}")
    row = {
        "seq": before + 1,
        "time": float(time),
        "kind": kind,
        "who": who,
        "subject": subject,
        "body": text,
    }
    row["hash"] = chained(hash_before, **row)
    connection.execute(_INSERT, row)
    return before + 1
