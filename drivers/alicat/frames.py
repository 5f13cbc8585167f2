"""What Alicat instruments answer: information, the layout of data frames, frames, flags.

Sources: MC manual pp. 40-43, Standard Devices manual p. 32, BC manual p. 10; the two dialects of
the layout (`??D*`), the aligned gas and the blank line before `?` from captures of instruments with
firmware 5v12 to 10v20 (alicatlib's fixtures, 2026); the meaning of flags also from the manual for
EtherNet/IP, p. 7. Gas numbers: facts 2.6 and alicat 0.9.0.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sdl.errors import GarbledError

FLAGS = {
    "ADC": "its analog-digital converter fails",
    "COM": "it has heard nothing for long",
    "EXH": "its exhaust valve is open",
    "GTA": "it tunes its controller",
    "HLD": "its valve is held, not controlled",
    "LCK": "its buttons are locked",
    "MOV": "mass flow out of range",
    "OPL": "its limit of overpressure has acted",
    "OVR": "its totalizer has rolled over",
    "P2O": "its second pressure is out of range",
    "POV": "pressure out of range",
    "TMF": "its totalizer missed flow",
    "TOV": "temperature out of range",
    "VOV": "volumetric flow out of range",
    "VTM": "batch volume reached",
}

GASES = (
    *("Air", "Ar", "CH4", "CO", "CO2", "C2H6", "H2", "He", "N2", "N2O"),
    *("Ne", "O2", "C3H8", "nC4H10", "C2H2", "C2H4", "iC4H10", "Kr", "Xe", "SF6"),
    *("C-25", "C-10", "C-8", "C-2", "C-75", "He-25", "He-75", "A1025", "Star29", "P-5"),
)
"""By their numbers."""

STATISTICS = {
    **dict.fromkeys((2, 6, 7), "pressure"),
    3: "temperature",
    4: "volumetric",
    5: "flow",
    9: "total",
    **dict.fromkeys((34, 36, 37, 38, 39), "setpoint"),
    703: "gas",
}
OLD_NAMES = {
    "Pressure": "pressure",
    "Temperature": "temperature",
    "Volumetric": "volumetric",
    "Mass": "flow",
    "SetPoint": "setpoint",
    "Total": "total",
    "Gas": "gas",
}
NAME = r"[A-Za-z0-9][\w.%/+-]*"  # of a gas or a mixture
LAST_INFORMATION = 9  # rows are M00 to M09

_ROW = re.compile(
    r"D(\d\d) (\d{3}) (\*?)(\S.*?) +(string|s decimal|decimal) +(\d+)(?:/(\d))?"
    r"(?: \d{3} \d\d (\S+)| ([A-Z0-9]{3}))?"
)
_OLD_ROW = re.compile(r" D(\d\d) (\S.*?) +(char|signed|unsigned|string) +(\S+) +(\S+) +(\S+)")


@dataclass(frozen=True)
class Column:
    """One column of a data frame: `quantity` is what the driver calls it, or the maker's name."""

    quantity: str
    pattern: str
    unit: str = ""
    decimals: int = 0
    aligned: bool = True
    """Whether a missing character shows, because the width is known."""


@dataclass(frozen=True)
class Layout:
    """The columns of an instrument's data frames, behind its unit letter."""

    columns: tuple[Column, ...]

    def find(self, quantity: str) -> Column | None:
        return next((each for each in self.columns if each.quantity == quantity), None)


@dataclass(frozen=True)
class Frame:
    """A data frame: numbers in the instrument's units (None: it has no value), gas, flags."""

    values: Mapping[str, float | None]
    gas: str
    flags: frozenset[str]


def parse_information(text: str, unit: str) -> list[str]:
    """Read the rows of `??M*`.

    :raises GarbledError: they are not M00 to M09 of this unit.
    """
    rows = text.strip("\r\n").replace("\n", "").split("\r")
    found = [re.fullmatch(rf"{unit} {{1,2}}M(\d\d) ?(.*)", row) for row in rows]
    numbers = [int(match[1]) for match in found if match is not None]
    if numbers != list(range(LAST_INFORMATION + 1)) or len(rows) != len(numbers):
        raise GarbledError("", f"{text!r} is not what unit {unit} is")
    return [match[2].strip() for match in found if match is not None]


def parse_firmware(text: str) -> tuple[int, int]:
    """Read a version such as `10v20.0-R24`.

    :raises GarbledError: it is none.
    """
    match = re.search(r"(\d+)v(\d\d)", text)
    if match is None:
        raise GarbledError("", f"{text!r} is no firmware that is known")
    return int(match[1]), int(match[2])


def parse_layout(text: str, unit: str) -> Layout:
    """Read the rows of `??D*`, of either dialect.

    :raises GarbledError: they are none, or some are missing.
    """
    rows = [row for row in re.split(r"[\r\n]+", text) if row.strip()]
    if not rows or re.fullmatch(rf"{unit} {{1,2}}D00 .*NAME_.*", rows[0]) is None:
        raise GarbledError("", f"{text[:80]!r} is no layout of data frames")
    read = _column if "ID_" in rows[0] else _old_column
    columns: list[Column] = []
    for number, row in enumerate(rows[1:], 1):
        if not row.startswith(f"{unit} "):
            raise GarbledError("", f"{row!r} is of another unit")
        column = read(number, row[2:].rstrip())
        if column is not None and number > 1:  # the first is the unit's letter
            columns.append(column)
    return Layout(tuple(columns))


def parse_frame(line: str, unit: str, layout: Layout) -> Frame:
    """Read a data frame.

    :raises GarbledError: it is none of this layout.
    """
    columns = "".join(f" ({column.pattern})" for column in layout.columns)
    match = re.fullmatch(rf"{unit}{columns}((?: [A-Z0-9]{{3}})*) *", line)
    flags = frozenset(match[len(layout.columns) + 1].split()) if match is not None else frozenset()
    if match is None or not flags <= set(FLAGS):
        raise GarbledError("", f"{line!r} is no data frame of unit {unit}")
    values: dict[str, float | None] = {}
    gas = ""
    for column, text in zip(layout.columns, match.groups(), strict=False):
        if column.quantity == "gas":
            gas = text.strip()
        elif column.unit or column.decimals:
            values[column.quantity] = None if "--" in text else float(text)
    return Frame(values, gas, flags)


def parse_setpoints(line: str, unit: str) -> tuple[float, float]:
    """Read the answer to `LS`: the setpoint on its way, and the one that was asked for.

    :raises GarbledError: it is none.
    """
    number = r"([+-]\d+\.\d+)"
    match = re.fullmatch(rf"{unit} {number} {number} \d+ \S+", line)
    if match is None or len(match[1]) != len(match[2]):
        raise GarbledError("", f"{line!r} is no answer to LS")
    return float(match[1]), float(match[2])


def parse_full_scale(line: str, unit: str) -> tuple[float, str]:
    """Read the answer to `FPF`: a number and its unit.

    :raises GarbledError: it is none.
    """
    match = re.fullmatch(rf"{unit} ([+-]\d+(?:\.\d+)?) \d+ (\S+)", line)
    if match is None:
        raise GarbledError("", f"{line!r} is no answer to FPF")
    return float(match[1]), match[2]


def _column(number: int, row: str) -> Column | None:
    match = _ROW.fullmatch(row)
    if match is None or int(match[1]) != number:
        raise GarbledError("", f"{row!r} is not row {number} of a layout")
    _, statistic, optional, name, kind, width, decimals, unit, _ = match.groups()
    if optional:
        return None
    quantity, wide = STATISTICS.get(int(statistic), name), int(width)
    if kind == "string":
        blanks = rf" {{0,{wide - 1}}}"
        return Column(quantity, rf"(?=.{{{wide}}}(?: |$))(?:{blanks}{NAME}|{NAME}{blanks})")
    number_pattern = _digits(wide, int(decimals or 0), signed=kind == "s decimal")
    return Column(quantity, rf"{number_pattern}|-{{{wide}}}", unit or "", int(decimals or 0))


def _digits(wide: int, decimals: int, *, signed: bool) -> str:
    sign, left = (r"[+-]", wide - 1) if signed else ("", wide)
    if decimals:
        return rf"{sign}\d{{{left - decimals - 1}}}\.\d{{{decimals}}}"
    return rf"{sign}\d{{{left - 1},{left}}}\.?"


def _old_column(number: int, row: str) -> Column | None:
    match = _OLD_ROW.fullmatch(row)
    if match is None or int(match[1]) != number:
        raise GarbledError("", f"{row!r} is not row {number} of a layout")
    _, name, kind, lowest, _, unit = match.groups()
    if name in ("Error", "Status"):
        return None
    quantity = OLD_NAMES.get(name, name)
    if kind in ("char", "string"):
        return Column(quantity, rf" *{NAME} *?", aligned=False)
    decimals = len(lowest.partition(".")[2])
    digits = _digits(len(lowest), decimals, signed=lowest[0] in "+-")
    if quantity == "setpoint":  # announced with a sign, and sent without
        digits = digits.replace("[+-]", "[+-]?", 1)
    return Column(quantity, digits, unit, decimals)
