"""JULABO heating and refrigerated circulators: CORIO, MAGIO, DYNEO, and their forerunners. Source:
MAGIO MX, original operating manual, 11.1 (p. 91); CORIO CD, 10.2 (p. 39); SC 2500w, p. 42.

RS-232 as delivered: 4800 7E1, RTS/CTS; USB: a virtual port, where these do not matter; TCP behind a
device server. Settings are taken only in remote control, which a person switches on at the panel,
and have no answer: after each one its `status` is asked, and the setting is read back.

Not used: setpoints 2 and 3, the external programmer, the cascade controller's parameters, heating
power over the line, RS-485 addresses; its own watchdog, which is armed at its panel (-1501).
"""

from collections.abc import AsyncIterator, Collection
from typing import ClassVar

from bluesky.protocols import Location
from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceMock,
    SignalR,
    SignalRW,
    WatchableAsyncStatus,
    WatcherUpdate,
)
from ophyd_async.core import StandardReadableFormat as Format

from sdl.drivers.julabo.commands import Interface
from sdl.drivers.julabo.settings import SETTINGS, Settings, told
from sdl.errors import ConfigError, FaultError, NoReplyError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.instrument.settling import Settling
from sdl.wires import StreamWire

COLDEST, HOTTEST = -100.0, 400.0  # degC of any circulator


class Julabo(Instrument):
    """`set(degC)` tempers, and is done when the temperature has settled.

    `halt` holds the temperature there is. Safe is: stopped; or, with `safe_temperature`,
    circulating at that.
    """

    title: ClassVar[str] = "JULABO CORIO, MAGIO, DYNEO, circulator"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=4800&bytesize=7&parity=E&rtscts=1"
    unverified: ClassVar[tuple[str, ...]] = (
        "texts of alarms differ between models: only their numbers are looked at",
        "whether a value outside of the warning limits (-13) is kept: manuals differ, it is undone",
        "that a command which comes too early is lost, and not kept",
        "what a CORIO CD knows beyond ten commands: its manuals differ (pump stages)",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        full: bool = True,
        external: bool = False,
        decimals: int = 2,
        pump_stages: int = 4,
        tolerance: float = 0.2,
        settle: float = 30.0,
        timeout: float | None = None,
        min_temperature: float = -20.0,
        max_temperature: float = 95.0,
        safe_temperature: float | None = None,
        ignored_status: Collection[int] = (),
        name: str = "",
    ) -> None:
        """Describe a circulator.

        :param full: it has pump stages, warning limits and control parameters; a CORIO CD has not.
        :param external: an external Pt100 is plugged in; what it measures is brought to the
            setpoint, if `external_control` is on.
        :param decimals: of its setpoints: 1 for recirculating coolers.
        :param tolerance: degC from the setpoint that count as there.
        :param settle: s the temperature must stay there.
        :param timeout: s until a `set` fails (default: 15 min, and one more for each degC).
        :param safe_temperature: degC at which it goes on circulating when it is made safe.
        :param ignored_status: alarms that are no fault here, such as -4 for a warning limit.
        :raises ConfigError: one of them is impossible.
        """
        if not COLDEST <= min_temperature < max_temperature <= HOTTEST:
            given = f"{min_temperature:g} to {max_temperature:g} degC"
            raise ConfigError(f"julabo: {given}; allowed is {COLDEST:g} to {HOTTEST:g}, ascending")
        if not (decimals in (1, 2) and 1 <= pump_stages <= 5 and tolerance > 0 and settle >= 0):
            given = f"decimals={decimals}, pump_stages={pump_stages}, tolerance={tolerance:g}"
            allowed = "decimals 1 or 2, pump_stages 1 to 5, tolerance above 0, settle from 0"
            raise ConfigError(f"julabo: {given}, settle={settle:g}; allowed are {allowed}")
        self._limits = (min_temperature, max_temperature)
        if (
            safe_temperature is not None
            and not min_temperature <= safe_temperature <= max_temperature
        ):
            raise ConfigError(
                f"julabo: safe_temperature={safe_temperature:g}; it must be within the limits"
            )
        self._decimals, self._safe = decimals, safe_temperature
        self._settling = Settling(tolerance=tolerance, settle=settle, timeout=timeout)
        self._bath, self._url = Interface(wire, lambda: self.name), wire.url
        self._settings = Settings(self._bath, lambda: self.name, ignored_status)
        self._sensor, self._mocked = "in_pv_02" if external else "in_pv_00", False
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = self._shown(self._sensor, "degC", decimals)
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.bath_temperature = self._shown("in_pv_00", "degC", decimals)
            self.safety_sensor = self._shown("in_pv_03", "degC", decimals)
            self.power = self._shown("in_pv_01", "%", 0)
            self.setpoint = self._shown("in_sp_00", "degC", decimals, exact=True)
            self.running = poll_rw(bool, self._runs, self._run, source=f"{wire.url} in_mode_05")
            self.status = poll_r(str, self._state, source=f"{wire.url} status")
            if full:
                self.pump_stage = self._kept("sp_07", "", (1, pump_stages))
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.excess_temperature = self._shown("in_pv_04", "degC", decimals, exact=True)
            if full:
                self.high_warning = self._kept("sp_03", "degC", (COLDEST, HOTTEST), decimals)
                self.low_warning = self._kept("sp_04", "degC", (COLDEST, HOTTEST), decimals)
                self.xp = self._kept("par_06", "", (0.1, 99.9), 1)
                self.tn = self._kept("par_07", "s", (3, 9999))
                self.tv = self._kept("par_08", "s", (0, 999))
                self.external_control = self._kept("mode_04", "", (0, 1))
        super().__init__(wire, name=name)

    def _shown(
        self, question: str, units: str, precision: int, *, exact: bool = False
    ) -> SignalR[float]:
        async def get() -> float:
            return await self._bath.number(question, exact=exact)

        source = f"{self._url} {question}"
        return poll_r(float, get, source=source, units=units, precision=precision)

    def _kept(
        self, which: str, units: str, limits: tuple[float, float], decimals: int = 0
    ) -> SignalRW[float]:
        async def get() -> float:
            return await self._bath.number(f"in_{which}", exact=True)

        async def put(value: float) -> None:
            await self._settings.put(which, value, f"{which} {value:g}", decimals=decimals)

        source = f"{self._url} in_{which}"
        return poll_rw(
            float, get, put, source=source, units=units, precision=decimals, limits=limits
        )

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
        return await self._bath.version()

    async def check_value(self, value: float) -> None:
        """Refuse a temperature that must not be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, "degC")

    async def locate(self) -> Location[float]:
        setpoint = await self._bath.number("in_sp_00", exact=True)
        return Location(setpoint=setpoint, readback=await self._bath.number(self._sensor))

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Bring bath or external sensor to `value` degC; done when it has settled there.

        :raises RefusedError: the limits or the circulator said no; nothing has changed.
        :raises FaultError: an alarm, or it does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it cannot be reached; it may be on its way.
        """
        await self.check_value(value)
        decision, aim = self._settling.decide(), round(value, self._decimals)
        if self._mocked:
            yield WatcherUpdate(current=value, initial=value, target=value, name=self.name)
            return
        what = f"set {value:g} degC"
        await self._settings.put("sp_00", aim, what, decimals=self._decimals)
        self._settling.check(decision, self.name, value)  # what was made safe stays so
        await self._settings.put("mode_05", 1, what)

        async def look() -> float:
            await self._check_running(what, aim)
            return await self._bath.number(self._sensor)

        async for update in self._settling.follow(decision, self.name, value, look):
            yield update

    async def halt(self) -> None:
        """End the way to a setpoint: the temperature there is is held."""
        self._settling.decide()
        if self._mocked or not await self._runs():
            return
        aim = await self._bath.number("in_sp_00", exact=True)
        found = await self._bath.number(self._sensor)
        if abs(found - aim) > self._settling.tolerance:
            low, high = self._limits
            held = round(min(max(found, low), high), self._decimals)
            await self._settings.put("sp_00", held, "halt", decimals=self._decimals)

    async def make_safe(self) -> None:
        """Stop it, or have it circulate at `safe_temperature`.

        :raises NoReplyError: it could not be confirmed; the command was sent all the same.
        """
        self._settling.decide()
        if self._mocked:
            return
        try:
            await self._make_safe()
        except NoReplyError:  # it may hear though it is not heard
            await self._bath.last_words(self._safe_command)
            await self._make_safe()

    async def _make_safe(self) -> None:
        if self._safe is not None:
            what, decimals = "make safe", self._decimals
            await self._settings.put("sp_00", self._safe, what, decimals=decimals, judged=False)
            await self._settings.put("mode_05", 1, what, judged=False)
            return
        for _ in range(SETTINGS):  # whatever alarms it has
            await self._bath.tell("out_mode_05 0")
            if not await self._runs():
                return
        status = await self._bath.status()
        raise FaultError(self.name, f"make safe: it does not stop: {told(status)}")

    @property
    def _safe_command(self) -> str:
        if self._safe is None:
            return "out_mode_05 0"
        return f"out_sp_00 {self._safe:.{self._decimals}f}"

    # Signals

    async def _runs(self) -> bool:
        return await self._bath.number("in_mode_05", exact=True) == 1

    async def _run(self, on: bool) -> None:
        self._settling.decide()
        await self._settings.put("mode_05", int(on), "start" if on else "stop")

    async def _state(self) -> str:
        return (await self._bath.status()).text

    # What is set is read back

    async def _check_running(self, what: str, aim: float) -> None:
        status = self._settings.judged(await self._bath.status(), what)
        if status.running is False:
            raise FaultError(self.name, f"{what}: it was stopped: {status.text!r}")
        if (holds := await self._bath.number("in_sp_00", exact=True)) != aim:
            raise FaultError(self.name, f"{what}: somebody changed the setpoint to {holds:g} degC")
