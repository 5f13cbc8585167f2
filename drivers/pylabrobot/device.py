"""PyLabRobot's scales, temperature controllers and pumps as instruments. Source: the backend
classes of PyLabRobot 0.2.2 (`scales.scale_backend`, `temperature_controlling.backend`,
`pumps.backend`): units g, degC, revolutions and the pump's own speed.
"""

import asyncio
import inspect
from typing import Any, ClassVar

from ophyd_async.core import (
    AsyncStatus,
    SoftCommandBackend,
    StandardReadableFormat,
    TriggerableCommand,
)

from sdl import clock
from sdl.drivers.pylabrobot.backend import PylabrobotBackend
from sdl.errors import ConfigError, FaultError, GarbledError, InstrumentError
from sdl.instrument import Effect, StopPolicy, check_limits, poll_r, poll_rw
from sdl.instrument.unwired import Unwired

PERIOD = 0.5  # s between looks
TIMEOUT = 30.0  # s for an answer: a balance waits until it is stable
VOID = inspect.Signature([], return_annotation=None)
Options = dict[str, Any]


class _Asked(Unwired):
    """What the three have in common: a backend that is opened, closed, and says who it is."""

    _asked: PylabrobotBackend

    async def _open(self) -> None:
        await self._asked.open()

    async def _close(self) -> None:
        await self._asked.close()

    async def identify(self) -> str:
        await self._asked.open()
        return f"PyLabRobot {type(self._asked.backend).__name__}"

    async def _number(self, what: str) -> float:
        value = await self._asked.ask(what)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise GarbledError(self.name, f"{what}: {value!r} is not a number")
        return float(value)


class PylabrobotScale(_Asked):
    """A balance: `weight`; `tare` and `zero` are triggered. It moves nothing, so it is safe."""

    title: ClassVar[str] = "PyLabRobot, any scale"
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        backend: Any = "pylabrobot.scales:MettlerToledoWXS205SDUBackend",
        *,
        options: Options | None = None,
        timeout: float = TIMEOUT,
        name: str = "",
    ) -> None:
        """Options: see `PylabrobotBackend`."""
        wanted = "pylabrobot.scales:ScaleBackend"
        self._asked = PylabrobotBackend(backend, options or {}, wanted, name, timeout=timeout)
        source = f"pylabrobot://{type(self._asked.backend).__name__}"
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.weight = poll_r(
                float, lambda: self._number("read_weight"), source=source, units="g", precision=4
            )
        self.tare = self._command("tare", timeout)
        self.zero = self._command("zero", timeout)
        super().__init__(name=name)

    def _command(self, what: str, timeout: float) -> TriggerableCommand:
        async def work() -> None:
            await self._asked.ask(what)

        return TriggerableCommand(SoftCommandBackend(work, VOID), timeout=timeout + 5.0)

    async def make_safe(self) -> None:
        """Do nothing: it is safe as it stands."""


class PylabrobotTemperature(_Asked):
    """A heater, cooler or heater-shaker's heater. `set` waits until it is there; the safe state is
    switched off.
    """

    title: ClassVar[str] = "PyLabRobot, any temperature controller"
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        backend: Any,
        *,
        options: Options | None = None,
        limits: tuple[float, float] = (4.0, 110.0),
        tolerance: float = 0.5,
        patience: float = 1800.0,
        timeout: float = TIMEOUT,
        name: str = "",
    ) -> None:
        """Options: see `PylabrobotBackend`.

        :param limits: degC.
        :param patience: s until it must be there.
        """
        wanted = "pylabrobot.temperature_controlling.backend:TemperatureControllerBackend"
        self._asked = PylabrobotBackend(backend, options or {}, wanted, name, timeout=timeout)
        self._limits, self._tolerance, self._patience = limits, tolerance, patience
        self._aims = 0
        source = f"pylabrobot://{type(self._asked.backend).__name__}"
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.temperature = poll_r(
                float, self._temperature, source=source, units="degC", precision=1
            )
        super().__init__(name=name)

    async def _temperature(self) -> float:
        return await self._number("get_current_temperature")

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Bring it to `value` degC.

        :raises RefusedError: it is outside of the limits; nothing was sent.
        :raises FaultError: it is not there in time.
        :raises InstrumentError: another setting or a stop came before it was there.
        """
        check_limits(value, self._limits, self.name, "degC")
        self._aims += 1
        if self.mocked:
            return
        aim, began = self._aims, clock.monotonic()
        await self._asked.ask("set_temperature", float(value))
        while abs((current := await self._temperature()) - value) > self._tolerance:
            if clock.monotonic() - began > self._patience:
                raise FaultError(self.name, f"set {value:g} degC: at {current:g} degC")
            await asyncio.sleep(PERIOD)
            _check_aim(self, aim == self._aims, f"set {value:g} degC")

    async def halt(self) -> None:
        """End the waiting; what it holds it goes on to hold."""
        self._aims += 1

    async def make_safe(self) -> None:
        """Switch it off."""
        self._aims += 1
        if not self.mocked:
            await self._asked.ask("deactivate")


class PylabrobotPump(_Asked):
    """A peristaltic pump as a `Doser`: it runs at a speed for as long as a volume takes.

    No backend can tell what was pumped, so a dose whose end was not heard is a question to a
    person. Halting is the backend's `halt`; a pump is safe when it has been sent.
    """

    title: ClassVar[str] = "PyLabRobot, any single pump"
    effect: ClassVar[Effect | None] = Effect.RELATIVE

    def __init__(
        self,
        backend: Any,
        *,
        mL_per_revolution: float,  # noqa: N803
        options: Options | None = None,
        highest_speed: float = 600.0,
        speed_step: float = 1.0,
        timeout: float = TIMEOUT,
        name: str = "",
    ) -> None:
        """Options: see `PylabrobotBackend`.

        :param mL_per_revolution: of its tube; rates are set with it, at a speed in 1/min.
        :param highest_speed: 1/min.
        :param speed_step: 1/min; a speed is a multiple of it, and a dose takes as long as at that
            speed. Some backends cut off what is behind the point.
        """
        if not (mL_per_revolution > 0 and 0 < speed_step <= highest_speed):
            allowed = "mL_per_revolution above 0, speed_step above 0 and up to highest_speed"
            raise ConfigError(f"pylabrobot_pump: allowed are {allowed}")
        wanted = "pylabrobot.pumps.backend:PumpBackend"
        self._asked = PylabrobotBackend(backend, options or {}, wanted, name, timeout=timeout)
        self._per_turn, self._step = mL_per_revolution, speed_step
        slowest, fastest = mL_per_revolution * speed_step, mL_per_revolution * highest_speed
        self._mL_per_min, self._stops = slowest, 0
        source = f"pylabrobot://{type(self._asked.backend).__name__}"
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.rate = poll_rw(
                float, self._get_rate, self._set_rate, source=source, units="mL/min",
                limits=(slowest, fastest),
            )  # fmt: skip
        super().__init__(name=name)

    async def _get_rate(self) -> float:
        return self._mL_per_min

    async def _set_rate(self, value: float) -> None:
        self._mL_per_min = value

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Pump `value` mL, backwards if it is negative; done when it has been halted.

        :raises NoReplyError: start or halt was not heard; it may be running.
        :raises InstrumentError: a stop came before it was done.
        """
        check_limits(value, None, self.name, "mL")
        if self.mocked or value == 0:
            return
        speed = round(self._mL_per_min / self._per_turn / self._step) * self._step
        seconds, stops = 60 * abs(value) / (speed * self._per_turn), self._stops
        try:
            await self._asked.ask("run_continuously", speed if value > 0 else -speed)
            began = clock.monotonic()
            while (left := began + seconds - clock.monotonic()) > 0 and stops == self._stops:
                await asyncio.sleep(min(left, PERIOD))
        finally:
            await self._asked.ask("halt")
        _check_aim(self, stops == self._stops, f"pump {value:g} mL")

    async def halt(self) -> None:
        """Stop it; a dose that is under way ends with an error."""
        self._stops += 1
        if not self.mocked:
            await self._asked.ask("halt")

    async def make_safe(self) -> None:
        """Stop it. Errors: the backend did not say that it was sent."""
        await self.halt()


def _check_aim(device: Unwired, same: bool, what: str) -> None:
    if not same:
        raise InstrumentError(device.name, f"{what}: stopped before it was done")
