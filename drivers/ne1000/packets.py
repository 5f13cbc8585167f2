"""Packets and numbers of New Era pumps: user manual 1200-01, section 10.2, pp. 33-34.

To the pump goes `<address><command> CR` (basic mode) or `STX length data CRC CRC ETX` (safe mode);
back comes `STX data ETX` or the safe packet. Data from the pump is `<address><prompt><data>`.
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sdl.errors import GarbledError

STX, ETX = 0x02, 0x03
OVERHEAD = 4  # bytes that a safe packet's length counts beside the data: itself, CRC, CRC, ETX
MOST_DIGITS = 4
FULL = MOST_DIGITS + 1  # characters of a number as the pump shows it

PROMPTS = {
    "I": "infusing",
    "W": "withdrawing",
    "S": "stopped",
    "P": "paused",
    "T": "timed pause",
    "U": "waiting for a trigger",
    "X": "purging",
}
ALARMS = {
    "R": "the pump was reset: its power was interrupted",
    "S": "the motor stalled",
    "T": "no valid packet came in the time of safe mode",
    "E": "error in the pumping program",
    "O": "program phase out of range",
}
REFUSALS = {
    "?": "unknown command",
    "?NA": "not applicable now",
    "?OOR": "out of range",
    "?COM": "the pump received a damaged packet",
    "?IGN": "ignored: a new phase started just then",
}

_NUMBERS = re.compile(r"\d+\.\d*")
_DATA = re.compile(r"(\d\d)(?:A\?([RSTEO])|([IWSPTUX])(.*))", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """What a pump said: its prompt (empty with an alarm) and data, or an alarm."""

    address: int
    prompt: str
    data: str
    alarm: str | None
    safe: bool


@dataclass(frozen=True)
class Quantity:
    """A number as it goes over the wire, and what it means in the base unit."""

    text: str
    unit: str
    value: float
    resolution: float  # of the last digit, in the base unit


def request(address: int, command: str, *, safe: bool) -> bytes:
    data = f"{address}{command}".encode("ascii")
    if not safe:
        return data + b"\r"
    return bytes([STX, len(data) + OVERHEAD, *data, *_crc(data), ETX])


def reply_frame(received: bytes) -> int | None:
    """Find the end of a reply in either mode: a length is never a digit, an address always is."""
    if not received:
        return None
    if received[0] != STX:
        raise GarbledError("", f"{received!r} does not begin like a reply")
    if len(received) < 2:
        return None
    if received[1] < ord("0"):
        end = 1 + received[1]
        return end if len(received) >= end else None
    at = received.find(ETX)
    return None if at < 0 else at + 1


def parse(frame: bytes) -> Reply:
    """Read one whole reply.

    :raises GarbledError: it is none, or its CRC is wrong.
    """
    if len(frame) < 3 or frame[0] != STX or frame[-1] != ETX:
        raise GarbledError("", f"{frame!r} is no packet")
    safe = frame[1] < ord("0")
    data = frame[2:-3] if safe else frame[1:-1]
    if safe and (len(frame) != 1 + frame[1] or frame[-3:-1] != _crc(data)):
        raise GarbledError("", f"wrong CRC or length in {frame!r}")
    match = _DATA.fullmatch(data.decode("latin-1"))
    if match is None:
        raise GarbledError("", f"{frame!r} is no reply of a pump")
    address, alarm, prompt, rest = match.groups()
    return Reply(int(address), prompt or "", rest or "", alarm, safe)


def quantity(value: float, units: Mapping[str, float]) -> Quantity:
    """Write a value with at most 4 digits and 3 decimals, in the unit that rounds it least.

    :param value: positive, in the base unit.
    :param units: size of each allowed unit in base units; of equally good ones the first is used.
    :raises ValueError: no unit can express it to within 1 %.
    """
    fitting = [q for unit, size in units.items() if (q := _write(value, unit, size)) is not None]
    if not fitting:
        raise ValueError(f"{value:g} has no place in {MOST_DIGITS} digits")
    best = min(fitting, key=lambda q: round(abs(q.value / value - 1), 9))
    if abs(best.value / value - 1) > 0.01:
        raise ValueError(f"{value:g} would be rounded to {best.value:g}")
    return best


def is_full(data: str) -> bool:
    """Whether all numbers in it have the usual length; the manual allows shorter ones."""
    return all(len(number) >= FULL for number in _NUMBERS.findall(data))


def shape(data: str) -> str:
    """What two replies to one question have in common, whatever the digits are."""
    return re.sub(r"\d", "0", data)


def read(text: str, unit: str, units: Mapping[str, float]) -> Quantity:
    """Read a number that the pump sent."""
    decimals = len(text.partition(".")[2])
    return Quantity(text, unit, float(text) * units[unit], 10.0**-decimals * units[unit])


def _write(value: float, unit: str, size: float) -> Quantity | None:
    for decimals in (3, 2, 1, 0):
        text = f"{value / size:.{decimals}f}"
        if len(text.replace(".", "")) <= MOST_DIGITS:
            return read(text, unit, {unit: size})
    return None


def _crc(data: bytes) -> bytes:
    """CRC-CCITT with polynomial 0x1021, begun at 0, high byte first."""
    return binascii.crc_hqx(data, 0).to_bytes(2, "big")
