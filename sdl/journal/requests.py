"""Requests: what an operator wants of a runtime, written by another process."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from sdl.errors import ConflictError, JournalError
from sdl.journal.chain import append
from sdl.journal.jsontext import decode, encode
from sdl.journal.records import Request
from sdl.journal.schema import requests
from sdl.journal.store import Store

_OPEN = select(requests).where(requests.c.ok.is_(None)).order_by(requests.c.id)


class Requests(Store):
    def request(
        self,
        lab: str,
        kind: str,
        target: str,
        *,
        who: str,
        why: str,
        body: Mapping[str, Any] | None = None,
        time: float,
    ) -> int:
        """Ask the runtime of `lab` for something and return the request's number.

        Anybody may ask, also one whose own lab was taken over meanwhile.

        :param kind: "pause", "resume", "stop" (orderly), "abort" (`target`: a trial's number), …
        """
        what = f"request to {kind} {target}".rstrip()
        row = {"lab": lab, "time": float(time), "kind": kind, "target": target, "who": who}
        row |= {"why": why, "body": encode(body or {}, what)}
        statement = insert(requests).values(row).returning(requests.c.id)
        with self._write(what, fenced=False) as connection:
            number = connection.execute(statement).scalar_one()
            told = {"event": "request", "request": number, "lab": lab, "target": target}
            told |= {"why": why, "body": body or {}}
            append(connection, "operator", kind, told, time=time, who=who)
        return number

    def open_requests(self, lab: str) -> list[Request]:
        """What nobody has answered yet, oldest first."""
        with self._read(f"requests to lab {lab}") as connection:
            rows = connection.execute(_OPEN.where(requests.c.lab == lab)).mappings()
            return [_request(row) for row in rows]

    def answer_request(self, id: int, ok: bool, answer: str, *, time: float) -> None:  # noqa: A002
        """Say what came of it.

        :raises ConflictError: it was answered before, or nobody asked; nothing was written.
        """
        what = f"request {id}"
        statement = (
            update(requests)
            .where(requests.c.id == id, requests.c.ok.is_(None))
            .values(ok=ok, answer=answer, taken_at=float(time))
        )
        with self._write(what) as connection:
            if connection.execute(statement).rowcount != 1:
                raise ConflictError(f"{what}: is none that is open; nothing was written")
            told = {"event": "answer", "request": id, "ok": ok, "answer": answer}
            append(connection, "operator", what, told, time=time, who="runtime")

    def request_answer(self, id: int) -> Request:  # noqa: A002
        """The request as it is now: answered if `ok` is not None.

        :raises JournalError: there is none of this number.
        """
        with self._read(f"request {id}") as connection:
            query = select(requests).where(requests.c.id == id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise JournalError(f"{self.place}: there is no request {id}")
        return _request(row)


def _request(row: RowMapping) -> Request:
    return Request(**{**row, "body": decode(row["body"])})
