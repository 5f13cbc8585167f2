"""A functional unit of a LADS device (Laboratory and Analytical Device Standard) as an instrument.
Source: OPC 30500-1 1.00: FunctionalUnitType 7.1.4, FunctionalStateMachineType 7.1.5 (states,
Start, Stop, Abort, Clear), sensor functions 7.5, AnalogControlFunctionType 7.6.5
(StartWithTargetValue).

A device stands in the DeviceSet of OPC 10000-100 under Objects. Of a unit this driver takes the
state machine, its control functions (CurrentValue, TargetValue) and analog scalar sensors
(SensorValue). Not used: properties of Start, programs and results, maintenance, components, events.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from ophyd_async.core import AsyncStatus, StandardReadableFormat

from sdl import clock
from sdl.drivers.opcua import OpcUaLink
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Effect, StopPolicy, check_limits, poll_r
from sdl.instrument.unwired import Unwired

STATES = ("Stopped", "Running", "Stopping", "Aborting", "Aborted", "Clearing")
WRONG = ("Aborting", "Aborted")
STILL = ("Stopped", "Aborted")
PERIOD = 0.5  # s between looks
TRIES = 2  # of a question, and of a stop that was not heard
STOPPING = 4.0  # s for a unit to stand still


class Lads(Unwired):
    """`set` gives `control` a target value and waits until its current value is there; `trigger`
    starts the unit and waits until it has stopped; `halt` and the safe state stop both.
    """

    title: ClassVar[str] = "any OPC UA LADS device, functional unit"
    unverified: ClassVar[tuple[str, ...]] = ("all: tried with a server of our own only",)
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        url: str,
        device: str,
        unit: str,
        *,
        control: str = "",
        units: str = "",
        limits: tuple[float, float] = (-1e9, 1e9),
        tolerance: float = 0.5,
        timeout: float = 600.0,
        sensors: Mapping[str, str] | None = None,
        run: bool = False,
        security: str = "",
        name: str = "",
    ) -> None:
        """Describe a unit.

        :param url: opc.tcp://HOST:PORT/PATH.
        :param device: its name in the DeviceSet.
        :param unit: the name of the functional unit.
        :param control: the control function that `set` is for; it is read as signals called
            `current` and `target`.
        :param units: of the control function.
        :param tolerance: how near the current value must come.
        :param timeout: s until it must be there, or the unit must have stopped by itself.
        :param sensors: analog sensor functions to read, with their units, by name.
        :param run: whether `trigger` starts the unit, with no properties, and waits for its
            end.
        :raises ConfigError: it cannot be described so, or `asyncua` is not installed.
        """
        if not (tolerance > 0 and timeout > 0):
            given = f"tolerance={tolerance:g}, timeout={timeout:g}"
            raise ConfigError(f"lads: {given}; allowed is above 0")
        self._link = OpcUaLink(url, name, timeout=STOPPING, security=security)
        self._unit = f"DeviceSet/{device}/FunctionalUnitSet/{unit}"
        self._control, self._limits, self._tolerance = control, limits, tolerance
        self._units, self._timeout, self._run = units, timeout, run
        self._aims, self._machine = 0, f"{self._unit}/FunctionalUnitState"
        own = [f"{self._unit}/FunctionSet/{control}/ControlFunctionState"] if control else []
        self._machines = [*own, self._machine]  # they are independent of each other
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            if control:
                self.current = self._number(f"{control}/CurrentValue", units)
            for sensor, its in (sensors or {}).items():
                self._add(sensor, its)
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            if control:
                self.target = self._number(f"{control}/TargetValue", units)
            source = f"{url}#{self._machine}/CurrentState"
            self.state = poll_r(str, lambda: self._state(self._machine), source=source)
        super().__init__(name=name)

    def _add(self, sensor: str, units: str) -> None:
        key = sensor.lower()
        if not key.isidentifier() or hasattr(self, key):
            raise ConfigError(f"lads: {sensor!r} cannot be the name of a signal here")
        setattr(self, key, self._number(f"{sensor}/SensorValue", units))

    def _number(self, function: str, units: str) -> Any:
        path = f"{self._unit}/FunctionSet/{function}"
        source = f"{self._link.url}#{path}"
        return poll_r(float, lambda: self._value(path), source=source, units=units or None)

    async def _open(self) -> None:
        await self._link.open()

    async def _close(self) -> None:
        await self._link.close()

    async def identify(self) -> str:
        state = await self._state(self._machine)
        return f"{await self._link.identify()}: {self._unit.rpartition('/')[2]} is {state}"

    async def check_value(self, value: float) -> None:
        """:raises RefusedError: it must not be set; nothing was sent."""
        if not self._control:
            raise RefusedError(self.name, "cannot be set: its lab file names no `control`")
        check_limits(value, self._limits, self.name, self._units)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Have the control function hold a value; done when it is there.

        :raises RefusedError: the limits or the device said no; nothing has changed.
        :raises FaultError: the unit was aborted, or did not get there.
        :raises NoReplyError: it could not be reached; it may be on its way.
        :raises InstrumentError: another setting or a stop came before it was there.
        """
        await self.check_value(value)
        self._aims += 1
        if self.mocked:
            return
        aim, began = self._aims, clock.monotonic()
        function = f"{self._unit}/FunctionSet/{self._control}"
        start = f"{function}/ControlFunctionState/StartWithTargetValue"
        await self._link.call(start, {"TargetValue": float(value)}, STOPPING)
        while abs((current := await self._value(f"{function}/CurrentValue")) - value) > (
            self._tolerance
        ):
            await self._look(aim, f"set {value:g}")
            if clock.monotonic() - began > self._timeout:
                at = f"at {current:g} {self._units} after {self._timeout:g} s"
                raise FaultError(self.name, f"set {value:g}: not there: {at}")
            await asyncio.sleep(PERIOD)
        await self._look(aim, f"set {value:g}")

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Start the unit and wait until it has stopped, if it is to `run`; else do nothing.

        :raises RefusedError: the unit does not start.
        :raises FaultError: it was aborted, or runs on and on.
        """
        if not self._run or self.mocked:
            return
        aim, began = self._aims, clock.monotonic()
        await self._call("Start")
        while await self._look(aim, "start") != "Stopped":
            if clock.monotonic() - began > self._timeout:
                raise FaultError(self.name, f"start: it runs on after {self._timeout:g} s")
            await asyncio.sleep(PERIOD)

    async def halt(self) -> None:
        """Stop the control function and the unit; done when both stand still."""
        self._aims += 1
        if not self.mocked:
            for machine in self._machines:
                await self._stop(machine)

    async def _stop(self, machine: str) -> None:
        for last in (False, True):
            if await self._state(machine) in STILL:
                return
            try:
                await self._link.call(f"{machine}/Stop", {}, STOPPING)
                break
            except (NoReplyError, RefusedError):  # not heard, or it has just stopped by itself
                if last:
                    raise
        deadline = clock.monotonic() + STOPPING
        while (state := await self._state(machine)) not in STILL:
            if clock.monotonic() > deadline:
                found = f"{machine} is {state} after {STOPPING:g} s"
                raise FaultError(self.name, f"stop: {found}")
            await asyncio.sleep(PERIOD)

    async def make_safe(self) -> None:
        """Stop the control function and the unit, confirmed by their states."""
        await self.halt()

    async def clear(self) -> None:
        """Acknowledge that the unit was aborted; a person calls it, never this driver."""
        if not self.mocked:
            await self._call("Clear")

    async def _call(self, method: str) -> None:
        await self._link.call(f"{self._machine}/{method}", {}, STOPPING)

    async def _look(self, aim: int, what: str) -> str:
        """Return the unit's state, if nothing is wrong with it or its control function."""
        if aim != self._aims:
            raise InstrumentError(self.name, f"{what}: stopped before it was done")
        states = {machine: await self._state(machine) for machine in self._machines}
        for machine, state in states.items():
            if state in WRONG:
                raise FaultError(self.name, f"{what}: {machine} is {state}")
        return states[self._machine]

    async def _state(self, machine: str) -> str:
        """:raises FaultError: it is in no state of this standard."""
        state = await self._asked(f"{machine}/CurrentState")
        if state not in STATES:
            known = ", ".join(STATES)
            raise FaultError(self.name, f"{machine}: its state {state!r} is none of {known}")
        return state

    async def _value(self, path: str) -> float:
        value = await self._asked(path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FaultError(self.name, f"{path}: {value!r} is not a number")
        return float(value)

    async def _asked(self, path: str) -> Any:
        for _ in range(TRIES - 1):
            try:
                return await self._link.value(path)
            except NoReplyError:  # a session that was lost is opened anew
                continue
        return await self._link.value(path)
