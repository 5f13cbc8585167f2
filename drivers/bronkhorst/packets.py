"""ProPar messages of Bronkhorst instruments, binary (sources: `drivers.bronkhorst`).

A message is `DLE STX sequence node length data DLE ETX`, with every DLE in it doubled. Data begins
with a command. Parameters are chained: those of one process follow each other, and so do
processes, each with a bit that says that another follows. Whoever asks gives each value an index,
which comes back with it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from sdl.errors import GarbledError

DLE, STX, ETX = 0x10, 0x02, 0x03
STATUS, WRITE, ANSWER, READ = 0, 1, 2, 4
CHAINED = 0x80
KINDS = {"byte": 0x00, "integer": 0x20, "long": 0x40, "float": 0x40, "string": 0x60}
FORMATS = {"byte": ">B", "integer": ">H", "long": ">I", "float": ">f"}
HIGHEST, WRAPPED = 41942, 65536  # of measured integers: above it are negative ones

STATUSES = {
    0: "done",
    1: "the process is claimed by somebody",
    2: "unknown command",
    3: "no such process",
    4: "no such parameter",
    5: "the parameter is of another type",
    6: "value not allowed",
    7: "the network is not active",
    8: "time-out in the start character",
    9: "time-out on the line",
    10: "memory fault",
    11: "wrong node number",
    12: "communication error",
    13: "the parameter is read-only",
    14: "error in communication with the PC",
    15: "no RS232 connection",
    16: "out of memory",
    17: "the parameter is write-only",
    18: "unknown configuration",
    19: "no free node address",
    20: "wrong interface",
    21: "error of the port's connection",
    22: "error in opening communication",
    23: "communication error",
    24: "error of the bus master",
    25: "no answer in time",
    26: "no start character",
    27: "wrong first digit",
    28: "the host's buffer is full",
    29: "buffer overflow",
    30: "no answer found",
    31: "error in closing communication",
    32: "synchronisation error",
    33: "error in sending",
    34: "protocol error",
    35: "the module's buffer is full",
}
ERRORS = {1: "general", 2: "general", 3: "protocol", 4: "protocol", 8: "general"}
ERRORS |= {5: "the node does not take messages", 9: "the node did not answer"}

Value = int | float | str


@dataclass(frozen=True)
class Parameter:
    """Something that an instrument has, by the numbers of its process and itself."""

    process: int
    number: int
    kind: Literal["byte", "integer", "long", "float", "string"]
    length: int = 0
    """Of a string of fixed length; 0: it ends with a zero."""


@dataclass(frozen=True)
class Message:
    sequence: int
    node: int
    data: bytes
    error: int | None = None
    """That something on the way found, in place of data."""


def pack(sequence: int, node: int, data: bytes) -> bytes:
    body = bytes([sequence, node, len(data), *data]).replace(b"\x10", b"\x10\x10")
    return bytes([DLE, STX]) + body + bytes([DLE, ETX])


def whole(received: bytes) -> int | None:
    """Find the end of a message; raises GarbledError where none can begin like this."""
    if received and received[:2] not in (bytes([DLE]), bytes([DLE, STX])):
        raise GarbledError("", f"{received!r} does not begin like a message")
    at = received.find(DLE, 2)
    while 0 <= at < len(received) - 1:
        if received[at + 1] == ETX:
            return at + 2
        if received[at + 1] != DLE:
            raise GarbledError("", f"{received!r} has a wrong control byte")
        at = received.find(DLE, at + 2)
    return None


def parse_message(frame: bytes) -> Message:
    """Read one whole message.

    :raises GarbledError: it is none, or its length is wrong.
    """
    if frame[:2] != bytes([DLE, STX]) or whole(frame) != len(frame):
        raise GarbledError("", f"{frame!r} is no message")
    body = frame[2:-2].replace(b"\x10\x10", b"\x10")
    if len(body) < 4:
        raise GarbledError("", f"{frame!r} is too short")
    sequence, node, length, data = body[0], body[1], body[2], body[3:]
    if len(data) == 1 and length in (0, 1) and data[0] in ERRORS:
        return Message(sequence, node, b"", data[0])
    if length != len(data):
        raise GarbledError("", f"{frame!r} has {len(data)} bytes where it says {length}")
    return Message(sequence, node, data)


def reading(parameters: Sequence[Parameter]) -> bytes:
    """Return the data that asks for parameters; the index of each is its place."""
    data = bytearray([READ])
    for process, chained, members in _processes(parameters):
        data.append(process | chained)
        for index, parameter, more in members:
            kind = KINDS[parameter.kind]
            data += bytes([index | kind | more, process, parameter.number | kind])
            if parameter.kind == "string":
                data.append(parameter.length)
    return bytes(data)


def writing(parameter: Parameter, value: Value) -> bytes:
    """Return the data that sets a parameter, and wants to hear whether it was."""
    head = bytes([WRITE, parameter.process, parameter.number | KINDS[parameter.kind]])
    if isinstance(value, str):
        text = value.encode("ascii").ljust(parameter.length)
        return head + bytes([parameter.length]) + text + (b"" if parameter.length else b"\0")
    return head + struct.pack(FORMATS[parameter.kind], value)


def parse_values(data: bytes, parameters: Sequence[Parameter]) -> list[Value]:
    """Read the answer to `reading` of the same parameters.

    :raises GarbledError: it is the answer to something else.
    """
    left = _Bytes(data)
    left.expect(ANSWER)
    values: list[Value] = []
    for process, chained, members in _processes(parameters):
        left.expect(process | chained)
        for index, parameter, more in members:
            left.expect(index | KINDS[parameter.kind] | more)
            values.append(_value(left, parameter))
    left.end()
    return values


def parse_status(data: bytes) -> int:
    """Read what came of a request.

    :raises GarbledError: it is no status that is known.
    """
    if len(data) != 3 or data[0] != STATUS or data[1] not in STATUSES:
        raise GarbledError("", f"{data!r} is no status")
    return data[1]


def _processes(
    parameters: Sequence[Parameter],
) -> list[tuple[int, int, list[tuple[int, Parameter, int]]]]:
    """Return process, whether another follows, and its members with index and the same."""
    groups = [list(each) for _, each in groupby(enumerate(parameters), lambda it: it[1].process)]
    return [
        (
            group[0][1].process,
            CHAINED if group is not groups[-1] else 0,
            [(i, each, CHAINED if i != group[-1][0] else 0) for i, each in group],
        )
        for group in groups
    ]


class _Bytes:
    """What is left to read."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise GarbledError("", f"{self._data!r} ends too early")
        self._at += count
        return taken

    def until_zero(self) -> bytes:
        at = self._data.find(0, self._at)
        text = self.take(max(at, self._at) - self._at)
        self.expect(0)
        return text

    def expect(self, byte: int) -> None:
        if self.take(1) != bytes([byte]):
            raise GarbledError("", f"{self._data!r} is the answer to something else")

    def end(self) -> None:
        if self._at != len(self._data):
            raise GarbledError("", f"{self._data!r} is too long")


def _value(left: _Bytes, parameter: Parameter) -> Value:
    if parameter.kind != "string":
        layout = FORMATS[parameter.kind]
        (number,) = struct.unpack(layout, left.take(struct.calcsize(layout)))
        return number
    left.expect(parameter.length)
    text = left.take(parameter.length) if parameter.length else left.until_zero()
    if any(not 0x20 <= byte < 0x7F for byte in text):
        raise GarbledError("", f"{text!r} is no text")
    return text.decode("ascii").strip()
