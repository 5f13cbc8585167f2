"""The protocols on a simulated Opentrons robot: uploads, analyses."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sdl import clock
from sdl.simulators.opentrons.api import ApiError, files_invalid, many, one, upload
from sdl.simulators.opentrons.steps import JSON, CommandFailed, Steps, new_id, timestamp

Python = Callable[[str, Mapping[str, Any]], Sequence[Mapping[str, Any]]]


@dataclass
class Uploaded:
    """A protocol on the robot."""

    name: str
    content: bytes
    key: str | None
    commands: list[JSON]
    metadata: JSON
    wrong: JSON | None
    """why it cannot run, as the robot's engine says it"""
    analysed_at: float
    id: str = field(default_factory=new_id)
    created: str = field(default_factory=timestamp)
    analysis: str = field(default_factory=new_id)

    def summary(self) -> JSON:
        pending = clock.monotonic() < self.analysed_at
        done = {"status": "completed", "result": "not-ok" if self.wrong else "ok"}
        return {"id": self.analysis, **({"status": "pending"} if pending else done)}

    def as_json(self, model: str) -> JSON:
        said = {
            "id": self.id,
            "createdAt": self.created,
            "files": [{"name": self.name, "role": "main"}],
            "protocolType": "python" if self.name.endswith(".py") else "json",
            "protocolKind": "standard",
            "robotType": model,
            "metadata": self.metadata,
            "analyses": [],
            "analysisSummaries": [self.summary()],
        }
        return said if self.key is None else {**said, "key": self.key}


class Library:
    """What is uploaded to one robot; it stays there when the power is lost."""

    def __init__(
        self,
        model: str,
        *,
        analysing: float,
        python: Python | None,
        runs_of: Callable[[str], list[str]],
    ) -> None:
        """:param runs_of: the ids of the runs that were made from a protocol."""
        self._model, self._analysing, self._python = model, analysing, python
        self._runs_of = runs_of
        self._protocols: dict[str, Uploaded] = {}

    async def post(self, request: Request) -> Response:
        name, content, key, parameters = await upload(request)
        ident = hashlib.sha256(name.encode() + b"\0" + content).hexdigest()
        if (known := self._protocols.get(ident)) is not None:
            return one(known.as_json(self._model))
        protocol = await self._read(name, content, key, parameters)
        self._protocols[ident] = protocol
        return one(protocol.as_json(self._model), 201)

    async def _read(
        self, name: str, content: bytes, key: str | None, parameters: Mapping[str, Any]
    ) -> Uploaded:
        ready = clock.monotonic() + self._analysing
        if name.endswith(".py"):
            commands, wrong = await self.read_python(content, parameters)
            return Uploaded(name, content, key, commands, {}, wrong, ready)
        try:
            said = json.loads(content)
            commands, schema = said["commands"], said["schemaVersion"]
            metadata, model = said.get("metadata", {}), said["robot"]["model"]
            kinds = [each["commandType"] for each in commands]
            params = [each.get("params", {}) for each in commands]
            good = all(isinstance(each, str) for each in kinds) and isinstance(metadata, dict)
            good = good and all(isinstance(each, dict) for each in params)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise files_invalid(f"{name} is not a valid JSON protocol.") from error
        if not good or schema not in (6, 7, 8):
            raise files_invalid(f"{name} is not a JSON protocol of schema 6, 7 or 8.")
        if model != self._model:
            detail = f"This protocol is for {model} robots. It can't be run on this robot."
            title = "Protocol For Different Robot Type"
            raise ApiError(422, "ProtocolRobotTypeMismatch", title, detail)
        return Uploaded(name, content, key, commands, metadata, await _rehearsed(commands), ready)

    async def read_python(
        self, content: bytes, parameters: Mapping[str, Any]
    ) -> tuple[list[JSON], JSON | None]:
        """Return a Python protocol's commands, or why it has none."""
        if self._python is None:
            detail = "This simulated robot executes no Python; JSON protocols only."
            return [], CommandFailed("ExceptionInProtocolError", detail).error
        commands = [
            dict(each) for each in self._python(content.decode(errors="replace"), parameters)
        ]
        return commands, await _rehearsed(commands)

    async def get_all(self, request: Request) -> Response:
        return many([protocol.as_json(self._model) for protocol in self._protocols.values()])

    async def get(self, request: Request) -> Response:
        protocol = self.find(request.path_params["id"])
        runs = [{"id": run, "href": f"/runs/{run}"} for run in self._runs_of(protocol.id)]
        links = {"referencingRuns": runs}
        return JSONResponse({"data": protocol.as_json(self._model), "links": links})

    async def delete(self, request: Request) -> Response:
        protocol = self.find(request.path_params["id"])
        if self._runs_of(protocol.id):
            detail = f"Protocol {protocol.id} is used by a run and cannot be deleted."
            raise ApiError(409, "ProtocolUsedByRun", "Protocol Used by Run", detail)
        self._protocols = {k: v for k, v in self._protocols.items() if v is not protocol}
        return JSONResponse({})

    async def get_analyses(self, request: Request) -> Response:
        return many([self._analysis(self.find(request.path_params["id"]))])

    async def get_analysis(self, request: Request) -> Response:
        protocol = self.find(request.path_params["id"])
        if (ident := request.path_params["analysis"]) != protocol.analysis:
            detail = f"Analysis {ident} was not found."
            raise ApiError(404, "AnalysisNotFound", "Protocol Analysis Not Found", detail)
        return one(self._analysis(protocol))

    def _analysis(self, protocol: Uploaded) -> JSON:
        said = protocol.summary()
        if said["status"] != "completed":
            return said
        errors = [] if protocol.wrong is None else [protocol.wrong]
        return {**said, "errors": errors, "commands": [], "labware": []}

    def find(self, ident: str) -> Uploaded:
        for protocol in self._protocols.values():
            if protocol.id == ident:
                return protocol
        detail = f"Protocol {ident} was not found."
        raise ApiError(404, "ProtocolNotFound", "Protocol Not Found", detail)


class _Instantly:
    """A run in which nothing takes time, as an analysis sees it."""

    async def part(self, seconds: float) -> float:
        return 1.0

    async def hold(self) -> None: ...


class _Imagined:
    """A deck with everything on it and nothing in the wells."""

    lights, door_open, estop = False, False, "disengaged"

    def __init__(self) -> None:
        self.temperature_module, self.heater_shaker = _AtOnce(), _AtOnce()

    def watch(self, changed: Callable[[], object]) -> None: ...

    def aspirate(self, slot: str, well: str, volume: float) -> float:
        return volume

    def dispense(self, slot: str, well: str, volume: float) -> None: ...

    def move(self, action: str, **details: str) -> None: ...


class _AtOnce:
    """A plate that is as warm as it should be."""

    target: float | None = None
    speed = 0.0

    @property
    def temperature(self) -> float:
        return 22.0 if self.target is None else self.target


async def _rehearsed(commands: Sequence[Mapping[str, Any]]) -> JSON | None:
    """Return what goes wrong when the commands are executed, if anything does."""
    steps = Steps(_Imagined(), _Instantly())
    try:
        for command in commands:
            await steps.do(command["commandType"], command.get("params", {}))
    except CommandFailed as failure:
        return failure.error
    return None
