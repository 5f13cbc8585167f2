"""Steps: what a running trial asked of the world, written before it is asked and after."""

from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update

from sdl.errors import ConflictError, JournalError
from sdl.journal.jsontext import decode, encode
from sdl.journal.records import Step, Trial
from sdl.journal.schema import steps, trials
from sdl.journal.states import TrialState
from sdl.journal.store import Store

# Statements are made once: making one costs more than executing it.
_INSERT = insert(steps)
_STATE = (
    select(trials.c.state)
    .where(trials.c.campaign_id == bindparam("campaign_id"), trials.c.number == bindparam("number"))
    .with_for_update(read=True)  # nobody may move it while its step is begun
)
_ATTEMPTS = select(func.max(steps.c.attempt)).where(
    steps.c.campaign_id == bindparam("campaign_id"),
    steps.c.number == bindparam("number"),
    steps.c.n == bindparam("n"),
)
_END = (
    update(steps)
    .where(
        steps.c.campaign_id == bindparam("of_campaign"),
        steps.c.number == bindparam("of_trial"),
        steps.c.n == bindparam("of_step"),
        steps.c.attempt == bindparam("of_attempt"),
        steps.c.ended_at.is_(None),
    )
    .values({name: bindparam(f"new_{name}") for name in ("result", "error", "ended_at")})
)


class Steps(Store):
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
    ) -> None:
        """Write the intent of step `n`; when this returns it outlives a power cut.

        :param argument: anything JSON can hold.
        :param again: the step is known and is to be tried once more, on purpose.
        :raises ConflictError: the trial is not running, or step `n` was begun already; nothing was
            written.
        """
        what = f"step {n} of trial {trial.id}"
        text = encode(argument, f"argument of {what}")
        with self._write(what) as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            _check_running(connection, campaign_id, trial, what)
            before = _attempts(connection, campaign_id, trial.number, n)
            if before and not again:
                raise ConflictError(f"{what}: was begun already; nothing was written")
            row = {
                "campaign_id": campaign_id,
                "number": trial.number,
                "n": n,
                "attempt": before + 1,
                "command": command,
                "instrument": instrument,
                "argument": text,
                "started_at": float(time),
                "epoch": self._epoch,
            }
            connection.execute(_INSERT, row)

    def end_step(
        self, trial: Trial, n: int, result: object, error: str | None, *, time: float
    ) -> None:
        """Write how step `n` ended: with `result` (anything JSON can hold) or with `error`.

        :raises ConflictError: it was not begun, or has ended already; nothing was written.
        """
        what = f"step {n} of trial {trial.id}"
        values = {
            "new_result": encode(result, f"result of {what}"),
            "new_error": error,
            "new_ended_at": float(time),
            "of_trial": trial.number,
            "of_step": n,
        }
        with self._write(what) as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            attempt = _attempts(connection, campaign_id, trial.number, n)
            values |= {"of_campaign": campaign_id, "of_attempt": attempt}
            if connection.execute(_END, values).rowcount != 1:
                problem = "has ended already" if attempt else "was not begun"
                raise ConflictError(f"{what}: {problem}; nothing was written")

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


def _check_running(connection: Connection, campaign_id: int, trial: Trial, what: str) -> None:
    state = connection.scalar(_STATE, {"campaign_id": campaign_id, "number": trial.number})
    if state is None:
        raise JournalError(f"{what}: there is no such trial")
    if state != TrialState.RUNNING:
        raise ConflictError(f"{what}: the trial is {state}, not running; nothing was written")


def _attempts(connection: Connection, campaign_id: int, number: int, n: int) -> int:
    which = {"campaign_id": campaign_id, "number": number, "n": n}
    return connection.scalar(_ATTEMPTS, which) or 0


def _step(row: RowMapping) -> Step:
    values: dict[str, Any] = {
        k: row[k]
        for k in ("n", "attempt", "command", "instrument", "error", "started_at", "ended_at")
    }
    return Step(argument=decode(row["argument"]), result=decode(row["result"]), **values)
