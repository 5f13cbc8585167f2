"""Lines of Zaber's ASCII protocol, and a conversation in them. Source: see `zaber`."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from sdl.errors import GarbledError, NoReplyError, RefusedError
from sdl.wires import StreamWire, Sync

FLAGS = {
    "FF": "critical system error",
    "FN": "peripheral not supported",
    "FZ": "peripheral inactive",
    "FH": "hardware emergency stop",
    "FV": "supply voltage out of range, driver disabled",
    "FO": "driver disabled",
    "FC": "current inrush error",
    "FM": "motor temperature error",
    "FD": "driver disabled",
    "FQ": "encoder error",
    "FI": "index error",
    "FA": "analogue encoder sync error",
    "FR": "overdrive limit exceeded",
    "FS": "stalled and stopped",
    "FB": "bounds of a stream exceeded",
    "FP": "deviated from its path",
    "FE": "limit sensor faulty or out of reach",
    "FT": "excessive twist",
    "WL": "unexpected limit trigger",
    "WV": "supply voltage out of range",
    "WT": "controller too hot",
    "WS": "stalled and went on",
    "WM": "displaced when it stood",
    "WP": "calibration does not fit",
    "WR": "no reference position: home it",
    "WH": "not homed",
    "NC": "moved by hand",
    "NI": "movement interrupted",
}
REASONS = {
    "AGAIN": "not now",
    "BADAXIS": "it has no such axis",
    "BADCOMMAND": "no such command or setting",
    "BADDATA": "out of range, or not possible without a reference position",
    "BADMESSAGEID": "bad message number",
    "DEVICEONLY": "not for an axis",
    "DRIVERDISABLED": "its driver is disabled",
    "FULL": "no room to keep that",
    "LOCKSTEP": "the axis moves with others",
    "NOACCESS": "not at this level of access",
    "PARKED": "it is parked",
    "STATUSBUSY": "not while it moves",
}
NUMBERS = 100  # of commands, then from the beginning
TRIES = 2  # of what may be repeated

log = logging.getLogger(__name__)

HEAD = rb"@(\d\d) (\d) (?:(\d\d) )?(OK|RJ) (BUSY|IDLE) (--|[A-Z]{2}) "
LINE = re.compile(HEAD + rb"([ -9;-~]+)(?::([0-9A-F]{2}))?\r?\n")


@dataclass(frozen=True)
class Reply:
    """What one line says."""

    device: int
    axis: int
    number: int | None
    accepted: bool
    busy: bool
    flag: str
    data: str
    checked: bool
    """whether it had a checksum, which was right"""


def checksum(text: bytes) -> int:
    """Return the sum of what stands between the first character of a line and the colon."""
    return -sum(text) & 0xFF


def parse(line: bytes) -> Reply:
    """Return what a reply says, its end of line included.

    :raises GarbledError: it is none, or damaged.
    """
    match = LINE.fullmatch(line)
    if match is None:
        raise GarbledError("", f"{line!r} is no reply")
    device, axis, number, accepted, status, flag, data, sent = match.groups()
    if sent is not None and int(sent, 16) != checksum(line[1 : match.start(8) - 1]):
        raise GarbledError("", f"{line!r} is damaged")
    return Reply(
        int(device),
        int(axis),
        None if number is None else int(number),
        accepted == b"OK",
        status == b"BUSY",
        "" if flag == b"--" else flag.decode(),
        data.decode("ascii"),
        sent is not None,
    )


def parse_number(data: str) -> float:
    """Return the number that a reply's data is.

    :raises GarbledError: it is none.
    """
    if re.fullmatch(r"-?\d{1,12}(\.\d{1,9})?", data) is None:
        raise GarbledError("", f"{data!r} is no number")
    return float(data)


def meaning(flag: str) -> str:
    """Return a flag as a person reads it."""
    return f"{flag}: {FLAGS[flag]}" if flag in FLAGS else flag


class Conversation:
    """Asks one device on a wire that it may share; each command has a number of its own."""

    def __init__(self, wire: StreamWire, device: int, who: Callable[[], str]) -> None:
        """:param who: what the device is called in messages, now."""
        self._wire, self._device, self.who = wire, device, who
        self._number = 0
        self.checked = False
        """whether each reply must have a checksum"""

    async def ask(self, axis: int, command: str, *, urgent: bool = False) -> Reply:
        """Send what may be sent again; return the reply.

        :param urgent: send it even if no answer could be believed: a stop.
        :raises RefusedError: it was rejected; nothing has changed.
        :raises NoReplyError: whether it was heard is not known.
        """
        for _ in range(TRIES - 1):
            try:
                return self._judged(command, await self._exchange(axis, command, urgent))
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return self._judged(command, await self._exchange(axis, command, urgent))

    def _judged(self, command: str, reply: Reply) -> Reply:
        if not reply.accepted:
            why = f"rejected: {reply.data}: {REASONS.get(reply.data, 'no reason is known')}"
            raise RefusedError(self.who(), f"{command}: {why}")
        return reply

    async def _exchange(self, axis: int, command: str, urgent: bool) -> Reply:
        number, request = self._numbered(axis, command)
        other, question = self._numbered(axis, "")

        def is_it(lines: bytes) -> bool:
            return self._answers(lines, axis, other, checked=False)

        def frame(received: bytes) -> int | None:
            length = _frame(received)
            if length is None or self._answers(received[:length], axis, number, self.checked):
                return length
            raise GarbledError("", f"{received[:length]!r} is no answer to it")

        sync = Sync(question, _frame, is_it, ("zaber", self._device, axis))
        try:
            return parse(_last(await self._wire.ask(request, frame, sync=sync, urgent=urgent)))
        except NoReplyError as error:
            raise type(error)(self.who(), f"{command or 'status'}: {error}") from error

    def _numbered(self, axis: int, command: str) -> tuple[int, bytes]:
        number, self._number = self._number, (self._number + 1) % NUMBERS
        text = f"{self._device} {axis} {number:02d} {command}".rstrip().encode("ascii")
        return number, b"/%s:%02X\n" % (text, checksum(text))

    def _answers(self, lines: bytes, axis: int, number: int, checked: bool) -> bool:
        try:
            reply = parse(_last(lines))
        except GarbledError:
            return False
        mine = (reply.device, reply.axis, reply.number) == (self._device, axis, number)
        return mine and (reply.checked or not checked)


def _frame(received: bytes) -> int | None:
    """Everything up to and with the first line that is no alert (`!`) and no info (`#`)."""
    at = 0
    while (end := received.find(b"\n", at)) >= 0:
        end += 1
        if received[at : at + 1] not in (b"!", b"#"):
            return end
        at = end
    return None


def _last(lines: bytes) -> bytes:
    return lines[lines.rfind(b"\n", 0, len(lines) - 2) + 1 :]
