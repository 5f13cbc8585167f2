"""What a simulated Opentrons robot has beside its runs: lights, door, E-stop, pipettes, modules."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sdl.simulators.opentrons.api import ApiError, body, heating, invalid, many, module, one
from sdl.simulators.opentrons.steps import OnDeck

MODELS = {"ot2": "OT-2 Standard", "flex": "OT-3 Standard"}
ESTOP = {
    "notPresent": ("EstopNotAttached", "There is no Estop attached"),
    "physicallyEngaged": ("EstopEngaged", "An Estop is physically engaged"),
    "logicallyEngaged": ("EstopNotAcknowledged", "Estop event must be acknowledged"),
}


class Fixtures:
    """Answers what is asked about them."""

    def __init__(
        self, deck: OnDeck, robot: str, *, door_switch: bool, felt: Callable[[float], float]
    ) -> None:
        """:param felt: what a module's sensor makes of a temperature."""
        self._deck, self._robot, self._door_switch = deck, robot, door_switch
        self._sensor = felt

    def require_estop(self) -> None:
        if self._robot == "flex" and self._deck.estop in ESTOP:
            kind, title = ESTOP[self._deck.estop]
            raise ApiError(403, kind, title, "Endpoint access is not permitted: see the E-stop.")

    async def get_health(self, request: Request) -> Response:
        logs = ["/logs/serial.log", "/logs/api.log", "/logs/server.log"]
        said = {
            "name": "sdl-simulated",
            "robot_model": MODELS[self._robot],
            "api_version": "8.5.1",
            "fw_version": "v1.1.0-25e5cea" if self._robot == "ot2" else "62",
            "board_revision": "2.1" if self._robot == "ot2" else "B2",
            "logs": logs,
            "system_version": "v1.19.7" if self._robot == "ot2" else "v0.9.0",
            "maximum_protocol_api_version": [2, 24],
            "minimum_protocol_api_version": [2, 0] if self._robot == "ot2" else [2, 15],
            "robot_serial": "SDL0001",
            "links": {
                "apiLog": logs[1],
                "serialLog": logs[0],
                "serverLog": logs[2],
                "apiSpec": "/openapi.json",
                "systemTime": "/system/time",
            },
        }
        return JSONResponse(said)

    async def get_lights(self, request: Request) -> Response:
        return JSONResponse({"on": self._deck.lights})

    async def post_lights(self, request: Request) -> Response:
        on = (await body(request)).get("on")
        if not isinstance(on, bool):
            raise invalid("body.on", "value could not be parsed to a boolean")
        self._deck.lights = on
        return JSONResponse({"on": on})

    async def get_door(self, request: Request) -> Response:
        status = "open" if self._deck.door_open else "closed"
        return one({"status": status, "doorRequiredClosedForProtocol": self._door_switch})

    async def get_estop(self, request: Request) -> Response:
        if self._robot != "flex":
            detail = "This endpoint is not supported on the OT-2."
            raise ApiError(403, "NotSupportedOnOT2", "Not Supported On OT-2", detail)
        state = self._deck.estop
        left = "engaged" if state == "physicallyEngaged" else "disengaged"
        left = "notPresent" if state == "notPresent" else left
        said = {"status": state, "leftEstopPhysicalStatus": left}
        return one({**said, "rightEstopPhysicalStatus": "notPresent"})

    async def put_estop(self, request: Request) -> Response:
        if self._robot == "flex" and self._deck.estop == "logicallyEngaged":
            self._deck.estop = "disengaged"
        return await self.get_estop(request)

    async def post_home(self, request: Request) -> Response:
        self.require_estop()
        target = (await body(request)).get("target")
        if target not in ("robot", "pipette"):
            raise invalid("body.target", "value is not a valid enumeration member")
        self._deck.move("home")
        await asyncio.sleep(3.0)
        return JSONResponse({"message": f"Homing {target}."})

    async def post_identify(self, request: Request) -> Response:
        return JSONResponse({"message": "identifying"})

    async def get_pipettes(self, request: Request) -> Response:
        """The right mount is empty."""
        left = {
            "model": "p300_single_v2.1",
            "name": "p300_single_gen2",
            "id": "P3HSV2020210101A01",
            "mount_axis": "z",
            "plunger_axis": "b",
            "tip_length": 51.83,
        }
        return JSONResponse({"left": left, "right": dict.fromkeys(left)})

    async def get_instruments(self, request: Request) -> Response:
        pipette = {
            "mount": "left",
            "instrumentType": "pipette",
            "instrumentModel": "p300_single_v2.1",
            "instrumentName": "p300_single_gen2",
            "serialNumber": "P3HSV2020210101A01",
            "ok": True,
            "data": {"channels": 1, "min_volume": 20.0, "max_volume": 300.0},
        }
        return many([pipette])

    async def get_modules(self, request: Request) -> Response:
        found = []
        if (plate := self._deck.temperature_module) is not None:
            data = {"status": heating(plate), "currentTemperature": self._sensor(plate.temperature)}
            data["targetTemperature"] = plate.target
            found.append(module("temperature", "temperatureModuleV2", data))
        if (plate := self._deck.heater_shaker) is not None:
            on = plate.speed > 0
            data = {
                "status": "running" if on or plate.target is not None else "idle",
                "labwareLatchStatus": "idle_closed",
                "speedStatus": "holding at target" if on else "idle",
                "currentSpeed": round(plate.speed),
                "targetSpeed": round(plate.speed) if on else None,
                "temperatureStatus": heating(plate),
                "currentTemperature": self._sensor(plate.temperature),
                "targetTemperature": plate.target,
                "errorDetails": None,
            }
            found.append(module("heaterShaker", "heaterShakerModuleV1", data))
        return many(found)
