"""Steps: what a running trial asked of the world, written before it is asked and after."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from sdl.errors import ConflictError, JournalError
from sdl.journal.chain import append, sha256
from sdl.journal.jsontext import decode, encode, plain
from sdl.journal.ledger import Ledger
from sdl.journal.records import Booking, Step, Trial
from sdl.journal.schema import steps, trials
from sdl.journal.states import TrialState

Verdict = Literal["done", "not done"]

# Statements are made once: making one costs more than executing it.
_INSERT = insert(steps)
_STATE = (
    select(trials.c.state)
    .where(trials.c.campaign_id == bindparam("campaign_id"), trials.c.number == bindparam("number"))
    .with_for_update(read=True)  # nobody may move it while its step is begun
)
_NEWEST = (
    select(steps.c.attempt, steps.c.ended_at, steps.c.findings)
    .where(
        steps.c.campaign_id == bindparam("campaign_id"),
        steps.c.number == bindparam("number"),
        steps.c.n == bindparam("n"),
    )
    .order_by(steps.c.attempt.desc())
    .limit(1)
)
_OF_ATTEMPT = (
    (steps.c.campaign_id == bindparam("of_campaign"))
    & (steps.c.number == bindparam("of_trial"))
    & (steps.c.n == bindparam("of_step"))
    & (steps.c.attempt == bindparam("of_attempt"))
)
_END = (
    update(steps)
    .where(_OF_ATTEMPT, steps.c.ended_at.is_(None))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("result", "error", "error_type", "ended_at", "findings")
        }
    )
)
_FOUND = update(steps).where(_OF_ATTEMPT).values(findings=bindparam("new_findings"))


class Steps(Ledger):
    def begin_step(
        self,
        trial: Trial,
        n: int,
        command: str,
        instrument: str,
        argument: object,
        *,
        time: float,
        again: bool = False,
        mark: object = None,
        bookings: Sequence[Booking] = (),
    ) -> int:
        """Write the intent of step `n`; when this returns it outlives a power cut.

        :param argument: anything JSON can hold.
        :param again: the step is known and is to be tried once more, on purpose.
        :param mark: what the driver wants to know at a reconciliation; anything JSON can hold.
        :param bookings: what it takes from the inventory; not booked twice for a second attempt.
        :returns: the attempt, from 1.
        :raises ConflictError: the trial is not running, or step `n` was begun already; nothing was
            written.
        """
        what = f"step {n} of trial {trial.id}"
        text = encode(argument, f"argument of {what}")
        row = {
            "number": trial.number,
            "n": n,
            "command": command,
            "instrument": instrument,
            "argument": text,
            "started_at": float(time),
            "epoch": self._epoch,
            "mark": None if mark is None else encode(mark, f"mark of {what}"),
        }
        body = {"event": "begun", "n": n, "command": command, "instrument": instrument}
        with self._write(what) as connection:
            row["campaign_id"] = self._campaign_id(connection, trial.campaign)
            _check_state(connection, row, TrialState.RUNNING, what)
            newest = connection.execute(_NEWEST, row).one_or_none()
            if newest is not None and not again:
                raise ConflictError(f"{what}: was begun already; nothing was written")
            row["attempt"] = attempt = 1 if newest is None else newest.attempt + 1
            connection.execute(_INSERT, row)
            body |= {"attempt": attempt, "argument": decode(text), "mark": decode(row["mark"])}
            if bookings:
                note = f"{command} {instrument}"
                body["booked"] = self._book_step(connection, trial, n, bookings, time, note)
            append(connection, "step", trial.id, body, time=time, who="runtime")
        return attempt

    def end_step(
        self,
        trial: Trial,
        n: int,
        result: object,
        error: str | None,
        *,
        time: float,
        error_type: str | None = None,
        finding: object = None,
    ) -> None:
        """Write how step `n` ended: with `result` (anything JSON can hold) or with `error`.

        :param error_type: the class of the error, `module:QualName`.
        :param finding: what a reconciliation found: a mapping with verdict, evidence and who.
        :raises ConflictError: it was not begun, or has ended already; nothing was written.
        """
        what = f"step {n} of trial {trial.id}"
        found = _finding(finding, what)
        text = encode(result, f"result of {what}")
        with self._write(what) as connection:
            self._end(connection, trial, n, text, error, error_type, found, time, "runtime")

    def note_finding(self, trial: Trial, n: int, finding: object, *, time: float) -> None:
        """Write what was found about the newest attempt of step `n`, which stays as open as it is.

        :param finding: a mapping with verdict ("unknown", …), evidence and who.
        :raises ConflictError: it was not begun; nothing was written.
        """
        what = f"step {n} of trial {trial.id}"
        found = _finding(finding, what)
        if found is None:
            raise JournalError(f"finding about {what}: it says nothing; nothing was written")
        with self._write(what) as connection:
            newest, values = self._newest(connection, trial, n)
            values["new_findings"] = encode([*(decode(newest.findings) or ()), found], what)
            connection.execute(_FOUND, values)
            body = {"event": "found", "n": n, "attempt": newest.attempt, "finding": found}
            append(connection, "step", trial.id, body, time=time, who=str(found.get("who", "")))

    def settle_step(
        self, trial: Trial, n: int, verdict: Verdict, *, time: float, who: str, note: str
    ) -> None:
        """Write what a person decided about the newest attempt of step `n`; the trial is in doubt.

        Done: it ended, without a result. Not done: it is to be acted again, and what it had booked
        is booked back.

        :raises ConflictError: the trial is not in doubt, or the step has ended or was not begun;
            nothing was written.
        """
        what = f"step {n} of trial {trial.id}"
        if verdict not in get_args(Verdict):
            raise JournalError(f"{what}: {verdict!r} is no verdict; allowed: done, not done")
        found = {"verdict": verdict, "evidence": note, "who": who}
        with self._write(what) as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            which = {"campaign_id": campaign_id, "number": trial.number}
            _check_state(connection, which, TrialState.IN_DOUBT, what)
            self._end(connection, trial, n, "null", None, None, found, time, who)
            if verdict == "not done":
                self._reverse(connection, trial, n, time, note, who)

    def steps(self, trial: Trial) -> list[Step]:
        """The steps of a trial by number, attempts in order."""
        with self._read(f"steps of trial {trial.id}") as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            query = (
                select(steps)
                .where(steps.c.campaign_id == campaign_id, steps.c.number == trial.number)
                .order_by(steps.c.n, steps.c.attempt)
            )
            return [_step(row) for row in connection.execute(query).mappings()]

    def _end(
        self,
        connection: Connection,
        trial: Trial,
        n: int,
        result: str,
        error: str | None,
        error_type: str | None,
        found: Mapping[str, Any] | None,
        time: float,
        who: str,
    ) -> None:
        newest, values = self._newest(connection, trial, n)
        findings = newest.findings
        if found is not None:
            findings = encode([*(decode(findings) or ()), found], "findings")
        values |= {
            "new_result": result,
            "new_error": error,
            "new_error_type": error_type,
            "new_ended_at": float(time),
            "new_findings": findings,
        }
        if connection.execute(_END, values).rowcount != 1:
            what = f"step {n} of trial {trial.id}"
            raise ConflictError(f"{what}: has ended already; nothing was written")
        body = {
            "event": "ended",
            "n": n,
            "attempt": newest.attempt,
            "result": sha256(result),
            "error": error,
            "error_type": error_type,
            "finding": found,
        }
        append(connection, "step", trial.id, body, time=time, who=who)

    def _newest(self, connection: Connection, trial: Trial, n: int) -> tuple[Any, dict[str, Any]]:
        campaign_id = self._campaign_id(connection, trial.campaign)
        which = {"campaign_id": campaign_id, "number": trial.number, "n": n}
        newest = connection.execute(_NEWEST, which).one_or_none()
        if newest is None:
            raise ConflictError(f"step {n} of trial {trial.id}: was not begun; nothing was written")
        return newest, {
            "of_campaign": campaign_id,
            "of_trial": trial.number,
            "of_step": n,
            "of_attempt": newest.attempt,
        }


def _finding(finding: object, what: str) -> Mapping[str, Any] | None:
    found = plain(finding, f"finding about {what}")
    if found is not None and not isinstance(found, Mapping):
        raise JournalError(f"finding about {what}: must be a mapping with verdict, evidence, who")
    return found


def _check_state(
    connection: Connection, which: Mapping[str, Any], wanted: TrialState, what: str
) -> None:
    state = connection.scalar(
        _STATE, {"campaign_id": which["campaign_id"], "number": which["number"]}
    )
    if state is None:
        raise JournalError(f"{what}: there is no such trial")
    if state != wanted:
        raise ConflictError(f"{what}: the trial is {state}, not {wanted}; nothing was written")


def _step(row: RowMapping) -> Step:
    same = ("n", "attempt", "command", "instrument", "error", "started_at", "ended_at")
    values: dict[str, Any] = {k: row[k] for k in (*same, "error_type")}
    return Step(
        argument=decode(row["argument"]),
        result=decode(row["result"]),
        mark=decode(row["mark"]),
        findings=tuple(decode(row["findings"]) or ()),
        **values,
    )
