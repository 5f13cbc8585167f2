"""Alicat MC mass-flow and PC pressure controllers. Sources: MC manual pp. 40-43, Standard Devices
manual p. 32, BC manual p. 10 (shared facts, 2.6); formats as captured from instruments with
firmware 5v12 to 10v20 (see `alicat.frames`).

19200 8N1 as delivered; unit letters A to Z share a line; CR ends all in both directions. A command
is answered by a data frame, whose columns the instrument tells (`??D*`), a question by a line, what
it does not know by `?`. Used: poll, S, LS (9v00), G, V, T, HP, HC, C, L, U, FPF (6v00), `??M*`,
`??D*`. Not used: streaming (an instrument that streams is not understood: send it `@@ A` once),
tares of pressure, batches, ramps, PID and mixtures, changing the unit letter, GP firmware.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar, Literal

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, WatchableAsyncStatus, WatcherUpdate
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.alicat.conversation import FIRMWARE, Conversation
from sdl.drivers.alicat.frames import FLAGS, GASES, Column, Frame, parse_full_scale, parse_setpoints
from sdl.drivers.alicat.units import KELVIN, Scale, Standards
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.instrument.gas_approach import LOOKS, Approach
from sdl.wires import StreamWire

OUT_OF_RANGE = {  # whose reading is none while a flag stands
    "flow": ("ADC", "MOV", "VOV", "POV", "TOV"),
    "volumetric": ("ADC", "VOV"),
    "pressure": ("ADC", "POV"),
    "temperature": ("ADC", "TOV"),
    "total": ("ADC", "OVR", "TMF"),
}
FAULTS = ("ADC", "OPL")  # it does not control as it should
VALVES = {"control": "C", "held": "HP", "closed": "HC"}
STATISTICS = {"flow": 5, "pressure": 2}
UNITS = {"flow": "sccm", "pressure": "bar"}
TELLS_FULL_SCALE, TELLS_SETPOINTS = (6, 0), (9, 0)  # firmware
EBBING = 10.0  # s that a flow may take to end
STILL = 0.02  # of full scale; what may flow when it is tared
log = logging.getLogger(__name__)


class Alicat(Instrument):
    """`set(sccm)`, for a PC `set(bar)`, is done when the reading has settled there.

    `valve` is set to control, held (where it is) or closed; it reads "held" for the latter two, as
    the instrument has one flag for both. `halt` never lets more gas in: a flow on its way up
    stays where it is, any other keeps its setpoint. The safe state is `safe_setpoint`, controlled;
    if the instrument takes no setpoints from the line, its valve is held closed.
    """

    title: ClassVar[str] = "Alicat MC / PC, mass-flow or pressure controller"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=19200"
    unverified: ClassVar[tuple[str, ...]] = (
        "25 degC as the standard of its S units",
        "what the flags COM, GTA, P2O and VTM mean",
        "T resets the totalizer, as the manual says (another library takes it for a tare)",
        "data frames of a PC",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        unit: str = "A",
        controls: Literal["flow", "pressure"] = "flow",
        full_scale: float = 500.0,
        totalizer: bool = False,
        tolerance: float | None = None,
        settle: float = 1.0,
        timeout: float = 30.0,
        safe_setpoint: float = 0.0,
        standard: float | None = None,
        reference: float = 25.0,
        name: str = "",
    ) -> None:
        """Describe a controller.

        :param controls: what its loop controls: flow (MC) or pressure (PC).
        :param full_scale: sccm, or bar; `connect` compares it with what the instrument says.
        :param totalizer: whether it has one.
        :param tolerance: from the setpoint, what counts as there (default: 1 % of full scale).
        :param settle: s that it must stay there.
        :param timeout: s until a `set` fails.
        :param standard: degC that `sccm` mean in this lab (default: what it means by them).
        :param reference: degC that its S units mean; N units always mean 0.
        :raises ConfigError: one of them is impossible.
        """
        tolerance = 0.01 * full_scale if tolerance is None else tolerance
        if problems := _problems(unit, controls, full_scale, tolerance, timeout, safe_setpoint):
            raise ConfigError(*(f"alicat: {problem}" for problem in problems))
        if min(reference, standard or 0.0) <= -KELVIN or settle < 0:
            raise ConfigError("alicat: reference and standard are degC, settle is 0 s or more")
        self._controls, self._limits, self._safe = controls, (0.0, full_scale), safe_setpoint
        self._standards = Standards(standard, reference)
        self._talk = Conversation(wire, unit, who=lambda: self.name)
        self._approach = Approach(
            units=UNITS[controls],
            tolerance=tolerance,
            settle=settle,
            timeout=timeout,
            who=lambda: self.name,
        )
        self._changing, self._mocked = asyncio.Lock(), False
        self._scales: dict[str, Scale] = {}
        self._columns = {"pressure", "setpoint"}  # that its data frames must have
        self._add_signals(f"{wire.url}#{unit}", totalizer=totalizer)
        super().__init__(wire, name=name)

    def _add_signals(self, at: str, *, totalizer: bool) -> None:
        units, read = UNITS[self._controls], self._reader
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.pressure = poll_r(
                float, read("pressure"), source=f"{at} pressure", units="bar", precision=4
            )
            if self._controls == "flow":
                self.flow = poll_r(
                    float, read("flow"), source=f"{at} flow", units="sccm", precision=2
                )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.setpoint = poll_rw(
                float,
                read("setpoint"),
                self._put,
                source=f"{at} setpoint",
                units=units,
                precision=4 if units == "bar" else 2,
                limits=self._limits,
            )
            self.valve = poll_rw(str, self._get_valve, self._set_valve, source=f"{at} HLD")
            self.locked = poll_rw(bool, self._get_locked, self._set_locked, source=f"{at} LCK")
            self.status = poll_r(str, self._get_status, source=f"{at} flags")
            if self._controls == "flow":
                self._columns |= {"flow", "temperature", "volumetric", "gas"}
                self.temperature = poll_r(
                    float, read("temperature"), source=f"{at} temp", units="degC", precision=2
                )
                self.volumetric = poll_r(
                    float, read("volumetric"), source=f"{at} vol", units="mL/min", precision=2
                )
                self.gas = poll_rw(str, self._get_gas, self._set_gas, source=f"{at} gas")
            if totalizer:
                self._columns.add("total")
                self.total = poll_r(
                    float, read("total"), source=f"{at} total", units="mL", precision=2
                )

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Learn its firmware and the columns of its data frames, and check its full scale.

        :raises ConfigError: it is another than was described; nothing was changed.
        """
        self._mocked = bool(mock)
        if not mock:
            await self._learn()
            await self._check_full_scale()
        await super().connect(mock, timeout, force_reconnect)

    async def _learn(self) -> None:
        await self._talk.learn()
        scales = {each: self._scale(each) for each in self._columns - {"gas"}}
        self._column("gas" if "gas" in self._columns else "setpoint")
        self._scales = scales

    async def identify(self) -> str:
        rows = await self._talk.information()
        model, serial = (re.sub(r"^(Model|Serial) Number +", "", rows[n]) for n in (4, 5))
        return f"{model} {rows[FIRMWARE].split()[-1]} (serial number {serial})"

    async def check_value(self, value: float) -> None:
        """Refuse what cannot be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, UNITS[self._controls])

    async def locate(self) -> Location[float]:
        frame = await self._talk.poll()
        setpoint, reading = self._value(frame, "setpoint"), self._value(frame, self._controls)
        return Location(setpoint=setpoint, readback=reading)

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Bring flow (sccm) or pressure (bar) to `value`; done when it has settled there.

        :raises RefusedError: the limits or the instrument said no; nothing has changed.
        :raises FaultError: it does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it could not be reached; it may be on its way.
        """
        await self.check_value(value)
        aim, what = self._approach.decide(), f"set {value:g} {UNITS[self._controls]}"
        if self._mocked:
            yield self._approach.update(value, value, value)
            return

        async def look() -> float:
            frame = await self._talk.poll()
            self._check_state(frame, what)
            return self._ours(frame, self._controls)  # out of range is just not there yet

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
            frame = await self._talk.poll()
            current, setpoint = (self._ours(frame, each) for each in (self._controls, "setpoint"))
            if current < setpoint - self._approach.tolerance:
                await self._put(max(current, self._safe))

    async def make_safe(self) -> None:
        """Set the safe setpoint, have the valve controlled, and see that no more flows than that.

        :raises NoReplyError: it could not be confirmed; the setpoint was sent all the same.
        :raises FaultError: it took the setpoint, and more flows after `EBBING` s.
        """
        self._approach.decide()
        if self._mocked:
            return
        async with self._changing:
            if not self._scales:
                await self._learn_late()
            try:
                await self._put(self._safe)
            except RefusedError as error:
                log.warning("%s: its valve is closed, for %s", self.name, error)
                await self._set_valve("closed")
            except NoReplyError:  # it may hear though it is not heard
                with contextlib.suppress(NoReplyError):
                    await self._talk.command(self._setpoint_command(self._safe), urgent=True)
                await self._put(self._safe)
                await self._set_valve("control")
            else:
                await self._set_valve("control")
            if self._controls == "flow":  # pressure may have no way out
                await self._ebb()

    async def _learn_late(self) -> None:
        """Learn what connecting could not; a setpoint of 0 is sent even where that fails."""
        try:
            await self._learn()
        except (ConfigError, InstrumentError):
            if self._safe == 0:
                with contextlib.suppress(InstrumentError):
                    await self._talk.command("S 0", urgent=True)
            raise

    async def _ebb(self) -> None:
        deadline, most = clock.monotonic() + EBBING, self._safe + self._approach.tolerance
        while (flow := self._ours(await self._talk.poll(), "flow")) > most:
            if clock.monotonic() > deadline:
                raise FaultError(self.name, f"make safe: {flow:g} sccm flow after {EBBING:g} s")
            await asyncio.sleep(LOOKS)

    async def tare_flow(self) -> None:
        """Take what is read now for no flow: only with setpoint 0 and next to no flow.

        :raises RefusedError: gas flows, or may; nothing was changed.
        """
        if self._mocked:
            return
        async with self._changing:
            frame = await self._talk.poll()
            flow, setpoint = self._value(frame, "flow"), self._value(frame, "setpoint")
            if setpoint != 0 or abs(flow) > STILL * self._limits[1]:
                found = f"{flow:g} sccm flow, the setpoint is {setpoint:g}; it was not tared"
                raise RefusedError(self.name, f"tare flow: {found}")
            await self._talk.command("V")

    async def reset_total(self) -> None:
        """Have the totalizer begin at 0.

        :raises FaultError: it did not.
        """
        if self._mocked:
            return
        async with self._changing:
            before = self._ours(await self._talk.poll(), "total")
            after = self._ours(await self._talk.command("T"), "total")
        if before > 0 and after >= before:
            raise FaultError(self.name, f"reset total: it went from {before:g} to {after:g} mL")

    # What is set

    def _check_state(self, frame: Frame, what: str) -> None:
        if "HLD" in frame.flags:
            raise RefusedError(self.name, f"{what}: its valve is held; set `valve` to control")
        if found := [FLAGS[flag] for flag in FAULTS if flag in frame.flags]:
            raise FaultError(self.name, f"{what}: {', '.join(found)}")

    async def _put(self, value: float) -> None:
        """Have the instrument aim at `value`, as its answer must say.

        :raises RefusedError: it kept its setpoint.
        :raises FaultError: it aims at something else.
        """
        what, command = f"set {value:g} {UNITS[self._controls]}", self._setpoint_command(value)
        wanted = float(command.split()[1])
        before = (await self._talk.poll()).values["setpoint"]
        after = (await self._talk.command(command)).values["setpoint"]
        if after != wanted and self._talk.firmware >= TELLS_SETPOINTS:  # on a ramp, perhaps
            _, after = await self._talk.ask("LS", lambda it: parse_setpoints(it, self._talk.unit))
        if after == wanted:
            return
        if after == before:
            why = "it kept its setpoint: does it take setpoints from the line?"
            raise RefusedError(self.name, f"{what}: {why}")
        raise FaultError(self.name, f"{what}: it aims at {after} where {wanted} was sent")

    def _setpoint_command(self, value: float) -> str:
        decimals = self._column("setpoint").decimals
        return f"S {self._scales['setpoint'].its(value):.{decimals}f}"

    async def _set_valve(self, valve: str) -> None:
        if valve not in VALVES:
            allowed = f"allowed are {', '.join(VALVES)}; nothing was sent"
            raise RefusedError(self.name, f"valve {valve!r}: {allowed}")
        frame = await self._talk.command(VALVES[valve])
        if ("HLD" in frame.flags) is (valve == "control"):
            raise RefusedError(self.name, f"valve {valve}: it says {_said(frame)}")

    async def _set_locked(self, locked: bool) -> None:
        frame = await self._talk.command("L" if locked else "U")
        if ("LCK" in frame.flags) is not locked:
            raise RefusedError(self.name, f"locked {locked}: it says {_said(frame)}")

    async def _set_gas(self, gas: str) -> None:
        if gas not in GASES:
            allowed = f"allowed are {', '.join(GASES)}; nothing was sent"
            raise RefusedError(self.name, f"gas {gas!r}: {allowed}")
        frame = await self._talk.command(f"G {GASES.index(gas)}")
        if frame.gas != gas:
            raise RefusedError(self.name, f"gas {gas}: it kept {frame.gas}")

    # What is read

    def _reader(self, quantity: str) -> Callable[[], Awaitable[float]]:
        async def read() -> float:
            return self._value(await self._talk.poll(), quantity)

        return read

    def _value(self, frame: Frame, quantity: str) -> float:
        """Return a reading in our units.

        :raises FaultError: the instrument says that it is none.
        """
        flags = OUT_OF_RANGE.get(quantity, ())
        if invalid := [FLAGS[flag] for flag in flags if flag in frame.flags]:
            raise FaultError(self.name, f"{quantity}: {', '.join(invalid)}")
        return self._ours(frame, quantity)

    def _ours(self, frame: Frame, quantity: str) -> float:
        number = frame.values.get(quantity)
        if number is None:
            raise FaultError(self.name, f"{quantity}: the instrument has no value")
        return self._scales[quantity].ours(number)

    async def _get_valve(self) -> str:
        return "held" if "HLD" in (await self._talk.poll()).flags else "control"

    async def _get_locked(self) -> bool:
        return "LCK" in (await self._talk.poll()).flags

    async def _get_status(self) -> str:
        return _said(await self._talk.poll())

    async def _get_gas(self) -> str:
        gas = (await self._talk.poll()).gas
        doubtful = gas not in GASES or not self._column("gas").aligned  # nothing else shows damage
        if doubtful and (await self._talk.poll()).gas != gas:
            raise GarbledError(self.name, f"gas: {gas}, and then another")
        return gas

    # What it is

    def _column(self, quantity: str) -> Column:
        column = self._talk.layout.find(quantity)
        if column is None:
            has = ", ".join(each.quantity for each in self._talk.layout.columns)
            raise ConfigError(f"{self.name}: its data frames have no {quantity}, but {has}")
        return column

    def _scale(self, quantity: str) -> Scale:
        """:raises ConfigError: it has no such column, or in a unit that is not known here."""
        meant = self._controls if quantity == "setpoint" else quantity
        try:
            return self._standards.scale(meant, self._column(quantity))
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {quantity}: {error}") from error

    async def _check_full_scale(self) -> None:
        """:raises ConfigError: it is another than was described."""
        if self._talk.firmware < TELLS_FULL_SCALE:
            log.warning("%s: its firmware is too old to tell its full scale", self.name)
            return
        found, unit = await self._talk.ask(
            f"FPF {STATISTICS[self._controls]}",
            lambda text: parse_full_scale(text, self._talk.unit),
        )
        if unit != self._column(self._controls).unit:
            log.warning("%s: it tells its full scale in another unit, %s", self.name, unit)
            return
        ours, given = self._scales[self._controls].ours(found), self._limits[1]
        if abs(ours - given) > 0.005 * ours:
            units = UNITS[self._controls]
            message = f"full_scale is {given:g} {units}, the instrument says {ours:g}"
            raise ConfigError(f"{self.name}: {message}")


def _said(frame: Frame) -> str:
    return ", ".join(FLAGS[flag] for flag in sorted(frame.flags)) or "ok"


def _problems(
    unit: str,
    controls: str,
    full_scale: float,
    tolerance: float,
    timeout: float,
    safe_setpoint: float,
) -> list[str]:
    checks = {
        f"unit {unit!r}: allowed is A to Z": re.fullmatch("[A-Z]", unit) is not None,
        f"controls {controls!r}: allowed is flow or pressure": controls in UNITS,
        f"full_scale {full_scale:g}: must be above 0": full_scale > 0,
        f"tolerance {tolerance:g}, timeout {timeout:g}: must be above 0": min(tolerance, timeout)
        > 0,
        f"safe_setpoint {safe_setpoint:g}: allowed is 0 to full_scale": 0
        <= safe_setpoint
        <= full_scale,
    }
    return [problem for problem, holds in checks.items() if not holds]
