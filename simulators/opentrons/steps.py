"""The steps of an Opentrons protocol, executed on a deck: pipetting, loading, heating, waiting.

From the command models of the package opentrons 8.5.1 (`protocol_engine.commands`). How long a step
takes is a guess; volumes in uL become mL of the world.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sdl import clock

JSON = dict[str, Any]

TIP = 1000.0  # uL, where nothing says how large a tip is
HOMING, TIPPING, MOVING, AT_ONCE = 3.0, 2.0, 1.0, 0.01  # s
FLOW = 7.56  # uL/s, where a command does not say

MOVES = {
    "moveToWell", "moveToCoordinates", "moveRelative", "moveToAddressableArea",
    "moveToAddressableAreaForDropTip", "retractAxis", "touchTip", "prepareToAspirate",
}  # fmt: skip
NOTHING = {
    "loadModule", "loadLiquid", "loadLiquidClass", "comment", "custom", "savePosition",
    "configureForVolume", "configureNozzleLayout", "setStatusBar", "identifyModule",
}  # fmt: skip


class Plate(Protocol):
    temperature: float
    target: float | None
    speed: float


class OnDeck(Protocol):
    """What a pipetting robot needs of its world; volumes in mL."""

    lights: bool

    @property
    def temperature_module(self) -> Any: ...  # a Plate, or None

    @property
    def heater_shaker(self) -> Any: ...

    @property
    def door_open(self) -> bool: ...

    @property
    def estop(self) -> str: ...

    @estop.setter
    def estop(self, state: str) -> None: ...

    def watch(self, changed: Callable[[], object]) -> None: ...

    def aspirate(self, slot: str, well: str, volume: float) -> float: ...

    def dispense(self, slot: str, well: str, volume: float) -> None: ...

    def move(self, action: str, **details: str) -> None: ...


class Going(Protocol):
    """The run that a step belongs to."""

    async def part(self, seconds: float) -> float:
        """Let time pass; return the part of it that did, less than 1 if the run was stopped."""
        ...

    async def hold(self) -> None:
        """Pause, until somebody plays it on."""
        ...


class CommandFailed(Exception):  # noqa: N818 (the engine's word)
    """A command cannot be executed."""

    def __init__(self, kind: str, detail: str, code: str = "4000") -> None:
        super().__init__(detail)
        self.error = {
            "id": new_id(),
            "createdAt": timestamp(),
            "errorType": kind,
            "errorCode": code,
            "detail": detail,
            "errorInfo": {},
            "wrappedErrors": [],
        }


def timestamp() -> str:
    return datetime.fromtimestamp(clock.now(), UTC).isoformat().replace("+00:00", "Z")


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Pipette:
    mount: str
    tip: float | None = None  # uL that fit
    air_and_liquid: float = 0.0  # uL
    liquid: float = 0.0  # uL


class Steps:
    """Executes the steps of one run; knows what it has loaded."""

    def __init__(self, deck: OnDeck, run: Going) -> None:
        self._deck, self._run = deck, run
        self.labware: dict[str, JSON] = {}
        self.pipettes: dict[str, Pipette] = {}
        self._at = ("", "")  # slot and well where the pipette is

    async def do(self, kind: str, params: JSON) -> JSON:
        """Execute a step; return its result.

        :raises CommandFailed: it cannot be executed, or its run was stopped meanwhile.
        """
        try:
            return await self._do(kind, params)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CommandFailed("ValidationError", f"{kind}: {error!r}") from error

    async def _do(self, kind: str, params: JSON) -> JSON:
        if kind == "home":
            self._deck.move("home")
            await self._take(HOMING)
        elif kind in MOVES:
            self._deck.move("move")
            await self._take(MOVING)
        elif kind == "loadPipette":
            return await self._load_pipette(params)
        elif kind in ("loadLabware", "moveLabware"):
            return await self._load_labware(kind, params)
        elif kind in ("pickUpTip", "dropTip", "dropTipInPlace"):
            await self._tip(kind, params)
        elif kind in ("aspirate", "aspirateInPlace", "dispense", "dispenseInPlace"):
            await self._pipette(kind, params)
        elif kind in ("blowout", "blowOutInPlace"):
            await self._take(MOVING)
        elif kind == "waitForDuration":
            await self._take(_number(params["seconds"]))
        elif kind in ("waitForResume", "pause"):
            await self._run.hold()
        elif kind == "setRailLights":
            self._deck.lights = bool(params["on"])
        elif "/" in kind:
            await self._module(kind, params)
        elif kind in NOTHING:
            await self._take(AT_ONCE)
        else:
            raise CommandFailed("CommandNotSupported", f"{kind} is not known here")
        return {}

    async def _load_pipette(self, params: JSON) -> JSON:
        ident = params.get("pipetteId") or new_id()
        self.pipettes[ident] = Pipette(params["mount"])
        await self._take(AT_ONCE)
        return {"pipetteId": ident}

    async def _load_labware(self, kind: str, params: JSON) -> JSON:
        ident = params.get("labwareId") or new_id()
        where = params["location" if kind == "loadLabware" else "newLocation"]
        slot = where if isinstance(where, str) else where.get("slotName") or where.get("moduleId")
        before = self.labware.get(ident, {})
        self.labware[ident] = {
            "id": ident,
            "loadName": params.get("loadName", before.get("loadName")),
            "slot": str(slot),
        }
        await self._take(AT_ONCE)
        return {"labwareId": ident, "definition": {}}

    async def _tip(self, kind: str, params: JSON) -> None:
        pipette = self._pipette_of(params)
        if (kind == "pickUpTip") is (pipette.tip is not None):
            raise _tip_error(pipette)
        slot = self._slot(params) if "labwareId" in params else "trash"
        await self._take(TIPPING)
        self._deck.move(
            "tip" if kind == "pickUpTip" else "no tip", slot=slot, well=str(params.get("wellName"))
        )
        pipette.tip = TIP if kind == "pickUpTip" else None
        pipette.air_and_liquid = pipette.liquid = 0.0

    async def _pipette(self, kind: str, params: JSON) -> None:
        pipette, volume = self._pipette_of(params), _number(params["volume"])
        if pipette.tip is None:
            raise _tip_error(pipette)
        if kind.endswith("InPlace"):
            slot, well = self._at
        else:
            slot, well = self._at = self._slot(params), str(params["wellName"])
        aspirates = kind.startswith("aspirate")
        if aspirates and pipette.air_and_liquid + volume > pipette.tip + 1e-9:
            raise CommandFailed("InvalidAspirateVolumeError", "Cannot aspirate that much.")
        if not aspirates and volume > pipette.air_and_liquid + 1e-9:
            there = f"when only {pipette.air_and_liquid} µL has been aspirated."
            detail = f"Cannot dispense {volume} µL {there}"
            raise CommandFailed("InvalidDispenseVolumeError", detail)
        part = await self._run.part(
            MOVING + volume / (_number(params.get("flowRate", FLOW)) or FLOW)
        )
        if aspirates:
            pipette.liquid += 1000 * self._deck.aspirate(slot, well, part * volume / 1000)
            pipette.air_and_liquid += part * volume
        else:
            liquid = min(part * volume, pipette.liquid)
            self._deck.dispense(slot, well, liquid / 1000)
            pipette.liquid -= liquid
            pipette.air_and_liquid -= part * volume
        if part < 1:
            raise _cancelled()

    def _pipette_of(self, params: JSON) -> Pipette:
        ident = params["pipetteId"]
        if ident not in self.pipettes:
            raise CommandFailed("PythonException", f"KeyError: {ident!r}")
        return self.pipettes[ident]

    def _slot(self, params: JSON) -> str:
        ident = params["labwareId"]
        if ident == "fixedTrash":
            return "12"
        if ident not in self.labware:
            raise CommandFailed("LabwareNotLoadedError", f"Labware {ident} not found.", "4008")
        return str(self.labware[ident]["slot"])

    async def _module(self, kind: str, params: JSON) -> None:
        where, what = kind.split("/", 1)
        plates = {
            "temperatureModule": self._deck.temperature_module,
            "heaterShaker": self._deck.heater_shaker,
        }
        plate: Plate | None = plates.get(where)
        if plate is None:
            raise CommandFailed("ModuleNotAttachedError", f"No {where} is attached.")
        low, high = (-9, 99) if where == "temperatureModule" else (37, 95)
        await self._take(AT_ONCE)
        match what:
            case "setTargetTemperature":
                if not low <= float(params["celsius"]) <= high:
                    detail = f"{where} got an invalid temperature {params['celsius']}."
                    raise CommandFailed("InvalidTargetTemperatureError", detail)
                plate.target = float(params["celsius"])
            case "deactivate" | "deactivateHeater":
                plate.target = None
            case "setAndWaitForShakeSpeed":
                if not 200 <= float(params["rpm"]) <= 3000:
                    raise CommandFailed("InvalidTargetSpeedError", f"{params['rpm']} rpm")
                await self._take(TIPPING)
                plate.speed = float(params["rpm"])
            case "deactivateShaker":
                plate.speed = 0.0
            case "waitForTemperature":
                while plate.target is not None and abs(plate.temperature - plate.target) > 0.5:
                    await self._take(1.0)
            case "openLabwareLatch" | "closeLabwareLatch":
                await self._take(MOVING)
            case _:
                raise CommandFailed("CommandNotSupported", f"{kind} is not known here")

    async def _take(self, seconds: float) -> None:
        """:raises CommandFailed: the run was stopped meanwhile."""
        if await self._run.part(seconds) < 1:
            raise _cancelled()


def _number(value: Any) -> float:
    if not 0 <= (number := float(value)) <= 1e7:
        raise ValueError(f"{value} is no number of that")
    return number


def _tip_error(pipette: Pipette) -> CommandFailed:
    if pipette.tip is None:
        detail = "Pipette should have a tip attached, but does not."
        return CommandFailed("TipNotAttachedError", detail, "3005")
    detail = "Pipette should not have a tip attached, but does."
    return CommandFailed("TipAttachedError", detail, "3012")


def _cancelled() -> CommandFailed:
    return CommandFailed("RunStoppedError", "Run was cancelled ")
