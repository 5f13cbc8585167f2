"""TB-20 heating and cooling bath, on Modbus.

FILL IN 7: manual, revision, section and pages of all that is here; what of the manual is not used.

Source: TB-20 (invented), operating manual, rev. 3, section 8, pp. 45-47. Registers are int16,
temperatures in 0.1 degC; addresses count from 0:

    input register 0    temperature
    input register 1    alarm: 0 none, 1 liquid level too low
    input register 10   model (20), 11 firmware (140: 1.40)
    holding register 0  setpoint
    coil 0              running

What it does not allow at the moment (it is operated at its panel) it refuses with exception 7.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, TypeVar

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.errors import (
    ConfigError,
    FaultError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.wires.modbus import ModbusWire

# FILL IN 8: the map; each value is read together with what belongs to it, or alone
TEMPERATURE, ALARM, MODEL, FIRMWARE = 0, 1, 10, 11  # input registers
SETPOINT = 0  # holding register
RUN = 0  # coil
SCALE = 10  # registers hold temperatures times this
LIMITS = (-30.0, 150.0)  # degC
ALARMS = {0: "", 1: "liquid level too low"}
PERIOD = 1.0  # s between looks at a bath on its way
TRIES = 2  # of a question, and of an absolute order that is read back as not taken

T = TypeVar("T")
log = logging.getLogger(__name__)


def parse_celsius(register: int) -> float:
    """Return the degC that a register holds, 0 to 65535 as an int16."""
    return (register - 0x10000 if register & 0x8000 else register) / SCALE


class NewName(Instrument):
    """`set(degC)` switches it on, and is done when the bath is there. It then holds it.

    `halt` has it keep the temperature that it has on its way; the safe state is switched off.
    """

    # FILL IN 10: maker, model and kind; the wire as delivered; what nobody has confirmed
    title: ClassVar[str] = "TB-20 (invented), heating and cooling bath"
    delivered: ClassVar[str] = "newname://delivered"
    unverified: ClassVar[tuple[str, ...]] = ("all of it: there is no such instrument",)
    # FILL IN 11: what `set` does when it is repeated; what the end of a plan does to it
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: ModbusWire,
        *,
        unit: int = 1,
        tolerance: float = 0.2,
        longest: float = 3600.0,
        name: str = "",
    ) -> None:
        """Describe a bath.

        :param unit: Modbus address, 1 to 247.
        :param tolerance: degC from the setpoint that count as there.
        :param longest: s until a `set` fails.
        :raises ConfigError: one of them is impossible.
        """
        if not (1 <= unit <= 247 and tolerance > 0 and longest > 0):
            given = f"unit={unit}, tolerance={tolerance}, longest={longest}"
            allowed = "unit is 1 to 247, the others are above 0"
            raise ConfigError(f"newname: {given}; {allowed}")
        self._modbus, self._unit = wire, unit
        self._tolerance, self._longest = tolerance, longest
        self._mocked, self._aims = False, 0  # how often somebody decided where it should go
        self._changing = asyncio.Lock()  # what belongs together is changed by one at a time
        at = f"{wire.url}#{unit}"
        # FILL IN 12: a line for each reading and each setting: its question, units, limits
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = poll_r(
                float, self._get_temperature, source=f"{at} input 0", units="degC", precision=2
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.setpoint = poll_rw(
                float,
                self._get_setpoint,
                self._put_setpoint,
                source=f"{at} holding 0",
                units="degC",
                precision=2,
                limits=LIMITS,
            )
            self.running = poll_r(bool, self._is_running, source=f"{at} coil 0")
            self.alarm = poll_r(str, self._get_alarm, source=f"{at} input 1")
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
        model, firmware = await self._ask(
            partial(self._modbus.read_input, MODEL, 2, unit=self._unit)
        )
        return f"TB-{model}, firmware {firmware / 100:.2f}"

    async def check_value(self, value: float) -> None:
        """Refuse a temperature that must not be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, LIMITS, self.name, "degC")

    async def locate(self) -> Location[float]:
        return Location(setpoint=await self._get_setpoint(), readback=await self._get_temperature())

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Bring the bath to `value` degC.

        :raises RefusedError: the limits or the instrument said no; nothing has changed.
        :raises FaultError: it does not run, or does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it cannot be asked; it may be on its way.
        """
        await self.check_value(value)
        aim = self._decide()
        if self._mocked:
            return
        deadline = clock.monotonic() + self._longest
        async with self._changing:
            self._check_aim(aim, value)  # what was made safe meanwhile stays so
            await self._put_setpoint(value)
            try:
                await self._switch(True)
            except RefusedError as error:
                why = f"the setpoint was taken, but it cannot be switched on: {error}"
                raise FaultError(self.name, f"set {value:g} degC: {why}") from error
        while abs((at := await self._look(value, aim)) - value) > self._tolerance:
            if clock.monotonic() > deadline:
                raise FaultError(
                    self.name, f"set {value:g} degC: at {at:g} degC after {self._longest:g} s"
                )
            await asyncio.sleep(PERIOD)

    async def halt(self) -> None:
        """End the way to a setpoint: it keeps the temperature that it has now."""
        self._decide()
        if self._mocked:
            return
        async with self._changing:
            low, high = LIMITS
            await self._put_setpoint(min(max(await self._get_temperature(), low), high))

    async def make_safe(self) -> None:
        """Switch it off, and have that confirmed.

        FILL IN 13: what is safe, and how the instrument confirms it.

        :raises NoReplyError: it was not confirmed; that it be off was sent all the same.
        :raises FaultError: it goes on running.
        """
        self._decide()
        if self._mocked:
            return
        async with self._changing:
            await self._switch(False)

    # A bath on its way

    def _decide(self) -> int:
        self._aims += 1
        return self._aims

    def _check_aim(self, aim: int, value: float) -> None:
        if aim != self._aims:
            raise InstrumentError(self.name, f"set {value:g} degC: stopped, or set anew")

    async def _look(self, value: float, aim: int) -> float:
        """Return the temperature, if `value` is still what everybody wants."""
        at, (running, alarm) = await self._get_temperature(), await self._get_state()
        self._check_aim(aim, value)
        if alarm or not running:
            why = alarm or "it has been switched off"
            raise FaultError(self.name, f"set {value:g} degC: {why}, at {at:g} degC")
        return at

    # Registers

    async def _get_temperature(self) -> float:
        return parse_celsius(await self._input(TEMPERATURE))

    async def _get_setpoint(self) -> float:
        read = partial(self._modbus.read_holding, SETPOINT, unit=self._unit)
        return parse_celsius((await self._ask(read))[0])

    async def _is_running(self) -> bool:
        return (await self._ask(partial(self._modbus.read_coils, RUN, unit=self._unit)))[0]

    async def _get_alarm(self) -> str:
        code = await self._input(ALARM)
        return ALARMS.get(code, f"alarm {code}")

    async def _get_state(self) -> tuple[bool, str]:
        return await self._is_running(), await self._get_alarm()

    async def _put_setpoint(self, value: float) -> None:
        word = round(value * SCALE)
        write = partial(self._modbus.write_register, SETPOINT, word & 0xFFFF, unit=self._unit)
        await self._order(write, self._get_setpoint, word / SCALE)

    async def _switch(self, on: bool) -> None:
        """Switch it; that it be off is sent even on a line that is out of step."""
        write = partial(self._modbus.write_coil, RUN, on, unit=self._unit, urgent=not on)
        await self._order(write, self._is_running, on)

    async def _order(
        self,
        write: Callable[[], Awaitable[None]],
        get: Callable[[], Awaitable[T]],
        wanted: T,
    ) -> None:
        """Give an absolute order, and read back whether it was taken.

        FILL IN 9: is what is written absolute? Writes that add up are never sent twice.

        :raises RefusedError: the instrument said no; nothing has changed.
        :raises FaultError: it reads back otherwise.
        """
        holds, lost = None, None
        for _ in range(TRIES):
            try:
                await self._named(write())
            except NoReplyError as error:  # whether it was taken is read back
                lost = error
            if (holds := await get()) == wanted:
                return
        raise FaultError(self.name, f"{wanted!r} was written: it reads back {holds!r}") from lost

    async def _input(self, address: int) -> int:
        return (await self._ask(partial(self._modbus.read_input, address, unit=self._unit)))[0]

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask; a question may be asked again."""
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


newname = NewName
