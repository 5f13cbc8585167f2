"""Runze SV-06 selector valve (also SV-07) and smart SY-01 syringe pump, binary protocol.

Source: no manual was at hand; three independent drivers that agree with each other: flowchem 1.1.6,
matterlab-valves 1.2.1 (valve), and runze-control (functions 20, 3F, statuses 07 and 08). Switching
time: SV-06 data sheet. 9600 8N1 as delivered, RS-232 or RS-485.

A reply says neither what it answers nor how old it is, so positions are asked twice. Not used:
speeds (4B: no source says in what unit), going round by a chosen side (A4), between two ports (B4),
multicast. The factory's commands change what the instrument keeps; they are sent by `factory` only.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.runze.packets import (
    BUSY,
    MOVING,
    OK,
    STATUSES,
    TRIES,
    UNHEARD_OF,
    UNKNOWN_POSITION,
    Conversation,
    Reply,
    factory_request,
)
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import (
    Effect,
    Finding,
    Instrument,
    StopPolicy,
    Verdict,
    check_limits,
    poll_r,
    poll_rw,
)
from sdl.wires import StreamWire

VERSION, GET_PORT, GO, HOME, STOP, STATUS = 0x3F, 0x3E, 0x44, 0x45, 0x49, 0x4A
DISPENSE, ASPIRATE, POSITION, SYNCHRONISE = 0x42, 0x43, 0x66, 0x67
FACTORY = {"address": (0x00, range(0x80)), "baudrate": (0x02, range(5)), "restore": (0xFF, (0,))}

PERIOD = 0.2  # s between looks at what moves
LOOKS = 5  # at something of which two in a row must agree
SLACK, LEAST = 2, 5  # steps: of a counter, and the least that it can be asked to count
NEAR = 0.05  # of the stroke: two looks in a row at a plunger that moves are not farther apart


class RunzeInstrument(Instrument):
    """What valve and pump have in common: one motor board behind an address."""

    unverified: ClassVar[tuple[str, ...]] = (
        "the manual itself: all is from other people's drivers",
        "that 3F answers the version of the firmware in both bytes",
        "status while it moves: 04 or FE are taken for it",
    )

    def __init__(self, wire: StreamWire, address: int, moving: float, name: str) -> None:
        """:param moving: s that its longest move may take."""
        self._talk = Conversation(wire, address, lambda: self.name)
        self._longest, self._mocked = moving, False
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._mocked = bool(mock)
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Return the version of its firmware, if it tells it, and its address."""
        reply = await self._talk.ask(
            VERSION,
            fits=lambda it: it.value > 0 if it.status == OK else it.status in UNHEARD_OF,
        )
        high, low = divmod(reply.value, 256)
        told = f", firmware {high}.{low}" if reply.status == OK else ""
        return f"{self.title.split(',')[0]}{told}, address {self._talk.address}"

    async def factory(
        self, command: Literal["address", "baudrate", "restore"], value: int = 0, *, confirm: str
    ) -> None:
        """Change what the instrument keeps for ever; switch it off and on, and label it.

        :param value: address, 0 to 127; baud rate, 0 to 4: 9600, 19200, 38400, 57600, 115200.
        :param confirm: `"address of 5"` for the instrument at 5; it is refused otherwise.
        :raises RefusedError: nothing was sent, or the instrument said no.
        :raises NoReplyError: it may have been done.
        """
        wanted = f"{command} of {self._talk.address}"
        function, allowed = FACTORY[command]
        if confirm != wanted or value not in allowed:
            needed = f"confirm={wanted!r} and a value of {allowed[0]} to {allowed[-1]}"
            why = f"{command}={value}, confirm={confirm!r}: needs {needed}; nothing was sent"
            raise RefusedError(self.name, why)
        reply = await self._talk.exchange(factory_request(self._talk.address, function, value))
        self._talk.judge(command, reply)

    async def _order(self, what: str, function: int, value: int = 0) -> None:
        """Give an order that may be given twice, and wait until it is carried out."""
        reply = await self._talk.ask(function, value)
        self._talk.judge(what, reply)
        await self._rests(what)

    async def _rests(self, what: str) -> None:
        """Wait until nothing moves.

        :raises FaultError: it did not come to rest, or stalled.
        """
        deadline = clock.monotonic() + self._longest
        while (reply := await self._talk.ask(STATUS)).status in MOVING:
            if clock.monotonic() > deadline:
                raise FaultError(self.name, f"{what}: still moving after {self._longest:g} s")
            await asyncio.sleep(PERIOD)
        if reply.status != UNKNOWN_POSITION:  # an order will end that
            self._talk.judge(what, reply)

    async def _get_status(self) -> str:
        return STATUSES[(await self._talk.ask(STATUS)).status]


class RunzeValve(RunzeInstrument):
    """`set(port)` turns it the shortest way, and is done when the valve says that it stands there.

    Its `port` is 0 while it stands between two ports. `halt` lets a turn come to its end: a rotor
    between two ports shuts the line.
    """

    title: ClassVar[str] = "Runze SV-06, selector valve"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=9600"
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        ports: int = 6,
        address: int = 0,
        safe_port: int | None = None,
        turn: float = 10.0,
        name: str = "",
    ) -> None:
        """Describe a valve.

        :param ports: 2 to 24 (SV-06: 6, 8, 10, 12 or 16).
        :param address: 0 to 127.
        :param safe_port: where `make_safe` turns it; None: it is safe where it stands.
        :param turn: s in which it must have turned (SV-06: 5 s a circle).
        :raises ConfigError: one of them is impossible.
        """
        if not (2 <= ports <= 24 and 0 <= address <= 127 and turn > 0):
            given = f"ports={ports}, address={address}, turn={turn:g}"
            raise ConfigError(f"runze: {given}; allowed are 2 to 24, 0 to 127, above 0 s")
        if safe_port is not None and not 1 <= safe_port <= ports:
            raise ConfigError(f"runze: safe_port={safe_port}; allowed is 1 to {ports}")
        self._ports, self._safe, self._turning = ports, safe_port, asyncio.Lock()
        at = f"{wire.url}#{address}"
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.port = poll_r(int, self._get_port, source=f"{at} 3E")
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.status = poll_r(str, self._get_status, source=f"{at} 4A")
        super().__init__(wire, address, turn, name)

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

        :raises RefusedError: the valve or its limits said no; nothing has moved.
        :raises FaultError: it stalled, or stands elsewhere though it was told twice.
        :raises NoReplyError: it cannot be asked; it may be turning.
        """
        await self.check_value(value)
        if self._mocked:
            return
        async with self._turning:
            for _ in range(TRIES):
                if (stands := await self._get_port()) == value:
                    return
                await self._order(f"go to {value}", GO, int(value))
            if (stands := await self._get_port()) != value:
                raise FaultError(self.name, f"go to {value}: it stands at {stands or 'no port'}")

    async def home(self) -> None:
        """Have it find its first port again, after somebody turned it by hand."""
        if not self._mocked:
            async with self._turning:
                await self._order("home", HOME)

    async def make_safe(self) -> None:
        """Turn to `safe_port` if there is one; else see that it is at rest.

        :raises NoReplyError: it was not confirmed.
        """
        if self._mocked:
            return
        if self._safe is None:
            await self._rests("make safe")
        else:
            await self.set(self._safe)

    async def _get_port(self) -> int:
        """Return the port, 0 between two, when it does not turn, and two replies in a row agree."""
        before, deadline = None, clock.monotonic() + self._longest
        looks = 0
        while looks < LOOKS:
            reply = await self._talk.ask(GET_PORT, fits=lambda it: it.value <= self._ports)
            if reply.status in MOVING:
                if clock.monotonic() > deadline:
                    raise FaultError(self.name, f"still turning after {self._longest:g} s")
                await asyncio.sleep(PERIOD)
                before = None
                continue
            if reply.status != UNKNOWN_POSITION:
                self._talk.judge("port", reply)
            port = reply.value if reply.status == OK else 0
            if port == before:
                return port
            before, looks = port, looks + 1
        raise GarbledError(self.name, "port: no two replies agree")


class RunzePump(RunzeInstrument):
    """`set(mL)` is relative: positive dispenses, negative draws up; done when it was counted.

    It is no `Doser`: no source says how its speed is set. `volume` counts from home; home it
    (`home`, with the port open) when it has had no power. `port` of its own valve is what was set
    last through this driver, 0 if none was: the pump does not tell.
    """

    title: ClassVar[str] = "Runze smart SY-01, syringe pump"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=9600"
    unverified: ClassVar[tuple[str, ...]] = (
        *RunzeInstrument.unverified,
        "what its counter says after a loss of power: 0 is not believed when a dose is reconciled",
    )
    effect: ClassVar[Effect | None] = Effect.RELATIVE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: StreamWire,
        *,
        syringe: float,
        steps: int = 12000,
        ports: int = 6,
        address: int = 0,
        stroke: float = 60.0,
        home: bool = False,
        name: str = "",
    ) -> None:
        """Describe a pump.

        :param syringe: mL of a whole stroke.
        :param steps: of a whole stroke.
        :param ports: of its valve.
        :param address: 0 to 127.
        :param stroke: s that a whole stroke may take.
        :param home: whether a pump that does not know its position is homed when it is connected:
            what is in its syringe then goes out of whichever port is open.
        :raises ConfigError: one of them is impossible.
        """
        if not (syringe > 0 and 100 <= steps <= 65535 and 1 <= ports <= 24 and 0 <= address <= 127):
            given = f"syringe={syringe:g}, steps={steps}, ports={ports}, address={address}"
            allowed = "above 0 mL, 100 to 65535, 1 to 24, 0 to 127"
            raise ConfigError(f"runze: {given}; allowed are {allowed}")
        self._syringe, self._full = syringe, steps
        self._open, self._halts = 0, 0  # port; how often it was stopped
        self._homes = home
        self._moving = asyncio.Lock()
        at = f"{wire.url}#{address}"
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.volume = poll_r(
                float, self._get_volume, source=f"{at} 66", units="mL", precision=4
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.port = poll_rw(
                int, self._get_open, self._put_open, source=f"{at} 44", limits=(1, ports)
            )
            self.status = poll_r(str, self._get_status, source=f"{at} 4A")
        super().__init__(wire, address, stroke, name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Connect, and home it if it does not know its position and that is allowed."""
        self._mocked = bool(mock)
        if self._homes and not mock:
            reply = await self._talk.ask(POSITION, fits=self._is_position)
            if reply.status == UNKNOWN_POSITION:
                await self.home()
        await super().connect(mock, timeout, force_reconnect)

    async def check_value(self, value: float) -> None:
        """Refuse a volume that cannot be dosed.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, (-self._syringe, self._syringe), self.name, "mL")
        if abs(self._in_steps(value)) < LEAST:
            least = f"{LEAST * self._syringe / self._full:.2g}"
            raise RefusedError(self.name, f"{value:g} mL: at least {least} mL; nothing was sent")

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Dispense (+) or draw up (-) mL; done when the pump rests and has counted them.

        :raises RefusedError: it is moving, or has not as much; nothing was moved.
        :raises FaultError: it stalled or stopped short; part of the volume may have moved.
        :raises NoReplyError: it cannot be reached; it may be moving, and will stop at the volume.
        """
        await self.check_value(value)
        if self._mocked:
            return
        if self._moving.locked():
            raise RefusedError(self.name, f"{value:g} mL: it is moving; nothing was sent")
        async with self._moving:
            try:
                await self._dose(value)
            except (asyncio.CancelledError, FaultError):
                await self._talk.ask(STOP, urgent=True)
                raise

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Return where the plunger stands, in steps."""
        if command != "set" or self._mocked:
            return {}
        await self._rests("mark")
        return {"steps": await self._get_steps()}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Wait until the pump rests, and say from its counter what became of a dose.

        :raises NoReplyError: it cannot be asked now.
        """
        if command != "set" or "steps" not in mark:
            return Finding(Verdict.UNKNOWN, f"{self.name} can tell nothing of a {command}")
        await self._rests("reconcile")
        stands, asked = await self._get_steps(), self._in_steps(argument)
        gone = mark["steps"] - stands
        counted = f"{argument:g} mL are {asked} steps: {mark['steps']} -> {stands}"
        if stands == 0:
            return Finding(Verdict.UNKNOWN, f"{counted}; a loss of power may have cleared that")
        if abs(gone - asked) <= SLACK:
            return Finding(Verdict.DONE, counted)
        if abs(gone) <= SLACK:
            return Finding(Verdict.NOT_DONE, counted)
        if 0 < gone / asked < 1:
            rest = round((asked - gone) * self._syringe / self._full, 9)
            return Finding(Verdict.PARTLY, counted, rest)
        return Finding(Verdict.UNKNOWN, f"{counted}; somebody else moved it")

    async def home(self) -> None:
        """Dispense all that is in the syringe, and count from there."""
        if not self._mocked:
            async with self._moving:
                await self._order("home", HOME)
                self._talk.judge("home", await self._talk.ask(SYNCHRONISE))

    async def halt(self) -> None:
        """Stop plunger and valve, and have that confirmed.

        :raises NoReplyError: it was not confirmed: it may be moving.
        """
        if self._mocked:
            return
        self._halts += 1
        reply = await self._talk.ask(STOP, urgent=True)
        if reply.status != BUSY:
            self._talk.judge("stop", reply)
        await self._rests("stop")

    async def make_safe(self) -> None:
        await self.halt()

    async def _dose(self, value: float) -> None:
        await self._rests(f"{value:g} mL")
        steps, before, halts = self._in_steps(value), await self._get_steps(), self._halts
        if not 0 <= before - steps <= self._full:
            holds = f"the syringe holds {self._in_mL(before):g} of {self._syringe:g} mL"
            raise RefusedError(self.name, f"{value:g} mL: {holds}; nothing was sent")
        lost: NoReplyError | None = None
        try:
            reply = await self._talk.once(DISPENSE if steps > 0 else ASPIRATE, abs(steps))
            self._talk.judge(f"{value:g} mL", reply)
        except NoReplyError as error:  # some answer when they are through; the counter tells
            lost = error
        await self._rests_at_last(f"{value:g} mL")
        after = await self._get_steps()
        if abs(before - steps - after) <= SLACK and not (lost and after == 0):
            return
        counted = f"{value:g} mL are {steps} steps: {before} -> {after}"
        if halts != self._halts:
            raise InstrumentError(self.name, f"{counted}; it was stopped")
        if lost:
            raise NoReplyError(self.name, f"{counted}; {lost}") from lost
        raise FaultError(self.name, counted)

    async def _rests_at_last(self, what: str) -> None:
        """Wait until nothing moves, also where it says nothing meanwhile."""
        deadline = clock.monotonic() + self._longest
        while True:
            try:
                return await self._rests(what)
            except NoReplyError:
                if clock.monotonic() > deadline:
                    raise

    async def _get_steps(self) -> int:
        """Return the plunger's steps from home, when two replies in a row nearly agree.

        :raises FaultError: it does not know its position: home it.
        """
        before, near = None, float(SLACK)
        for _ in range(LOOKS):
            reply = await self._talk.ask(POSITION, fits=self._is_position)
            if reply.status not in MOVING:
                self._talk.judge("position", reply)
            if before is not None and abs(reply.value - before) <= near:
                return reply.value
            if before is not None and (await self._talk.ask(STATUS)).status in MOVING:
                near = NEAR * self._full
            before = reply.value
        raise GarbledError(self.name, "position: no two replies agree")

    def _is_position(self, reply: Reply) -> bool:
        return reply.value <= self._full + SLACK

    async def _get_volume(self) -> float:
        return self._in_mL(await self._get_steps())

    async def _get_open(self) -> int:
        return self._open

    async def _put_open(self, port: int) -> None:
        async with self._moving:
            self._open = 0
            await self._order(f"go to {port}", GO, port)
            self._open = port

    def _in_steps(self, volume: float) -> int:
        return round(volume * self._full / self._syringe)

    def _in_mL(self, steps: int) -> float:  # noqa: N802 (the unit's symbol)
        return steps * self._syringe / self._full
