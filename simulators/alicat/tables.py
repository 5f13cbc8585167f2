"""What an Alicat instrument says of itself: columns of its data frames, information, gases.

Formats of firmware 10v20 and, of the oldest, 5v12, as captured from instruments (published with
alicatlib); the rest from the MC manual, pp. 40-43.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_NAMES = (
    *("Air", "Ar", "CH4", "CO", "CO2", "C2H6", "H2", "He", "N2", "N2O", "Ne", "O2", "C3H8"),
    *("nC4H10", "C2H2", "C2H4", "iC4H10", "Kr", "Xe", "SF6", "C-25", "C-10", "C-8", "C-2"),
    *("C-75", "He-25", "He-75", "A1025", "Star29", "P-5"),
)
GASES = dict(enumerate(_NAMES))
LONG_NAMES = {"N2": "Nitrogen", "Ar": "Argon", "He": "Helium", "O2": "Oxygen", "H2": "Hydrogen"}
ABSOLUTE, TEMPERATURE, VOLUMETRIC, MASS, TOTAL = 2, 3, 4, 5, 9  # statistics
SETPOINT = 37
OLD, SIGNED = 6, 8  # firmware: since it has the table of today, and signs with setpoints
OLD_NAMES = {2: "Pressure", 3: "Temperature", 4: "Volumetric", 5: "Mass", 9: "Total"}
CONDITIONS = (
    *("OPL", "POV", "P2O", "TOV", "VOV", "MOV", "TMF", "OVR", "COM", "HLD", "EXH", "GTA", "LCK"),
)


@dataclass(frozen=True)
class Number:
    """A column with a number, `width` characters wide, sign and point included."""

    statistic: int
    name: str
    width: int
    decimals: int
    unit: str
    code: int
    signed: bool = True

    def show(self, value: float) -> str:
        """Return it as it stands in a data frame; what has no room is cut to the most that has."""
        digits = self.width - self.decimals - (2 if self.signed else 1)
        most = 10**digits - 10.0**-self.decimals
        value = min(max(value, -most if self.signed else 0.0), most)
        if not self.signed:
            return f"{value:0{self.width}.{self.decimals}f}"
        text = f"{value:+0{self.width}.{self.decimals}f}"
        return text.replace("-", "+") if float(text) == 0 else text


def flow_column(
    statistic: int, name: str, full_scale: float, standard: str = "", *, firmware: int = 10
) -> Number:
    """Return the column of a flow of at most `full_scale` mL/min; old setpoints have no sign."""
    litres = full_scale >= 1000
    decimals = 3 if litres and full_scale < 70_000 else 2
    if firmware < OLD:
        decimals -= 1
    signed = firmware >= SIGNED or statistic != SETPOINT
    unit, code = (f"{standard}LPM", 7) if litres else (f"{standard}CCM", 12)
    return Number(statistic, name, 7 if signed else 6, decimals, unit, code, signed)


def gas_width(firmware: int) -> int:
    return 6 if firmware >= SIGNED else 7


def columns_table(unit: str, numbers: Sequence[Number], *, gas: int) -> list[str]:
    """Answer `??D*`; `gas` is the width of its column, or 0."""
    rows = [
        "D00 ID_ NAME______________________ TYPE_______ WIDTH NOTES___________________",
        "D01 700 Unit ID                    string          1",
    ]
    for each in numbers:
        width, notes = f"{each.width}/{each.decimals}", f"{each.code:03d} 02 {each.unit}"
        kind = "s decimal" if each.signed else "decimal"
        row = f"{each.statistic:03d} {each.name:<26} {kind:<11} {width:>5} {notes}"
        rows.append(f"D{len(rows):02d} {row}")
    if gas:
        rows.append(f"D{len(rows):02d} 703 {'Gas':<26} {'string':<11} {gas:>5}")
    rows.append(f"D{len(rows):02d} 701 {'*Error':<26} {'string':<11} {3:>5} ADC")
    for flag in CONDITIONS:
        rows.append(f"D{len(rows):02d} 702 {'*Status':<26} {'string':<11} {3:>5} {flag}")
    return [*(f"{unit} {row}" for row in rows), ""]


def old_columns_table(unit: str, numbers: Sequence[Number], *, gas: int) -> list[str]:
    """Answer `??D*` as firmware before 6v does: without an empty line behind."""
    rows = [
        "D00 NAME_______ TYPE_____ MinVal_  MaxVal_  UNITS__",
        f"D01 {'Unit ID':<11} {'char':<6} {'A':>9} {'Z':>9} {'na':>10}",
    ]
    for each in numbers:
        name = OLD_NAMES.get(each.statistic, "SetPoint")
        low, high = (f"{'' if each.signed else '+'}{each.show(most)}" for most in (0, 1e9))
        unit_name = each.unit.lstrip("`")
        rows.append(f"D{len(rows):02d} {name:<11} {'signed':<6} {low:>10} {high:>8} {unit_name:>8}")
    if gas:
        rows.append(f"D{len(rows):02d} {'Gas':<11} {'string':<6} {'Air':>10} {'D2':>8} {'na':>8}")
    for name, flag in [("Error", "ADC"), *(("Status", each) for each in CONDITIONS)]:
        rows.append(f"D{len(rows):02d} {name:<11} {'string':<6} {'na':>9} {flag:>8} {'na':>8}")
    return [f"{unit}  {row}" for row in rows]


def information(unit: str, model: str, firmware: str) -> list[str]:
    """Answer `??M*`."""
    rows = (
        "ALICAT SCIENTIFIC",
        "www.alicat.com",
        "Ph   520-290-6060",
        "info@alicat.com",
        f"Model Number {model}",
        "Serial Number 521641",
        "Date Manufactured 03/02/2025",
        "Date Calibrated   03/02/2025",
        "Calibrated By     BL",
        f"Software Revision {firmware}",
    )
    return [f"{unit}  M{number:02d} {row}" for number, row in enumerate(rows)]
