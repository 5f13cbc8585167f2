"""What the audit's chain tells of one trial, against what the tables hold of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, select

from sdl.journal.chain import canonical, sha256
from sdl.journal.jsontext import decode
from sdl.journal.schema import history, ledger, steps, storable
from sdl.journal.upgraded import Digest, is_open

Row = Mapping[str, Any]

_EVENTS = {
    "begun": {"n", "attempt", "command", "instrument", "argument", "mark"},
    "ended": {"n", "attempt", "result", "error", "error_type", "finding"},
    "found": {"n", "attempt", "finding"},
    "booked back": {"n", "booked"},
}
_NOT_ENDED = {"result": None, "error": None, "error_type": None, "ended_at": None}
_JSON = {"argument", "mark", "findings", "outcomes", "parameters", "suggestion"}


def well_formed(kind: str, body: Any) -> bool:
    """Whether an entry of kind "step" or "trial" has what one of sdl's has."""
    wanted = {"from", "to"} if kind == "trial" else _EVENTS[body["event"]]
    return wanted <= body.keys()


class Told:
    """One trial as its entries tell it."""

    def __init__(self, name: str, upgraded: Row | None) -> None:
        self.name, self.upgraded = name, upgraded
        self.suggested: dict[str, Any] = {}
        """parameters and suggestion; empty if it was there before the chain began."""
        self.history: list[tuple[Any, ...]] = []
        self.last: dict[str, Any] = {}
        """state, outcomes and cause; empty if it was not moved since the chain began."""
        self.steps: dict[tuple[int, int], dict[str, Any]] = {}
        self.booked: list[tuple[Any, ...]] = []

    def take(self, entry: Row) -> None:
        body = decode(entry["body"])
        if entry["kind"] == "trial":
            self._move(entry, body)
        else:
            self._step(entry["time"], body)

    def _move(self, entry: Row, body: Row) -> None:
        note, cause = _stored(body.get("note", "")), _stored(body.get("cause"))
        self.history.append((entry["time"], body["from"], body["to"], entry["who"], note, cause))
        self.last = {"state": body["to"], "outcomes": body.get("outcomes"), "cause": cause}
        if body["from"] is None:
            self.suggested = {k: body[k] for k in ("parameters", "suggestion")}

    def _step(self, time: float, body: Row) -> None:
        for item, change in body.get("booked", ()):
            self.booked.append((body["n"], _stored(item), change, time))
        if body["event"] == "booked back":
            return
        step = self.steps.setdefault((body["n"], body["attempt"]), {"findings": []})
        if body["event"] == "begun":
            step |= {k: _stored(body[k]) for k in ("command", "instrument")}
            step |= {k: body[k] for k in ("argument", "mark")}
            step |= {"started_at": time, **_NOT_ENDED}
        if body["event"] == "ended":
            step |= {k: _stored(body[k]) for k in ("error", "error_type")}
            step |= {"result": body["result"], "ended_at": time}
        if body.get("finding") is not None:
            step["findings"] = [*step["findings"], body["finding"]]

    def was_open(self, step: tuple[int, int] | None = None) -> bool:
        return self.upgraded is not None and is_open(self.name, self.upgraded, step)


def differences(connection: Connection, trial: Row, told: Told, old: Digest) -> Iterator[str]:
    """Say where the tables differ from `told`; rows that it does not tell of go into `old`.

    :param trial: the row of `trials`, with the campaign's name as `name`.
    """
    which = {"campaign_id": trial["campaign_id"], "number": trial["number"]}
    if told.suggested:
        yield from _differ(f"trial {told.name}", trial, told.suggested)
    elif told.upgraded is None:
        yield f"trial {told.name}: the chain does not tell of it"
    else:
        old.trial(trial, ended=not told.was_open())
    found = _rows(connection, history, which, history.c.id)
    state = found[-1]["to_state"] if found else None
    yield from _differ(f"trial {told.name}", trial, told.last or {"state": state})
    yield from _history(found, told, old)
    yield from _steps(_rows(connection, steps, which, steps.c.n, steps.c.attempt), told, old)
    booked = [
        (line["n"], line["item"], line["change"], line["time"])
        for line in _rows(connection, ledger, which, ledger.c.id)
    ]
    yield from lines_that_differ(f"ledger of trial {told.name}", booked, told.booked)


def _history(found: list[Row], told: Told, old: Digest) -> Iterator[str]:
    known = told.suggested or told.upgraded is None
    before = 0 if known else max(len(found) - len(told.history), 0)
    for row in found[:before]:
        old.transition(row)
    columns = ("time", "from_state", "to_state", "who", "note", "cause")
    lines = [tuple(row[c] for c in columns) for row in found[before:]]
    yield from lines_that_differ(f"history of trial {told.name}", lines, told.history)


def _steps(found: list[Row], told: Told, old: Digest) -> Iterator[str]:
    left = dict(told.steps)
    for row in found:
        key = (row["n"], row["attempt"])
        expected = left.pop(key, {"findings": []})
        place = f"step {key[0]} of {told.name}"
        place += f", attempt {key[1]}" if key[1] > 1 else ""
        if "command" not in expected and told.upgraded is None:
            yield f"{place}: the chain does not tell of it"
        elif "command" not in expected:  # begun before there was a chain
            was_open = told.was_open(key)
            old.step(row, ended=not was_open)
            expected = {**(_NOT_ENDED if was_open else {}), **expected}
        yield from _differ(place, row, expected)
    for n, attempt in left:
        yield (
            f"step {n} of {told.name}, attempt {attempt}: the chain tells of it, the journal has "
            "none"
        )


def _differ(place: str, row: Row, expected: Row) -> Iterator[str]:
    for column, there in expected.items():
        here = row[column]
        if column == "result":
            if (None if here is None else sha256(here)) != there:
                yield f"{place}: the result is not the one the chain tells of"
        elif _comparable(column, here) != canonical(there):
            yield f"{place}: {column}: the journal says {_short(here)}, the chain says " + _short(
                canonical(there) if column in _JSON else there
            )


def _comparable(column: str, value: Any) -> str:
    if column not in _JSON:
        return canonical(value)
    try:
        decoded = decode(value)
    except ValueError:  # somebody changed it
        return value
    return canonical([] if column == "findings" and decoded is None else decoded)


def lines_that_differ(
    place: str, found: Iterable[tuple[Any, ...]], told: Iterable[tuple[Any, ...]]
) -> Iterator[str]:
    """Say in which line two lists differ first."""
    found, told = list(found), list(told)
    for n, (here, there) in enumerate(zip(found, told, strict=False), 1):
        if here != there:
            yield f"{place}, line {n}: the journal says {here}, the chain says {there}"
            return
    if len(found) != len(told):
        yield f"{place}: the journal has {len(found)} lines, the chain tells of {len(told)}"


def _rows(connection: Connection, table: Any, which: Row, *order: Any) -> list[Row]:
    wanted = (table.c.campaign_id == which["campaign_id"]) & (table.c.number == which["number"])
    query = select(table).where(wanted).order_by(*order)
    return [dict(row) for row in connection.execute(query).mappings()]  # type: ignore[misc]


def _stored(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
