"""A safety PLC that cuts the power of a bench, on Modbus TCP, unit 1.

Source: our own published map, vendor-neutral (shared facts 2.11): coils 0 heaters, 1 pumps, 2 gas
enable, 3 reset latch (pulse), 4 buzzer; discrete inputs 0 emergency stop, 1 door, 2 fume hood flow,
3 overtemperature, 4 leak (1: healthy), 5 gas alarm (1: alarm); input registers 0 trip cause
(latched bits), 1 fume hood flow in cm/s, 2 first-out code, 3 uptime in s (16 bits); holding
registers 0 heartbeat, 1 watchdog in ms (0 or 100 to 60000), 2 firmware. Fixed beside the facts: bit
n of the trip cause is input n, bit 6 the heartbeat; the first-out code is the bit and 1. A trip
drops the enables and stays until a reset with all inputs healthy; an enable that is written
meanwhile reads back as off.

This is not a safety function: what it does not confirm the PLC does all the same.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, TypeVar

from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, SignalR, SignalRW
from ophyd_async.core import StandardReadableFormat as Format

from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Instrument, StopPolicy, poll_r, poll_rw
from sdl.wires.modbus import ModbusWire

HEATERS, PUMPS, GAS, RESET, BUZZER = range(5)  # coils
ENABLES = {HEATERS: "heaters", PUMPS: "pumps", GAS: "gas"}
ESTOP, DOOR, HOOD, OVERTEMP, LEAK, GAS_ALARM = range(6)  # discrete inputs
CAUSE, FLOW, FIRST_OUT, UPTIME = range(4)  # input registers
HEARTBEAT, WATCHDOG, FIRMWARE = range(3)  # holding registers
CAUSES = (
    "emergency stop",
    "door",
    "fume hood flow",
    "overtemperature",
    "leak",
    "gas alarm",
    "heartbeat lost",
)
SHORTEST_WATCHDOG, LONGEST_WATCHDOG = 0.1, 60.0  # s
BEATS = 4  # of the heart in the time of the watchdog
TRIES = 2  # of a question, and of a coil that is read back as not switched

T = TypeVar("T")
log = logging.getLogger(__name__)


class PlcInterlock(Instrument):
    """Enables heaters, pumps and gas, as long as nothing trips it; says what tripped it first.

    `arm_watchdog` starts a heartbeat that beats until `disarm_watchdog`, or until this process
    hangs or dies: then the PLC trips. The safe state is all enables off.
    """

    title: ClassVar[str] = "PLC interlock on Modbus TCP (our published map)"
    delivered: ClassVar[str] = "modbus+tcp://192.168.0.10:502"
    unverified: ClassVar[tuple[str, ...]] = ("the map is our own: no vendor's PLC has it as made",)
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(self, wire: ModbusWire, *, unit: int = 1, name: str = "") -> None:
        """Describe an interlock.

        :param unit: Modbus address, 0 to 255.
        :raises ConfigError: there is no such unit.
        """
        if not 0 <= unit <= 255:
            raise ConfigError(f"plc_interlock: unit={unit}: allowed is 0 to 255")
        self._plc, self._unit, self._mocked = wire, unit, False
        self._heart: asyncio.Task[None] | None = None
        at = f"{wire.url}#{unit}"
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.tripped = poll_r(str, self._causes, source=f"{at} input {CAUSE}")
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.first_out = poll_r(str, self._first_out, source=f"{at} input {FIRST_OUT}")
            self.hood_flow = poll_r(
                float, self._flow, source=f"{at} input {FLOW}", units="cm/s", precision=0
            )
            self.uptime = poll_r(
                float, self._uptime, source=f"{at} input {UPTIME}", units="s", precision=0
            )
            self.estop_ok = self._contact(ESTOP, at)
            self.door_closed = self._contact(DOOR, at)
            self.hood_ok = self._contact(HOOD, at)
            self.overtemp_ok = self._contact(OVERTEMP, at)
            self.leak_ok = self._contact(LEAK, at)
            self.gas_alarm = self._contact(GAS_ALARM, at)
            self.heaters = self._switch(HEATERS, at)
            self.pumps = self._switch(PUMPS, at)
            self.gas = self._switch(GAS, at)
            self.buzzer = self._switch(BUZZER, at)
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.watchdog = poll_r(
                float, self._watchdog, source=f"{at} holding {WATCHDOG}", units="s", precision=3
            )
        super().__init__(wire, name=name)

    def _contact(self, address: int, at: str) -> SignalR[bool]:
        get = partial(self._is_closed, address)
        return poll_r(bool, get, source=f"{at} discrete {address}")

    def _switch(self, address: int, at: str) -> SignalRW[bool]:
        get, put = partial(self._is_on, address), partial(self._put, address)
        return poll_rw(bool, get, put, source=f"{at} coil {address}")

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._mocked = bool(mock)
        if not mock:
            await self.identify()  # one error where nobody is there, not one for each signal
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Say what is known of it: its unit and its firmware's number."""
        (firmware,) = await self._asked(partial(self._plc.read_holding, FIRMWARE, unit=self._unit))
        return f"PLC interlock, unit {self._unit}, firmware {firmware}"

    async def reset(self) -> None:
        """Take a trip back; the enables stay off.

        :raises RefusedError: an input is not healthy; nothing was sent.
        :raises FaultError: it stays tripped.
        """
        if self._mocked:
            return
        if unhealthy := await self._unhealthy():
            raise RefusedError(self.name, f"reset: {', '.join(unhealthy)}; nothing was sent")
        causes = ""
        for _ in range(TRIES):
            try:
                await self._coil(RESET, True)
            except NoReplyError as error:  # whether it was reset is asked
                log.info("is it reset? %s", error)
            if not (causes := await self._causes()):
                return
        raise FaultError(self.name, f"reset: it stays tripped: {causes}")

    async def arm_watchdog(self, seconds: float) -> None:
        """Have the PLC drop all enables when this process is not heard for `seconds`.

        :raises RefusedError: not 0.1 to 60 s; nothing was sent.
        :raises FaultError: it does not take the time.
        """
        if self._mocked:
            return
        if not SHORTEST_WATCHDOG <= seconds <= LONGEST_WATCHDOG:
            allowed = f"{SHORTEST_WATCHDOG:g} to {LONGEST_WATCHDOG:g} s; nothing was sent"
            raise RefusedError(self.name, f"watchdog {seconds:g} s: allowed is {allowed}")
        self._still_heart()
        await self._set_watchdog(math.ceil(seconds * 1000))
        await self._beat()
        self._heart = asyncio.create_task(self._keep_beating(seconds / BEATS))

    async def disarm_watchdog(self) -> None:
        """End the heartbeat, and have nobody miss it.

        :raises FaultError: the PLC goes on watching, and will trip.
        """
        if not self._mocked:
            await self._set_watchdog(0)
            self._still_heart()

    async def halt(self) -> None:
        """Do nothing: it moves nothing, and what is enabled stays so."""

    async def make_safe(self) -> None:
        """Switch all enables off, and have that confirmed. The heart goes on beating.

        :raises NoReplyError: it was not confirmed; that they be off was sent all the same.
        :raises FaultError: one stays on.
        """
        if self._mocked:
            return
        failure: InstrumentError | None = None
        for coil in ENABLES:
            try:
                await self._put(coil, False)
            except InstrumentError as error:  # the others all the same
                failure = failure or error
        if failure is not None:
            raise failure

    # The heartbeat

    async def _keep_beating(self, period: float) -> None:
        while True:
            await asyncio.sleep(period)
            try:
                await self._beat()
            except InstrumentError as error:  # the PLC trips, if it goes on so
                log.warning("%s: heartbeat: %s", self.name, error)

    async def _beat(self) -> None:
        """Change the heartbeat; not heard twice it has changed once, which is as good."""
        read = partial(self._plc.read_holding, HEARTBEAT, unit=self._unit)
        (last,) = await self._asked(read)
        write = self._plc.write_register(HEARTBEAT, (last + 1) & 0xFFFF, unit=self._unit)
        await self._named(write)

    def _still_heart(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None

    async def _set_watchdog(self, ms: int) -> None:
        read, holds = partial(self._plc.read_holding, WATCHDOG, unit=self._unit), 0
        for _ in range(TRIES):
            try:
                await self._named(self._plc.write_register(WATCHDOG, ms, unit=self._unit))
            except NoReplyError as error:  # whether it was taken is read back
                log.info("is the watchdog set? %s", error)
            if (holds := (await self._asked(read))[0]) == ms:
                return
        raise FaultError(self.name, f"watchdog {ms} ms: it holds {holds} ms")

    # Signals

    async def _causes(self) -> str:
        """Return what tripped it since the last reset; empty if nothing did."""
        word = await self._input(CAUSE)
        known = [cause for bit, cause in enumerate(CAUSES) if word >> bit & 1]
        if word >> len(CAUSES):
            known.append(f"bits 0x{word >> len(CAUSES) << len(CAUSES):x} that are not in the map")
        return ", ".join(known)

    async def _first_out(self) -> str:
        code = await self._input(FIRST_OUT)
        if code == 0:
            return ""
        return CAUSES[code - 1] if code <= len(CAUSES) else f"code {code} that is not in the map"

    async def _flow(self) -> float:
        return float(await self._input(FLOW))

    async def _uptime(self) -> float:
        return float(await self._input(UPTIME))

    async def _watchdog(self) -> float:
        read = partial(self._plc.read_holding, WATCHDOG, unit=self._unit)
        return (await self._asked(read))[0] / 1000.0

    async def _is_closed(self, address: int) -> bool:
        return (await self._asked(partial(self._plc.read_discrete, address, unit=self._unit)))[0]

    async def _is_on(self, address: int) -> bool:
        return (await self._asked(partial(self._plc.read_coils, address, unit=self._unit)))[0]

    async def _unhealthy(self) -> list[str]:
        inputs = await self._asked(partial(self._plc.read_discrete, 0, 6, unit=self._unit))
        return [CAUSES[bit] for bit, on in enumerate(inputs) if on is (bit == GAS_ALARM)]

    async def _put(self, address: int, on: bool) -> None:
        """Switch a coil, and read it back.

        :raises FaultError: it is not as it should be: it is tripped, or something is broken.
        """
        for _ in range(TRIES):
            try:
                await self._coil(address, on, urgent=not on)
            except NoReplyError as error:  # whether it was switched is read back
                log.info("is it switched? %s", error)
            if await self._is_on(address) is on:
                return
        why = "it reads back otherwise"
        if on and (causes := await self._causes()):
            why = f"tripped: {causes} (first: {await self._first_out()}); reset it first"
        raise FaultError(self.name, f"{ENABLES.get(address, 'buzzer')} {on}: {why}")

    # Registers

    async def _input(self, address: int) -> int:
        return (await self._asked(partial(self._plc.read_input, address, unit=self._unit)))[0]

    async def _coil(self, address: int, on: bool, *, urgent: bool = False) -> None:
        await self._named(self._plc.write_coil(address, on, unit=self._unit, urgent=urgent))

    async def _asked(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask; a question may be asked twice."""
        for _ in range(TRIES - 1):
            try:
                return await self._named(question())
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._named(question())

    async def _named(self, exchange: Awaitable[T]) -> T:
        try:
            return await exchange
        except InstrumentError as error:
            raise type(error)(self.name, str(error)) from error
