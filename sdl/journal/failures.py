"""Database errors in words a person can act on."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sdl.errors import ConflictError, JournalError

# SQLite's primary result codes (sqlite.org/rescode.html), by the start of their names
_SQLITE = {
    "SQLITE_NOTADB": "the file is not a journal (not an SQLite database); give another file",
    "SQLITE_CORRUPT": "the file is damaged; keep a copy, then try `sqlite3 FILE .recover`",
    "SQLITE_FULL": "the disk is full; free some space, nothing was written",
    "SQLITE_READONLY": "no permission to write the file or its folder",
    "SQLITE_PERM": "no permission to use the file",
    "SQLITE_CANTOPEN": "the file cannot be opened; check the folder and its permissions",
    "SQLITE_BUSY": "another process kept the journal locked for too long",
    "SQLITE_IOERR": "the disk reported an error",
}

# PostgreSQL's error codes (manual, appendix A), by their first characters
_POSTGRESQL = {
    "42501": "the user lacks the permission",
    "53100": "the server's disk is full; nothing was written",
    "55P03": "another process kept the journal locked for too long",
    "53": "the server has run out of something",
    "58": "the server's disk reported an error",
    "08": "the connection to the server was lost",
    "57P": "the server is shutting down or starting",
    "25006": "the server is read-only (a standby?)",
}


@contextmanager
def told_plainly(place: object, what: str) -> Iterator[None]:
    """Turn the database's errors into `JournalError`: `place: what was asked: what came back`.

    Only what the database itself says; SQLAlchemy's own complaints are bugs here.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise JournalError(f"{place}: {what}: too many readers at once") from error
    except IntegrityError as error:
        raise ConflictError(f"{place}: {what}: somebody else was first ({error.orig})") from error
    except (DBAPIError, sqlite3.Error) as error:
        raise JournalError(f"{place}: {what}: {_advice(error)}") from error


def medium_failed(error: JournalError) -> bool:
    """Whether the disk, server or lock is to blame: the same write may succeed later."""
    cause = error.__cause__
    if isinstance(error, ConflictError):
        return False
    if isinstance(cause, (TimeoutError, PoolTimeoutError)):
        return True
    return isinstance(cause, (DBAPIError, sqlite3.Error)) and _told(cause)[0] is not None


def _advice(error: Exception) -> str:
    advice, said = _told(error)
    return said if advice is None else f"{advice} ({said})"


def _told(error: Exception) -> tuple[str | None, str]:
    """What to say about it, if anything is known of it, and the database's own words."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    name: str = getattr(cause, "sqlite_errorname", None) or ""
    code: str = getattr(cause, "sqlstate", None) or ""
    said = " ".join(str(cause).split())
    for table, found in ((_SQLITE, name), (_POSTGRESQL, code)):
        for prefix, advice in table.items():
            if found.startswith(prefix):
                return advice, said
    if type(cause).__module__.startswith("psycopg") and not code:
        return "no connection to the server", said
    return None, said
