"""Mettler-Toledo balances and weigh modules: MT-SICS.

Sources: "MT-SICS Interface Command, Reference Manual" 11781363L (12/2018), pp. 6-13 (formats and
errors), 15 (@), 46 and 54 (display), 152 (host unit), 202-204 (weights), 225-230 (tare), 244-246
(zero); adjustment (C3), draft shield (WS) and temperatures (M28) as in LabMCP 0.1.3, which cites
11780711.

9600 8N1, lines end with CR LF. A weight has 10 characters, so that a missing one is seen; one with
several decimals fewer or more than at first is in another unit and not believed. `S`, which waits
in the balance and cannot be interrupted, is not used: `SI` is asked until it says that the weight
is stable. Nor is `@`, which "has the effect of disconnecting the power supply". Not used either:
repeated weights (SIR, SR, SNR), applications, filters and keys.
"""

import contextlib
import logging
import math
import re

from ophyd_async.core import SignalW, StandardReadableFormat

from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import PollBackend, poll_rw
from sdl.instrument.balance import Balance, Weight
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import Frame, answering
from sdl.wires.wire import LogEntry

TRIES = 2  # all commands used may be repeated: what they do twice is done
UNWATCHED = 10.0  # s more than the balance's own patience (40 s, guessed) until T or Z is given up
WAITING = 40.0
ADJUSTING = 300.0  # s; it takes 1 to 3 min
DOORS = {"closed": 0, "right open": 1, "left open": 2}
DOOR_STATES = {**{number: name for name, number in DOORS.items()}, 8: "error", 9: "moving"}
ERRORS = {
    1: "boot error",
    2: "brand error",
    3: "checksum error",
    9: "option fail",
    10: "EEPROM error",
    11: "device mismatch",
    12: "hot plug out",
    14: "weigh module and electronics do not fit",
    15: "adjustment needed",
}
REFUSALS = {
    "I": "not executable now: busy, or no stable weight in time",
    "L": "not possible with this parameter, or on this balance",
    "ES": "it does not know the command",
    "EL": "it cannot execute the command",
    "ET": "it received the command damaged",
}
NUMBER = r" *(?P<value>-?\d+(?:\.(?P<decimals>\d+))?) ?"
UNIT = r"(?P<unit>[A-Za-z]{1,5})"
SERIAL = re.compile(rb'I4 (?:A "[^"\r\n]*"|I)\r\n')
SYNC = Sync(b"I4\r\n", until(b"\r\n"), lambda reply: SERIAL.fullmatch(reply) is not None)
log = logging.getLogger(__name__)


class MTSICS(Balance):
    """A Mettler-Toledo balance: weight, tare, zero, display, internal adjustment, draft shield."""

    title = "Mettler-Toledo MT-SICS, balance"
    delivered = "serial:///dev/ttyUSB0?baudrate=9600"
    unverified = (
        "C3, WS and M28 (second hand, manual not read)",
        "how long a balance waits for a stable weight (40 s)",
        "TCP port of networked XPR balances (8001)",
    )

    def __init__(
        self,
        wire: StreamWire,
        *,
        capacity: float = 220.0,
        stability_timeout: float = 30.0,
        draft_shield: bool = False,
        name: str = "",
    ) -> None:
        """Describe a balance.

        :param capacity: g; the most that may be preset as tare.
        :param stability_timeout: s until `trigger` fails.
        :param draft_shield: whether it has one with motors, which becomes the signal
            `draft_shield`.
        :raises ConfigError: one of them is impossible.
        """
        if not 0 < capacity < 1e7:
            raise ConfigError(f"mtsics: capacity={capacity}; allowed is more than 0 g, below 1e7 g")
        self._line, self._capacity = wire, capacity
        self._shown = ""
        self._known_tare: float | None = None
        self._newest: LogEntry | None = None  # of the wire's log when it was last looked through
        at = wire.url
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.tare_weight = poll_rw(
                float,
                self._tare_weight,
                self._preset,
                source=f"{at} TA",
                units="g",
                precision=4,
                limits=(0.0, capacity),
            )
            if draft_shield:
                self.draft_shield = poll_rw(str, self._doors, self._move_doors, source=f"{at} WS")
        self.display = SignalW(PollBackend(str, self._text, self._show, source=f"{at} D"))
        self.adjust = self._command(self._adjust, ADJUSTING)
        super().__init__(
            wire, source="SI", precision=4, stability_timeout=stability_timeout, name=name
        )

    async def identify(self) -> str:
        """Ask for model, software and serial number; only the last must be known."""
        said = []
        for command in ("I2", "I3"):
            with contextlib.suppress(RefusedError):
                said.append(await self._about(command))
        return ", ".join([*said, f"serial number {await self._about('I4')}"])

    async def temperatures(self) -> list[float]:
        """Return what its probes measure, degC.

        :raises RefusedError: it has none.
        """
        frame = answering(_to_the_end("M28"), lambda reply: True)
        reply = await self._ask("M28", frame)
        return parse_temperatures(reply)

    # Called by `Balance`

    async def _prepare(self) -> None:
        try:
            await self._about("I4")
        except NoReplyError as error:
            log.info("%s: is it repeating weights? %s", self.name, error)
            with contextlib.suppress(NoReplyError):
                await self._line.ask(b"SI\r\n", _frame("S"), sync=SYNC, urgent=True)  # ends that
            await self._about("I4")
        self._decimals = None
        for last in (False, True):
            weight, unit = parse_weight(await self._ask_value("SI", "S", "[SD]"))
            if unit == "g":
                self._decimals = weight.decimals
                return
            if last:
                raise ConfigError(f"{self.name}: it weighs in {unit}; set its host unit to g")
            with contextlib.suppress(RefusedError):
                await self._ask("M21 0 0", _frame("M21", "A"))

    async def _look(self) -> Weight | None:
        try:
            reply = await self._ask_value("SI", "S", "[SD]")
        except RefusedError as error:
            if str(error).endswith(REFUSALS["I"]):
                return None
            raise
        weight = self._in_grams(reply)
        if self._has_greeted():
            await self._check_tare()
        return weight

    async def _tare(self) -> None:
        reply = await self._ask_value("T", "T", "S", timeout=WAITING + UNWATCHED)
        self._known_tare = self._in_grams(reply).grams

    async def _zero(self) -> None:
        await self._ask("Z", _frame("Z", "A"), timeout=WAITING + UNWATCHED)
        self._known_tare = 0.0

    def _has_greeted(self) -> bool:
        """Whether it said its serial number unasked, as it does when its power comes back."""
        entries = tuple(self._line.log)
        since = self._newest
        self._newest = entries[-1] if entries else None
        for entry in reversed(entries):
            if entry is since:
                return False
            if entry.direction == "discarded" and b"I4 A" in entry.data:
                return True
        return False

    async def _check_tare(self) -> None:
        """:raises FaultError: the tare is not what it was: told once."""
        known, holds = self._known_tare, await self._told_tare()
        self._known_tare = holds or 0.0
        if known is not None and abs((holds or 0.0) - known) > 10.0 ** -(self._decimals or 0):
            now = "" if holds is None else f" (now {holds:g} g)"
            lost = f"its power was lost, and with it the tare of {known:g} g{now}"
            raise FaultError(self.name, f"weight: {lost}; tare it again")

    # Signals and commands

    async def _tare_weight(self) -> float:
        """Return the tare; NaN where the balance does not tell: it has keys to tare it, too."""
        if (told := await self._told_tare()) is None:
            return math.nan
        self._known_tare = told
        return told

    async def _told_tare(self) -> float | None:
        """Return the tare as the balance has it; None if it cannot tell (MT-SICS level 0)."""
        try:
            return self._in_grams(await self._ask_value("TA", "TA", "A")).grams
        except RefusedError as error:
            if not str(error).endswith(REFUSALS["ES"]):
                raise
            return None

    async def _preset(self, grams: float) -> None:
        """Preset the tare; what the balance then holds is in its reply."""
        if grams == 0:
            await self._ask("TAC", _frame("TAC", "A"))
            self._known_tare = 0.0
            return
        decimals = 4 if self._decimals is None else self._decimals
        wanted = round(grams, decimals)
        command = f"TA {wanted:.{decimals}f} g"
        holds = self._in_grams(await self._ask_value(command, "TA", "A")).grams
        if abs(holds - wanted) > 1.1 * 10.0 ** (1 - decimals):
            raise FaultError(self.name, f"{command}: its tare is {holds:g} g")
        self._known_tare = holds

    async def _text(self) -> str:
        return self._shown

    async def _show(self, text: str) -> None:
        """Write to the display; an empty text gives it back to the weight."""
        if any(not " " <= character <= "~" for character in text):
            raise RefusedError(self.name, f"display {text!r}: allowed is printable ASCII")
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        command = f'D "{escaped}"' if text else "DW"
        await self._ask(command, _frame(command.partition(" ")[0], "A"))
        self._shown = text

    async def _doors(self) -> str:
        reply = await self._ask("WS", _frame("WS", r"A \d"))
        return DOOR_STATES.get(int(reply[5:6]), f"position {int(reply[5:6])}")

    async def _move_doors(self, state: str) -> None:
        if state not in DOORS:
            raise RefusedError(self.name, f"draft shield {state!r}: allowed are {', '.join(DOORS)}")
        await self._ask(f"WS {DOORS[state]}", _frame("WS", "A"), timeout=WAITING)
        if (found := await self._doors()) != state:
            raise FaultError(self.name, f"draft shield {state}: it is {found}")

    async def _adjust(self) -> None:
        """Adjust with the internal weight; the pan must be empty."""
        frame = answering(_to_the_end("C3"), lambda reply: True)
        reply = await self._ask("C3", frame, timeout=ADJUSTING, tries=1)
        if reply != b"C3 B\r\nC3 A\r\n":
            why = "it was broken off: no stable weight, or something lies on the pan"
            raise FaultError(self.name, f"adjust: {why}: {reply!r}")

    # Talking

    async def _about(self, command: str) -> str:
        reply = await self._ask(command, _frame(command, r'A "[^"\r\n]*"(?: "[^"\r\n]*")*'))
        return " ".join(re.findall(r'"([^"]*)"', reply.decode("latin-1")))

    def _in_grams(self, reply: bytes) -> Weight:
        weight, unit = parse_weight(reply)
        if unit != "g":
            raise FaultError(self.name, f"weight: it is in {unit}; set its host unit to g")
        self._check_decimals(weight)
        return weight

    async def _ask_value(
        self, command: str, answer: str, status: str, *, timeout: float | None = None
    ) -> bytes:
        """Ask for a weight.

        :raises FaultError: overload, underload, or an error instead of a weight.
        """
        reply = await self._ask(command, _weight_frame(answer, status), timeout=timeout)
        if error := re.fullmatch(rb"S S +Error +(\d+)([bt])\r\n", reply):
            where = "weigh module" if error[2] == b"b" else "terminal"
            meaning = ERRORS.get(int(error[1]), "unknown error")
            raise FaultError(self.name, f"{command}: error {int(error[1])}, {where}: {meaning}")
        return reply

    async def _ask(
        self, command: str, frame: Frame, *, timeout: float | None = None, tries: int = TRIES
    ) -> bytes:
        request = f"{command}\r\n".encode("latin-1")
        for left in reversed(range(tries)):
            try:
                with self._named(command):
                    reply = await self._line.ask(request, frame, timeout=timeout, sync=SYNC)
            except NoReplyError as error:
                if not left:
                    raise
                log.info("asked again: %s", error)
                continue
            if reply != b"ET\r\n" or not left:
                self._judge(command, reply)
                return reply
        raise AssertionError("unreachable")

    def _judge(self, command: str, reply: bytes) -> None:
        """:raises RefusedError: it says no.
        :raises FaultError: overload or underload.
        """
        said = reply.decode("latin-1").split()
        status = said[0] if len(said) == 1 else said[1]
        if status in ("+", "-"):
            why = "overload" if status == "+" else "underload: is the pan in its place?"
            raise FaultError(self.name, f"{command}: {why}")
        if status in REFUSALS:
            raise RefusedError(self.name, f"{command}: {REFUSALS[status]}")


def parse_weight(reply: bytes) -> tuple[Weight, str]:
    """Return the weight in a reply, as if it were in g, and its unit.

    :raises GarbledError: there is none.
    """
    pattern = rf"[A-Z]{{1,2}} (?P<status>[SDA]) (?P<field>{NUMBER}) {UNIT} *\r\n"
    match = re.fullmatch(pattern, reply.decode("latin-1"), re.ASCII)
    if match is None or len(match["field"]) != 10:
        raise GarbledError("", f"no weight: {reply!r}")
    stable, decimals = match["status"] != "D", len(match["decimals"] or "")
    return Weight(float(match["value"]), stable, decimals), match["unit"]


def parse_temperatures(reply: bytes) -> list[float]:
    """Return the temperatures in a reply of several lines, degC.

    :raises GarbledError: it is none.
    """
    lines = [
        re.fullmatch(r"M28 ([AB]) (\d+) (-?\d{1,3}\.\d)", line, re.ASCII)
        for line in reply.decode("latin-1").split("\r\n")[:-1]
    ]
    numbers = [int(line[2]) for line in lines if line]
    states = "".join(line[1] for line in lines if line)
    if len(numbers) < len(lines) or not re.fullmatch("B*A", states) or numbers != sorted(numbers):
        raise GarbledError("", f"no temperatures: {reply!r}")
    return [float(line[3]) for line in lines if line]


def _frame(answer: str, rest: str = "A") -> Frame:
    """A line that answers a command, or says no."""
    return _line(rf"{answer} (?:{rest}|[IL+-])")


def _weight_frame(answer: str, status: str) -> Frame:
    """A line with a weight in 10 characters, an error in its place, or a no."""
    weight = rf"(?={answer} . .{{10}} ){answer} {status} {NUMBER} {UNIT} *"
    error = r"S S(?=.{11}\r) +Error +\d{1,2}[bt]"
    return _line(rf"{weight}|{error}|{answer} [IL+-]")


def _line(pattern: str) -> Frame:
    compiled = re.compile(rf"(?:{pattern}|E[STL])\r\n".encode(), re.ASCII)
    return answering(until(b"\r\n"), lambda reply: compiled.fullmatch(reply) is not None)


def _to_the_end(answer: str) -> Frame:
    """All lines of an answer that says `B` until it says something else."""
    more = re.compile(rf"{answer} B[^\r\n]*\r\n".encode())
    last = re.compile(rf"(?:{answer} [AIL][^\r\n]*|E[STL])\r\n".encode())

    def frame(received: bytes) -> int | None:
        at = 0
        while (end := received.find(b"\r\n", at)) >= 0:
            line, at = received[at : end + 2], end + 2
            if last.fullmatch(line):
                return at
            if not more.fullmatch(line):
                raise GarbledError("", f"{line!r} is no answer to it")
        return None

    return frame
