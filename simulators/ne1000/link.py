"""How an NE-1000 listens and speaks: basic and safe mode, from the manual (1200-01, pp. 33-34)."""

from dataclasses import dataclass

INTER_BYTE = 0.5  # s of silence inside a safe packet after which it is thrown away
LONGEST = 80  # characters kept of a basic command that never ends
STX, ETX, CR = b"\x02", b"\x03", b"\r"
UNREAD = bytes(c for c in range(256) if not 0x20 < c < 0x7F)  # left out of what is understood


def _shifted(register: int) -> int:
    """Shift one byte through: the polynomial is x^16 + x^12 + x^5 + 1."""
    for _ in range(8):
        register = (register << 1) ^ (0x1021 if register & 0x8000 else 0)
    return register & 0xFFFF


TABLE = tuple(_shifted(byte << 8) for byte in range(256))


def ccitt(data: bytes) -> int:
    """CRC-CCITT, register begun at 0."""
    register = 0
    for byte in data:
        register = (register & 0xFF) << 8 ^ TABLE[register >> 8 ^ byte]
    return register


@dataclass(frozen=True)
class Heard:
    """A whole packet: upper-case text without blanks; if damaged, what can be read of it."""

    text: str
    checked: bytes | None = None
    """A safe packet's data, CRC and ETX."""

    @property
    def damaged(self) -> bool:
        """Worked out when asked: on a shared line most packets are for other pumps."""
        if self.checked is None:
            return False
        data, crc = self.checked[:-3], int.from_bytes(self.checked[-3:-1], "big")
        return self.checked[-1:] != ETX or crc != ccitt(data)


class Listener:
    """Finds packets in bytes that come in pieces."""

    def __init__(self) -> None:
        self.safe_only = False
        self._bytes = bytearray()
        self._newest = 0.0

    def forget(self) -> None:
        self._bytes.clear()

    def hear(self, data: bytes, now: float) -> list[Heard]:
        """Take bytes that arrived at `now` (s); return the packets they complete."""
        if self._bytes[:1] == STX and now - self._newest > INTER_BYTE:
            self._bytes.clear()
        self._newest = now
        self._bytes += data
        packets = []
        while (packet := self._next()) is not None:
            packets.append(packet)
        return packets

    def _next(self) -> Heard | None:
        if self.safe_only:
            start = self._bytes.find(STX)
            del self._bytes[: start if start >= 0 else len(self._bytes)]
        if self._bytes[:1] == STX:
            return self._safe()
        end = self._bytes.find(CR)
        if end < 0:
            del self._bytes[:-LONGEST]
            return None
        text = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        return Heard(_clean(text))

    def _safe(self) -> Heard | None:
        """`STX length data CRC CRC ETX`; the length counts itself and all behind it."""
        if len(self._bytes) < 2 or len(self._bytes) < 1 + max(self._bytes[1], 4):
            return None
        length = max(self._bytes[1], 4)
        packet = bytes(self._bytes[2 : 1 + length])
        del self._bytes[: 1 + length]
        return Heard(_clean(packet[:-3]), checked=packet)


def _clean(text: bytes) -> str:
    return text.translate(None, UNREAD).decode("ascii").upper()


def packet(data: str, *, safe: bool) -> bytes:
    """What the pump sends."""
    raw = data.encode("ascii")
    if not safe:
        return STX + raw + ETX
    return STX + bytes([len(raw) + 4]) + raw + ccitt(raw).to_bytes(2, "big") + ETX
