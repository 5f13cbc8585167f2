"""Blocks of bytes to and from Tecan Cavro pumps: manual 734237-C, sections 3.1, 3.2 and 3.6.

OEM: `STX address sequence data ETX checksum` goes to the pump, `STX 0 status data ETX checksum`
comes back; the checksum is the XOR of all bytes before it. DT: `/ address data CR`, and
`/ 0 status data ETX CR LF`. What comes may begin with line synchronization bytes (FFh).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Literal

from sdl.errors import GarbledError
from sdl.wires import Frame

Protocol = Literal["oem", "dt"]

STX, ETX, SYNC, MASTER = 0x02, 0x03, 0xFF, 0x30
FIRST_ADDRESS = 0x31  # of the switch at 0
SEQUENCE, REPEATED = 0x30, 0x08  # the sequence byte's fixed bits, and its repeat flag
DT_END = b"\x03\r\n"

ERRORS: Mapping[int, str] = {
    1: "initialization failed",
    2: "invalid command",
    3: "invalid operand",
    4: "invalid command sequence",
    6: "EEPROM failure",
    7: "not initialized",
    8: "internal failure",
    9: "plunger overload: it met resistance and has lost its position",
    10: "valve overload: the valve is blocked",
    11: "plunger move not allowed: the valve is in bypass",
    12: "internal failure",
    14: "A/D converter failure",
    15: "command overflow: it is busy",
}
REFUSALS = (2, 3, 4, 7, 11, 15)
"""Errors with which a command is refused: nothing has moved."""

PLACELESS = (1, 7, 9, 10)
"""Errors after which the pump must be initialized: it does not know where the plunger is."""


@dataclass(frozen=True)
class Reply:
    """What a pump said. Whether it is ready counts only in the answer to `Q` (section 3.6.1)."""

    ready: bool
    error: int
    data: str


def request(
    protocol: Protocol, address: int, data: str, sequence: int = 1, *, repeated: bool = False
) -> bytes:
    """Write a block for a pump.

    :param address: of its switch, 0 to 14.
    :param sequence: 1 to 7; DT has none.
    :param repeated: the flag that says: do it only if no block with this number was the last.
    """
    if protocol == "dt":
        return b"/%c%s\r" % (FIRST_ADDRESS + address, data.encode("ascii"))
    stamp = SEQUENCE | sequence | (REPEATED if repeated else 0)
    block = bytes([STX, FIRST_ADDRESS + address, stamp, *data.encode("ascii"), ETX])
    return block + bytes([reduce(xor, block)])


def reply_frame(protocol: Protocol) -> Frame:
    """Return what finds the end of an answer."""
    begin = b"/0" if protocol == "dt" else bytes([STX, MASTER])

    def frame(received: bytes) -> int | None:
        block = received.lstrip(bytes([SYNC]))
        if block[:2] != begin[: len(block)]:
            raise GarbledError("", f"{received!r} does not begin like an answer")
        end, more = (DT_END, 0) if protocol == "dt" else (bytes([ETX]), 1)
        at = block.find(end, 2)
        length = len(received) - len(block) + at + len(end) + more
        return length if at >= 0 and length <= len(received) else None

    return frame


def parse(protocol: Protocol, frame: bytes) -> Reply:
    """Read a whole answer.

    :raises GarbledError: it is none.
    """
    block = frame.lstrip(bytes([SYNC]))
    if protocol == "dt":
        match = re.fullmatch(rb"/0([@-o])([ -~]*)\x03\r\n", block)
    else:
        match = re.fullmatch(rb"\x020([@-o])([ -~]*)\x03.", block, re.DOTALL)
    if match is None or (protocol == "oem" and reduce(xor, block) != 0):
        raise GarbledError("", f"{frame!r} is no answer of a pump")
    status = match[1][0]
    if status & 0x10:  # bits 7, 6 and 4 are fixed
        raise GarbledError("", f"{frame!r} has no status")
    return Reply(bool(status & 0x20), status & 0x0F, match[2].decode("ascii"))


def meaning(error: int) -> str:
    return f"error {error}: {ERRORS.get(error, 'the manual does not know it')}"
