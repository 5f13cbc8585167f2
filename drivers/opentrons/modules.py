"""Modules on the deck of an Opentrons robot, as signals: Temperature Module and Heater-Shaker.

Source: `/modules` and the stateless commands of `/commands`, see `opentrons`; the limits are those
of the package opentrons 8.5.1 (`protocol_engine.state.module_substates`).
"""

from ophyd_async.core import SignalRW

from sdl.drivers.opentrons import replies
from sdl.drivers.opentrons.replies import Module
from sdl.drivers.opentrons.runs import Robot
from sdl.errors import GarbledError, NoReplyError, RefusedError
from sdl.instrument import poll_rw

TEMPERATURE_MODULE = "temperatureModuleType"
HEATER_SHAKER = "heaterShakerModuleType"

BLOCK, HEATER, SHAKER = (-9.0, 99.0), (37.0, 95.0), (200.0, 3000.0)  # degC, degC, rpm
OFF = {
    TEMPERATURE_MODULE: {"temperatureModule/deactivate": "targetTemperature"},
    HEATER_SHAKER: {
        "heaterShaker/deactivateHeater": "targetTemperature",
        "heaterShaker/deactivateShaker": "targetSpeed",
    },
}


class Modules:
    """The modules of one robot, each kind at most once. They can be set while no run is active."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot

    def block(self, url: str) -> "SignalRW[float]":
        """Temperature of a Temperature Module, degC; setting it is setting its target."""

        async def put(value: float) -> None:
            await self._set(
                TEMPERATURE_MODULE,
                "temperatureModule/setTargetTemperature",
                "celsius",
                value,
                "targetTemperature",
            )

        async def get() -> float:
            return replies.number(await self._find(TEMPERATURE_MODULE), "currentTemperature")

        return poll_rw(
            float, get, put, source=f"{url}/modules#{TEMPERATURE_MODULE}", units="degC",
            precision=1, limits=BLOCK,
        )  # fmt: skip

    def heater(self, url: str) -> "SignalRW[float]":
        """Temperature of a Heater-Shaker, degC; setting it is setting its target."""

        async def put(value: float) -> None:
            await self._set(
                HEATER_SHAKER,
                "heaterShaker/setTargetTemperature",
                "celsius",
                value,
                "targetTemperature",
            )

        async def get() -> float:
            return replies.number(await self._find(HEATER_SHAKER), "currentTemperature")

        return poll_rw(
            float, get, put, source=f"{url}/modules#{HEATER_SHAKER}", units="degC",
            precision=1, limits=HEATER,
        )  # fmt: skip

    def shaker(self, url: str) -> "SignalRW[float]":
        """Speed of a Heater-Shaker, rpm; it is set when it is reached. The latch must be closed."""

        async def put(value: float) -> None:
            kind = "heaterShaker/setAndWaitForShakeSpeed"
            await self._set(HEATER_SHAKER, kind, "rpm", round(value), "targetSpeed")

        async def get() -> float:
            return replies.number(await self._find(HEATER_SHAKER), "currentSpeed")

        return poll_rw(
            float, get, put, source=f"{url}/modules#{HEATER_SHAKER}", units="rpm",
            precision=0, limits=SHAKER,
        )  # fmt: skip

    async def off(self, kind: str) -> None:
        """Switch a module off, and have that confirmed.

        :raises NoReplyError: it was not.
        """
        module = await self._find(kind)
        for command, target in OFF[kind].items():
            await self._robot.command(command, moduleId=module.id)
            left = (await self._find(kind)).values.get(target)
            if left is not None:
                raise NoReplyError("", f"{kind}: {command}: its {target} still is {left}")

    async def _set(self, kind: str, command: str, name: str, value: float, target: str) -> None:
        module = await self._find(kind)
        await self._robot.command(command, moduleId=module.id, **{name: value})
        got = replies.number(await self._find(kind), target)
        if abs(got - value) > 0.5:
            raise GarbledError("", f"{kind}: {command} {value:g}: its {target} is {got:g}")

    async def _find(self, kind: str) -> Module:
        found = [
            m for m in await self._robot.ask(replies.parse_modules, "/modules") if m.kind == kind
        ]
        if len(found) != 1:
            raise RefusedError("", f"{len(found)} modules of {kind} are attached; it must be one")
        return found[0]
