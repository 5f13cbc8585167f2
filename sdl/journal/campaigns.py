"""Campaigns: the same name again goes on with the same campaign."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select

from sdl.errors import JournalError
from sdl.journal.chain import append, sha256
from sdl.journal.jsontext import decode, encode
from sdl.journal.records import CampaignRecord
from sdl.journal.schema import campaigns, revisions
from sdl.journal.store import Store

_MAY_CHANGE = {"budget", "stop"}


class Campaigns(Store):
    def add_campaign(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        lab: str,
        twin: bool,
        versions: Mapping[str, str],
        time: float,
    ) -> CampaignRecord:
        """Begin a campaign, or go on with the one of this name.

        A changed budget, or other software versions, are recorded as a new revision.

        :raises JournalError: the name is taken by another spec, lab, or by a twin's campaign.
        """
        wanted = {
            "spec": encode(spec, f"campaign {name}"),
            "versions": encode(versions, f"versions of campaign {name}"),
            "time": float(time),
        }
        with self._write(f"campaign {name}") as connection:
            found = _latest(connection, name)
            if found is None:
                number, campaign_id = 1, _insert(connection, name, lab, twin, time)
            else:
                self._check_same(found, decode(wanted["spec"]), lab, twin)
                number, campaign_id = found.revision + 1, found.id
            if found is None or _changed(found, wanted):
                row = {"campaign_id": campaign_id, "number": number, **wanted}
                connection.execute(insert(revisions).values(row))
                body = {"revision": number, "lab": lab, "twin": twin}
                body |= {part: sha256(wanted[part]) for part in ("spec", "versions")}
                append(connection, "rules", f"campaign {name}", body, time=time, who="runtime")
        return self.campaign(name)

    def campaign(self, name: str) -> CampaignRecord:
        """:raises JournalError: there is no such campaign; says which there are."""
        with self._read(f"campaign {name}") as connection:
            found = _latest(connection, name)
            if found is None:
                raise JournalError(self._unknown_campaign(connection, name))
            return found

    def campaigns(self) -> list[CampaignRecord]:
        """All campaigns, oldest first."""
        with self._read("campaigns") as connection:
            query = _query().order_by(campaigns.c.id)
            return [_record(row) for row in connection.execute(query).mappings()]

    def _check_same(self, found: CampaignRecord, spec: Any, lab: str, twin: bool) -> None:
        if (found.lab, found.twin) != (lab, twin):
            raise JournalError(
                f"{self.place}: campaign {found.name} belongs to {_bench(found.lab, found.twin)}, "
                f"not to {_bench(lab, twin)}; give this one another name, or another journal"
            )
        keys = sorted((found.spec.keys() | spec.keys()) - _MAY_CHANGE)
        differ = [k for k in keys if _text(found.spec, k) != _text(spec, k)]
        if differ:
            raise JournalError(
                f"{self.place}: campaign {found.name} was begun with another {', '.join(differ)}; "
                "to go on, change that back, and files that it names (only budget and stop may "
                "change); to begin anew, give the campaign another name"
            )


def _insert(connection: Connection, name: str, lab: str, twin: bool, time: float) -> int:
    row = {"name": name, "lab": lab, "twin": twin, "created_at": float(time)}
    statement = insert(campaigns).values(row).returning(campaigns.c.id)
    return connection.execute(statement).scalar_one()


def _query() -> Any:
    newest = (
        select(func.max(revisions.c.number))
        .where(revisions.c.campaign_id == campaigns.c.id)
        .correlate(campaigns)
        .scalar_subquery()
    )
    return (
        select(campaigns, revisions.c.number, revisions.c.spec, revisions.c.versions)
        .join(revisions, revisions.c.campaign_id == campaigns.c.id)
        .where(revisions.c.number == newest)
    )


def _latest(connection: Connection, name: str) -> CampaignRecord | None:
    row = connection.execute(_query().where(campaigns.c.name == name)).mappings().one_or_none()
    return None if row is None else _record(row)


def _record(row: RowMapping) -> CampaignRecord:
    return CampaignRecord(
        id=row["id"],
        name=row["name"],
        lab=row["lab"],
        twin=row["twin"],
        spec=decode(row["spec"]),
        versions=decode(row["versions"]),
        created_at=row["created_at"],
        revision=row["number"],
    )


def _changed(found: CampaignRecord, wanted: Mapping[str, Any]) -> bool:
    return any(
        _text({"": getattr(found, part)}, "") != _text({"": decode(wanted[part])}, "")
        for part in ("spec", "versions")
    )


def _text(spec: Mapping[str, Any], key: str) -> str:
    """For comparing: NaN equals itself, `1` and `1.0` differ, the order of keys is nothing."""
    # a key that an older sdl did not know is one that is not given
    return json.dumps(spec[key], sort_keys=True) if spec.get(key) is not None else ""


def _bench(lab: str, twin: bool) -> str:
    return f"the twin of lab {lab}" if twin else f"lab {lab}"
