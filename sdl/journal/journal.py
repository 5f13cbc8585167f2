"""`Journal`: open it, own a lab, and all that the parts of it offer."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, select, update

from sdl.errors import JournalError
from sdl.journal.address import parse_address
from sdl.journal.audit import Audit
from sdl.journal.campaigns import Campaigns
from sdl.journal.claims import Claims
from sdl.journal.database import PostgresqlDatabase, SqliteDatabase, connect
from sdl.journal.documents import Documents
from sdl.journal.failures import told_plainly
from sdl.journal.live import Live
from sdl.journal.notes import Notes
from sdl.journal.ownership import AdvisoryLock, FileLock, Lock, Ownership
from sdl.journal.preparing import check, prepare
from sdl.journal.records import Owner
from sdl.journal.requests import Requests
from sdl.journal.schema import owners
from sdl.journal.steps import Steps
from sdl.journal.store import upsert
from sdl.journal.trials import Trials


class Journal(Campaigns, Trials, Steps, Claims, Audit, Requests, Documents, Notes, Live):
    """The durable record, in a SQLite file or a PostgreSQL database.

    Anybody may write to it (a person who approves a trial, a follower that moves its cursor); a
    Journal that has owned a lab writes only as long as nobody else has taken that lab, also after
    it released it. Do not carry one over a fork; open another.
    """

    _ownership: Ownership | None = None

    @classmethod
    def open(
        cls, url_or_path: str | Path, *, readonly: bool = False, rederivable: bool = False
    ) -> Self:
        """Open a journal; one for writing is created, or brought up to date, where it has to be.

        :param url_or_path: a file, `sqlite:///file` or `postgresql://user@host/database`.
        :param readonly: never creates, migrates or writes.
        :param rederivable: it is a twin's, which can be run again: nothing in it need outlive a
            power cut (all outlives the process), so writing is many times faster.
        :raises JournalError: it is missing (to read), too new, something else, or out of reach.
        """
        database = connect(parse_address(url_or_path), readonly=readonly)
        try:
            with told_plainly(database.address, "open"):
                check(database) if readonly else prepare(database)
        except BaseException:
            database.close()
            raise
        database.rederivable = rederivable
        return cls(database)

    def close(self) -> None:
        """Release the lab, if one is owned, and all connections."""
        try:
            if self._ownership is not None:
                self._ownership.release()
        finally:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def own(self, lab: str, *, time: float) -> Ownership:
        """Become the one runtime of `lab`, until the ownership is released or this process ends.

        :raises JournalError: somebody owns it (says who, where and since when), or this Journal
            owns a lab already.
        """
        if self._ownership is not None and self._ownership.held:
            raise JournalError(f"{self.place}: lab {self._ownership.lab} is owned already by us")
        with told_plainly(self.place, f"own lab {lab}"):
            lock = self._lock(lab)
            if not lock.take():
                raise JournalError(self._taken(lab))
            try:
                epoch = self._count_up(lab, time)
            except BaseException:
                lock.free()
                raise
        self._fence = (lab, epoch)
        self._ownership = Ownership(lab, epoch, lambda owned: self._let_go(owned, lock))
        return self._ownership

    def owner(self, lab: str) -> Owner | None:
        """Who took `lab` last, or None if nobody ever did."""
        with self._read(f"owner of lab {lab}") as connection:
            return _owner(connection, lab)

    def _lock(self, lab: str) -> Lock:
        if isinstance(self._database, SqliteDatabase):
            return FileLock(self._database.file, lab)
        assert isinstance(self._database, PostgresqlDatabase)  # there are two kinds
        return AdvisoryLock(self._database, lab)

    def _count_up(self, lab: str, time: float) -> int:
        with self._database.write() as connection:
            before = _owner(connection, lab)
            epoch = before.epoch + 1 if before else 1
            row = {
                "lab": lab,
                "epoch": epoch,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": float(time),
                "held": True,
            }
            upsert(connection, owners, [row])
        return epoch

    def _let_go(self, owned: Ownership, lock: Lock) -> None:
        mine = (owners.c.lab == owned.lab) & (owners.c.epoch == owned.epoch)
        try:
            with (
                told_plainly(self.place, f"release lab {owned.lab}"),
                self._database.write() as connection,
            ):
                connection.execute(update(owners).where(mine).values(held=False))
        finally:
            lock.free()

    def _taken(self, lab: str) -> str:
        owner = self.owner(lab)
        if owner is None or not owner.held:
            who = "a process that is just starting or stopping"
        else:
            since = datetime.fromtimestamp(owner.since, UTC).isoformat(" ", "seconds")
            who = f"process {owner.pid} on {owner.host} since {since} (lab time)"
        return (
            f"{self.place}: lab {lab} is owned by {who}; only one runtime may move a lab: stop "
            "that one first (its lock goes when it ends, however it ends)"
        )


def _owner(connection: Connection, lab: str) -> Owner | None:
    row = connection.execute(select(owners).where(owners.c.lab == lab)).mappings().one_or_none()
    return None if row is None else Owner(**row)
