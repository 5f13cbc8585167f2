"""Sartorius balances: SBI (Sartorius Balance Interface).

Source: Cubis MSE operating instructions, pp. 69-70 (output with 16 and 22 characters, special
outputs, errors), 71-72 (commands); Entris II interface description (commands).

9600 8O1, lines end with CR LF; ESC before each command. Only `ESC P` (print) and the questions
`ESC x#_` have an answer, so whether a tare or a zero was taken is read back. The unit is left out
while a weight is not stable, so the first weight must be stable; after that, the number of decimals
must stay. In the balance's menu: protocol SBI, manual output *without* stability, no automatic
output, unit g. Not used: draft shield and ionizer (what they answer is not known), keys, GLP lines.
"""

import asyncio
import contextlib
import logging
import math
import re
from collections.abc import Callable

from ophyd_async.core import SignalW

from sdl import clock
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import PollBackend
from sdl.instrument.balance import PERIOD, Balance, Weight
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

TRIES = 2
TAKING = 3.0  # s for a tare or zero to be seen, until it is sent again
NEAR_ZERO = 5  # digits that a balance may show after a tare or zero
SIGN_OF_ADJUSTING, ADJUSTING = 15.0, 240.0  # s until it begins, and is over
AMBIENT = {"very stable": "K", "stable": "L", "unstable": "M", "very unstable": "N"}
BUSY = re.compile(r"Cal\. ?(?:Int|Ext)\.|C|-+")
OUT_OF_RANGE = {
    "High": "overload",
    "H": "overload",
    "HH": "overload",
    "Low": "underload: is the pan in its place?",
    "L": "underload: is the pan in its place?",
    "LL": "underload: is the pan in its place?",
}
FAILED = re.compile(r"(?:Err|ERR) +\d{1,4}|(?:APP|DIS|PRT)\.ERR")
WEIGHT = re.compile(
    r"(?P<sign>[-+ ])(?P<number> *\d*(?:\.(?P<decimals>\d+))?) (?P<unit>[A-Za-z]{1,3}|) *", re.ASCII
)
LINE = until(b"\r\n")
LONG = 22  # characters of a line that says what it is, its end included
log = logging.getLogger(__name__)


class Sartorius(Balance):
    """A Sartorius balance: weight, tare, zero, internal adjustment, filter."""

    title = "Sartorius SBI, balance"
    delivered = "serial:///dev/ttyUSB0?baudrate=9600&bytesize=8&parity=O"
    unverified = (
        "no real balance was asked; the formats are the manual's",
        "how soon a tare is seen (3 s) and how long an internal adjustment takes (240 s)",
        "draft shield and ionizer are left out",
        "a loss of power, and of the tare with it, cannot be noticed",
    )

    def __init__(
        self,
        wire: StreamWire,
        *,
        stability_timeout: float = 30.0,
        legacy: bool = False,
        name: str = "",
    ) -> None:
        """Describe a balance.

        :param stability_timeout: s until `trigger` fails.
        :param legacy: an older one (CP, LE), whose only key is TARE: `tare` zeroes where little
            lies on it, and `zero` is refused.
        """
        self._line, self._legacy, self._ambient = wire, legacy, ""
        self._long = False  # whether it prints lines of 22 characters
        self.ambient = SignalW(
            PollBackend(str, self._conditions, self._set_conditions, source=f"{wire.url} ESC K")
        )
        self.adjust = self._command(self._adjust, SIGN_OF_ADJUSTING + ADJUSTING)
        self._sync = Sync(b"\x1bx1_\r\n", LINE, _is_information)
        super().__init__(
            wire, source="ESC P", precision=4, stability_timeout=stability_timeout, name=name
        )

    async def identify(self) -> str:
        """Ask for model, serial number and, if it tells it, software."""
        said = [await self._about(number) for number in (1, 2)]
        try:
            software = await self._about(3)
        except NoReplyError:
            log.info("%s: it does not tell its software", self.name)
            return f"{said[0]}, serial number {said[1]}"
        return f"{said[0]}, serial number {said[1]}, software {software}"

    # Called by `Balance`

    async def _prepare(self) -> None:
        await self._about(1)
        self._decimals = None
        deadline = clock.monotonic() + self._patience
        while (found := parse_line(await self._print())) is None or not found[1]:
            if clock.monotonic() > deadline:
                why = f"no stable weight in {self._patience:g} s, so its unit is not known"
                raise FaultError(self.name, f"connect: {why}")
            await asyncio.sleep(PERIOD)
        weight, unit = found
        if unit != "g":
            raise ConfigError(f"{self.name}: it weighs in {unit}; set its unit to g")
        self._decimals = weight.decimals

    async def _look(self) -> Weight | None:
        found = parse_line(await self._print())
        if found is None:
            return None
        weight, unit = found
        if unit not in ("g", ""):
            raise FaultError(self.name, f"weight: it is in {unit}; set its unit to g")
        self._check_decimals(weight)
        return weight

    async def _tare(self) -> None:
        await self._until_zero("tare", "T" if self._legacy else "U")

    async def _zero(self) -> None:
        if self._legacy:
            raise RefusedError(self.name, "zero: it has no such key; tare it with an empty pan")
        await self._until_zero("zero", "V")

    async def _until_zero(self, what: str, key: str) -> None:
        """Press a key, and once more if it was not heard: what it does twice is done."""
        grams = math.inf
        for _ in range(TRIES):
            with self._named(what):
                await self._line.send(f"\x1b{key}\r\n".encode())
            pressed = clock.monotonic()
            grams = await self.weigh()
            while abs(grams) > NEAR_ZERO * 10.0 ** -(self._decimals or 0):
                if clock.monotonic() - pressed > TAKING:
                    break
                await asyncio.sleep(PERIOD)
                grams = await self.weigh()
            else:
                return
        why = "too far from zero to be zeroed, or its keys are blocked?"
        raise FaultError(self.name, f"{what}: it still says {grams:g} g: {why}")

    async def _conditions(self) -> str:
        return self._ambient

    async def _set_conditions(self, conditions: str) -> None:
        """Choose the filter; the balance does not tell which one it has."""
        if conditions not in AMBIENT:
            allowed = ", ".join(AMBIENT)
            raise RefusedError(self.name, f"ambient {conditions!r}: allowed are {allowed}")
        for _ in range(TRIES):  # told twice, as nobody can hear that it was told once
            with self._named("ambient"):
                await self._line.send(f"\x1b{AMBIENT[conditions]}\r\n".encode())
            await self._about(1)  # whoever answers this has heard it
        self._ambient = conditions

    async def _adjust(self) -> None:
        """Adjust with the internal weight; the balance is watched until it weighs again."""
        with self._named("adjust"):
            await self._line.send(b"\x1bZ\r\n")
        began, seen = clock.monotonic(), False
        while (gone := clock.monotonic() - began) < (ADJUSTING if seen else SIGN_OF_ADJUSTING):
            await asyncio.sleep(PERIOD)
            with contextlib.suppress(NoReplyError):  # it may be too busy to answer
                busy = await self._look() is None
                if seen and not busy:
                    return
                seen = seen or busy
        why = "it is not over" if seen else "no sign of it: has it an internal weight?"
        raise FaultError(self.name, f"adjust: {why} after {gone:.0f} s")

    # Talking

    async def _about(self, number: int) -> str:
        reply = await self._ask(f"x{number}_", _is_information)
        return re.sub(r"\s+", " ", reply.decode("ascii")).strip()

    async def _print(self) -> bytes:
        """Ask for a weight.

        :raises FaultError: overload, underload, or an error instead of a weight.
        """
        reply = await self._ask("P", self._is_whole)
        self._long = self._long or len(reply) == LONG
        said = _body(reply).strip()
        if said in OUT_OF_RANGE:
            raise FaultError(self.name, f"weight: {OUT_OF_RANGE[said]}")
        if FAILED.fullmatch(said):
            raise FaultError(self.name, f"weight: {said}; see its operating instructions")
        return reply

    def _is_whole(self, reply: bytes) -> bool:
        """Whether it is a printed line, and no long one that has lost its head."""
        return _is_print(reply) and (len(reply) == LONG or not self._long)

    async def _ask(self, command: str, accept: Callable[[bytes], bool]) -> bytes:
        request = f"\x1b{command}\r\n".encode()
        for left in reversed(range(TRIES)):
            try:
                with self._named(f"ESC {command}"):
                    return await self._line.ask(request, answering(LINE, accept), sync=self._sync)
            except NoReplyError as error:
                if not left:
                    raise
                log.info("asked again: %s", error)
        raise AssertionError("unreachable")


def parse_line(reply: bytes) -> tuple[Weight, str] | None:
    """Return the weight in a printed line, as if it were in g, and its unit ("" if not stable).

    None: it is busy.

    :raises GarbledError: there is none.
    """
    body = _body(reply)
    if BUSY.fullmatch(body.strip()):
        return None
    match = WEIGHT.fullmatch(body)
    if match is None or len(match["number"]) != 9 or not match["number"].strip(" "):
        raise GarbledError("", f"no weight: {reply!r}")
    number = match["sign"].strip() + match["number"].strip(" ")
    decimals = len(match["decimals"] or "")
    return Weight(float(number), bool(match["unit"]), decimals), match["unit"]


def _body(reply: bytes) -> str:
    """Return the 14 characters after the 6 that say what it is, if they are there.

    :raises GarbledError: it has neither 16 nor 22 characters.
    """
    try:
        text = reply.removesuffix(b"\r\n").decode("ascii")
    except UnicodeDecodeError as error:
        raise GarbledError("", f"no weight: {reply!r}") from error
    if not reply.endswith(b"\r\n") or len(text) not in (14, 20):
        raise GarbledError("", f"no weight: {reply!r}")
    if len(text) == 20 and not re.fullmatch(r"(?:N|Stat) *", text[:6]):
        raise GarbledError("", f"no net weight: {reply!r}")
    return text[-14:]


def _is_print(reply: bytes) -> bool:
    try:
        said = _body(reply).strip()
        if said in OUT_OF_RANGE or FAILED.fullmatch(said):
            return True
        parse_line(reply)
    except GarbledError:
        return False
    return True


def _is_information(reply: bytes) -> bool:
    """Whether it is a printable line that is no weight, nor anything in a weight's place."""
    text = reply[:-2]
    printable = re.fullmatch(rb"[ -~]*[A-Za-z0-9][ -~]*", text) is not None
    return printable and not text.startswith(b"Stat") and not _is_print(reply)
