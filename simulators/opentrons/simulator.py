"""Simulated Opentrons OT-2 or Flex: its HTTP API, version 3, on port 31950.

Written from robot-server's routes, models and integration tests (as of software 8.5; the paths that
a lab uses) and the package opentrons 8.5.1. JSON protocols (schema 6 to 8) are executed; Python
protocols are given to `python`, and where there is none, they are not-ok, as one with a mistake.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdl import clock
from sdl.endpoints.http import App, HangUp, Receive, Scope, Send
from sdl.simulators.opentrons.api import (
    HANDLERS,
    OLDEST,
    ApiError,
    body,
    command_in,
    command_of,
    invalid,
    one,
    page_of,
    patience,
    version,
    whole_number,
)
from sdl.simulators.opentrons.engine import Command, NotAllowed, Run
from sdl.simulators.opentrons.fixtures import MODELS, Fixtures
from sdl.simulators.opentrons.protocols import Library, Python
from sdl.simulators.opentrons.steps import JSON, OnDeck
from sdl.simulators.simulated import Simulated

Endpoint = Callable[[Request], Awaitable[Response]]

MOST_RUNS = 20  # that a robot keeps
DOWN = 2.0  # s without a network, when the power comes back
STATELESS = (
    "home", "setRailLights", "setStatusBar", "identifyModule",
    "temperatureModule/setTargetTemperature", "temperatureModule/deactivate",
    "heaterShaker/setTargetTemperature", "heaterShaker/setAndWaitForShakeSpeed",
    "heaterShaker/deactivateHeater", "heaterShaker/deactivateShaker",
    "heaterShaker/openLabwareLatch", "heaterShaker/closeLabwareLatch",
)  # fmt: skip
ACTIONS = (
    "play", "pause", "stop", "resume-from-recovery",
    "resume-from-recovery-assuming-false-positive",
)  # fmt: skip


class SimulatedOpentrons(Simulated):
    """A robot that has booted when power comes, and boots anew after a loss of power."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "power cycle", "drift", "noise", "saturation"}
    )

    def __init__(
        self,
        part: OnDeck,
        *,
        rng: np.random.Generator,
        robot: Literal["ot2", "flex"] = "ot2",
        door_switch: bool | None = None,
        booting: float = 20.0,
        analysing: float = 1.0,
        python: Python | None = None,
        noise: bool = True,
    ) -> None:
        """Describe a robot.

        :param door_switch: whether the door must be closed for a run (default: a Flex's must).
        :param booting: s after a loss of power in which the robot answers 503.
        :param analysing: s that it looks through a protocol.
        :param python: gives the commands of a Python protocol, from its text and its parameters.
        :param noise: whether the modules' sensors have their resolution of 0.1 degC and its noise.
        """
        super().__init__(rng=rng)
        self._deck, self._robot = part, robot
        self._door_switch = robot == "flex" if door_switch is None else door_switch
        self._booting, self._noise = booting, noise
        self._protocols = Library(
            MODELS[robot],
            analysing=analysing,
            python=python,
            runs_of=lambda ident: [r.id for r in self._runs.values() if r.protocol == ident],
        )
        self._fixtures = Fixtures(part, robot, door_switch=self._door_switch, felt=self._felt)
        self._runs: dict[str, Run] = {}
        self._current: Run | None = None
        self._foreign: Run | None = None
        self._single: Run | None = None
        self._down_until = self._boots_until = -1.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._starlette = Starlette(routes=self._routes(), exception_handlers=HANDLERS)
        part.watch(self._changed)

    @property
    def app(self) -> App:
        return self._answer

    async def serve(self) -> None:
        """Live until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            self._end_runs()

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            del self.troubles[fault]
            self.power_cycle()
        elif fault == "busy" and (self._current is None or self._current.is_idle_or_over):
            wait = Command("waitForDuration", {"seconds": 1e6})
            self._foreign = self._create(None, [wait])  # somebody's, from the touch screen
            self._foreign.act("play")
        self._changed()

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "busy" and self._foreign is not None and self._foreign is self._current:
            if self._foreign.status == "running":
                self._foreign.act("stop")
            self._foreign = None
        self._changed()

    def power_cycle(self) -> None:
        """Lose the power for a moment: runs under way are gone, what is on the disk stays."""
        self._end_runs()
        for run in self._runs.values():
            run.lose_power()
        self._current = self._foreign = self._single = None
        self._deck.lights = False
        self._down_until = clock.monotonic() + DOWN
        self._boots_until = self._down_until + self._booting

    def _end_runs(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _changed(self) -> None:
        for run in (self._current, self._single):
            if run is not None:
                run.wake()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if clock.monotonic() < self._down_until:
            raise HangUp
        try:
            await self._starlette(scope, receive, send)
        except ClientDisconnect:
            raise HangUp from None

    # what all requests have in common

    def _routes(self) -> list[Route]:
        def route(
            method: str, path: str, answer: Callable[[Request], Awaitable[Response]]
        ) -> Route:
            return Route(path, self._checked(answer), methods=[method])

        return [
            route("GET", "/health", self._fixtures.get_health),
            route("GET", "/robot/lights", self._fixtures.get_lights),
            route("POST", "/robot/lights", self._fixtures.post_lights),
            route("GET", "/robot/door/status", self._fixtures.get_door),
            route("GET", "/robot/control/estopStatus", self._fixtures.get_estop),
            route("PUT", "/robot/control/acknowledgeEstopDisengage", self._fixtures.put_estop),
            route("POST", "/robot/home", self._fixtures.post_home),
            route("POST", "/identify", self._fixtures.post_identify),
            route("GET", "/pipettes", self._fixtures.get_pipettes),
            route("GET", "/instruments", self._fixtures.get_instruments),
            route("GET", "/modules", self._fixtures.get_modules),
            route("POST", "/protocols", self._protocols.post),
            route("GET", "/protocols", self._protocols.get_all),
            route("GET", "/protocols/{id}", self._protocols.get),
            route("DELETE", "/protocols/{id}", self._protocols.delete),
            route("GET", "/protocols/{id}/analyses", self._protocols.get_analyses),
            route("GET", "/protocols/{id}/analyses/{analysis}", self._protocols.get_analysis),
            route("POST", "/runs", self._post_run),
            route("GET", "/runs", self._get_runs),
            route("GET", "/runs/{id}", self._get_run),
            route("PATCH", "/runs/{id}", self._patch_run),
            route("DELETE", "/runs/{id}", self._delete_run),
            route("POST", "/runs/{id}/actions", self._post_action),
            route("POST", "/runs/{id}/commands", self._post_run_command),
            route("GET", "/runs/{id}/commands", self._get_run_commands),
            route("GET", "/runs/{id}/commands/{command}", self._get_run_command),
            route("POST", "/runs/{id}/labware_definitions", self._post_labware),
            route("POST", "/commands", self._post_command),
            route("GET", "/commands", self._get_commands),
            route("GET", "/commands/{command}", self._get_command),
        ]

    def _checked(self, answer: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Response:
            asked = version(request.headers.get("opentrons-version"))
            if clock.monotonic() < self._boots_until:
                detail = "The device's hardware has not finished initializing."
                title = "Hardware Not Yet Initialized"
                raise ApiError(503, "HardwareNotYetInitialized", title, detail)
            response = await answer(request)
            response.headers["Opentrons-Version"] = str(asked)
            response.headers["Opentrons-Min-Version"] = str(OLDEST)
            return response

        return checked

    def _felt(self, celsius: float) -> float:
        noise = 0.05 * float(self.rng.standard_normal()) if self._noise else 0.0
        return round(self.disturbed(celsius + noise, low=-9.0, high=99.0), 1)

    # runs

    async def _post_run(self, request: Request) -> Response:
        self._fixtures.require_estop()
        data = (await body(request, optional=True)).get("data", {})
        ident = data.get("protocolId") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(ident, str | None):
            raise invalid("body.data", "value is not a valid dict")
        protocol = None if ident is None else self._protocols.find(ident)
        if self._current is not None and not self._current.is_idle_or_over:
            detail = "Current run is not idle or stopped."
            raise ApiError(409, "RunAlreadyActive", "Run Already Active", detail, errorCode="1002")
        commands, wrong = [], None
        if protocol is not None:
            wrong, source = protocol.wrong, protocol.commands
            values = data.get("runTimeParameterValues")
            if protocol.name.endswith(".py") and isinstance(values, dict):
                source, wrong = await self._protocols.read_python(protocol.content, values)
            wrong = None if source else wrong  # what can be read is begun, and fails where it fails
            first = [Command("home", {})]  # a JSON protocol is homed for
            commands = first + [
                Command(each["commandType"], each.get("params", {})) for each in source
            ]
        run = self._create(None if protocol is None else protocol.id, commands, wrong)
        return one(self._run_json(run), 201)

    def _create(
        self, protocol: str | None, commands: Sequence[Command], wrong: JSON | None = None
    ) -> Run:
        if self._current is not None:
            self._current.set_aside()
        run = Run(
            self._deck,
            self.troubles,
            protocol=protocol,
            commands=commands,
            failure=wrong,
            door_switch=self._door_switch,
        )
        for old in list(self._runs)[: max(len(self._runs) - MOST_RUNS + 1, 0)]:
            del self._runs[old]
        self._runs[run.id] = self._current = run
        self._own(run)
        return run

    def _own(self, run: Run) -> None:
        task = asyncio.create_task(run.live())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run_json(self, run: Run) -> JSON:
        where = [
            {"id": each["id"], "loadName": each["loadName"], "location": {"slotName": each["slot"]}}
            for each in run.steps.labware.values()
        ]
        mounts = [{"id": ident, "mount": each.mount} for ident, each in run.steps.pipettes.items()]
        said: JSON = {
            "id": run.id,
            "ok": True,
            "createdAt": run.created,
            "status": run.status,
            "current": run is self._current,
            "actions": run.actions,
            "errors": run.errors,
            "hasEverEnteredErrorRecovery": False,
            "pipettes": mounts,
            "modules": [],
            "labware": where,
            "liquids": [],
            "labwareOffsets": [],
            "runTimeParameters": [],
        }
        if run.protocol is not None:
            said["protocolId"] = run.protocol
        if run.started is not None:
            said["startedAt"] = run.started
        if run.completed is not None:
            said["completedAt"] = run.completed
        return said

    async def _get_runs(self, request: Request) -> Response:
        length = whole_number(request, "pageLength", None)
        runs = list(self._runs.values())
        runs = runs if length is None else runs[max(len(runs) - length, 0) :]
        links = {} if self._current is None else {"current": {"href": f"/runs/{self._current.id}"}}
        said = [self._run_json(run) for run in runs]
        meta = {"cursor": 0, "totalLength": len(said)}
        return JSONResponse({"data": said, "links": links, "meta": meta})

    async def _get_run(self, request: Request) -> Response:
        return one(self._run_json(self._run(request)))

    async def _patch_run(self, request: Request) -> Response:
        run = self._run(request)
        data = (await body(request)).get("data")
        if not isinstance(data, dict) or not isinstance(data.get("current"), bool | None):
            raise invalid("body.data", "field required")
        self._must_be_current(run)
        if data.get("current") is False:
            self._close(run)
        return one(self._run_json(run))

    async def _delete_run(self, request: Request) -> Response:
        run = self._run(request)
        if run is self._current:
            self._close(run)
        del self._runs[run.id]
        return JSONResponse({})

    def _close(self, run: Run) -> None:
        if not run.is_idle_or_over:
            detail = (
                "Run is currently active. Allow the run to finish or stop it with a `stop` action."
            )
            raise ApiError(409, "RunNotIdle", "Run is not idle.", detail, errorCode="1002")
        run.set_aside()
        self._current = None

    async def _post_action(self, request: Request) -> Response:
        run = self._run(request)
        data = (await body(request)).get("data")
        action = data.get("actionType") if isinstance(data, dict) else None
        if action not in ACTIONS:
            raise invalid("body.data.actionType", "value is not a valid enumeration member")
        self._fixtures.require_estop()
        self._must_be_current(run)
        try:
            return one(run.act(action), 201)
        except NotAllowed as error:
            title = "Run Action Not Allowed"
            raise ApiError(409, "RunActionNotAllowed", title, str(error)) from error

    async def _post_run_command(self, request: Request) -> Response:
        run = self._run(request)
        command = command_of(await body(request))
        command.intent = command.intent or "setup"
        self._fixtures.require_estop()
        self._must_be_current(run)
        try:
            run.add(command)
        except NotAllowed as error:
            title = "Setup Command Not Allowed"
            raise ApiError(409, "CommandNotAllowed", title, str(error)) from error
        await patience(request, run, command)
        return one(command.as_json(), 201)

    async def _get_run_commands(self, request: Request) -> Response:
        run = self._run(request)
        return page_of(request, run, f"/runs/{run.id}/commands")

    async def _get_run_command(self, request: Request) -> Response:
        return one(command_in(self._run(request), request).as_json())

    async def _post_labware(self, request: Request) -> Response:
        self._must_be_current(self._run(request))
        data = (await body(request)).get("data")
        if not isinstance(data, dict):
            raise invalid("body.data", "field required")
        name = data.get("parameters", {}) if isinstance(data.get("parameters"), dict) else {}
        uri = f"{data.get('namespace')}/{name.get('loadName')}/{data.get('version')}"
        return one({"definitionUri": uri}, 201)

    def _run(self, request: Request) -> Run:
        ident = request.path_params["id"]
        if ident not in self._runs:
            detail = f"Run {ident} was not found."
            raise ApiError(404, "RunNotFound", "Run Not Found", detail)
        return self._runs[ident]

    def _must_be_current(self, run: Run) -> None:
        if run is not self._current:
            detail = f"Run {run.id} is not the current run"
            raise ApiError(409, "RunStopped", "Run Stopped", detail)

    # single commands

    def _without_run(self) -> Run:
        if self._current is not None and self._current.is_active:
            detail = "There is an active run. Close the current run to issue commands."
            raise ApiError(409, "RunActive", "Run Active", detail, errorCode="1002")
        if self._single is None:
            self._single = Run(self._deck, self.troubles)
            self._own(self._single)
        return self._single

    async def _post_command(self, request: Request) -> Response:
        command = command_of(await body(request))
        if command.kind not in STATELESS:
            raise invalid("body.data.commandType", "no match for discriminator")
        command.intent = "setup"
        run = self._without_run()
        run.add(command)
        await patience(request, run, command)
        return one(command.as_json(), 201)

    async def _get_commands(self, request: Request) -> Response:
        return page_of(request, self._without_run(), "/commands")

    async def _get_command(self, request: Request) -> Response:
        return one(command_in(self._without_run(), request).as_json())
