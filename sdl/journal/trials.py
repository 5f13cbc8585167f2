"""Trials: a state machine moved by compare-and-swap, with its history."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update

from sdl.errors import ConflictError, JournalError
from sdl.journal.chain import append
from sdl.journal.jsontext import decode, encode
from sdl.journal.records import Transition, Trial
from sdl.journal.schema import campaigns, history, trials
from sdl.journal.states import ENDED, TrialState, check_transition
from sdl.journal.store import Store


class Trials(Store):
    def suggest(
        self,
        campaign: str,
        points: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
        *,
        time: float,
        who: str = "optimizer",
    ) -> list[Trial]:
        """Record (parameters, how they were proposed) as new trials, all of them or none."""
        encoded = [
            {
                "parameters": encode(parameters, f"parameters of a trial of {campaign}"),
                "suggestion": encode(suggestion, f"suggestion for {campaign}"),
            }
            for parameters, suggestion in points
        ]
        with self._write(f"suggest for {campaign}") as connection:
            campaign_id = self._campaign_id(connection, campaign)
            first = _last_number(connection, campaign_id) + 1
            rows = [
                {
                    "campaign_id": campaign_id,
                    "number": number,
                    "state": TrialState.SUGGESTED.value,
                    "suggested_at": float(time),
                    "epoch": self._epoch,
                    **values,
                }
                for number, values in enumerate(encoded, first)
            ]
            if rows:
                connection.execute(insert(trials), rows)
                connection.execute(insert(history), [_first_line(row, who) for row in rows])
            for row in rows:
                told = {key: decode(row[key]) for key in ("parameters", "suggestion")}
                body = {"from": None, "to": TrialState.SUGGESTED.value, **told}
                subject = f"{campaign}/{row['number']}"
                append(connection, "trial", subject, body, time=time, who=who)
        return [_trial(campaign, row) for row in rows]

    def move(
        self,
        trial: Trial,
        to: TrialState,
        *,
        time: float,
        who: str,
        note: str = "",
        outcomes: Mapping[str, float] | None = None,
        cause: str | None = None,
    ) -> Trial:
        """Move a trial on from the state that `trial` was read in, and write its history.

        :param outcomes: what was measured; with `completed`, and only then.
        :param cause: why it is in its new state, where there is something to say.
        :raises ConflictError: it is in another state by now; nothing was written.
        :raises JournalError: the state machine has no such way; nothing was written.
        """
        check_transition(trial.id, trial.state, to)
        if (outcomes is not None) != (to is TrialState.COMPLETED):
            raise JournalError(f"trial {trial.id}: outcomes come with completed, and only then")
        moved = replace(
            trial,
            state=to,
            outcomes=decode(encode(outcomes, f"outcomes of trial {trial.id}")),
            cause=cause,
            started_at=_or_now(trial.started_at, to is TrialState.RUNNING, time),
            ended_at=float(time) if to in ENDED else None,
            epoch=self._epoch,
        )
        with self._write(f"trial {trial.id}") as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            self._swap(connection, campaign_id, trial, moved)
            line = _line(campaign_id, trial.number, time, trial.state, to, who, self._epoch)
            connection.execute(insert(history).values({**line, "note": note, "cause": cause}))
            body = {
                "from": trial.state.value,
                "to": to.value,
                "note": note,
                "cause": cause,
                "outcomes": moved.outcomes,
            }
            append(connection, "trial", trial.id, body, time=time, who=who)
        return moved

    def trials(
        self, campaign: str, states: Collection[TrialState] | None = None, *, after: int = 0
    ) -> list[Trial]:
        """The trials of a campaign by number: all, or those in one of `states`.

        :param after: only those with a higher number.
        """
        with self._read(f"trials of {campaign}") as connection:
            query = select(trials).where(
                trials.c.campaign_id == self._campaign_id(connection, campaign)
            )
            if after:
                query = query.where(trials.c.number > after)
            if states is not None:
                query = query.where(trials.c.state.in_([TrialState(s).value for s in states]))
            rows = connection.execute(query.order_by(trials.c.number)).mappings()
            return [_trial(campaign, row) for row in rows]

    def trial(self, campaign: str, number: int) -> Trial:
        """:raises JournalError: there is no such campaign or trial."""
        with self._read(f"trial {campaign}/{number}") as connection:
            query = _one(self._campaign_id(connection, campaign), number)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise JournalError(f"{self.place}: there is no trial {campaign}/{number}")
        return _trial(campaign, row)

    def history(self, trial: Trial) -> list[Transition]:
        """All that happened to a trial's state, oldest first."""
        with self._read(f"history of {trial.id}") as connection:
            campaign_id = self._campaign_id(connection, trial.campaign)
            query = (
                select(history)
                .where(history.c.campaign_id == campaign_id, history.c.number == trial.number)
                .order_by(history.c.id)
            )
            return [_transition(row) for row in connection.execute(query).mappings()]

    def _swap(self, connection: Connection, campaign_id: int, old: Trial, new: Trial) -> None:
        statement = (
            update(trials)
            .where(
                trials.c.campaign_id == campaign_id,
                trials.c.number == old.number,
                trials.c.state == old.state.value,
            )
            .values(
                state=new.state.value,
                outcomes=None if new.outcomes is None else encode(new.outcomes, new.id),
                cause=new.cause,
                started_at=new.started_at,
                ended_at=new.ended_at,
                epoch=new.epoch,
            )
        )
        if connection.execute(statement).rowcount == 1:
            return
        row = connection.execute(_one(campaign_id, old.number)).mappings().one_or_none()
        if row is None:
            raise JournalError(f"{self.place}: there is no trial {old.id}")
        raise ConflictError(
            f"trial {old.id}: is {row['state']}, no longer {old.state}: somebody else moved it; "
            f"it was not made {new.state}"
        )


def _last_number(connection: Connection, campaign_id: int) -> int:
    # the row is locked (PostgreSQL), so that two at once do not count from the same number
    connection.execute(
        select(campaigns.c.id).where(campaigns.c.id == campaign_id).with_for_update()
    )
    query = select(func.max(trials.c.number)).where(trials.c.campaign_id == campaign_id)
    return connection.scalar(query) or 0


def _one(campaign_id: int, number: int) -> Select[Any]:
    return select(trials).where(trials.c.campaign_id == campaign_id, trials.c.number == number)


def _or_now(before: float | None, begins: bool, time: float) -> float | None:
    return float(time) if begins and before is None else before


def _first_line(row: Mapping[str, Any], who: str) -> dict[str, Any]:
    line = _line(
        row["campaign_id"],
        row["number"],
        row["suggested_at"],
        None,
        TrialState.SUGGESTED,
        who,
        row["epoch"],
    )
    return {**line, "note": "", "cause": None}


def _line(
    campaign_id: int,
    number: int,
    time: float,
    before: TrialState | None,
    after: TrialState,
    who: str,
    epoch: int,
) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id,
        "number": number,
        "time": float(time),
        "from_state": None if before is None else before.value,
        "to_state": after.value,
        "who": who,
        "epoch": epoch,
    }


def _trial(campaign: str, row: RowMapping | Mapping[str, Any]) -> Trial:
    return Trial(
        campaign=campaign,
        number=row["number"],
        state=TrialState(row["state"]),
        parameters=decode(row["parameters"]),
        outcomes=decode(row.get("outcomes")),
        cause=row.get("cause"),
        suggestion=decode(row["suggestion"]),
        suggested_at=row["suggested_at"],
        started_at=row.get("started_at"),
        ended_at=row.get("ended_at"),
        epoch=row["epoch"],
    )


def _transition(row: RowMapping) -> Transition:
    before = row["from_state"]
    return Transition(
        time=row["time"],
        from_state=None if before is None else TrialState(before),
        to_state=TrialState(row["to_state"]),
        who=row["who"],
        note=row["note"],
        cause=row["cause"],
        epoch=row["epoch"],
    )
