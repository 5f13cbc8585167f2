"""What stands in the cells of one row, by column."""

import re
from dataclasses import dataclass, field
from typing import Any

from sdl.byhand.sheet import STATES
from sdl.campaign import Campaign
from sdl.library import Library
from sdl.space import Categorical, Integer
from sdl.spreadsheet import Cell, Row, Table

_LIMIT = re.compile("^([<>\N{LESS-THAN OR EQUAL TO}\N{GREATER-THAN OR EQUAL TO}])\\s*=?\\s*(.*)$")
_BELOW = "<\N{LESS-THAN OR EQUAL TO}"


@dataclass(frozen=True)
class Column:
    index: int
    title: str
    kind: str
    """trial, parameter, context, outcome, sd, censored, extra, state or note"""
    name: str
    """Of what; of `<outcome>_sd` the outcome."""


@dataclass
class Line:
    """One row, read."""

    row: Row
    trial: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    sds: dict[str, float] = field(default_factory=dict)
    censored: dict[str, float] = field(default_factory=dict)
    state: str = ""
    note: str = ""


def take(line: Line, table: Table, campaign: Campaign, column: Column, cell: Cell) -> None:
    """Put what stands in a cell where it belongs.

    :raises ValueError: it cannot stand there.
    """
    name = column.name
    match column.kind:
        case "trial":
            line.trial = _trial(table, campaign, cell)
        case "parameter":
            line.parameters[name] = _value(table, campaign.parameters[name], cell)
        case "context":
            line.context[name] = _value(table, campaign.contexts[name].parameter, cell)
        case "outcome":
            line.values[name], side = _outcome(table, cell)
            if side:
                line.censored[name] = side
        case "sd":
            line.sds[name] = _sd(table, cell)
        case "censored":
            _side(line, name, table.number(cell))
        case "state":
            line.state = _state(cell)
        case "note":
            line.note = str(cell)
        case _:
            line.values[name] = table.number(cell)


def _trial(table: Table, campaign: Campaign, cell: Cell) -> int:
    if isinstance(cell, str):
        of, slash, cell = cell.rpartition("/")
        if slash and of.strip() != campaign.campaign:
            raise ValueError(f"{of} is another campaign; this one is {campaign.campaign}")
    number = table.number(cell)
    if number != int(number) or number < 1:
        raise ValueError(f"should be the number of a trial, such as 7, not {cell}")
    return int(number)


def _value(table: Table, parameter: Any, cell: Cell) -> Any:
    if isinstance(parameter, Library):
        return str(cell)  # whether it is a key is said with all else that is wrong with the point
    if isinstance(parameter, Categorical):
        return _choice(table, parameter, cell)
    number = table.number(cell)
    whole = isinstance(parameter, Integer) and number == int(number)
    return int(number) if whole else number


def _choice(table: Table, parameter: Categorical, cell: Cell) -> str:
    """The choice that is meant: a spreadsheet makes `3` of `003`."""
    if str(cell) in parameter.choices:
        return str(cell)
    alike = [c for c in parameter.choices if c.casefold() == str(cell).casefold()]
    if not alike and not isinstance(cell, str) and is_number(table, cell):
        number = table.number(cell)
        alike = [c for c in parameter.choices if is_number(table, c) and table.number(c) == number]
    if len(alike) == 1:
        return alike[0]
    raise ValueError(f"should be one of {', '.join(parameter.choices)}, not {cell}")


def _outcome(table: Table, cell: Cell) -> tuple[float, int]:
    """Return a number, and -1 or +1 where the truth lies below or above it."""
    limit = _LIMIT.match(cell.strip()) if isinstance(cell, str) else None
    if limit is None:
        return table.number(cell), 0
    return table.number(limit[2]), -1 if limit[1] in _BELOW else 1


def _sd(table: Table, cell: Cell) -> float:
    sd = table.number(cell)
    if sd < 0:
        raise ValueError(f"a standard deviation should be 0 or more, not {cell}")
    return sd


def _side(line: Line, name: str, side: float) -> None:
    if side not in (-1, 0, 1):
        raise ValueError(f"should be -1 (the truth lies below), 1 (above) or 0, not {side:g}")
    if line.censored.get(name, side) != side:
        raise ValueError(f"should be {line.censored[name]:g} or empty, as {name} says")
    if side:
        line.censored[name] = int(side)


def _state(cell: Cell) -> str:
    word = str(cell).strip().casefold()
    if word not in STATES:
        raise ValueError(f"should be one of {', '.join(STATES)}, or empty, not {cell}")
    return word


def is_number(table: Table, cell: Cell) -> bool:
    try:
        table.number(cell)
    except ValueError:
        return False
    return True
