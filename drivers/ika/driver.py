"""IKA hotplate stirrers: RCT digital, C-MAG HS control, RET control-visc. Source: IKA Plate (RCT
digital), operating instructions 11/2018, p. 30 (command table, watchdogs); RET control-visc
20000004159 for its second probe and its limits, as other people's drivers give them.

9600 7E1, no handshake. Nothing that is set has an answer, nor has an unknown command: every
setpoint is read back. Whether heater and motor are on say `STATUS_1` and `STATUS_4`, which no
manual has: a plate that does not know them takes `status=False`, and is trusted to have started.
Errors (Er02 ... Er05) show on its display only: here the heater is found off, or not to get there.

Not used: `SET_MODE_*` (what happens at power-up is a person's to choose), `RESET` (ends remote
operation), weight and pH of the RET, intermittent operation.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Literal

from bluesky.protocols import Location
from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceMock,
    SignalR,
    WatchableAsyncStatus,
    WatcherUpdate,
)
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.ika.namur import Namur, parse_name
from sdl.drivers.ika.settings import OFF, Settings
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.instrument.agreeing import roughly
from sdl.instrument.settling import Settling
from sdl.wires import StreamWire

Model = Literal["RCT digital", "C-MAG HS7", "RET control-visc"]
MODELS = {
    "RCT digital": (310.0, 1500),
    "C-MAG HS7": (500.0, 1500),
    "RET control-visc": (340.0, 1700),
}
"""Hottest setpoint, degC, and fastest, rpm, of each"""
SLOWEST_SPEED = 50  # rpm
SHORTEST, LONGEST = 20, 1500  # s of a watchdog
RUN_UP, PERIOD = 15.0, 0.5  # s in which the motor has its speed, and between looks at it


class IkaPlate(Instrument):
    """`set(degC)` heats, and is done when the temperature has settled; `speed` stirs, and is done
    when the motor turns so.

    `halt` asks for no more heat than there is; the stirrer goes on. Safe is: heater off, setpoint
    at `safe_temperature`, stirring at `safe_speed` (0: not at all).
    """

    title: ClassVar[str] = "IKA RCT digital, C-MAG HS, RET control-visc, hotplate stirrer"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=9600&bytesize=7&parity=E"
    unverified: ClassVar[tuple[str, ...]] = (
        "STATUS_1 and STATUS_4 are in no manual: ika-control uses them",
        "what is answered for a probe that is unplugged",
        "that a setpoint is kept at START_1: ika-control saw it go to 0, so it is set again",
        "unit of the viscosity trend",
        "hottest setpoint and fastest speed of the C-MAG HS7",
        "whether setpoints can be changed while a watchdog's warning lasts: it is ended first",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        model: Model = "RCT digital",
        probe: bool = False,
        status: bool = True,
        tolerance: float = 1.0,
        settle: float = 10.0,
        timeout: float | None = None,
        max_temperature: float | None = None,
        max_speed: int | None = None,
        safe_temperature: float = 0.0,
        safe_speed: int = 0,
        watchdog: Literal[1, 2] = 2,
        name: str = "",
    ) -> None:
        """Describe a plate.

        :param probe: its external probe is plugged in: the plate then brings that to the setpoint.
        :param status: it answers `STATUS_n`.
        :param tolerance: degC from the setpoint that count as there.
        :param settle: s the temperature must stay there.
        :param timeout: s until a `set` fails (default: 15 min, and one more for each degC).
        :param max_temperature: degC, to allow less than the model can do; the plate itself refuses
            what is nearer than 50 K to its safety temperature.
        :param max_speed: rpm, the same for the stirrer.
        :param watchdog: 1: heater and motor go off, and only cutting the power ends that (Er02);
            2: setpoints go to `safe_temperature` and `safe_speed`.
        :raises ConfigError: one of them is impossible.
        """
        if model not in MODELS:
            raise ConfigError(f"ika: model {model!r}; allowed are {', '.join(MODELS)}")
        hottest, fastest = MODELS[model]
        hot = hottest if max_temperature is None else max_temperature
        fast = fastest if max_speed is None else max_speed
        _check(hot, hottest, fast, fastest, safe_temperature, safe_speed, watchdog)
        self._limits, self._status = (0.0, hot), status
        self._safe, self._safe_speed, self._watchdog = safe_temperature, safe_speed, watchdog
        self._settling = Settling(tolerance=tolerance, settle=settle, timeout=timeout)
        if not (tolerance > 0 and settle >= 0):
            given = f"tolerance={tolerance:g}, settle={settle:g}"
            raise ConfigError(f"ika: {given}; allowed are above 0, and from 0")
        self._plate = Namur(wire, lambda: self.name)
        self._settings = Settings(self._plate, lambda: self.name, status=status)
        self._sensor, self._mocked = "IN_PV_1" if probe else "IN_PV_2", False
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = self._number(self._sensor, "degC", wire.url)
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.plate_temperature = self._number("IN_PV_2", "degC", wire.url)
            if model == "RET control-visc" and probe:
                self.second_probe = self._number("IN_PV_7", "degC", wire.url)
            self.setpoint = self._number("IN_SP_1", "degC", wire.url, exact=True)
            self.measured_speed = poll_r(
                float, self._turns, source=f"{wire.url} IN_PV_4", units="rpm", precision=1
            )
            self.viscosity = self._number("IN_PV_5", "%", wire.url)
            self.speed = poll_rw(
                float,
                self._get_speed,
                self._set_speed,
                source=f"{wire.url} IN_SP_4",
                units="rpm",
                precision=0,
                limits=(0, fast),
            )
            if status:
                self.heating = poll_r(bool, self._heats, source=f"{wire.url} STATUS_1")
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.safety_temperature = self._number("IN_SP_3", "degC", wire.url, exact=True)
        super().__init__(wire, name=name)

    def _number(
        self, question: str, units: str, url: str, *, exact: bool = False
    ) -> SignalR[float]:
        async def get() -> float:
            return await self._plate.number(question, exact=exact)

        return poll_r(float, get, source=f"{url} {question}", units=units, precision=1)

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
        return await self._plate.text("IN_NAME", parse_name)

    async def check_value(self, value: float) -> None:
        """Refuse a temperature that must not be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, "degC")

    async def locate(self) -> Location[float]:
        setpoint = await self._plate.number("IN_SP_1", exact=True)
        return Location(setpoint=setpoint, readback=await self._plate.number(self._sensor))

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Heat to `value` degC; done when the temperature has settled there.

        :raises RefusedError: the limits or the plate said no; nothing has changed.
        :raises FaultError: it does not heat, or does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it cannot be reached; it may be heating.
        """
        await self.check_value(value)
        decision, aim = self._settling.decide(), round(value, 1)
        if self._mocked:
            yield WatcherUpdate(current=value, initial=value, target=value, name=self.name)
            return
        what = f"set {value:g} degC"
        await self._settings.put("SP_1", aim, what)
        self._settling.check(decision, self.name, value)  # a plate that was made safe stays so
        await self._settings.switch(1, True, what)
        await self._settings.put("SP_1", aim, what)

        async def look() -> float:
            await self._check_heating(what, aim)
            return await self._plate.number(self._sensor)

        async for update in self._settling.follow(decision, self.name, value, look):
            yield update

    async def halt(self) -> None:
        """End the way to a setpoint: what is being heated holds the temperature it has now."""
        self._settling.decide()
        if self._mocked:
            return
        aim = await self._plate.number("IN_SP_1", exact=True)
        found = await self._plate.number(self._sensor)
        if found < aim - self._settling.tolerance:
            await self._settings.put("SP_1", round(max(found, min(self._safe, aim)), 1), "halt")

    async def make_safe(self) -> None:
        """Switch the heater off, its setpoint to the safe one, the stirrer to its safe speed.

        :raises NoReplyError: it could not be confirmed; the stops were sent all the same.
        """
        self._settling.decide()
        if self._mocked:
            return
        try:
            await self._make_safe()
        except NoReplyError:  # it may hear though it is not heard
            for command in ("STOP_1", *(("STOP_4",) if not self._safe_speed else ())):
                await self._plate.last_words(command)
            await self._make_safe()

    async def arm_watchdog(self, seconds: float) -> None:
        """Have the plate go safe when it hears nothing for `seconds` (rounded down to whole ones).

        Every exchange feeds it when it is time.

        :raises RefusedError: not 20 to 1500 s; nothing was sent.
        """
        if self._mocked:
            return
        check_limits(seconds, (SHORTEST, LONGEST), f"{self.name}: watchdog", "s")
        if self._watchdog == 2:
            await self._plate.end_warning()
            await self._plate.repeat("OUT_SP_12", self._safe)
            await self._plate.repeat("OUT_SP_42", self._safe_speed)
        await self._plate.arm(f"OUT_WD{self._watchdog}", int(seconds))

    async def _make_safe(self) -> None:
        problems: list[InstrumentError] = []
        for step in (
            self._settings.switch(1, False, "make safe"),
            self._settings.put("SP_1", self._safe, "make safe"),
            self._settings.put("SP_4", self._safe_speed, "make safe"),
            self._settings.switch(4, self._safe_speed > 0, "make safe"),
        ):
            try:
                await step
            except (
                FaultError,
                RefusedError,
                NoReplyError,
            ) as error:  # the rest is done all the same
                problems.append(error)
        if problems:
            raise next((e for e in problems if isinstance(e, NoReplyError)), problems[0])

    # Signals

    async def _heats(self) -> bool:
        return await self._plate.switch("STATUS_1")

    async def _turns(self) -> float:
        return await self._plate.number("IN_PV_4", alike=roughly)

    async def _get_speed(self) -> float:
        on = not self._status or await self._plate.switch("STATUS_4")
        return await self._plate.number("IN_SP_4", exact=True) if on else 0.0

    async def _set_speed(self, rpm: float) -> None:
        what, aim = f"stir at {rpm:g} rpm", float(round(rpm))
        if 0 < aim < SLOWEST_SPEED:
            allowed = f"allowed is 0, or from {SLOWEST_SPEED} rpm; nothing was sent"
            raise RefusedError(self.name, f"{what}: {allowed}")
        await self._settings.put("SP_4", aim, what)
        await self._settings.switch(4, aim > 0, what)
        await self._see_turning(aim, what)

    async def _see_turning(self, aim: float, what: str) -> None:
        """Wait until the motor turns as it should.

        :raises FaultError: it does not, in `RUN_UP` s.
        """
        deadline = clock.monotonic() + RUN_UP
        while abs((found := await self._turns()) - aim) > max(20.0, 0.1 * aim):
            if clock.monotonic() > deadline:
                why = f"it turns at {found:g} rpm after {RUN_UP:g} s: is it blocked (Er04)?"
                raise FaultError(self.name, f"{what}: {why}")
            await asyncio.sleep(PERIOD)

    # What is set is read back

    async def _check_heating(self, what: str, aim: float) -> None:
        if self._status and not await self._heats():
            raise FaultError(self.name, f"{what}: the heater is {OFF}")
        if (holds := await self._plate.number("IN_SP_1", exact=True)) != aim:
            who = "somebody, or its watchdog,"
            raise FaultError(self.name, f"{what}: {who} changed the setpoint to {holds:g} degC")


def _check(
    hot: float, hottest: float, fast: int, fastest: int, safe: float, safe_speed: int, watchdog: int
) -> None:
    problems: list[str] = []
    if not 0 < hot <= hottest:
        problems.append(f"max_temperature {hot:g} degC: allowed is above 0, at most {hottest:g}")
    if not SLOWEST_SPEED <= fast <= fastest:
        problems.append(f"max_speed {fast} rpm: allowed is {SLOWEST_SPEED} to {fastest}")
    if not 0 <= safe <= hot:
        problems.append(f"safe_temperature {safe:g} degC: allowed is 0 to {hot:g}")
    if safe_speed and not SLOWEST_SPEED <= safe_speed <= fast:
        problems.append(f"safe_speed {safe_speed} rpm: allowed is 0, or {SLOWEST_SPEED} to {fast}")
    if watchdog not in (1, 2):
        problems.append(f"watchdog {watchdog}: allowed is 1 or 2")
    if problems:
        raise ConfigError(*(f"ika: {problem}" for problem in problems))
