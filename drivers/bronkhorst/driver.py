"""Bronkhorst EL-FLOW mass-flow controllers (ProPar). Sources: RS232 interface manual 9.17.027,
sections 3.3.4 (binary messages) and 3.4 to 3.10 (commands, status, parameters, examples); the
parameters and what their values mean: the maker's own library, bronkhorst-propar 1.3.0 (shared
facts, 2.7).

38400 8N1 as delivered; node 128 is whatever the line ends at, others are 3 to 120. Binary messages
with a number; there is no checksum, so that everything is asked for twice in one message (see
`bronkhorst.conversation`). Not used: ASCII messages, claiming of processes, alarms' limits, ramps,
the setpoint as an integer.

`sccm` is mL/min at 101.325 kPa and a standard temperature: the instrument's own, which is 0 degC
for `mln/min` and `ln/min`, 20 degC for `mls/min` and `ls/min`. A lab that has instruments of
several makers says `standard` to have them all at one temperature.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar, TypeVar

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, WatchableAsyncStatus, WatcherUpdate
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.bronkhorst.conversation import LOCAL, Conversation
from sdl.drivers.bronkhorst.packets import Parameter, Value
from sdl.errors import ConfigError, FaultError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.instrument.gas_approach import LOOKS, Approach
from sdl.wires import StreamWire

FLOW, SETPOINT = Parameter(33, 0, "float"), Parameter(33, 3, "float")  # in the capacity unit
CAPACITY, UNIT = Parameter(1, 13, "float"), Parameter(1, 31, "string", 7)
MODE, ALARM = Parameter(1, 4, "byte"), Parameter(1, 20, "byte")
FLUID, GAS = Parameter(1, 16, "byte"), Parameter(1, 17, "string", 10)
VALVE, TEMPERATURE = Parameter(114, 1, "long"), Parameter(33, 7, "float")
TOTAL, TOTAL_UNIT = Parameter(104, 1, "float"), Parameter(104, 7, "string", 4)
MODEL, SERIAL, FIRMWARE = (Parameter(113, number, "string") for number in (2, 3, 5))

T = TypeVar("T")

KELVIN, FULLY_OPEN = 273.15, 2**24
UNITS = {  # mL/min, at degC
    "mln/min": (1.0, 0.0),
    "ln/min": (1000.0, 0.0),
    "mls/min": (1.0, 20.0),
    "ls/min": (1000.0, 20.0),
    "sccm": (1.0, 0.0),
    "slm": (1000.0, 0.0),
}
TOTAL_UNITS = {"mln": (1.0, 0.0), "ln": (1000.0, 0.0), "mls": (1.0, 20.0), "ls": (1000.0, 20.0)}
MODES = {
    "bus": 0,
    "analog input": 1,
    "valve closed": 3,
    "controller idle": 4,
    "setpoint 100 %": 7,
    "valve open": 8,
    "setpoint 0 %": 12,
    "RS232": 18,
    "valve steering": 20,
    "valve safe": 22,
}
OBEYING = ("bus", "RS232")  # modes in which our setpoint counts
SAFE = (*OBEYING, "valve closed", "setpoint 0 %")  # with a safe setpoint
ALARMS = {
    0: "error",
    1: "warning",
    2: "flow below its alarm's limit",
    3: "flow above its alarm's limit",
    4: "the counter has reached its limit",
    5: "flow too far from the setpoint",
    6: "no signal from the master",
    7: "hardware fault",
}
FAULTS = (0, 7)  # alarms in which its readings are none
EBBING = 10.0  # s that a flow may take to end
log = logging.getLogger(__name__)


class Bronkhorst(Instrument):
    """`set(sccm)` is done when the flow has settled there.

    `halt` never lets more gas in: a flow on its way up stays where it is, any other keeps its
    setpoint. The safe state is `safe_setpoint` in a mode in which that counts; if the instrument
    is in another, such as its analog input's, its valve is closed.
    """

    title: ClassVar[str] = "Bronkhorst EL-FLOW, mass-flow controller"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=38400"
    unverified: ClassVar[tuple[str, ...]] = (
        "whether control mode and fluid can be set while init reset is locked",
        "that writing 0 to the counter resets it",
        "the counter's units",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        node: int = LOCAL,
        full_scale: float = 500.0,
        counter: bool = False,
        thermometer: bool = False,
        tolerance: float | None = None,
        settle: float = 1.0,
        timeout: float = 30.0,
        safe_setpoint: float = 0.0,
        standard: float | None = None,
        name: str = "",
    ) -> None:
        """Describe a controller.

        :param node: its number, 3 to 120, or 128 for the only one on the line.
        :param full_scale: sccm; `connect` compares it with the capacity of the chosen fluid.
        :param counter: whether to read what has flowed in all.
        :param thermometer: whether it measures the temperature.
        :param tolerance: from the setpoint, what counts as there (default: 1 % of full scale).
        :param settle: s that it must stay there.
        :param timeout: s until a `set` fails.
        :param standard: degC that `sccm` mean in this lab (default: what it means by them).
        :raises ConfigError: one of them is impossible.
        """
        tolerance = 0.01 * full_scale if tolerance is None else tolerance
        checks = {
            f"node {node}: allowed is 3 to 120, or {LOCAL}": node == LOCAL or 3 <= node <= 120,
            f"full_scale {full_scale:g}: must be above 0": full_scale > 0,
            "tolerance and timeout: must be above 0": min(tolerance, timeout) > 0 <= settle,
            "safe_setpoint: allowed is 0 to full_scale": 0 <= safe_setpoint <= full_scale,
            "standard: must be a temperature, degC": (standard or 0.0) > -KELVIN,
        }
        if problems := [problem for problem, holds in checks.items() if not holds]:
            raise ConfigError(*(f"bronkhorst: {problem}" for problem in problems))
        self._limits, self._safe, self._standard = (0.0, full_scale), safe_setpoint, standard
        optional = {TOTAL: counter, TOTAL_UNIT: counter, TEMPERATURE: thermometer}
        wanted = (TEMPERATURE, FLOW, SETPOINT, MODE, ALARM, FLUID, GAS, UNIT, VALVE)
        wanted = (*wanted, TOTAL, TOTAL_UNIT)
        parameters = [each for each in wanted if optional.get(each, True)]
        self._talk = Conversation(wire, node, parameters, who=lambda: self.name)
        self._approach = Approach(
            units="sccm",
            tolerance=tolerance,
            settle=settle,
            timeout=timeout,
            who=lambda: self.name,
        )
        self._changing, self._mocked = asyncio.Lock(), False
        self._unit = "mln/min"  # until it says otherwise
        self._add_signals(f"{wire.url}#{node}", counter=counter, thermometer=thermometer)
        super().__init__(wire, name=name)

    def _add_signals(self, at: str, *, counter: bool, thermometer: bool) -> None:
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.flow = poll_r(
                float, self._get_flow, source=f"{at} 33/0", units="sccm", precision=3
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.setpoint = poll_rw(
                float,
                self._get_setpoint,
                self._put,
                source=f"{at} 33/3",
                units="sccm",
                precision=3,
                limits=self._limits,
            )
            self.mode = poll_rw(str, self._get_mode, self._set_mode, source=f"{at} 1/4")
            self.valve = poll_r(
                float, self._get_valve, source=f"{at} 114/1", units="%", precision=1
            )
            self.gas = poll_r(str, self._reader(GAS, str), source=f"{at} 1/17")
            self.fluid = poll_rw(
                int,
                self._reader(FLUID, int),
                self._set_fluid,
                source=f"{at} 1/16",
                limits=(0, 7),
            )
            self.alarm = poll_r(str, self._get_alarm, source=f"{at} 1/20")
            if thermometer:
                self.temperature = poll_r(
                    float,
                    self._reader(TEMPERATURE, float),
                    source=f"{at} 33/7",
                    units="degC",
                    precision=2,
                )
            if counter:
                self.total = poll_r(
                    float, self._get_total, source=f"{at} 104/1", units="mL", precision=2
                )

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Compare its capacity with what was described.

        :raises ConfigError: they differ, or its unit is not known here; nothing was changed.
        """
        self._mocked = bool(mock)
        if not mock:
            capacity, unit = await self._talk.read(CAPACITY, UNIT)
            self._talk.span = float(capacity)
            self._unit = str(unit)
            ours, given = float(capacity) * self._factor(self._unit, UNITS), self._limits[1]
            if abs(ours - given) > 0.005 * ours:
                message = f"full_scale is {given:g} sccm, the instrument says {ours:g}"
                raise ConfigError(f"{self.name}: {message}")
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        model, serial, firmware = await self._talk.read(MODEL, SERIAL, FIRMWARE)
        return f"{model} {firmware} (serial number {serial})"

    async def check_value(self, value: float) -> None:
        """Refuse what cannot be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, "sccm")

    async def locate(self) -> Location[float]:
        values = await self._talk.poll()
        return Location(setpoint=self._sccm(values, SETPOINT), readback=self._sccm(values, FLOW))

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Bring the flow to `value` sccm; done when it has settled there.

        :raises RefusedError: the limits or the instrument said no; nothing has changed.
        :raises FaultError: it does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it could not be reached; it may be on its way.
        """
        await self.check_value(value)
        aim, what = self._approach.decide(), f"set {value:g} sccm"
        if self._mocked:
            yield self._approach.update(value, value, value)
            return

        async def look() -> float:
            values = await self._talk.poll()
            if (mode := _mode(values)) not in OBEYING:
                raise RefusedError(self.name, f"{what}: its mode is {mode!r}; set `mode` to bus")
            self._check_alarm(values, what)
            return self._sccm(values, FLOW)

        async with self._changing:
            self._approach.check(aim, value, await look())
            await self._put(value)
        async for update in self._approach.follow(aim, value, look):
            yield update

    async def halt(self) -> None:
        """End a `set`; what rises stays where it is, any other setpoint is kept."""
        self._approach.decide()
        if self._mocked:
            return
        async with self._changing:
            values = await self._talk.poll()
            current, setpoint = self._sccm(values, FLOW), self._sccm(values, SETPOINT)
            if current < setpoint - self._approach.tolerance:
                await self._put(max(current, self._safe))

    async def make_safe(self) -> None:
        """Set the safe setpoint, have it count or the valve closed, and see the flow end.

        :raises NoReplyError: it could not be confirmed; the setpoint was sent all the same.
        :raises FaultError: it took the setpoint, and more flows after `EBBING` s.
        """
        self._approach.decide()
        if self._mocked:
            return
        async with self._changing:
            try:
                await self._put(self._safe)
            except NoReplyError:  # it may hear though it is not heard
                with contextlib.suppress(NoReplyError):
                    await self._talk.write(SETPOINT, self._its(self._safe), urgent=True)
                await self._put(self._safe)
            except (RefusedError, FaultError) as error:
                log.warning("%s: its valve is closed, for %s", self.name, error)
                await self._set_mode("valve closed")
            if (mode := _mode(await self._talk.poll())) not in SAFE:
                log.warning("%s: its valve is closed, for its mode was %r", self.name, mode)
                await self._set_mode("valve closed")
            await self._ebb()

    async def reset_total(self) -> None:
        """Have the counter begin at 0.

        :raises FaultError: it did not.
        """
        if self._mocked:
            return
        async with self._changing:
            (before,) = await self._talk.read(TOTAL)
            await self._talk.write(TOTAL, 0.0)
            (after,) = await self._talk.read(TOTAL)
        if float(before) > 0 and float(after) >= float(before):
            raise FaultError(self.name, f"reset total: it went from {before:g} to {after:g}")

    async def _ebb(self) -> None:
        deadline, most = clock.monotonic() + EBBING, self._safe + self._approach.tolerance
        while (flow := self._sccm(await self._talk.poll(), FLOW)) > most:
            if clock.monotonic() > deadline:
                raise FaultError(self.name, f"make safe: {flow:g} sccm flow after {EBBING:g} s")
            await asyncio.sleep(LOOKS)

    # What is set

    async def _put(self, value: float) -> None:
        """Have the instrument aim at `value`, read back.

        :raises RefusedError: it kept its setpoint.
        :raises FaultError: it aims at something else.
        """
        values = await self._talk.poll()
        before, self._unit = values[SETPOINT], str(values[UNIT])
        number = self._its(value)
        await self._talk.write(SETPOINT, number)
        (after,) = await self._talk.read(SETPOINT)
        (wanted,) = struct.unpack(">f", struct.pack(">f", number))
        if abs(float(after) - wanted) <= 1e-4 * self._talk.span:
            return
        if after == before:
            why = "it kept its setpoint: does another source have the say?"
            raise RefusedError(self.name, f"set {value:g} sccm: {why}")
        message = f"it aims at {after} where {wanted:g} was sent"
        raise FaultError(self.name, f"set {value:g} sccm: {message}")

    async def _set_mode(self, mode: str) -> None:
        if mode not in MODES:
            allowed = f"allowed are {', '.join(MODES)}; nothing was sent"
            raise RefusedError(self.name, f"mode {mode!r}: {allowed}")
        await self._confirmed(MODE, MODES[mode], f"mode {mode}")

    async def _set_fluid(self, fluid: int) -> None:
        await self._confirmed(FLUID, fluid, f"fluid {fluid}")
        (capacity,) = await self._talk.read(CAPACITY)
        self._talk.span = float(capacity)

    async def _confirmed(self, parameter: Parameter, value: int, what: str) -> None:
        await self._talk.write(parameter, value)
        (holds,) = await self._talk.read(parameter)
        if holds != value:
            raise RefusedError(self.name, f"{what}: it kept {holds}")

    # What is read

    def _reader(
        self, parameter: Parameter, kind: Callable[[Value], T]
    ) -> Callable[[], Awaitable[T]]:
        async def read() -> T:
            return kind((await self._talk.poll())[parameter])

        return read

    async def _get_flow(self) -> float:
        values = await self._talk.poll()
        self._check_alarm(values, "flow")
        return self._sccm(values, FLOW)

    async def _get_setpoint(self) -> float:
        return self._sccm(await self._talk.poll(), SETPOINT)

    async def _get_mode(self) -> str:
        return _mode(await self._talk.poll())

    async def _get_valve(self) -> float:
        return 100.0 * float((await self._talk.poll())[VALVE]) / FULLY_OPEN

    async def _get_alarm(self) -> str:
        return ", ".join(_alarms(await self._talk.poll(), tuple(ALARMS))) or "ok"

    async def _get_total(self) -> float:
        values = await self._talk.poll()
        return float(values[TOTAL]) * self._factor(str(values[TOTAL_UNIT]), TOTAL_UNITS)

    def _check_alarm(self, values: dict[Parameter, Value], what: str) -> None:
        if found := _alarms(values, FAULTS):
            raise FaultError(self.name, f"{what}: alarm: {', '.join(found)}")

    # Units

    def _sccm(self, values: dict[Parameter, Value], parameter: Parameter) -> float:
        return float(values[parameter]) * self._factor(str(values[UNIT]), UNITS)

    def _its(self, sccm: float) -> float:
        return sccm / self._factor(self._unit, UNITS)

    def _factor(self, unit: str, known: dict[str, tuple[float, float]]) -> float:
        """:raises ConfigError: the unit is not known here."""
        if unit not in known:
            allowed = f"known here are {', '.join(known)}"
            raise ConfigError(f"{self.name}: its unit is {unit!r}; {allowed}")
        size, own = known[unit]
        standard = own if self._standard is None else self._standard
        return size * (KELVIN + standard) / (KELVIN + own)


def _mode(values: dict[Parameter, Value]) -> str:
    number = values[MODE]
    return next((mode for mode, value in MODES.items() if value == number), f"mode {number}")


def _alarms(values: dict[Parameter, Value], bits: tuple[int, ...]) -> list[str]:
    return [ALARMS[bit] for bit in bits if int(values[ALARM]) >> bit & 1]
