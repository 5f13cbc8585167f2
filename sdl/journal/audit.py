"""The audit: every command, decision and change of rules, in an append-only chain of hashes."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from sdl.errors import JournalError
from sdl.journal.chain import GENESIS, append
from sdl.journal.jsontext import decode
from sdl.journal.records import AuditEntry, AuditHead, Verification
from sdl.journal.schema import audit
from sdl.journal.store import Store
from sdl.journal.verifying import Anchor, verify

KINDS = ("operator", "rules", "runtime")
"""Kinds of entry that are written by themselves; the others come with what they tell of."""

_FORMAT = "sdl audit 1"


class Audit(Store):
    def audit(
        self, kind: str, subject: str, body: Mapping[str, Any], *, time: float, who: str
    ) -> int:
        """Add an entry and return its number; when this returns it outlives a power cut.

        :param kind: one of `KINDS`.
        :raises JournalError: another kind, or the body is not JSON; nothing was written.
        """
        if kind not in KINDS:
            raise JournalError(f"audit of {subject}: no kind {kind!r}; allowed: {', '.join(KINDS)}")
        with self._write(f"audit of {subject}") as connection:
            return append(connection, kind, subject, body, time=time, who=who)

    def audit_entries(
        self, after: int = 0, limit: int = 1000, subject: str | None = None
    ) -> list[AuditEntry]:
        """The entries numbered above `after`, in order, at most `limit`: all, or of one subject."""
        query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        with self._read("audit") as connection:
            rows = connection.execute(query).mappings()
            return [AuditEntry(**{**row, "body": decode(row["body"])}) for row in rows]

    def audit_head(self) -> AuditHead:
        """The newest entry; number 0 where there is none."""
        query = select(audit.c.seq, audit.c.hash, audit.c.time).order_by(audit.c.seq.desc())
        with self._read("audit") as connection:
            found = connection.execute(query.limit(1)).one_or_none()
        return AuditHead(0, GENESIS, 0.0) if found is None else AuditHead(*found)

    def export_anchor(self) -> dict[str, Any]:
        """The head as something to keep elsewhere: `verify` finds whatever changes before it."""
        head = self.audit_head()
        return {"format": _FORMAT, "seq": head.seq, "hash": head.hash, "time": head.time}

    def verify(self, anchor: Mapping[str, Any] | None = None) -> Verification:
        """Recompute the chain and compare the journal with it, in one snapshot.

        Covered are revisions of campaigns, trials (parameters, state, outcomes, cause), their
        history, steps, and the ledger; documents are not. Without an anchor nobody can tell that
        the newest entries were cut off together with what they told.

        :param anchor: what `export_anchor` returned at any time before.
        :raises JournalError: `anchor` is none.
        """
        known = None if anchor is None else _anchor(anchor)
        with self._read("verify") as connection:
            return verify(connection, known)


def _anchor(given: Mapping[str, Any]) -> Anchor:
    seq, digest = given.get("seq"), given.get("hash")
    if given.get("format") != _FORMAT or type(seq) is not int or not isinstance(digest, str):
        raise JournalError(f"anchor: must hold format ({_FORMAT!r}), seq and hash, as exported")
    return Anchor(seq, digest)
