"""Opentrons OT-2 and Flex, liquid handlers, over HTTP (port 31950, `Opentrons-Version: 3`).

Source: the robot's HTTP API as robot-server describes it (`/openapi.json` on every robot), compared
with its source and integration tests and with the run states of the package opentrons 8.5.1; no
manual in print exists. Used: health, protocols, runs with their actions and commands, stateless
commands, lights, door, E-stop, modules (Temperature Module, Heater-Shaker). Not used: maintenance
runs, calibration, labware offsets, thermocycler, plate reader, camera, deck configuration.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, WatchableAsyncStatus, WatcherUpdate
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.opentrons import replies
from sdl.drivers.opentrons.modules import HEATER_SHAKER, TEMPERATURE_MODULE, Modules
from sdl.drivers.opentrons.replies import OVER, WAITING, Health
from sdl.drivers.opentrons.runs import POLL, Order, Robot, order
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import Effect, Finding, Instrument, StopPolicy, Verdict, poll_r, poll_rw
from sdl.wires.http import HttpWire

MODELS = {"ot2": "OT-2 Standard", "flex": "OT-3 Standard"}
LONGEST_RUN = 24 * 3600.0  # s


class Opentrons(Instrument):
    """`set(protocol)` runs a protocol once, and is done when the robot says that it succeeded.

    A protocol is the name of one that the robot has, or of a file in `folder` that is uploaded, or
    a JSON protocol in full; `{"protocol": ..., "parameters": {...}}` sets its run-time parameters.
    `trigger` runs the one given as `protocol`. A run that was paused, at the robot too, is waited
    for; one that is blocked by an open door as well.
    """

    title: ClassVar[str] = "Opentrons OT-2 and Flex, liquid handlers"
    delivered: ClassVar[str] = "http://10.0.0.10:31950"
    unverified: ClassVar[tuple[str, ...]] = (
        "everything: no real robot was asked, only its source and two clients of other people",
        "parameters of a protocol that the robot already has",
        "the Heater-Shaker",
    )
    effect: ClassVar[Effect | None] = Effect.RELATIVE
    effects: ClassVar[Mapping[str, Effect]] = {"trigger": Effect.RELATIVE}
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: HttpWire,
        *,
        robot: Literal["ot2", "flex"] = "ot2",
        protocol: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        folder: str | None = None,
        temperature_module: bool = False,
        heater_shaker: bool = False,
        longest_run: float = LONGEST_RUN,
        name: str = "",
    ) -> None:
        """Describe a robot.

        :param robot: "flex" has an E-stop (`estop`).
        :param protocol: what `trigger` runs, with `parameters`.
        :param folder: where protocols lie that are uploaded by their file's name.
        :param temperature_module: one is attached: `block` (degC; set it to heat or cool it).
        :param heater_shaker: one is attached: `heater` (degC) and `shaker` (rpm).
        :param longest_run: s after which a run that is not over counts as lost.
        :raises ConfigError: one of them is impossible.
        """
        _check(robot, folder, longest_run, parameters, protocol)
        self._model, self._folder = MODELS[robot], None if folder is None else Path(folder)
        self._longest, self._protocol = longest_run, protocol
        self._parameters = dict(parameters or {})
        self._robot = Robot(wire, lambda: self.name or "opentrons")
        self._modules = Modules(self._robot)
        self._heating = [
            *([TEMPERATURE_MODULE] if temperature_module else []),
            *([HEATER_SHAKER] if heater_shaker else []),
        ]
        self._prepared: dict[str, str] = {}  # runs that wait for their beginning, by their order
        self._running = self._mocked = False
        url = wire.url
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.status = poll_r(str, self._get_status, source=f"{url}/runs#status")
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.door = poll_r(str, self._get_door, source=f"{url}/robot/door/status")
            self.lights = poll_rw(
                bool, self._get_lights, self._put_lights, source=f"{url}/robot/lights"
            )
            if robot == "flex":
                estop = f"{url}/robot/control/estopStatus"
                self.estop = poll_r(str, self._get_estop, source=estop)
            if temperature_module:
                self.block = self._modules.block(url)
            if heater_shaker:
                self.heater, self.shaker = self._modules.heater(url), self._modules.shaker(url)
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Find the robot; a run that is under way is left running.

        :raises ConfigError: it is another model.
        """
        self._mocked = bool(mock)
        if not mock:
            model = (await self._health()).model
            if model != self._model:
                named = ", ".join(f"{name} ({model})" for name, model in MODELS.items())
                raise ConfigError(f"{self.name}: the robot is {model}; robot: allowed is {named}")
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        said = await self._health()
        versions = f"software {said.software}, system {said.system}, firmware {said.firmware}"
        return f"Opentrons {said.model} {said.name!r}, {versions}"

    async def check_value(self, value: Any) -> None:
        """Refuse what is no protocol.

        :raises RefusedError: nothing was sent.
        """
        self._order(value)

    @WatchableAsyncStatus.wrap
    async def set(self, value: Any) -> AsyncIterator[WatcherUpdate[int]]:
        """Run a protocol. The updates count its commands.

        :raises RefusedError: there is no such protocol, it is wrong, or the robot is busy; nothing
            has moved.
        :raises FaultError: it failed, was stopped, or waits for a person; part of it was done.
        :raises NoReplyError: the robot cannot be asked; the run may go on by itself.
        """
        async for update in self._once(value):
            yield update

    @WatchableAsyncStatus.wrap
    async def trigger(self) -> AsyncIterator[WatcherUpdate[int]]:
        """Run the protocol that was given as `protocol`. Errors: see `set`."""
        async for update in self._once(self._own()):
            yield update

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Have the robot prepare a run, and return its id. Nothing moves.

        :raises RefusedError: it cannot be prepared; nothing has moved.
        """
        if command not in ("set", "trigger") or self._mocked:
            return {}
        wanted = self._order(self._own() if command == "trigger" else argument)
        if self._running:
            raise RefusedError(self.name, f"{wanted}: a run is under way; nothing was sent")
        run = await self._robot.prepare(wanted)
        self._prepared = {wanted.key: run.id}  # the robot has set any other aside
        return {"run": run.id}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Say from its id what became of a run; wait for its end if it is under way.

        One that has not begun is set aside, so that it never will: a late request cannot start it.

        :raises NoReplyError: it cannot be asked now.
        :raises FaultError: the run waits for a person who recovers it.
        """
        ident = mark.get("run")
        if not isinstance(ident, str):
            return Finding(Verdict.UNKNOWN, f"{self.name} can tell nothing of this {command}")
        try:
            run = await self._robot.run(ident)
        except RefusedError as error:
            return Finding(Verdict.UNKNOWN, f"the robot knows no run {ident} any more: {error}")
        if not run.was_begun:
            return await self._never(ident)
        return await self._became(ident)

    async def halt(self) -> None:
        """Stop the run under way and have that confirmed. The robot homes.

        :raises NoReplyError: it was not confirmed: the robot may be moving.
        """
        if not self._mocked:
            await self._robot.stop()

    async def make_safe(self) -> None:
        """Stop the run under way, switch off the heaters and the shaker, and have that confirmed.

        :raises NoReplyError: it was not confirmed.
        """
        await self.halt()
        if not self._mocked:
            for kind in self._heating:
                await self._modules.off(kind)

    async def pause(self) -> None:
        """Pause a run after the step that it is at."""
        if not self._mocked:
            await self._robot.pause()

    async def resume(self) -> None:
        """Go on with a run that is paused."""
        if not self._mocked:
            await self._robot.resume()

    async def home(self) -> None:
        """Home all axes.

        :raises RefusedError: a run is under way; nothing has moved.
        """
        if not self._mocked:
            await self._robot.command("home")

    async def _once(self, value: Any) -> AsyncIterator[WatcherUpdate[int]]:
        wanted, began = self._order(value), clock.monotonic()
        if self._running:
            raise RefusedError(self.name, f"{wanted}: a run is under way; nothing was sent")
        if self._mocked:
            return
        self._running = True
        try:
            ident = self._prepared.pop(wanted.key, None)
            if ident is None:
                ident = (await self._robot.prepare(wanted)).id
            async for update in self._watched(ident, wanted, began):
                yield update
        except (asyncio.CancelledError, FaultError):
            await self._robot.stop()
            raise
        finally:
            self._running = False

    async def _watched(
        self, ident: str, wanted: Order, began: float
    ) -> AsyncIterator[WatcherUpdate[int]]:
        await self._robot.start(ident)
        while True:
            run, elapsed = await self._robot.run(ident), clock.monotonic() - began
            if run.status in OVER:
                break
            self._robot.check_recovery(run)
            if elapsed > self._longest:
                why = f"run {ident} is {run.status} after {elapsed:g} s; it may go on"
                raise NoReplyError(self.name, f"{wanted}: {why}")
            progress = await self._robot.progress(ident)
            yield WatcherUpdate(
                current=progress.done,
                initial=0,
                target=progress.total,
                name=f"{self.name} ({WAITING.get(run.status, progress.doing or run.status)})",
                unit="commands",
                fraction=progress.done / max(progress.total, 1),
                time_elapsed=elapsed,
            )
            await asyncio.sleep(POLL)
        if run.status != "succeeded":
            why = f"run {ident} {OVER[run.status]}: {run.errors}".rstrip(": ")
            raise FaultError(self.name, f"{wanted}: {why}; part of it was done")

    async def _never(self, ident: str) -> Finding:
        """Take care that a run that was seen not to have begun never begins."""
        try:
            await self._robot.set_aside(ident)
        except RefusedError:  # it has begun since, or has lost the robot
            run = await self._robot.run(ident)
            if run.was_begun:
                return await self._became(ident)
            if run.current and run.status == "idle":
                raise NoReplyError(self.name, f"run {ident} could not be set aside") from None
        return Finding(Verdict.NOT_DONE, f"run {ident} was never played, and is set aside")

    async def _became(self, ident: str) -> Finding:
        run = await self._robot.ended(ident, self._longest)
        if run.status == "succeeded":
            return Finding(Verdict.DONE, f"run {ident} succeeded")
        at = await self._robot.progress(ident)
        how = f"{run.status}: {run.errors}".rstrip(": ")
        why = f"run {ident} is {how}, after {at.done} of {at.total} commands"
        return Finding(Verdict.UNKNOWN, f"{why}; what is in the wells must be looked at")

    def _own(self) -> Any:
        if self._protocol is None:
            raise RefusedError(self.name, "trigger: no protocol was given; nothing was sent")
        if self._parameters:
            return {"protocol": self._protocol, "parameters": self._parameters}
        return self._protocol

    def _order(self, value: Any) -> Order:
        try:
            return order(value, self._folder)
        except (ValueError, TypeError, OSError) as error:
            shown = json.dumps(value, default=str)[:100]
            raise RefusedError(self.name, f"{shown}: {error}; nothing was sent") from error

    async def _health(self) -> Health:
        return await self._robot.ask(replies.parse_health, "/health")

    async def _get_status(self) -> str:
        run = await self._robot.current_run()
        return "no run" if run is None else run.status

    async def _get_door(self) -> str:
        return await self._robot.ask(replies.parse_door, "/robot/door/status")

    async def _get_estop(self) -> str:
        return await self._robot.ask(replies.parse_estop, "/robot/control/estopStatus")

    async def _get_lights(self) -> bool:
        return await self._robot.ask(replies.parse_lights, "/robot/lights")

    async def _put_lights(self, value: bool) -> None:
        on = await self._robot.again(replies.parse_lights, "/robot/lights", data={"on": value})
        if on is not value:
            raise GarbledError(self.name, f"lights {'on' if value else 'off'}: they are not")


def _check(
    robot: str,
    folder: str | None,
    longest_run: float,
    parameters: Mapping[str, Any] | None,
    protocol: str | None,
) -> None:
    problems: list[str] = []
    if robot not in MODELS:
        problems.append(f"robot {robot!r}: allowed is {', '.join(MODELS)}")
    if folder is not None and not Path(folder).is_dir():
        problems.append(f"folder {folder!r}: there is none")
    if not longest_run > 0:
        problems.append(f"longest_run {longest_run} s: must be positive")
    if parameters and protocol is None:
        problems.append("parameters without a protocol: give the protocol that trigger runs")
    if problems:
        raise ConfigError(*(f"Opentrons: {problem}" for problem in problems))
