"""How a Bronkhorst instrument hears and speaks: binary and ASCII messages, chained parameters.

Written from the manual of the RS232 interface, 9.17.027: sections 3.3.3 (ASCII), 3.3.4 (binary),
3.5 (write), 3.6 (status), 3.7 (request).
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

DLE, STX, ETX = 0x10, 0x02, 0x03
LONGEST_DATA = 255
CHAR, INTEGER, LONG, STRING = 0x00, 0x20, 0x40, 0x60  # types
SIZES = {CHAR: 1, INTEGER: 2, LONG: 4}

OK, CLAIMED, COMMAND, PROCESS, PARAMETER, TYPE, VALUE = range(7)
READ_ONLY, WRITE_ONLY, TOO_LONG, PROTOCOL = 13, 17, 29, 34
SEND_STATUS, SEND_WRITE, SEND_ANSWER, SEND_BROADCAST, REQUEST = range(5)

Content = int | float | str


@dataclass(frozen=True)
class Heard:
    """A message, and in which of the two ways it was said; binary ones have a number."""

    node: int
    data: bytes
    number: int | None = None


class Refused(Exception):  # noqa: N818 (it is the instrument's answer, not an error of ours)
    """A status, and the place in the message that it is about."""

    def __init__(self, status: int, place: int = 0) -> None:
        super().__init__(status, place)
        self.status, self.place = status, place


@dataclass(frozen=True)
class Cell:
    """A parameter of the instrument."""

    kind: int
    get: Callable[[], Content] | None
    """None: it is write-only."""
    put: Callable[[Content], None] | None = None
    """None: it is read-only. Raises `Refused`."""
    float: bool = False
    secured: bool = False


def find_end(heard: bytes) -> int | None:
    """Return where the first message ends, or what can be none; None while more must come."""
    start = min((at for at in (heard.find(b":"), heard.find(DLE)) if at >= 0), default=len(heard))
    if start > 0:
        return start
    if heard[0] != DLE:
        for at, byte in enumerate(heard[1:], 1):
            if byte in b"\r\n":
                return at + 1
            if byte in (DLE, ord(":")):  # a line that never ended, and a new message
                return at
        return None
    at = 2 if heard[1:2] in (b"", bytes([STX])) else 0
    if at == 0:
        return 1
    while (at := heard.find(DLE, at)) >= 0 and at + 1 < len(heard):
        if heard[at + 1] == STX:  # a message that never ended, and a new one
            return at
        if heard[at + 1] != DLE:
            return at + 2
        at += 2
    return None


def understand(message: bytes) -> Heard | None:
    """Read a message; None if it is none, which the instrument ignores."""
    if message[:1] == b":":
        try:
            body = bytes.fromhex(message[1:].strip(b"\r\n ").decode("ascii"))
        except ValueError:
            return None
        fits = len(body) >= 3 and body[0] == len(body) - 1
        return Heard(body[1], body[2:]) if fits else None
    if message[:2] != bytes([DLE, STX]) or message[-2:] != bytes([DLE, ETX]):
        return None
    body = message[2:-2].replace(b"\x10\x10", b"\x10")
    fits = len(body) >= 4 and body[2] == len(body) - 3
    return Heard(body[1], body[3:], body[0]) if fits else None


def speak(heard: Heard, node: int, data: bytes) -> bytes:
    """Say something in the way that was heard."""
    if heard.number is None:
        return b":%02X%02X%s\r\n" % (len(data) + 1, node, data.hex().upper().encode())
    body = bytes([heard.number, node, len(data), *data]).replace(b"\x10", b"\x10\x10")
    return bytes([DLE, STX]) + body + bytes([DLE, ETX])


def status(code: int, place: int = 0) -> bytes:
    return bytes([SEND_STATUS, code, min(place, 255)])


class Table:
    """The parameters of an instrument, by process and number; reads and writes chains of them."""

    def __init__(self, cells: Mapping[tuple[int, int], Cell | tuple[Cell, ...]]) -> None:
        """:param cells: several at one place differ in their types."""
        self._cells = cells
        self.unlocked = False
        """whether secured parameters can be written"""

    def answer(self, data: bytes) -> bytes:
        """Act on a message's data; return the answer's, empty for silence."""
        try:
            if data[0] == REQUEST:
                return self._read(data)
            if data[0] in (SEND_WRITE, SEND_ANSWER):
                self._write(data)
                return status(OK, len(data)) if data[0] == SEND_WRITE else b""
            return b"" if data[0] == SEND_BROADCAST else status(COMMAND)
        except Refused as refused:
            return b"" if data[0] == SEND_ANSWER else status(refused.status, refused.place)

    def _cell(self, process: int, number: int, kind: int, place: int) -> Cell:
        found = self._cells.get((process, number))
        if found is None:
            known = any(each == process for each, _ in self._cells)
            raise Refused(PARAMETER if known else PROCESS, place)
        cells = found if isinstance(found, tuple) else (found,)
        fitting = [cell for cell in cells if cell.kind == kind]
        if not fitting:
            raise Refused(TYPE, place)
        return fitting[0]

    def _read(self, data: bytes) -> bytes:
        """Answer a request: the indices that the asker chose come back with the values."""
        at, answer, more = 1, bytearray([SEND_ANSWER]), True
        while more:
            index, at = _byte(data, at)
            more, chained = bool(index & 0x80), True
            answer.append(index)
            while chained:
                place = at
                number_index, at = _byte(data, at)
                process, at = _byte(data, at)
                number, at = _byte(data, at)
                kind, chained = number_index & 0x60, bool(number_index & 0x80)
                if number & 0x60 != kind:
                    raise Refused(TYPE, place)
                cell = self._cell(process & 0x7F, number & 0x1F, kind, place)
                if cell.get is None:
                    raise Refused(WRITE_ONLY, place)
                length = 0
                if kind == STRING:
                    length, at = _byte(data, at)
                answer.append(number_index)
                answer += _packed(cell, cell.get(), length)
                if len(answer) > LONGEST_DATA:
                    raise Refused(TOO_LONG, place)
        if at != len(data):
            raise Refused(PROTOCOL, at)
        return bytes(answer)

    def _write(self, data: bytes) -> None:
        at, more = 1, True
        while more:
            process, at = _byte(data, at)
            more, chained = bool(process & 0x80), True
            while chained:
                place = at
                number, at = _byte(data, at)
                kind, chained = number & 0x60, bool(number & 0x80)
                cell = self._cell(process & 0x7F, number & 0x1F, kind, place)
                value, at = _unpacked(cell, data, at)
                if cell.put is None or (cell.secured and not self.unlocked):
                    raise Refused(READ_ONLY, place)
                try:
                    cell.put(value)
                except Refused as refused:
                    raise Refused(refused.status, place) from refused
        if at != len(data):
            raise Refused(PROTOCOL, at)


def _byte(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise Refused(PROTOCOL, at)
    return data[at], at + 1


def _packed(cell: Cell, content: Content, length: int) -> bytes:
    if isinstance(content, str):
        text = content.encode("ascii", "replace")
        if length == 0:
            return b"\0" + text + b"\0"
        return bytes([length]) + text[:length].ljust(length)
    if cell.float:
        return struct.pack(">f", content)
    return (round(content) & ((1 << 8 * SIZES[cell.kind]) - 1)).to_bytes(SIZES[cell.kind], "big")


def _unpacked(cell: Cell, data: bytes, at: int) -> tuple[Content, int]:
    if cell.kind == STRING:
        length, at = _byte(data, at)
        end = at + length if length else data.find(0, at)
        if end < at or end > len(data):
            raise Refused(PROTOCOL, at)
        text = data[at:end].decode("latin-1").strip()
        return text, end if length else end + 1
    end = at + SIZES[cell.kind]
    if end > len(data):
        raise Refused(PROTOCOL, at)
    if not cell.float:
        return int.from_bytes(data[at:end], "big"), end
    (number,) = struct.unpack(">f", data[at:end])
    if not math.isfinite(number):
        raise Refused(VALUE, at)
    return number, end


Kind = Literal["char", "integer", "long", "float", "string"]
KINDS: dict[Kind, int] = {
    "char": CHAR,
    "integer": INTEGER,
    "long": LONG,
    "float": LONG,
    "string": STRING,
}


def cell(
    kind: Kind,
    get: Callable[[], Content] | None,
    put: Callable[[Content], None] | None = None,
    *,
    secured: bool = False,
) -> Cell:
    return Cell(KINDS[kind], get, put, float=kind == "float", secured=secured)
