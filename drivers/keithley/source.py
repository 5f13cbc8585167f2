"""What the drivers of the Keithley source-measure units 2400 and 2450 have in common."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock
from ophyd_async.core import StandardReadableFormat as Format

from sdl.drivers.keithley.scpi import NUMBER, Conversation
from sdl.errors import ConfigError, FaultError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.wires import StreamWire

Source = Literal["voltage", "current"]

MOST = {"voltage": 210.0, "current": 1.05}  # V, A
LEAST_LIMIT = {"voltage": 1e-9, "current": 0.02}  # A where voltage is sourced, V
HIGH_VOLTAGE, MOST_CURRENT_THERE = 21.0, 0.105  # V, A: 22 W in all
UNITS = {"voltage": "V", "current": "A"}
SHORT = {"voltage": "VOLT", "current": "CURR"}
OTHER: Mapping[str, Source] = {"voltage": "current", "current": "voltage"}
OVERFLOW, NOT_MEASURED = 9.9e37, 9.91e37
PERIODS = 0.3  # s that a reading takes for each power line cycle, at most
MARGIN = 2.0  # s for ranges to be found
SHARE, RESOLUTION = 5e-4, {"V": 2e-5, "A": 2e-10}  # what is read back may differ by


@dataclass(frozen=True)
class Measured:
    """One reading; NaN where the output is off."""

    volts: float
    amps: float
    limited: bool


class SourceMeter(Instrument):
    """Sources voltage or current up to a limit, and measures both.

    `set(level)` sets what is sourced; `output` switches it on and off, and nothing else does. Where
    the output is off nothing is measured: `voltage`, `current` and `resistance` are NaN. All that
    is read at one moment comes from one reading.
    """

    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD
    model: ClassVar[str]

    def __init__(
        self,
        wire: StreamWire,
        *,
        limit: float,
        source: Source = "voltage",
        most: float | None = None,
        four_wire: bool = False,
        tags: bool = True,
        end: bytes,
        name: str = "",
    ) -> None:
        kind = type(self).__name__
        if source not in MOST:
            raise ConfigError(f"{kind}: source={source!r}; allowed is voltage or current")
        highest, lowest = MOST[OTHER[source]], LEAST_LIMIT[source]
        if not lowest <= limit <= highest:
            units = UNITS[OTHER[source]]
            raise ConfigError(
                f"{kind}: limit={limit:g}; allowed is {lowest:g} to {highest:g} {units}"
            )
        if most is not None and not 0 < most <= MOST[source]:
            raise ConfigError(
                f"{kind}: most={most:g}; allowed is above 0, to {MOST[source]:g} {UNITS[source]}"
            )
        self.source: Source = source
        self.quantity, self.measured = SHORT[source], SHORT[OTHER[source]]
        self._limit, self._four_wire = limit, four_wire
        self._most = MOST[source] if most is None else most
        self._nplc, self._known_losses, self._mocked = 1.0, 0, False
        self._next: asyncio.Task[Measured] | None = None
        self.scpi = Conversation(wire, end=end, tags=tags, who=lambda: self.name)
        self._add_signals(wire.url)
        super().__init__(wire, name=name)

    def _add_signals(self, at: str) -> None:
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.voltage = poll_r(
                float, self._get_volts, source=f"{at} READ", units="V", precision=6
            )
            self.current = poll_r(
                float, self._get_amps, source=f"{at} READ", units="A", precision=9
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.resistance = poll_r(
                float, self._get_ohms, source=f"{at} READ", units="ohm", precision=3
            )
            self.in_compliance = poll_r(bool, self._get_limited, source=f"{at} READ")
            self.output = poll_rw(bool, self._get_output, self._put_output, source=f"{at} OUTP")
            self.level = poll_r(
                float, self._get_level, source=f"{at} LEV", units=UNITS[self.source], precision=6
            )
        other = OTHER[self.source]
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.limit = poll_rw(
                float,
                self._get_limit,
                self._put_limit,
                source=f"{at} limit",
                units=UNITS[other],
                precision=9,
                limits=(LEAST_LIMIT[self.source], MOST[other]),
            )
            self.nplc = poll_rw(
                float,
                self._get_nplc,
                self._put_nplc,
                source=f"{at} NPLC",
                precision=2,
                limits=(0.01, 10.0),
            )
            self.measuring_range = poll_rw(
                float,
                self._get_range,
                self._put_range,
                source=f"{at} RANG",
                units=UNITS[other],
                precision=9,
                limits=(0.0, MOST[other]),
            )
            self.four_wire = poll_rw(
                bool, self._get_four_wire, self._put_four_wire, source=f"{at} RSEN"
            )
            self.terminals = poll_rw(
                str, self._get_terminals, self._put_terminals, source=f"{at} TERM"
            )

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Agree on the source and the limit; an output that is on stays on, at its level.

        :raises ConfigError: it is another model, or does not speak SCPI.
        :raises RefusedError: its output is on and sources the other quantity.
        """
        self._mocked = bool(mock)
        if not mock:
            await self._begin()
            await self.check_identity()
            await self._set_up()
        await super().connect(mock, timeout, force_reconnect)

    async def _begin(self) -> None:
        """Take errors and events of before away, which are not our concern."""
        try:
            await self.scpi.ask("*OPC?", "1", before="*CLS")
        except (NoReplyError, RefusedError) as error:
            said = str(error).removeprefix(f"{self.name}: ")
            hint = "does it speak SCPI here, with this baud rate and terminator?"
            if self.scpi.tags:
                hint += " What knows no compound messages is described with `tags: false`"
            raise type(error)(self.name, f"connect: {said}; {hint}") from error

    async def identify(self) -> str:
        return await self.scpi.ask("*IDN?", r"[^;]{10,120}")

    async def check_value(self, value: float) -> None:
        """Refuse a level that cannot be sourced.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, (-self._most, self._most), self.name, UNITS[self.source])
        self._check_power(value, self._limit)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Source `value` V or A, at once if the output is on; done when it is read back.

        :raises RefusedError: it cannot be sourced, or the instrument said no; nothing has changed.
        :raises NoReplyError: it could not be reached; it may be sourcing it.
        """
        await self.check_value(value)
        if self._mocked:
            return
        await self._set_up_again()
        await self._put(f":SOUR:{self.quantity}:LEV {value:.6E}", self._level_question, value)

    async def locate(self) -> Location[float]:
        """Return what is to be sourced, and what is."""
        measured = await self._read()
        found = measured.volts if self.source == "voltage" else measured.amps
        return Location(setpoint=await self._get_level(), readback=found)

    async def make_safe(self) -> None:
        """Switch the output off, and have that confirmed.

        :raises NoReplyError: it was not confirmed; the order was sent all the same.
        """
        if self._mocked:
            return
        for last in (False, True):
            try:
                if await self.scpi.ask(":OUTP?", "[01]", before=":OUTP OFF", urgent=True) == "1":
                    raise FaultError(self.name, "make safe: its output stays on")
                return
            except FaultError:  # a loss of power, perhaps, that is told once
                if last:
                    raise

    # What one model does in another way

    limit_question: str

    async def check_identity(self) -> None:
        said = await self.identify()
        if f"MODEL {self.model}," not in said.upper():
            raise ConfigError(f"{self.name}: it says {said!r}, and is no Model {self.model}")

    async def configure(self) -> None:
        raise NotImplementedError

    async def measure_on(self) -> Measured:
        raise NotImplementedError

    # Set-up

    async def _set_up(self) -> None:
        self._known_losses = self.scpi.power_losses
        wanted = self.quantity
        sourced = await self.scpi.ask(":SOUR:FUNC?", r"[A-Z]{3,7}")
        if sourced.upper() != wanted:
            if await self._get_output():
                raise RefusedError(
                    self.name, f"its output is on and sources {sourced}: switch it off first"
                )
            await self.tell(f":SOUR:FUNC {wanted}", ":SOUR:FUNC?", wanted)
        await self.configure()
        await self._put_limit(self._limit)
        if self._four_wire is not await self._get_four_wire():
            await self._put_four_wire(self._four_wire)

    async def _set_up_again(self) -> None:
        """After a loss of power, of which whoever asked first was told."""
        if self._known_losses != self.scpi.power_losses:
            await self._set_up()

    async def tell(self, command: str, question: str, wanted: str) -> None:
        """Have something be as wanted.

        :raises RefusedError: it is not.
        """
        said = await self.scpi.ask(question, r'[A-Z0-9":,.+-]{1,40}', before=command)
        if said.upper() != wanted.upper():
            raise await self.scpi.refusal(f"{command} (it says {said})")

    async def _put(self, command: str, question: str, value: float, units: str = "") -> None:
        """Have a number be as wanted.

        :raises RefusedError: it is not.
        """
        found = float(await self.scpi.ask(question, NUMBER, before=command))
        near = SHARE * abs(value) + RESOLUTION.get(units or UNITS[self.source], 1e-3)
        if not abs(found - value) <= near:
            raise await self.scpi.refusal(f"{command} (it says {found:g})")

    def _check_power(self, level: float, limit: float) -> None:
        volts, amps = (level, limit) if self.source == "voltage" else (limit, level)
        if abs(volts) > HIGH_VOLTAGE and abs(amps) > MOST_CURRENT_THERE:
            allowed = f"above {HIGH_VOLTAGE:g} V at most {MOST_CURRENT_THERE:g} A"
            raise RefusedError(
                self.name, f"{volts:g} V with {amps:g} A: {allowed}; nothing was sent"
            )

    # Readings

    async def _read(self) -> Measured:
        """Measure; who asks before it has begun shares the reading."""
        if self._next is None:
            self._next = asyncio.create_task(self._measure())
            self._next.add_done_callback(_look)
        return await asyncio.shield(self._next)

    async def _measure(self) -> Measured:
        await asyncio.sleep(0)  # all that are read at one moment ask in one turn of the loop
        self._next = None
        await self._set_up_again()
        if not await self._get_output():
            return Measured(math.nan, math.nan, False)
        return await self.measure_on()

    def number(self, text: str, what: str) -> float:
        """:raises FaultError: it is beyond the range."""
        value = float(text)
        if abs(value) >= NOT_MEASURED:
            return math.nan
        if abs(value) >= OVERFLOW:
            raise FaultError(self.name, f"overflow: the {what} is beyond the measuring range")
        return value

    async def _get_volts(self) -> float:
        return (await self._read()).volts

    async def _get_amps(self) -> float:
        return (await self._read()).amps

    async def _get_ohms(self) -> float:
        measured = await self._read()
        return measured.volts / measured.amps if measured.amps else math.nan

    async def _get_limited(self) -> bool:
        return (await self._read()).limited

    @property
    def patience(self) -> float:
        return MARGIN + PERIODS * self._nplc

    # Settings

    async def _get_output(self) -> bool:
        return await self.scpi.ask(":OUTP?", "[01]") == "1"

    async def _put_output(self, on: bool) -> None:
        if not on:
            await self.tell(":OUTP OFF", ":OUTP?", "0")
            return
        await self._set_up()  # source and limit are as they should be, whatever became of it
        await self.tell(":OUTP ON", ":OUTP?", "1")

    @property
    def _level_question(self) -> str:
        return f":SOUR:{self.quantity}:LEV?"

    async def _get_level(self) -> float:
        return float(await self.scpi.ask(self._level_question, NUMBER))

    async def _get_limit(self) -> float:
        return float(await self.scpi.ask(self.limit_question, NUMBER))

    async def _put_limit(self, value: float) -> None:
        level = await self._get_level()
        self._check_power(level, value)
        units = UNITS[OTHER[self.source]]
        question = self.limit_question
        await self._put(f"{question[:-1]} {value:.6E}", question, value, units)
        self._limit = value

    async def _get_nplc(self) -> float:
        said = await self.scpi.ask(f":SENS:{self.measured}:NPLC?", NUMBER)
        self._nplc = float(said)
        return self._nplc

    async def _put_nplc(self, value: float) -> None:
        header = f":SENS:{self.measured}:NPLC"
        await self._put(f"{header} {value:g}", f"{header}?", value, "-")
        self._nplc = value

    async def _get_range(self) -> float:
        header = f":SENS:{self.measured}:RANG"
        if await self.scpi.ask(f"{header}:AUTO?", "[01]") == "1":
            return 0.0
        return float(await self.scpi.ask(f"{header}?", NUMBER))

    async def _put_range(self, value: float) -> None:
        """Choose the range that holds `value`; 0: it finds it itself."""
        header = f":SENS:{self.measured}:RANG"
        if value == 0:
            await self.tell(f"{header}:AUTO ON", f"{header}:AUTO?", "1")
            return
        command = f"{header}:AUTO OFF;{header} {value:.6E}"
        found = float(await self.scpi.ask(f"{header}?", NUMBER, before=command))
        if found * 1.06 < value or await self._get_range() == 0:
            raise await self.scpi.refusal(f"{command} (it says {found:g})")

    four_wire_header: str

    async def _get_four_wire(self) -> bool:
        return await self.scpi.ask(f"{self.four_wire_header}?", "[01]") == "1"

    async def _put_four_wire(self, on: bool) -> None:
        """:raises RefusedError: the output is on; nothing was changed."""
        if await self._get_output() and on is not await self._get_four_wire():
            raise RefusedError(self.name, "its output is on, and would go off: switch it off first")
        header = self.four_wire_header
        await self.tell(f"{header} {int(on)}", f"{header}?", str(int(on)))
        self._four_wire = on

    async def _get_terminals(self) -> str:
        said = await self.scpi.ask(":ROUT:TERM?", "FRON(?:T)?|REAR")
        return "rear" if said.upper() == "REAR" else "front"

    async def _put_terminals(self, value: str) -> None:
        if value not in ("front", "rear"):
            raise RefusedError(self.name, f"terminals {value!r}: allowed is front or rear")
        if await self._get_terminals() == value:
            return
        if await self._get_output():
            raise RefusedError(self.name, "its output is on, and would go off: switch it off first")
        short = "FRON" if value == "front" else "REAR"
        await self.tell(f":ROUT:TERM {short}", ":ROUT:TERM?", short)


def _look(task: "asyncio.Task[Measured]") -> None:
    """Take note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
