"""Recompute the audit's chain, and compare the tables with what it tells."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from sdl.journal.chain import GENESIS, chained, sha256
from sdl.journal.jsontext import decode
from sdl.journal.records import AuditHead, Verification
from sdl.journal.schema import audit, campaigns, ledger, revisions, trials
from sdl.journal.upgraded import Digest
from sdl.journal.verifying_trial import Told, differences, lines_that_differ, well_formed

Row = Mapping[str, Any]


class Anchor(NamedTuple):
    """An entry that was there once."""

    seq: int
    hash: str


class Chain:
    """Follows the entries in order; `breaks` says where one does not follow from the last."""

    def __init__(self, anchor: Anchor | None = None) -> None:
        self.breaks: list[str] = []
        self.head, self.entries = AuditHead(0, GENESIS, 0.0), 0
        self._anchor = anchor
        self._before = {GENESIS}  # what the next may follow from: as stored, and as it should be

    def follow(self, row: Row) -> bool:
        """Take the next entry; return whether it is what was written."""
        seq, last = row["seq"], self.head.seq
        missing = seq != last + 1
        if missing:
            gap = f"{last + 1} to {seq - 1} are" if seq > last + 2 else f"{last + 1} is"
            self.breaks.append(f"{_place(row)}: entry {gap} missing before it")
        parts = {name: row[name] for name in ("seq", "time", "kind", "who", "subject", "body")}
        should_be = {chained(before, **parts) for before in self._before}
        holds = missing or row["hash"] in should_be
        if not holds:
            self.breaks.append(f"{_place(row)}: the hash does not follow from entry {last}")
        if self._anchor is not None and self._anchor == (seq, row["hash"]):
            self._anchor = None
        self._before = {row["hash"], *should_be}
        self.head, self.entries = AuditHead(seq, row["hash"], row["time"]), self.entries + 1
        return holds

    def end(self) -> None:
        if self._anchor is None or self._anchor == (0, GENESIS):
            return
        if self._anchor.seq > self.head.seq:
            self.breaks.append(
                f"anchor: there was an entry {self._anchor.seq}, the chain ends with entry "
                f"{self.head.seq}: its tail was cut off"
            )
        else:
            self.breaks.append(
                f"anchor: entry {self._anchor.seq} had another hash: what is there now was "
                "written in its place"
            )


def verify(connection: Connection, anchor: Anchor | None) -> Verification:
    """Return what `Audit.verify` says, from one snapshot."""
    chain, account = Chain(anchor), _Account()
    stream = select(audit).order_by(audit.c.seq).execution_options(yield_per=1000)
    for row in connection.execute(stream).mappings():
        entry = _columns(row)
        if not chain.follow(entry):
            account.untrusted.add(entry["seq"])
            continue
        try:
            account.take(entry)
        except (ValueError, KeyError, TypeError):  # somebody wrote it who could count hashes
            account.untrusted.add(entry["seq"])
            chain.breaks.append(f"{_place(entry)}: is none that sdl writes")
    chain.end()
    return Verification(chain.entries, chain.head, chain.breaks + list(account.check(connection)))


class _Account:
    """What the chain tells of the journal as a whole; of each trial it is read again later."""

    def __init__(self) -> None:
        self.untrusted: set[int] = set()
        self._upgraded: Row | None = None
        self._revisions: dict[tuple[str, int], tuple[str, str]] = {}
        self._trials: set[str] = set()
        self._inventory: list[tuple[Any, ...]] = []

    def take(self, entry: Row) -> None:
        body, subject = decode(entry["body"]), entry["subject"]
        match entry["kind"]:
            case "step" | "trial" as kind if not well_formed(kind, body):
                raise ValueError(body)
            case "upgraded":
                self._upgraded = body
            case "rules" if "revision" in body:
                name = subject.removeprefix("campaign ")
                self._revisions[name, body["revision"]] = body["spec"], body["versions"]
            case "trial" if body["from"] is None:
                self._trials.add(subject)
            case "inventory":
                line = (body["lab"], subject, body["change"], body["note"], entry["time"])
                self._inventory.append(line)

    def check(self, connection: Connection) -> Iterator[str]:
        old = Digest()
        yield from self._check_revisions(connection, old)
        yield from self._check_trials(connection, old)
        yield from self._check_inventory(connection)
        before = self._upgraded or {"rows": 0, "digest": Digest().hexdigest()}
        if old.rows != before["rows"]:
            yield (
                f"rows that no entry tells of: there are {old.rows}, of before the chain began "
                f"there were {before['rows']}"
            )
        elif old.hexdigest() != before["digest"]:
            yield f"one of the {old.rows} rows of before the chain began was changed"

    def _check_revisions(self, connection: Connection, old: Digest) -> Iterator[str]:
        told = dict(self._revisions)
        query = (
            select(revisions, campaigns.c.name)
            .join(campaigns, campaigns.c.id == revisions.c.campaign_id)
            .order_by(campaigns.c.id, revisions.c.number)
        )
        for row in connection.execute(query).mappings():
            digests = told.pop((row["name"], row["number"]), None)
            if digests is None:
                old.revision(_columns(row))
            elif digests != (sha256(row["spec"]), sha256(row["versions"])):
                place = f"campaign {row['name']}, revision {row['number']}"
                yield f"{place}: spec or versions are not those the chain tells of"
        for name, number in told:
            yield f"campaign {name}, revision {number}: the chain tells of it, the journal has none"

    def _check_trials(self, connection: Connection, old: Digest) -> Iterator[str]:
        seen = set()
        query = (
            select(trials, campaigns.c.name)
            .join(campaigns, campaigns.c.id == trials.c.campaign_id)
            .order_by(trials.c.campaign_id, trials.c.number)
        )
        for row in list(connection.execute(query).mappings()):
            trial = _columns(row)
            name = f"{trial['name']}/{trial['number']}"
            seen.add(name)
            entries = (
                select(audit)
                .where(audit.c.subject == name, audit.c.kind.in_(["trial", "step"]))
                .order_by(audit.c.seq)
            )
            told = Told(name, self._upgraded)
            for entry in connection.execute(entries).mappings():
                if entry["seq"] not in self.untrusted:
                    told.take(_columns(entry))
            yield from differences(connection, trial, told, old)
        for name in sorted(self._trials - seen):
            yield f"trial {name}: the chain tells of it, the journal has none"

    def _check_inventory(self, connection: Connection) -> Iterator[str]:
        columns = (ledger.c[name] for name in ("lab", "item", "change", "note", "time"))
        query = select(*columns).where(ledger.c.n.is_(None)).order_by(ledger.c.id)
        found = [tuple(row) for row in connection.execute(query)]
        yield from lines_that_differ("ledger, lines of operators", found, self._inventory)


def _place(row: Row) -> str:
    try:
        body = decode(row["body"])
    except ValueError:
        body = None
    n = body.get("n") if isinstance(body, dict) else None
    subject = row["subject"] if n is None else f"step {n} of {row['subject']}"
    try:
        when = datetime.fromtimestamp(row["time"], UTC).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        when = str(row["time"])
    return f"entry {row['seq']} ({subject}, {when})"


def _columns(row: Any) -> dict[str, Any]:
    return dict(row)
