"""Where a journal is: a SQLite file or a PostgreSQL database."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from sdl.errors import JournalError

_HINT = "give a file (journal.db), sqlite:///journal.db or postgresql://user@host/database"


@dataclass(frozen=True)
class Address:
    """Exactly one of `file` and `url` is set."""

    file: Path | None
    url: URL | None

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file)
        assert self.url is not None  # see the docstring
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)


def parse_address(given: str | Path) -> Address:
    """Return where `given` leads; a path may be relative or begin with `~`.

    :raises JournalError: it is no file and no URL of a known database.
    """
    if isinstance(given, Path) or "://" not in given:
        return _file(str(given))
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise JournalError(f"journal: this URL cannot be read; {_HINT}") from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _file(url.database or "")
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return Address(None, url.set(drivername="postgresql+psycopg"))
    raise JournalError(f"journal: {url.drivername}:// is not a database known here; {_HINT}")


def _file(path: str) -> Address:
    if path in ("", ":memory:"):
        raise JournalError(f"journal: it must outlive the process, so it needs a file; {_HINT}")
    # resolved, so that two ways to one file give one lock
    return Address(Path(path).expanduser().resolve(), None)
