"""Tables that people fill in: CSV as any spreadsheet program writes it, and .xlsx.

A CSV file may have a byte order mark, be separated by commas, semicolons or tabs, and have decimal
commas (as a European Excel writes it); text that is not Unicode is read as Windows-1252. Of a
workbook the first sheet is read, formulas as the values that were stored with them.
"""

import csv
import io
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sdl.errors import ConfigError, Problem

LARGEST = 50_000_000  # bytes
ENDINGS = (".csv", ".xlsx")

Cell = object
"""What stands in a cell: None if it is empty, text, a number; of a workbook also a date."""

Mark = Literal[".", ",", "either"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_BROKEN = (  # what a damaged or encrypted workbook makes of its reader
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, SyntaxError),
    *(KeyError, IndexError, ValueError, TypeError, AttributeError, NotImplementedError),
)
_SEPARATORS = ";\t,"


@dataclass(frozen=True)
class Row:
    line: int
    """Where it stands in the file, from 1; the header has a line too."""
    cells: Sequence[Cell]
    """As many as the header has."""


@dataclass(frozen=True)
class Table:
    """The header, and all rows in which something stands."""

    file: str
    header: Sequence[str]
    rows: Sequence[Row]
    mark: Mark = "."
    """What stands before decimals; where it is not a point alone, `1.500` may be a thousand."""
    remarks: Sequence[str] = ()
    """What the reader should know of how it was read."""

    def problem(self, line: int | None, column: str, message: str) -> Problem:
        return Problem(self.file, line, column, message)

    def number(self, cell: Cell) -> float:
        """Return the number in a cell.

        :raises ValueError: there is none, or it could mean two things; says what to write.
        """
        if isinstance(cell, bool) or not isinstance(cell, int | float | str):
            raise ValueError(f"should be a number, not {_shown(cell)}")
        value = self._of_text(cell) if isinstance(cell, str) else float(cell)
        if not math.isfinite(value):
            raise ValueError(f"should be a finite number, not {cell}")
        return value

    def _of_text(self, cell: str) -> float:
        text = cell.strip().replace("\N{MINUS SIGN}", "-")
        point, comma = _NUMBER.fullmatch(text), _WITH_COMMA.fullmatch(text)
        if not point and not comma:
            raise ValueError(f"should be a number, not {text!r}")
        if comma and self.mark == ".":
            raise ValueError(f"{text} has a comma in a file with decimal points: write a point")
        sure = "." if point else ","
        if self.mark != sure and _THOUSANDS.fullmatch(text):
            bare = int(re.sub("[.,]", "", text))
            raise ValueError(f"{text} can be read in two ways: write {bare / 1000:g} or {bare}")
        return float(text.replace(",", "."))


def check_ending(path: Path) -> None:
    """:raises ConfigError: it is neither .csv nor .xlsx."""
    if path.suffix.lower() not in ENDINGS:
        message = f"should end with {' or '.join(ENDINGS)}, not {path.suffix or 'nothing'}"
        raise ConfigError.at(path, "", f"{message}; a spreadsheet program saves as either")


def check_workbooks(path: Path) -> None:
    """:raises ConfigError: what .xlsx needs is not installed; says what to do."""
    _openpyxl(path)


# -- reading --------------------------------------------------------------------------------------


def read(path: Path) -> Table:
    """Read a table; its first row that is not empty is the header.

    :raises ConfigError: it cannot be read, or is no table; says what to do.
    """
    check_ending(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError.at(path, "", f"is larger than {LARGEST // 10**6} MB: the right file?")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError.at(path, "", f"cannot be read: {error.strerror}") from error
    if path.suffix.lower() == ".csv":
        return _of_csv(path, content)
    return _of_workbook(path, content)


def _of_csv(path: Path, content: bytes) -> Table:
    text, remarks = _decoded(path, content)
    text, separator = _separator(text)
    lines: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        line = 1
        for cells in reader:
            lines.append(Row(line, [cell.strip() or None for cell in cells]))
            line = reader.line_num + 1
    except csv.Error as error:
        message = f"cannot be read as CSV: {error}; is a quotation mark open?"
        raise ConfigError.at(path, "", message, reader.line_num) from error
    return _table(path, lines, remarks, "," if separator != "," and _commas(lines) else ".")


def _decoded(path: Path, content: bytes) -> tuple[str, list[str]]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, remarks = "utf-16", []
    else:
        encoding, remarks = "utf-8-sig", []
    try:
        return content.decode(encoding), remarks
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        message = f"is no text (byte {error.start}): save it as CSV in UTF-8"
        raise ConfigError.at(path, "", message) from error
    return text, [f"{path.name} is not in UTF-8; it was read as Windows-1252"]


def _separator(text: str) -> tuple[str, str]:
    """Return the text without Excel's `sep=;`, and what separates its columns."""
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r"sep=(.)", first.strip('\r\t "'), re.IGNORECASE)
    if said is not None:
        return f"\n{rest}", said[1]  # so that the lines keep their numbers
    header = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", header)
    return text, max(_SEPARATORS[::-1], key=bare.count)


def _of_workbook(path: Path, content: bytes) -> Table:
    values = _sheets(path, content, values=True)
    if not values:
        raise ConfigError.at(path, "", "has no sheet")
    (name, lines), *others = values
    formulas = _sheets(path, content, values=False)[0][1]
    stale = [
        Problem(str(path), row.line, _letter(k), "is a formula without a value")
        for row, bare in zip(formulas, lines, strict=True)
        for k, cell in enumerate(row.cells)
        if cell is not None and bare.cells[k] is None
    ]
    if stale:
        advice = "open the file in the spreadsheet program and save it, so that values are stored"
        raise ConfigError(*stale, Problem(str(path), None, "", advice))
    left = ", ".join(other for other, rows in others if rows)
    remarks = [f"of {path.name} the sheet {name!r} was read, not {left}"] if left else []
    return _table(path, lines, remarks, "either" if _commas(lines) else ".")


def _sheets(path: Path, content: bytes, *, values: bool) -> list[tuple[str, list[Row]]]:
    """Return the sheets' names and rows.

    :param values: of formulas, what they gave; else their text.
    """
    openpyxl = _openpyxl(path)
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of colours and menus that it does not know
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=False, data_only=values)
    except (InvalidFileException, *_BROKEN) as error:
        message = f"is no workbook that can be read ({error}): save it anew as .xlsx, or as .csv"
        raise ConfigError.at(path, "", message) from error
    return [
        (sheet.title, [Row(k, list(cells)) for k, cells in enumerate(_rows(sheet), 1)])
        for sheet in book.worksheets
    ]


def _rows(sheet: Any) -> Iterator[Sequence[Cell]]:
    for cells in sheet.iter_rows(values_only=True):
        yield [(c.strip() or None) if isinstance(c, str) else c for c in cells]


def _commas(lines: Sequence[Row]) -> bool:
    """Whether a number with a decimal comma is among the cells."""
    texts = (cell for row in lines for cell in row.cells if isinstance(cell, str))
    return any(_WITH_COMMA.fullmatch(text.lstrip("<>\u2264\u2265= ")) for text in texts)


def _table(path: Path, lines: Sequence[Row], remarks: Sequence[str], mark: Mark) -> Table:
    filled = [row for row in lines if any(cell is not None for cell in row.cells)]
    if not filled:
        raise ConfigError.at(path, "", "is empty; its first row should name the columns")
    header, *rows = filled
    names = ["" if cell is None else str(cell) for cell in header.cells]
    width = max(len(row.cells) for row in filled)
    names += [""] * (width - len(names))
    even = [Row(row.line, [*row.cells, *[None] * (width - len(row.cells))]) for row in rows]
    return Table(str(path), names, even, mark, remarks)


def _shown(cell: Cell) -> str:
    if isinstance(cell, bool):
        return str(cell).upper()
    if hasattr(cell, "isoformat"):
        return f"a date ({cell}): format the cell as a number and enter it again"
    return "nothing" if cell is None else repr(cell)


def _letter(index: int) -> str:
    """The name of a column from its number, from 0: A, B, …, Z, AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


# -- writing --------------------------------------------------------------------------------------


def write(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    ending: str,
    choices: tuple[str, Sequence[str]] | None = None,
) -> None:
    """Write a table that `read` reads.

    :param ending: which of `ENDINGS` it becomes, whatever the path is called.
    :param choices: of one column, by its title, what may be chosen from a list (.xlsx only).
    :raises ConfigError: it cannot be written, or .xlsx needs a package that is not installed.
    """
    content = (
        _as_csv(header, rows) if ending == ".csv" else _as_workbook(path, header, rows, choices)
    )
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError.at(path, "", f"cannot be written: {error.strerror}") from error


def _as_csv(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode("utf-8-sig")  # without the mark Excel takes it for another code


def _as_workbook(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    choices: tuple[str, Sequence[str]] | None,
) -> bytes:
    openpyxl = _openpyxl(path)
    from openpyxl.styles import Font
    from openpyxl.worksheet.datavalidation import DataValidation

    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for line, cells in enumerate([header, *rows], 1):
        for column, value in enumerate(cells, 1):
            cell = sheet.cell(line, column, value)
            if isinstance(value, str):
                cell.data_type = "s"  # text that begins with = is no formula
    for column, title in enumerate(header):
        sheet.cell(1, column + 1).font = Font(bold=True)
        sheet.column_dimensions[_letter(column)].width = max(len(title) + 2, 10)
    sheet.freeze_panes = "B2"
    if choices is not None and rows:
        title, words = choices
        column = _letter(list(header).index(title))
        listed = DataValidation(type="list", formula1=f'"{",".join(words)}"', allow_blank=True)
        listed.add(f"{column}2:{column}{len(rows) + 1}")
        sheet.add_data_validation(listed)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _openpyxl(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        message = ".xlsx needs openpyxl: pip install 'sdl[spreadsheet]', or use a .csv file"
        raise ConfigError.at(path, "", message) from error
    return openpyxl
