"""One runtime per lab: a lock that dies with its process, and an epoch that every write carries.

The lock keeps a second runtime out. The epoch is for the case that the lock was lost while its
holder lives on (a database server that was restarted, a network that was cut): every new owner
counts it up, and a write with an older one is refused in the same transaction.

The lock is POSIX `flock` (Windows: `msvcrt.locking`) on a file beside the journal, one per lab, or
PostgreSQL's `pg_try_advisory_lock` on a connection of its own (not through pgbouncer's transaction
pooling). `flock` and not `fcntl.lockf`: it also tells apart two owners in one process.
"""

import hashlib
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

from sqlalchemy import Connection, text

from sdl.errors import JournalError
from sdl.filelock import lock
from sdl.journal.database import PostgresqlDatabase


class Lock(Protocol):
    """Held by one process, or nobody; the operating system or the server frees a dead one's."""

    def take(self) -> bool: ...
    def free(self) -> None: ...


class Ownership:
    """A lab that is ours until the `with` block ends, or until this process does."""

    def __init__(self, lab: str, epoch: int, release: Callable[["Ownership"], None]) -> None:
        self.lab, self.epoch = lab, epoch
        self._release = release
        self.held = True

    def release(self) -> None:
        """Let the next owner in; a second time does nothing."""
        if self.held:
            self.held = False
            self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class FileLock:
    """A lock on `<journal>.<lab>.owner`; the file stays, only the lock on it counts."""

    def __init__(self, journal: Path, lab: str) -> None:
        self._file = journal.with_name(f"{journal.name}.{quote(lab, safe='')}.owner")
        self._descriptor: int | None = None

    def take(self) -> bool:
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise JournalError(f"{self._file}: cannot be opened: {error.strerror}") from error
        try:
            taken = lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise JournalError(f"{self._file}: cannot be locked: {error.strerror}") from error
        if not taken:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _in_this_process.add(self)
        return True

    def free(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        _in_this_process.discard(self)
        if descriptor is not None:
            os.close(descriptor)


class AdvisoryLock:
    """A lock on the server, held by a session of its own."""

    def __init__(self, database: PostgresqlDatabase, lab: str) -> None:
        self._database = database
        self._lab = lab
        self._connection: Connection | None = None

    def take(self) -> bool:
        connection = self._database.lock_connection()
        # a host that lost its power says no goodbye: have the server ask after 15 s, not 2 h
        for setting in ("idle = 15", "interval = 5", "count = 3"):
            connection.execute(text(f"SET tcp_keepalives_{setting}"))
        connection.execute(
            text(
                "SELECT set_config(name, '0', false) FROM pg_settings"
                " WHERE name = 'idle_session_timeout'"
            )
        )
        # the lock is the database's; a schema in it may be another journal
        schema = connection.scalar(text("SELECT current_schema()"))
        digest = hashlib.sha256(f"sdl.journal owner {schema} {self._lab}".encode()).digest()
        key = int.from_bytes(digest[:8], signed=True)
        taken = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key})
        if not taken:
            connection.close()
            return False
        self._connection = connection
        return True

    def free(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()  # the session ends, and its lock with it


_in_this_process: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    """A forked child has the lock too, and would keep it when its parent is killed."""
    for held in list(_in_this_process):
        held.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
