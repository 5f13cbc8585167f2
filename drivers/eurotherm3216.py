"""Eurotherm 3216 temperature controller. Source: HA028651 (3200 series engineering manual), p. 81
(addresses, warning of EEPROM wear); instrument status, mode, auto/manual and the float region from
third parties' maps (shared facts, 2.10).

Setpoints go to the target setpoint (2), never to the remote one (26): that one falls back when
nobody repeats it, and a plan that has ended must find its heater hot. Address 2 wears the EEPROM
(100,000 writes), so it is written only when it holds something else: once or so per trial. Ramps
are the controller's own (setpoint rate limit); this driver streams none.

The line: RS-485 or RS-232, 9600 8N1 as delivered, Modbus RTU; behind a gateway Modbus TCP. Not
used: the timer, cutback, the heater current inputs, configuration mode.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator, Collection
from typing import ClassVar

from bluesky.protocols import Location
from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceMock,
    StandardReadableFormat,
    WatchableAsyncStatus,
    WatcherUpdate,
)

from sdl import clock
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, poll_r
from sdl.instrument.backends import check_limits
from sdl.wires.modbus import ModbusWire

PV, TARGET, MANUAL_OUTPUT, OUTPUT, WORKING, RANGE_HIGH = 1, 2, 3, 4, 5, 12
STATUS, MODE, MANUAL, REMOTE, COMMS, FLOATS = 75, 199, 273, 276, 12544, 0x8000
STATUS_BITS = {
    0: "alarm 1",
    1: "alarm 2",
    2: "alarm 3",
    3: "alarm 4",
    4: "manual mode",
    5: "sensor break",
    6: "loop break",
    7: "heater current low",
    8: "leak current",
    9: "program ended",
    10: "temperature out of range",
    12: "new alarm",
    13: "timer running",
    14: "remote setpoint failed",
    15: "autotune",
}
UNREADABLE = (5, 10)  # what is read is no temperature
FAULTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 14)  # it does not control as it should
MODES = {0: "normal", 1: "standby", 2: "configuration"}

PERIOD, LONGEST_PERIOD = 1.0, 3.0  # s between looks at a heater on its way: when near, when far
FASTEST = 2.0  # degC/s that it is taken to come nearer at most
TRIES = 2  # of a question, and of an absolute setting that is read back as not taken
SLOWEST, PATIENCE = (
    20.0,
    600.0,
)  # s per degC, and s more, until a heater counts as not getting there
log = logging.getLogger(__name__)


class Eurotherm3216(Instrument):
    """Brings a heater to a temperature and holds it; several may share one wire.

    `halt` never asks for more heat: a heater on its way up holds the temperature it has, any other
    keeps its setpoint. The safe state is automatic mode with the setpoint at `safe_temperature`.
    """

    title: ClassVar[str] = "Eurotherm 3216, temperature controller"
    delivered: ClassVar[str] = "modbus+rtu:///dev/ttyUSB0?baudrate=9600"
    unverified: ClassVar[tuple[str, ...]] = (
        "addresses 199 (mode) and 273 (automatic or manual)",
        "the bits of the instrument status (75)",
        "that temperatures are also floats at 0x8000 + 2 * address",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: ModbusWire,
        *,
        unit: int = 1,
        decimals: int = 1,
        tolerance: float = 0.5,
        settle: float = 10.0,
        max_temperature: float = 150.0,
        safe_temperature: float = 20.0,
        timeout: float | None = None,
        ignored_status: Collection[int] = (),
        name: str = "",
    ) -> None:
        """Describe a controller.

        :param unit: Modbus address, 1 to 247.
        :param decimals: decimals of its display: registers hold temperatures times 10**decimals.
            `connect` compares them with the same values as floats.
        :param tolerance: degC from the setpoint that count as there.
        :param settle: s the temperature must stay there.
        :param timeout: s until a `set` fails (default: 600 s and 20 s for each degC to go).
        :param ignored_status: status bits that are no fault here, as 1 for an alarm 2 that is only
            a signal.
        :raises ConfigError: one of them is impossible.
        """
        if not (1 <= unit <= 247 and decimals in (0, 1, 2) and tolerance > 0 and settle >= 0):
            allowed = "unit 1 to 247, decimals 0 to 2, tolerance above 0, settle from 0"
            given = f"unit={unit}, decimals={decimals}, tolerance={tolerance}, settle={settle}"
            raise ConfigError(f"eurotherm3216: {given}; allowed are {allowed}")
        if not safe_temperature < max_temperature <= 32767 / 10**decimals:
            given = f"safe_temperature={safe_temperature:g}, max_temperature={max_temperature:g}"
            most = f"{32767 / 10**decimals:g}"
            raise ConfigError(f"eurotherm3216: {given}; the first must be less, both below {most}")
        self.unit, self._scale = unit, 10**decimals
        self._tolerance, self._settle, self._timeout = tolerance, settle, timeout
        self._safe, self._limits = safe_temperature, (safe_temperature, max_temperature)
        self._faults = tuple(bit for bit in FAULTS if bit not in ignored_status)
        self._aims, self._mocked = 0, False  # how often somebody decided where it should go
        self._decided = asyncio.Event()  # that somebody decided anew
        self._changing = (
            asyncio.Lock()
        )  # registers that belong together are changed by one at a time
        at = f"{wire.url}#{unit}"
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.temperature = poll_r(
                float, self._temperature, source=f"{at} {PV}", units="degC", precision=decimals
            )
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.setpoint = poll_r(
                float, self._working, source=f"{at} {WORKING}", units="degC", precision=decimals
            )
            self.output = poll_r(
                float, self._output, source=f"{at} {OUTPUT}", units="%", precision=1
            )
            self.status = poll_r(str, self._state, source=f"{at} {STATUS}")
        super().__init__(wire, name=name)
        self._wire = wire

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._mocked = bool(mock)
        if not mock:
            await self._check_decimals()
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Say what is known of it: no source gives an address of its model or firmware."""
        mode, comms = (await self._read(MODE))[0], (await self._read(COMMS))[0]
        mode_name = MODES.get(mode, str(mode))
        return f"unit {self.unit}: {mode_name} mode, communications module type {comms}"

    async def check_value(self, value: float) -> None:
        """Refuse a temperature that must not be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, "degC")

    async def locate(self) -> Location[float]:
        measured, target = await self._read(PV, 2)
        return Location(setpoint=target / self._scale, readback=measured / self._scale)

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Bring the heater to `value` degC; done when it has settled there.

        :raises RefusedError: the limits or the instrument said no; nothing has changed.
        :raises FaultError: it does not control, or does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it could not be reached; it may be on its way.
        """
        await self.check_value(value)
        self._decide()
        if self._mocked:
            yield WatcherUpdate(current=value, initial=value, target=value, name=self.name)
            return
        aim, began, settled = self._aims, clock.monotonic(), None
        async with self._changing:
            await self._check_state()
            await self._put(REMOTE, 0, "local setpoint")
            initial = await self._temperature()
            self._check_aim(aim, value, initial)  # a heater that was made safe stays so
            await self._put(TARGET, round(value * self._scale), f"set {value:g} degC")
        limit = self._timeout
        if limit is None:
            limit = PATIENCE + SLOWEST * abs(value - initial)
        while True:
            now, current = clock.monotonic(), await self._look(value, aim)
            yield self._update(value, current, initial, now - began)
            near = abs(current - value) <= self._tolerance
            settled = (now if settled is None else settled) if near else None
            if settled is not None and now - settled >= self._settle:
                return
            if now - began > limit:
                at = f"at {current:g} degC after {limit:g} s, output {await self._output():g} %"
                raise FaultError(self.name, f"set {value:g} degC: not settled: {at}")
            await self._rest(min(max(abs(current - value) / FASTEST, PERIOD), LONGEST_PERIOD))

    async def halt(self) -> None:
        """End the way to a setpoint: what is being heated holds the temperature it has now."""
        self._decide()
        if self._mocked:
            return
        async with self._changing:
            measured, target = await self._read(PV, 2)
            if measured < target - self._tolerance * self._scale:
                await self._put(TARGET, max(measured, round(self._safe * self._scale)), "halt")

    async def make_safe(self) -> None:
        """Stop heating: setpoint at `safe_temperature`, automatic mode, both read back.

        :raises NoReplyError: it could not be confirmed; the setpoint was sent all the same.
        """
        self._decide()
        if self._mocked:
            return
        setpoint = round(self._safe * self._scale)
        async with self._changing:
            try:
                await self._put(TARGET, setpoint, "make safe")
            except NoReplyError:  # it may hear though it is not heard
                await self._wire.write_register(TARGET, setpoint, unit=self.unit, urgent=True)
                await self._put(TARGET, setpoint, "make safe")
            await self._put(REMOTE, 0, "make safe: local setpoint")
            if (await self._read(MANUAL))[0]:
                await self._put(MANUAL_OUTPUT, 0, "make safe: output 0 %")  # where automatic begins
                await self._put(MANUAL, 0, "make safe: automatic mode")

    # A heater on its way

    def _decide(self) -> None:
        self._aims += 1
        self._decided.set()
        self._decided = asyncio.Event()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until somebody decides anew."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._decided.wait()

    async def _look(self, value: float, aim: int) -> float:
        """Return the temperature, if `value` is still what everybody wants."""
        measured, target = await self._read(PV, 2)
        await self._check_state()
        current = measured / self._scale
        self._check_aim(aim, value, current)
        if target != round(value * self._scale):
            found = f"somebody changed the setpoint to {target / self._scale:g} degC"
            raise FaultError(self.name, f"set {value:g} degC: {found}")
        return current

    def _check_aim(self, aim: int, value: float, current: float) -> None:
        if aim != self._aims:
            raise InstrumentError(self.name, f"set {value:g} degC: stopped at {current:g} degC")

    def _update(
        self, value: float, current: float, initial: float, elapsed: float
    ) -> WatcherUpdate[float]:
        return WatcherUpdate(
            current=current,
            initial=initial,
            target=value,
            name=self.name,
            unit="degC",
            precision=1,
            time_elapsed=elapsed,
        )

    # Signals

    async def _temperature(self) -> float:
        (measured,) = await self._read(PV)
        await self._check_state(UNREADABLE)
        return measured / self._scale

    async def _working(self) -> float:
        return (await self._read(WORKING))[0] / self._scale

    async def _output(self) -> float:
        return (await self._read(OUTPUT))[0] / 10

    async def _state(self) -> str:
        return ", ".join(_meanings((await self._read(STATUS))[0], STATUS_BITS)) or "ok"

    async def _check_state(self, bits: Collection[int] | None = None) -> None:
        """Look for status `bits` (default: all that are faults, and the instrument's mode).

        :raises FaultError: one of them is set.
        """
        found = _meanings((await self._read(STATUS))[0], self._faults if bits is None else bits)
        if bits is None and (mode := (await self._read(MODE))[0]):
            found.append(f"{MODES.get(mode, str(mode))} mode")
        if found:
            raise FaultError(self.name, f"status: {', '.join(found)}")

    # Registers

    async def _check_decimals(self) -> None:
        (number,) = await self._read(RANGE_HIGH)
        try:
            words = await self._read(FLOATS + 2 * RANGE_HIGH, 2)
        except RefusedError:
            log.warning("%s: it has no floats: decimals could not be checked", self.name)
            return
        (value,) = struct.unpack(">f", struct.pack(">hh", *words))
        if abs(number / self._scale - value) > 1 / self._scale:
            found = f"its range ends at {value:g} degC, which it writes as {number}"
            raise ConfigError(f"{self.name}: decimals do not fit: {found}")

    async def _put(self, address: int, value: int, what: str) -> None:
        """Have a register hold `value`, written only where it does not, and read back.

        :raises RefusedError: the instrument said no; nothing has changed.
        :raises FaultError: it holds something else.
        """
        lost: NoReplyError | None = None
        for _ in range(TRIES):
            if (await self._read(address))[0] == value:
                return
            try:
                await self._wire.write_register(address, value & 0xFFFF, unit=self.unit)
            except NoReplyError as error:  # whether it was taken is read back
                lost = error
            except RefusedError as error:
                raise RefusedError(self.name, f"{what}: {error}") from error
        (holds,) = await self._read(address)
        if holds != value:
            asked = f"register {address} holds {holds} where {value} was written"
            raise FaultError(self.name, f"{what}: {asked}") from lost

    async def _read(self, address: int, count: int = 1) -> list[int]:
        """Return `count` registers as signed numbers; a question may be asked twice."""
        for _ in range(TRIES - 1):
            try:
                return await self._read_once(address, count)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._read_once(address, count)

    async def _read_once(self, address: int, count: int) -> list[int]:
        try:
            words = await self._wire.read_holding(address, count, unit=self.unit)
        except InstrumentError as error:
            raise type(error)(self.name, str(error)) from error
        return [word - 0x10000 if word & 0x8000 else word for word in words]


def _meanings(word: int, bits: Collection[int]) -> list[str]:
    return [STATUS_BITS[bit] for bit in bits if word & 1 << bit]
