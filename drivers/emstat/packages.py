"""What a potentiostat says while a script runs: lines, packages, and the errors it knows.

Source: MethodSCRIPT manual v1.8, chapters 5, 6, 9.3, 11 and appendices A and C (through PalmSens'
MethodSCRIPT_Examples and labmcp-palmsens 0.1.3).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sdl.errors import GarbledError

OFFSET = 1 << 27
PREFIXES: Mapping[str, float] = {
    **{"a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, " ": 1.0},
    **{"i": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
}
VARIABLE = re.compile(
    r"([a-j][a-z])(?:([0-9A-F]{7})([afpnum ikMGTPE])|(     nan))"
    r"(?:,1([0-9A-F]))?(?:,2[0-9A-F]{2})?(?:,4[0-9A-F])?"
)
ERROR = re.compile(r"([a-zA-Z]?)!([0-9A-F]{4})(?:: Line (\d{1,5})(?:, Col (\d{1,5}))?)?")
TIMING, OVERLOAD, UNDERLOAD, NEAR_OVERLOAD = 1, 2, 4, 8
STATUS = {TIMING: "timing", OVERLOAD: "overload", UNDERLOAD: "underload"}
STATUS |= {NEAR_OVERLOAD: "overload is near"}
NOT_RUNNING, SCRIPT_BUSY = 0x0006, 0x0006
ERRORS: Mapping[int, str] = {
    0x0002: "no such type of variable",
    0x0003: "unknown command",
    0x0006: "not in this state (a script runs, or none)",
    0x0007: "an argument has an unexpected value",
    0x0008: "a line is too long",
    0x0009: "it timed out",
    0x000C: "no script is loaded",
    0x000E: "overflow while averaging",
    0x000F: "a potential that it cannot apply",
    0x0010: "a variable became no number",
    0x0011: "a frequency that it cannot apply",
    0x0012: "an amplitude that it cannot apply",
    0x0014: "the cell must be off for the open circuit",
    0x001B: "not supported by this instrument",
    0x001F: "no licence for this technique",
    0x0021: "no such mode",
    0x0023: "not in this mode",
    0x0028: "divided by zero",
    0x0032: "critical overload of the cell: it stopped to prevent damage",
    0x0058: "it could not keep the time",
    0x005A: "it cannot measure that fast",
    0x0080: "the counter electrode oscillates",
    0x4001: "unknown script command",
    0x4004: "unexpected character",
    0x4005: "the script is too large",
    0x4018: "the script ends too early",
    0x4027: "the cell must be on",
    0x4028: "the cell must be off",
    0x4029: "at least one step is needed",
    0x4204: "a value must be positive",
    0x4205: "a value is out of bounds",
    0x4206: "a value that this instrument cannot take",
    0x7FFF: "fatal error: it must be switched off and on",
}


@dataclass(frozen=True)
class Variable:
    kind: str
    value: float
    status: int = 0


def parse_package(line: str) -> Sequence[Variable]:
    """Read `P<variable>;<variable>…`.

    :raises GarbledError: it is no package.
    """
    if not line.startswith("P"):
        raise GarbledError("", f"{line!r} is no package")
    found = []
    for text in line[1:].split(";"):
        match = VARIABLE.fullmatch(text)
        if match is None:
            raise GarbledError("", f"{text!r} in {line!r} is no variable")
        value = math.nan
        if match[4] is None:
            value = (int(match[2], 16) - OFFSET) * PREFIXES[match[3]]
        found.append(Variable(match[1], value, int(match[5] or "0", 16)))
    return found


def parse_error(line: str) -> tuple[str, int, str] | None:
    """Return which command met with an error, its number and its meaning; None if it is none."""
    match = ERROR.fullmatch(line)
    if match is None:
        return None
    number = int(match[2], 16)
    where = f" in line {match[3]}" if match[3] else ""
    meaning = ERRORS.get(number, "appendix A of the MethodSCRIPT manual tells its meaning")
    return match[1], number, f"error {number:04X}{where}: {meaning}"


def parse_firmware(lines: Sequence[str]) -> tuple[str, str]:
    """Return the code of the model (`espico`) and its firmware, from the answer to `t`.

    :raises GarbledError: it is no such answer.
    """
    match = re.fullmatch(r"t([a-z0-9_]{6})(\d{2,6})#([ -~]{8,32})([A-Z]{1,8})\*", "".join(lines))
    if match is None:
        raise GarbledError("", f"{lines!r} tells no firmware")
    return match[1], f"{match[2]} ({match[3].strip()})"
