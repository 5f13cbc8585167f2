"""The ledger: what there is of reagents, vials, waste, as lines that are only ever added."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select

from sdl.errors import JournalError
from sdl.journal.chain import append
from sdl.journal.records import Booking, LedgerLine, Trial
from sdl.journal.schema import campaigns, ledger
from sdl.journal.store import Store

_INSERT = insert(ledger)
_OF_STEP = (
    select(ledger.c.item, ledger.c.change)
    .where(
        ledger.c.campaign_id == bindparam("campaign_id"),
        ledger.c.number == bindparam("number"),
        ledger.c.n == bindparam("n"),
    )
    .order_by(ledger.c.id)
)


class Ledger(Store):
    def open_item(self, lab: str, item: str, amount: float, *, time: float) -> None:
        """Write what there is of `item` at first; nothing if the ledger knows the item."""
        with self._write(f"ledger of {item}") as connection:
            known = select(ledger.c.id).where(ledger.c.lab == lab, ledger.c.item == item).limit(1)
            if connection.scalar(known) is None:
                self._book(connection, lab, item, amount, "at first", time, "runtime")

    def book(self, lab: str, item: str, change: float, *, time: float, note: str, who: str) -> None:
        """Write that a person put something there, or took it away (`change` below 0).

        :raises JournalError: the ledger does not know the item; nothing was written.
        """
        with self._write(f"ledger of {item}") as connection:
            known = _balances(connection, lab)
            if item not in known:
                raise JournalError(
                    f"{self.place}: lab {lab} has no item {item!r} in its ledger; "
                    f"it has {', '.join(known) or 'none yet'}; nothing was written"
                )
            self._book(connection, lab, item, change, note, time, who)

    def balances(self, lab: str) -> dict[str, float]:
        """What there is of each item, by name."""
        with self._read("balances") as connection:
            return _balances(connection, lab)

    def ledger(self, lab: str, item: str, limit: int = 200) -> list[LedgerLine]:
        """The newest `limit` lines of an item, newest last."""
        query = (
            select(ledger, campaigns.c.name.label("campaign"))
            .outerjoin(campaigns, campaigns.c.id == ledger.c.campaign_id)
            .where(ledger.c.lab == lab, ledger.c.item == item)
            .order_by(ledger.c.id.desc())
            .limit(limit)
        )
        with self._read(f"ledger of {item}") as connection:
            rows = connection.execute(query).mappings().all()
        return [
            LedgerLine(
                trial=None if row["campaign"] is None else f"{row['campaign']}/{row['number']}",
                **{k: row[k] for k in ("id", "item", "time", "change", "n", "note")},
            )
            for row in reversed(rows)
        ]

    def reverse_bookings(self, trial: Trial, n: int, *, time: float, note: str) -> None:
        """Book back what step `n` booked: it turned out not done and is not acted again.

        A second time does nothing.
        """
        with self._write(f"ledger of step {n} of trial {trial.id}") as connection:
            self._reverse(connection, trial, n, time, note, "runtime")

    def _book(
        self,
        connection: Connection,
        lab: str,
        item: str,
        change: float,
        note: str,
        time: float,
        who: str,
    ) -> None:
        line = {"lab": lab, "item": item, "time": float(time), "change": _finite(item, change)}
        connection.execute(_INSERT, {**line, "note": note})
        body = {"lab": lab, "change": line["change"], "note": note}
        append(connection, "inventory", item, body, time=time, who=who)

    def _book_step(
        self,
        connection: Connection,
        trial: Trial,
        n: int,
        bookings: Sequence[Booking],
        time: float,
        note: str,
    ) -> list[list[Any]]:
        """Write what step `n` books and has not booked; return that as [item, change]."""
        wanted: dict[str, float] = {}
        for booking in bookings:
            wanted[booking.item] = wanted.get(booking.item, 0.0) + booking.change
        booked = self._booked(connection, trial, n)
        new = [[item, _finite(item, c)] for item, c in wanted.items() if item not in booked]
        self._add_lines(connection, trial, n, new, time, note)
        return new

    def _reverse(
        self, connection: Connection, trial: Trial, n: int, time: float, note: str, who: str
    ) -> None:
        back = [[item, -change] for item, change in self._booked(connection, trial, n).items()]
        if back:
            self._add_lines(connection, trial, n, back, time, note)
            body = {"event": "booked back", "n": n, "booked": back, "note": note}
            append(connection, "step", trial.id, body, time=time, who=who)

    def _booked(self, connection: Connection, trial: Trial, n: int) -> dict[str, float]:
        """What step `n` has booked and not booked back: an item's lines do the two in turn."""
        campaign_id = self._campaign_id(connection, trial.campaign)
        which = {"campaign_id": campaign_id, "number": trial.number, "n": n}
        booked: dict[str, float] = {}
        for line in connection.execute(_OF_STEP, which):
            if booked.pop(line.item, None) is None:
                booked[line.item] = line.change
        return booked

    def _add_lines(
        self,
        connection: Connection,
        trial: Trial,
        n: int,
        lines: Sequence[Sequence[Any]],
        time: float,
        note: str,
    ) -> None:
        if not lines:
            return
        same = {
            "lab": self._campaign_lab(connection, trial.campaign),
            "campaign_id": self._campaign_id(connection, trial.campaign),
            "number": trial.number,
            "n": n,
            "time": float(time),
            "note": note,
        }
        connection.execute(_INSERT, [{**same, "item": i, "change": c} for i, c in lines])


def _balances(connection: Connection, lab: str) -> dict[str, float]:
    query = (
        select(ledger.c.item, func.sum(ledger.c.change))
        .where(ledger.c.lab == lab)
        .group_by(ledger.c.item)
        .order_by(ledger.c.item)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _finite(item: str, change: float) -> float:
    if abs(float(change)) < float("inf"):
        return float(change)
    raise JournalError(f"ledger of {item}: a change of {change} is not finite; nothing was written")
