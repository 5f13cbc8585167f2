"""MethodSCRIPT as a potentiostat reads it: lines to statements, with the errors of the manual.

Source: MethodSCRIPT manual v1.8, chapters 3, 4, 11, 14 and appendix A (through the drivers and
examples that cite it). Guesses: columns of errors, and which of several errors is told.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

OFFSET = 1 << 27
PREFIXES = {"a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}
PREFIXES |= {" ": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "i": 1.0}
FINEST_FIRST = ("a", "f", "p", "n", "u", "m", " ", "k", "M", "G", "T", "P", "E")
LONGEST_LINE = 255
MOST_LINES = 1000
DEEPEST = 32  # blocks in blocks
OPERATORS = ("==", "!=", ">=", "<=", ">", "<", "&", "|")
TAG = "on_finished:"

NAME = re.compile(r"[a-z][a-zA-Z0-9_]*")
INTEGER = re.compile(r"[+-]?\d{1,10}i?")
LITERAL = re.compile(r"([+-]?\d{1,10})([afpnumkMGTPEi]?)|0x([0-9A-Fa-f]{1,8})i?|0b([01]{1,32})i?")
OPTION = re.compile(r"([a-z_]+)\(([^()]*)\)")

# What each command has behind it: o a variable that is written, n one that exists, v a value, l a
# literal, t a type of variable, u a whole number, c a comparison; "*" anything.
COMMANDS: dict[str, str] = {
    "var": "d",
    "store_var": "olt",
    "copy_var": "no",
    "add_var": "nv",
    "sub_var": "nv",
    "mul_var": "nv",
    "div_var": "nv",
    "pow_var": "nv",
    "mod_var": "nv",
    "log_var": "nv",
    "int_to_float": "n",
    "float_to_int": "n",
    "float_to_int_round": "n",
    "alter_vartype": "nt",
    "set_pgstat_chan": "u",
    "set_pgstat_mode": "u",
    "set_max_bandwidth": "v",
    "set_range": "tv",
    "set_range_minmax": "tvv",
    "set_autoranging": "tvv",
    "set_cr": "v",
    "set_pot_range": "vv",
    "set_acquisition_frac": "v",
    "set_acquisition_frac_autoadjust": "v",
    "set_e": "v",
    "set_i": "v",
    "set_e_aux": "v",
    "set_poly_we_mode": "u",
    "set_int": "v",
    "await_int": "",
    "set_scan_dir": "v",
    "set_ir_comp": "v",
    "set_script_output": "u",
    "set_channel_sync": "u",
    "set_gpio": "v",
    "set_gpio_cfg": "vv",
    "set_gpio_pullup": "vv",
    "set_gpio_msk": "vv",
    "get_gpio": "o",
    "notify_led": "v",
    "beep": "*",
    "cell_on": "",
    "cell_off": "",
    "wait": "v",
    "timer_start": "",
    "timer_get": "o",
    "meas": "vot",
    "pck_start": "*",
    "pck_add": "n",
    "pck_end": "",
    "send_string": "s",
    "abort": "",
    "if": "vcv",
    "elseif": "vcv",
    "else": "",
    "endif": "",
    "loop": "vcv",
    "endloop": "",
    "breakloop": "",
    "meas_loop_lsv": "oovvvv",
    "meas_loop_cv": "oovvvvv",
    "meas_loop_dpv": "oovvvvvv",
    "meas_loop_swv": "oooovvvvv",
    "meas_loop_ca": "oovvv",
    "meas_loop_cp": "oovvv",
    "meas_loop_ocp": "ovv",
    "meas_loop_eis": "ooovvvvv",
}
OPTIONAL = ("poly_we", "nscans", "meta_msk")


class ScriptError(Exception):
    """What is answered where a script cannot be read or run; no error of ours."""

    def __init__(self, code: int, line: int, column: int = 0) -> None:
        super().__init__(code, line, column)
        self.code, self.line, self.column = code, line, column

    @property
    def reply(self) -> str:
        column = f", Col {self.column}" if self.column else ""
        return f"!{self.code:04X}: Line {self.line}{column}"


@dataclass
class Statement:
    """A command, and for a block what is in it."""

    line: int
    name: str
    arguments: Sequence[str]
    options: dict[str, str]
    body: "list[Statement]" = field(default_factory=list)
    otherwise: "Statement | None" = None
    """`elseif` or `else`"""


@dataclass
class Program:
    statements: list[Statement]
    finally_: list[Statement]


def parse(lines: Sequence[str]) -> Program:
    """Read a script.

    :raises ScriptError: it is none.
    """
    if len(lines) > MOST_LINES:
        raise ScriptError(0x4005, MOST_LINES, 1)
    return _Reader(lines).read()


def value_of(literal: str) -> tuple[float, bool]:
    """Return the value of a literal, and whether it is a whole number.

    :raises ValueError: it is none.
    """
    match = LITERAL.fullmatch(literal)
    if match is None:
        raise ValueError(literal)
    if match[3] or match[4]:
        return float(int(match[3], 16) if match[3] else int(match[4], 2)), True
    return int(match[1]) * PREFIXES[match[2]], match[2] == "i"


def encoded(value: float, *, whole: bool = False) -> str:
    """Return a value as it stands in a package: seven digits and a prefix, the finest that fits."""
    if whole:
        return f"{(round(value) + OFFSET) & 0xFFFFFFF:07X}i"
    if value != value or abs(value) == float("inf"):
        return "     nan"
    if value == 0:
        return f"{OFFSET:07X} "
    for prefix in FINEST_FIRST:
        number = round(value / PREFIXES[prefix])
        if abs(number) < OFFSET:
            return f"{number + OFFSET:07X}{prefix}"
    return "     nan"


class _Reader:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._names: set[str] = set()

    def read(self) -> Program:
        first: list[Statement] = []
        last: list[Statement] = []
        blocks: list[Statement] = []  # that are open
        into = first
        for number, raw in enumerate(self._lines, 1):
            if len(raw) > LONGEST_LINE:
                raise ScriptError(0x0008, number, 1)
            text = raw.strip()
            if not text or text.startswith("#"):
                continue
            if text == TAG:
                if blocks or into is last:
                    raise ScriptError(0x400C, number, 1)
                into = last
                continue
            self._place(self._statement(number, raw, text), blocks, into)
        if blocks:
            raise ScriptError(0x4018, len(self._lines), 1)
        return Program(first, last)

    def _place(self, statement: Statement, blocks: list[Statement], into: list[Statement]) -> None:
        name, line = statement.name, statement.line
        inner = blocks[-1] if blocks else None
        place = inner.body if inner else into
        if name in ("endloop", "endif", "elseif", "else"):
            wanted = ("loop", "meas_loop") if name == "endloop" else ("if", "elseif", "else")
            if inner is None or not inner.name.startswith(wanted):
                raise ScriptError(0x400E, line, 1)
            if name != "endloop" and inner.name == "else" and name != "endif":
                raise ScriptError(0x400E, line, 1)
            blocks.pop()
            if name in ("elseif", "else"):
                inner.otherwise = statement
                blocks.append(statement)
            return
        in_measurement = any(block.name.startswith("meas_loop") for block in blocks)
        if name.startswith("meas_loop") and in_measurement:
            raise ScriptError(0x400B, line, 1)
        in_loop = in_measurement or any(block.name == "loop" for block in blocks)
        if name == "breakloop" and not in_loop:
            raise ScriptError(0x400C, line, 1)
        place.append(statement)
        if name in ("loop", "if") or name.startswith("meas_loop"):
            blocks.append(statement)
        if len(blocks) > DEEPEST:
            raise ScriptError(0x4005, line, 1)

    def _statement(self, number: int, raw: str, text: str) -> Statement:
        name, *rests = re.split(r"\s+", text, maxsplit=1)
        rest = rests[0] if rests else ""
        if name not in COMMANDS:
            raise ScriptError(0x4001, number, 1)
        kinds = COMMANDS[name]
        if kinds == "s":
            match = re.match(r'"([^"]*)"\s*(?:#.*)?$', rest.strip())
            if match is None:
                raise ScriptError(0x4004, number, len(name) + 2)
            return Statement(number, name, (match[1],), {})
        rest = rest.partition("#")[0]
        options = dict(OPTION.findall(rest))
        arguments = OPTION.sub("", rest).split()
        for option in options:
            if option not in OPTIONAL:
                raise ScriptError(0x4008, number, raw.find(option) + 1)
        if kinds != "*":
            if len(arguments) < len(kinds):
                raise ScriptError(0x4004, number, len(raw.rstrip()) + 1)
            if len(arguments) > len(kinds):
                raise ScriptError(0x420A, number, raw.find(arguments[len(kinds)]) + 1)
            for kind, argument in zip(kinds, arguments, strict=True):
                self._check(kind, argument, number, raw.find(argument) + 1)
        for added in re.findall(r"[a-z]\w*", options.get("poly_we", "")):
            self._check("n", added, number, raw.find("poly_we") + 1)
        return Statement(number, name, arguments, options)

    def _check(self, kind: str, argument: str, line: int, column: int) -> None:
        is_name = NAME.fullmatch(argument) is not None
        if kind == "d":
            if not is_name:
                raise ScriptError(0x402B, line, column)
            if argument in self._names:
                raise ScriptError(0x4026, line, column)
            self._names.add(argument)
        elif kind in "on" or (kind == "v" and is_name):
            if not is_name:
                raise ScriptError(0x4208, line, column)
            if argument not in self._names:
                raise ScriptError(0x420B, line, column)
        elif kind in "vl" and LITERAL.fullmatch(argument) is None:
            raise ScriptError(0x4039, line, column)
        elif kind == "u" and (not INTEGER.fullmatch(argument) or argument.startswith("-")):
            raise ScriptError(0x4007, line, column)
        elif kind == "t" and re.fullmatch("[a-j][a-z]", argument) is None:
            raise ScriptError(0x0002, line, column)
        elif kind == "c" and argument not in OPERATORS:
            raise ScriptError(0x4004, line, column)
