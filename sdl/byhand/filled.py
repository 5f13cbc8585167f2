"""What a filled-in sheet says: its columns, and one result for each trial and for each row without.

Several rows of one trial are replicates (see `sdl.byhand.replicates`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdl.byhand.cells import Column, Line, is_number, take
from sdl.byhand.replicates import context, merged, together
from sdl.byhand.sheet import CENSORED, NOTE, SD, STATE, TRIAL, outcome_units, units_of
from sdl.campaign import Campaign
from sdl.errors import Problem
from sdl.journal import TrialState
from sdl.spreadsheet import Row, Table

PENDING = "pending"

_BRACKETS = re.compile(r"^(.*?)\s*[\[(](.*)[\])]$")


@dataclass(frozen=True)
class Result:
    """What the sheet says of one trial."""

    lines: tuple[int, ...]
    """The rows, as the spreadsheet program counts them."""
    trial: int | None
    """None: somebody made it on their own."""
    parameters: Mapping[str, Any]
    """Those that are filled in; as they are, also out of bounds."""
    context: Mapping[str, Any]
    outcomes: Mapping[str, float]
    """With `<outcome>_sd` and `<outcome>_censored` (see `sdl.suggest`)."""
    state: TrialState | None
    """None: it is not made yet."""
    note: str

    @property
    def where(self) -> str:
        rows = ", ".join(map(str, self.lines))
        return f"row {rows}" if len(self.lines) == 1 else f"rows {rows}"


@dataclass
class Filled:
    """Everything that a sheet says, and all that is wrong with it."""

    table: Table
    results: list[Result] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read(table: Table, campaign: Campaign) -> Filled:
    """Say what a sheet says; nothing is compared with the journal yet."""
    filled = Filled(table, remarks=list(table.remarks))
    columns = _columns(filled, campaign)
    kinds = {column.kind for column in columns}
    if not kinds & {"outcome", "state"}:
        expected = ", ".join([*campaign.outcomes, STATE])
        found = ", ".join(filter(None, table.header))
        message = f"has no column with results: one of {expected}; its columns are: {found}"
        filled.problems.append(table.problem(None, "", message))
        return filled
    lines = [_line(filled, campaign, columns, row) for row in table.rows]
    if not lines:
        filled.problems.append(table.problem(None, "", "has no row below its header"))
    groups: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        key = ("row", line.row.line) if line.trial is None else ("trial", line.trial)
        groups.setdefault(key, []).append(line)
    for group in groups.values():
        filled.results += _result(filled, group)
    return filled


# -- columns --------------------------------------------------------------------------------------


def _columns(filled: Filled, campaign: Campaign) -> list[Column]:
    known = _known(campaign)
    units = _units(campaign)
    found: dict[str, Column] = {}
    for index, title in enumerate(filled.table.header):
        bare, brackets = _bare(title)
        name = _named(bare, known)
        kind, of = known.get(name, ("extra", name))
        if (kind, of) == ("extra", name) and not _is_extra(filled, index, title, name):
            continue
        if name in found:
            message = f"there are two columns of this name: {found[name].title} and {title}"
            filled.problems.append(filled.table.problem(None, title, message))
            continue
        if brackets and units.get(name) and brackets != units[name]:
            message = f"is in {brackets} here; the campaign has it in {units[name]}"
            filled.problems.append(filled.table.problem(None, title, message))
        found[name] = Column(index, title, kind, of)
    return list(found.values())


def _known(campaign: Campaign) -> dict[str, tuple[str, str]]:
    """What columns mean, by name."""
    known = {TRIAL: ("trial", ""), STATE: ("state", ""), NOTE: ("note", "")}
    for name in campaign.outcomes:
        known |= {name + SD: ("sd", name), name + CENSORED: ("censored", name)}
    known |= {name: ("context", name) for name in campaign.contexts}
    known |= {name: ("outcome", name) for name in campaign.outcomes}
    return known | {name: ("parameter", name) for name in campaign.parameters}


def _units(campaign: Campaign) -> dict[str, str]:
    contexts = {name: entry.parameter for name, entry in campaign.contexts.items()}
    said = {n: units_of(p) for n, p in {**campaign.parameters, **contexts}.items()}
    measured = {n: outcome_units(campaign, n) for n in campaign.outcomes}
    return said | measured | {n + SD: units for n, units in measured.items()}


def _bare(title: str) -> tuple[str, str]:
    """Return a title without its units, and the units."""
    split = _BRACKETS.match(title)
    return (split[1], split[2].strip()) if split else (title, "")


def _named(bare: str, known: Mapping[str, object]) -> str:
    """The name that is meant; people capitalize titles."""
    if bare in known:
        return bare
    alike = [name for name in known if name.casefold() == bare.casefold()]
    return alike[0] if len(alike) == 1 else bare


def _is_extra(filled: Filled, index: int, title: str, name: str) -> bool:
    """Whether a column nobody asked for is kept: all that stands in it is numbers."""
    table = filled.table
    cells = [row.cells[index] for row in table.rows if row.cells[index] is not None]
    if not cells:
        return False
    if name and not name.startswith("_") and all(is_number(table, cell) for cell in cells):
        return True
    column = title or f"number {index + 1}, without a title,"
    filled.remarks.append(f"the column {column} is not kept: it is no outcome, and no numbers")
    return False


# -- rows -----------------------------------------------------------------------------------------


def _line(filled: Filled, campaign: Campaign, columns: Sequence[Column], row: Row) -> Line:
    line = Line(row)
    for column in columns:
        cell = row.cells[column.index]
        if cell is None:
            continue
        try:
            take(line, filled.table, campaign, column, cell)
        except ValueError as error:
            filled.problems.append(filled.table.problem(row.line, column.title, str(error)))
    return line


# -- one trial ------------------------------------------------------------------------------------


def _result(filled: Filled, lines: Sequence[Line]) -> Iterator[Result]:
    """The result that rows tell of; none where one of them is wrong."""
    ways = {_way(line) for line in lines} - {None}
    where = tuple(line.row.line for line in lines)
    wrong = list(_wrong(filled.table, lines, ways))
    filled.problems += wrong
    if wrong:
        return
    word = next(iter(ways), None)
    measured = [line for line in lines if line.values] if word == "completed" else []
    try:
        outcomes = together(measured)
    except ValueError as error:
        filled.problems.append(filled.table.problem(where[0], "", str(error)))
        return
    notes = dict.fromkeys(line.note for line in lines if line.note)
    yield Result(
        where,
        lines[0].trial,
        merged(line.parameters for line in lines),
        context(lines),
        outcomes,
        None if word in (None, PENDING) else TrialState(word),
        "; ".join(notes),
    )


def _way(line: Line) -> str | None:
    """The state that a row means; None: nothing was filled in."""
    return line.state or ("completed" if line.values else None)


def _wrong(table: Table, lines: Sequence[Line], ways: set[str | None]) -> Iterator[Problem]:
    first = lines[0].row.line
    if len(ways) > 1:
        said = " and ".join(f"{_way(x)} in row {x.row.line}" for x in lines if _way(x))
        yield table.problem(first, STATE, f"trial {lines[0].trial} is {said}; keep one")
    for line in lines:
        state, has = line.state, sorted(line.values)
        if state in ("failed", "abandoned", "rejected") and has:
            message = f"is {state}, yet there is a result ({', '.join(has)}): clear one of the two"
            yield table.problem(line.row.line, STATE, message)
        if state == "completed" and not has:
            message = "is completed without any result: fill one in, or call it failed"
            yield table.problem(line.row.line, STATE, message)
        for name in sorted({*line.sds, *line.censored} - line.values.keys()):
            yield table.problem(line.row.line, name, "is empty, yet more is said of it")
    for name in lines[0].parameters:
        told = {line.parameters[name] for line in lines if name in line.parameters}
        if len(told) > 1:
            both = " and ".join(map(str, sorted(told, key=str)))
            yield table.problem(first, name, f"is {both} in rows of one trial; keep one")
