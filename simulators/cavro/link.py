"""How a simulated Cavro pump hears and says: manual 734237-C, sections 3.1 and 3.2, p. 3-1 to 3-8.

Where the manual says nothing: blocks with a wrong checksum or without an end are not answered. A
repeated block is known by its number alone, as p. 3-5 tells it.
"""

from dataclasses import dataclass

OEM_START, DT_START, CR, END = 0x02, ord("/"), 0x0D, 0x03
LINE_SYNC = b"\xff"
LONGEST_BLOCK = 300  # bytes


@dataclass(frozen=True)
class Block:
    """One request, whoever it is for."""

    protocol: str
    address: int
    text: str
    number: int = 0
    """0 in DT, which has none"""
    repeated: bool = False


def length_of_first(heard: bytes) -> int | None:
    """Return how long the first block is, or what is none; None while more must come.

    No character of a block is a control character or a start: what has one begins anew there.
    """
    if not heard:
        return None
    if heard[0] not in (DT_START, OEM_START):
        starts = [at for at in (heard.find(DT_START), heard.find(OEM_START)) if at >= 0]
        return min(starts, default=len(heard))
    oem = heard[0] == OEM_START
    for at in range(1, len(heard)):
        if heard[at] == (END if oem else CR):
            whole = at + 2 if oem else at + 1
            return whole if len(heard) >= whole else None
        if heard[at] < 0x20 or (heard[at] == DT_START and not oem):
            return at
    return 1 if len(heard) > LONGEST_BLOCK else None


def read(heard: bytes) -> Block | None:
    """Understand what may be a block; None where it is none."""
    if heard[:1] == b"/" and heard[-1:] == b"\r" and len(heard) >= 3:
        return Block("dt", heard[1], _text(heard[2:-1]))
    if heard[:1] != b"\x02" or len(heard) < 5 or _xor(heard[:-1]) != heard[-1]:
        return None
    stamp = heard[2]
    if stamp & 0xF0 != 0x30:
        return None
    return Block("oem", heard[1], _text(heard[3:-2]), stamp & 0x07, bool(stamp & 0x08))


def answer(protocol: str, status: int, data: str, *, prefix: bytes = b"") -> bytes:
    if protocol == "dt":
        return prefix + b"/0" + bytes([status]) + data.encode("latin-1") + b"\x03\r\n"
    block = bytes([OEM_START, ord("0"), status, *data.encode("latin-1"), END])
    return prefix + block + bytes([_xor(block)])


def groups_of(switch: int) -> frozenset[int]:
    """Return the addresses of more pumps than one that this pump obeys, and does not answer.

    Table 3-2: two pumps 41h, 43h, … 4Fh; four 51h, 55h, 59h, 5Dh; all 5Fh.
    """
    return frozenset({0x41 + switch // 2 * 2, 0x51 + switch // 4 * 4, 0x5F})


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _xor(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
    return value
