"""SCPI as IEEE 488.2 has it: long and short forms, compound messages, status registers, errors.

A message is units between semicolons; a header without a leading colon goes on from the path of the
one before; an error ends the message; all answers to one message come on one line.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Put = Callable[[Sequence[str]], None]
Get = Callable[[Sequence[str]], str]

OPERATION_COMPLETE, QUERY, DEVICE, EXECUTION, COMMAND, POWER_ON = 1, 4, 8, 16, 32, 128
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d{1,3})?", re.IGNORECASE)


class ScpiError(Exception):
    """What goes to the error queue; no error of ours."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


UNDEFINED = ScpiError(-113, "Undefined header")
OUT_OF_RANGE = ScpiError(-222, "Parameter data out of range")


@dataclass(frozen=True)
class Unit:
    """One command or question with its parameters."""

    header: str
    question: bool
    parameters: tuple[str, ...]


@dataclass
class Command:
    pattern: re.Pattern[str]
    put: Put | None
    get: Get | None


class CommandTree:
    """Knows headers such as `SOURce[1]:VOLTage[:LEVel]`, in all their forms."""

    def __init__(self) -> None:
        self._commands: list[Command] = []

    def add(self, header: str, put: Put | None = None, get: Get | None = None) -> None:
        """:param header: capitals are the short form, what is in brackets may be left out."""
        self._commands.append(Command(_compiled(header), put, get))

    def execute(self, unit: Unit) -> str | None:
        """Return the answer; None for a command.

        :raises ScpiError: it is not known, or refuses.
        """
        for command in self._commands:
            if command.pattern.fullmatch(unit.header):
                act = command.get if unit.question else command.put
                if act is not None:
                    return act(unit.parameters)
        raise UNDEFINED


def _compiled(header: str) -> re.Pattern[str]:
    groups = header.replace("[", "(?:").replace("]", ")?").replace("*", r"\*")

    def both_forms(word: re.Match[str]) -> str:
        return word[1] + (f"(?:{word[2].upper()})?" if word[2] else "")

    return re.compile(re.sub(r"([A-Z]+)([a-z]*)", both_forms, groups))


def units(message: str) -> list[Unit]:
    """Take a program message apart; paths are made whole.

    :raises ScpiError: it is no message.
    """
    found, path = [], ""
    for text in _split(message, ";"):
        if not text.strip():
            continue
        match = re.fullmatch(r"\s*(:?)([*A-Z0-9:]+)(\??)(?:\s+(.*?))?\s*", text, re.IGNORECASE)
        if match is None:
            raise ScpiError(-102, "Syntax error")
        root, header, mark, rest = match.groups()
        header = header.upper()
        if not header.startswith("*"):
            header = header if root or not path else f"{path}:{header}"
            path = header.rpartition(":")[0]
        parameters = tuple(each.strip() for each in _split(rest, ",")) if rest else ()
        found.append(Unit(header, bool(mark), parameters))
    return found


def _split(text: str, at: str) -> list[str]:
    """Split outside of quotes."""
    parts, quote, begin = [], "", 0
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == at:
            parts.append(text[begin:i])
            begin = i + 1
    if quote:
        raise ScpiError(-151, "Invalid string data")
    return [*parts, text[begin:]]


# Parameters


def single(parameters: Sequence[str]) -> str:
    """:raises ScpiError: there is not just one."""
    if not parameters:
        raise ScpiError(-109, "Missing parameter")
    if len(parameters) > 1:
        raise ScpiError(-108, "Parameter not allowed")
    return parameters[0]


def number(parameters: Sequence[str], low: float, high: float, default: float) -> float:
    """Read a number, or MIN, MAX or DEF.

    :raises ScpiError: it is none, or outside.
    """
    text = single(parameters).upper()
    named = {"MIN": low, "MINIMUM": low, "MAX": high, "MAXIMUM": high}
    named |= {"DEF": default, "DEFAULT": default}
    if text in named:
        return named[text]
    if NUMBER.fullmatch(text) is None:
        raise ScpiError(-104, "Data type error")
    value = float(text)
    if not (math.isfinite(value) and low - 1e-12 <= value <= high + 1e-12):
        raise OUT_OF_RANGE
    return value


def switch(parameters: Sequence[str]) -> bool:
    """:raises ScpiError: it is neither on nor off."""
    text = single(parameters).upper()
    if text in ("ON", "OFF"):
        return text == "ON"
    return number(parameters, -32768, 32767, 0) != 0


def word(parameters: Sequence[str], *allowed: str) -> str:
    """Read one of several words, such as `FRONt`; return its short form.

    :raises ScpiError: it is none of them.
    """
    text = single(parameters).upper()
    for each in allowed:
        if _compiled(each).fullmatch(text):
            return "".join(c for c in each if not c.islower())
    raise ScpiError(-224, "Illegal parameter value")


def quoted(text: str) -> str:
    """:raises ScpiError: it is no string."""
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        raise ScpiError(-104, "Data type error")
    return text[1:-1]


class Status:
    """The registers that IEEE 488.2 asks for, and the error queue."""

    def __init__(self, tree: CommandTree, *, most_errors: int = 10) -> None:
        self.events, self.event_enable, self.service_enable = POWER_ON, 0, 0
        self._most = most_errors
        self.errors: list[ScpiError] = []
        self.summary: Callable[[], int] = lambda: 0
        """the bits of the status byte that the instrument adds"""
        tree.add("*CLS", lambda _: self.clear())
        tree.add("*ESE", self._ese, lambda _: str(self.event_enable))
        tree.add("*SRE", self._sre, lambda _: str(self.service_enable))
        tree.add("*ESR", None, lambda _: self._take_events())
        tree.add("*STB", None, lambda _: str(self.byte))
        tree.add("*OPC", lambda _: self.happened(OPERATION_COMPLETE), lambda _: "1")
        tree.add("*WAI", lambda _: None)
        tree.add("*TST", None, lambda _: "0")

    def power_on(self) -> None:
        self.events, self.event_enable, self.service_enable = POWER_ON, 0, 0
        self.errors.clear()

    def clear(self) -> None:
        self.events = 0
        self.errors.clear()

    def happened(self, event: int) -> None:
        self.events |= event

    def refuse(self, error: ScpiError) -> None:
        """Put an error into the queue, and its kind into the register."""
        if len(self.errors) >= self._most:
            self.errors[-1] = ScpiError(-350, "Queue overflow")
        else:
            self.errors.append(error)
        kinds = {1: COMMAND, 2: EXECUTION, 3: DEVICE, 4: QUERY}
        self.happened(kinds.get(-error.code // 100, EXECUTION) if error.code < 0 else EXECUTION)

    def next_error(self) -> ScpiError:
        return self.errors.pop(0) if self.errors else ScpiError(0, "No error")

    @property
    def byte(self) -> int:
        bits = self.summary() | (4 if self.errors else 0)
        bits |= 32 if self.events & self.event_enable else 0
        return bits | (64 if bits & self.service_enable else 0)

    def _take_events(self) -> str:
        events, self.events = self.events, 0
        return str(events)

    def _ese(self, parameters: Sequence[str]) -> None:
        self.event_enable = round(number(parameters, 0, 255, 0))

    def _sre(self, parameters: Sequence[str]) -> None:
        self.service_enable = round(number(parameters, 0, 255, 0)) & ~64
