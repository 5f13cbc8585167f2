"""Claims: which trial holds which instruments, and what is in quarantine."""

from collections.abc import Collection

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from sdl.errors import ConflictError, JournalError
from sdl.journal.chain import append
from sdl.journal.records import Claim, Trial
from sdl.journal.schema import campaigns, claims, trials
from sdl.journal.states import ENDED
from sdl.journal.store import Store


class Claims(Store):
    def claim(self, lab: str, instruments: Collection[str], trial: Trial, *, time: float) -> None:
        """Give `trial` all of the instruments, or none; those it holds already it keeps.

        :raises ConflictError: another trial holds one, or one is in quarantine; names them all,
            nothing was written.
        """
        with self._write(f"claims of trial {trial.id}") as connection:
            held = _claims(connection, lab)
            wanted = sorted(set(instruments))
            taken = [_holder(c) for c in map(held.get, wanted) if c and _blocks(c, trial)]
            if taken:
                raise ConflictError(
                    f"trial {trial.id}: cannot claim {', '.join(wanted)} of lab {lab}: "
                    f"{'; '.join(taken)}; nothing was claimed"
                )
            same = {
                "lab": lab,
                "campaign_id": self._campaign_id(connection, trial.campaign),
                "number": trial.number,
                "since": float(time),
            }
            rows = [{**same, "instrument": name} for name in wanted if name not in held]
            if rows:
                connection.execute(insert(claims), rows)

    def release(self, lab: str, trial: Trial, *, time: float) -> None:
        """Free all that `trial` holds, but what is in quarantine."""
        with self._write(f"claims of trial {trial.id}") as connection:
            mine = (
                (claims.c.lab == lab)
                & (claims.c.campaign_id == self._campaign_id(connection, trial.campaign))
                & (claims.c.number == trial.number)
            )
            connection.execute(delete(claims).where(mine, claims.c.why.is_(None)))

    def quarantine(self, lab: str, instrument: str, why: str, *, time: float, who: str) -> None:
        """Let nobody claim `instrument` until a person frees it; a trial that holds it keeps it."""
        what = f"quarantine of {instrument}"
        if not why:
            raise JournalError(f"{what}: say why; nothing was written")
        with self._write(what) as connection:
            which = (claims.c.lab == lab) & (claims.c.instrument == instrument)
            if connection.execute(update(claims).where(which).values(why=why)).rowcount == 0:
                row = {"lab": lab, "instrument": instrument, "since": float(time), "why": why}
                connection.execute(insert(claims).values(row))
            body = {"event": "quarantine", "lab": lab, "why": why}
            append(connection, "instrument", instrument, body, time=time, who=who)

    def unquarantine(self, lab: str, instrument: str, *, time: float, who: str, note: str) -> None:
        """End the quarantine; a trial that has not ended still holds the instrument.

        :raises ConflictError: it is not in quarantine; nothing was written.
        """
        with self._write(f"quarantine of {instrument}") as connection:
            which = (claims.c.lab == lab) & (claims.c.instrument == instrument)
            claim = _claims(connection, lab).get(instrument)
            if claim is None or claim.quarantined is None:
                raise ConflictError(
                    f"{instrument}: is not in quarantine in lab {lab}; nothing was written"
                )
            if _holder_lives(connection, lab, instrument):
                connection.execute(update(claims).where(which).values(why=None))
            else:
                connection.execute(delete(claims).where(which))
            body = {"event": "end of quarantine", "lab": lab, "note": note}
            append(connection, "instrument", instrument, body, time=time, who=who)

    def claims(self, lab: str) -> dict[str, Claim]:
        """What is held or in quarantine, by instrument."""
        with self._read(f"claims of lab {lab}") as connection:
            return _claims(connection, lab)


def _claims(connection: Connection, lab: str) -> dict[str, Claim]:
    query = (
        select(claims, campaigns.c.name.label("campaign"))
        .outerjoin(campaigns, campaigns.c.id == claims.c.campaign_id)
        .where(claims.c.lab == lab)
        .order_by(claims.c.instrument)
    )
    return {row["instrument"]: _claim(row) for row in connection.execute(query).mappings()}


def _claim(row: RowMapping) -> Claim:
    return Claim(
        instrument=row["instrument"],
        trial=None if row["campaign"] is None else f"{row['campaign']}/{row['number']}",
        since=row["since"],
        quarantined=row["why"],
    )


def _blocks(claim: Claim, trial: Trial) -> bool:
    return claim.quarantined is not None or claim.trial != trial.id


def _holder(claim: Claim) -> str:
    if claim.quarantined is not None:
        return f"{claim.instrument} is in quarantine ({claim.quarantined})"
    return f"{claim.instrument} is held by trial {claim.trial}"


def _holder_lives(connection: Connection, lab: str, instrument: str) -> bool:
    query = (
        select(trials.c.state)
        .join(
            claims,
            (claims.c.campaign_id == trials.c.campaign_id) & (claims.c.number == trials.c.number),
        )
        .where(claims.c.lab == lab, claims.c.instrument == instrument)
    )
    state = connection.scalar(query)
    return state is not None and state not in ENDED
