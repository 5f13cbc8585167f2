"""VICI universal actuator (EUT, EUH, EUD) and modular universal actuator (UMT, UMH, UMD).

Source: EUT manual, pp. 14 to 19 (commands and examples). 9600 8N1, no flow control; commands and
replies end with CR. `GOnn` has no reply (IFM0, which this driver sets, with LG0 for short replies):
whether it turned is asked (`CPnn`), twice, since a late reply looks like any other. An older one
that has only long replies is understood (`Position is  = 4`, `NP = 8`, as drivers of others expect
them).

Two positions (modes 1 and 2) are ports 1 (A) and 2 (B). Not used: LRN, timed toggles (TT: a plan
can wait), digital inputs, another end of line (DEL), broadcasts.
"""

import asyncio
import logging
import re
from typing import ClassVar, Literal

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r
from sdl.wires import Frame, StreamWire, Sync, until
from sdl.wires.frames import answering

LETTERS = {"A": 1, "B": 2}
MODES = {1: "two positions with stops", 2: "two positions", 3: "multiposition"}
ORDERS = {"shortest": "GO", "clockwise": "CW", "counterclockwise": "CC"}
MOST_PORTS = 40
PERIOD = 0.2  # s between looks at a valve that turns
LONG = {"CP": "Position is"}  # what a long reply begins with, where it is not the command
TRIES = 2  # of a question, and of an order that was not carried out
LOOKS = 5  # at something of which two in a row must agree

NUMBER = r"(?<!= )\d\d|(?<== )[1-9]\d?"  # two digits in a short reply

log = logging.getLogger(__name__)


def parse(reply: bytes, name: str, value: str) -> str:
    """Return what a reply such as `CP04` says.

    :param value: regular expression of all that may stand behind `name`.
    :raises GarbledError: it is no such reply.
    """
    begins = rf"(?:{name}|{LONG.get(name, name)} {{1,2}}= )" if name else ""
    match = re.fullmatch(rf"\n?{begins}({value})\r".encode(), reply)  # LF: of CR LF before it
    if match is None:
        raise GarbledError("", f"{reply!r} is no answer to {name}")
    return match[1].decode("ascii")


def parse_port(reply: bytes, ports: int) -> int:
    """Return the port, 1 to `ports`.

    :raises GarbledError: it is no reply to `CP`, or there is no such port.
    """
    said = parse(reply, "CP", rf"[AB]|{NUMBER}")
    port = LETTERS[said] if said in LETTERS else int(said)
    if not 1 <= port <= ports:
        raise GarbledError("", f"{reply!r}: a valve of {ports} ports has no such port")
    return port


class Vici(Instrument):
    """`set(port)` turns it, and is done when the valve says that it stands there.

    `halt` lets a turn come to its end: a rotor between two ports shuts the line.
    """

    title: ClassVar[str] = "VICI universal actuator, selector or injection valve"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=9600"
    unverified: ClassVar[tuple[str, ...]] = (
        "what VR answers beyond one line of text",
        "that CNT answers at most five digits",
        "the prefix of an ID: it is put before the command as the lab file has it",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        ports: int = 10,
        address: str = "",
        counts: bool = True,
        direction: Literal["shortest", "clockwise", "counterclockwise"] = "shortest",
        safe_port: int | None = None,
        turn: float = 6.0,
        name: str = "",
    ) -> None:
        """Describe a valve.

        :param ports: positions that it has: 2 for an injection valve, up to 40.
        :param address: its ID where it was given one: `"5"` on RS-232, `"/5"` on RS-485.
        :param counts: whether it counts its turns (`CNT`); if not, there is no `cycles`.
        :param direction: which way round a multiposition valve goes.
        :param safe_port: where `make_safe` turns it; None: it is safe where it stands.
        :param turn: s in which it must have turned.
        :raises ConfigError: one of them is impossible.
        """
        if not 2 <= ports <= MOST_PORTS or direction not in ORDERS or not turn > 0:
            given = f"ports={ports}, direction={direction!r}, turn={turn:g}"
            allowed = f"2 to {MOST_PORTS} ports, {', '.join(ORDERS)}, a turn above 0 s"
            raise ConfigError(f"vici: {given}; allowed are {allowed}")
        if re.fullmatch(r"(/?[0-9A-Z])?", address) is None:
            raise ConfigError(f'vici: address={address!r}; allowed are "5", "A", "/5", …')
        if safe_port is not None and not 1 <= safe_port <= ports:
            raise ConfigError(f"vici: safe_port={safe_port}; allowed is 1 to {ports}")
        self._line, self._ports, self._prefix = wire, ports, address
        self._order, self._safe, self._turn = ORDERS[direction], safe_port, turn
        self._letters = self._mocked = False
        self._turning = asyncio.Lock()
        self._sync = Sync(
            self._request("AM"), until(b"\r"), lambda it: _fits(it, "AM", "[123]"), address
        )
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.port = poll_r(int, self._get_port, source=f"{wire.url}#{address} CP")
        if counts:
            with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
                self.cycles = poll_r(int, self._get_cycles, source=f"{wire.url}#{address} CNT")
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Agree on short replies, and see that it is set up for this valve.

        :raises ConfigError: it is set to other positions than `ports`.
        """
        self._mocked = bool(mock)
        if not mock:
            await self._set_up()
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Return its firmware, of which the manual gives no example."""
        said = await self._agreed("VR", r"(?!CP|AM|NP|CNT|= )[ -~]{3,}", name="")
        self._line.lost_place()  # it may be the first of several lines
        return said

    async def check_value(self, value: int) -> None:
        """Refuse a port that it does not have.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, (1, self._ports), self.name, "")
        if isinstance(value, bool) or value != int(value):
            raise RefusedError(self.name, f"{value!r} is no port; nothing was sent")

    async def locate(self) -> Location[int]:
        port = await self.port.get_value()
        return Location(setpoint=port, readback=port)

    @AsyncStatus.wrap
    async def set(self, value: int) -> None:
        """Turn to a port; one turn after the other.

        :raises RefusedError: there is no such port; nothing was sent.
        :raises FaultError: it stands elsewhere, though it was told twice.
        :raises NoReplyError: it cannot be asked; it may be turning.
        """
        await self.check_value(value)
        if self._mocked:
            return
        async with self._turning:
            await self._turn_to(int(value))

    async def make_safe(self) -> None:
        """Turn to `safe_port` if there is one; else see where it stands.

        :raises NoReplyError: it was not confirmed.
        """
        if self._mocked:
            return
        if self._safe is None:
            await self._get_port()
        else:
            await self.set(self._safe)

    async def _turn_to(self, port: int) -> None:
        target = next(k for k, v in LETTERS.items() if v == port) if self._letters else str(port)
        order = "GO" if self._letters else self._order
        for _ in range(TRIES):
            if await self._get_port() == port:  # CW and CC would go round
                return
            await self._line.send(self._request(f"{order}{target}"))
            deadline = clock.monotonic() + self._turn
            while clock.monotonic() < deadline:
                if await self._get_port() == port:
                    return
                await asyncio.sleep(PERIOD)
        stands = await self._get_port()
        if stands != port:
            raise FaultError(
                self.name, f"{order}{target}: it stands at {stands} after {self._turn:g} s"
            )

    # Questions

    async def _set_up(self) -> None:
        for setting in ("IFM0", "LG0"):
            await self._line.send(self._request(setting))
        mode = int(await self._ask("AM", "[123]"))
        self._letters = mode != 3
        positions = 2 if self._letters else int(await self._ask("NP", NUMBER))
        if positions != self._ports:
            found = f"{MODES[mode]}, set to {positions} positions"
            raise ConfigError(f"{self.name}: ports={self._ports}, but the actuator is for {found}")

    async def _get_port(self) -> int:
        said = await self._agreed("CP", "[AB]" if self._letters else NUMBER)
        short = said if self._letters else f"{int(said):02d}"
        try:
            return parse_port(f"CP{short}\r".encode(), self._ports)
        except GarbledError as error:
            raise GarbledError(self.name, str(error)) from error

    async def _get_cycles(self) -> int:
        try:
            return int(await self._agreed("CNT", r"\d{1,5}"))
        except GarbledError as error:
            if "Bad command" in str(error):
                why = "it does not count its turns: describe it with `counts: false`"
                raise RefusedError(self.name, f"CNT: {why}") from error
            raise

    async def _agreed(self, command: str, value: str, *, name: str | None = None) -> str:
        """Ask until two replies in a row agree: they have no number and no checksum.

        :raises GarbledError: no two did.
        """
        before: str | None = None
        for _ in range(LOOKS):
            said = await self._ask(command, value, name=name)
            if said == before:
                return said
            before = said
        raise GarbledError(self.name, f"{command}: no two replies agree")

    async def _ask(self, command: str, value: str, *, name: str | None = None) -> str:
        """Ask; a question may be asked again.

        :param name: what the reply begins with; default: the command.
        """
        begins, request = command if name is None else name, self._request(command)
        frame: Frame = answering(until(b"\r"), lambda reply: _fits(reply, begins, value))
        for _ in range(TRIES - 1):
            try:
                return parse(await self._exchange(request, frame), begins, value)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return parse(await self._exchange(request, frame), begins, value)

    async def _exchange(self, request: bytes, frame: Frame) -> bytes:
        try:
            return await self._line.ask(request, frame, sync=self._sync)
        except NoReplyError as error:
            raise type(error)(self.name, str(error)) from error

    def _request(self, command: str) -> bytes:
        return f"{self._prefix}{command}\r".encode("ascii")


def _fits(reply: bytes, name: str, value: str) -> bool:
    try:
        parse(reply, name, value)
    except GarbledError:
        return False
    return True
