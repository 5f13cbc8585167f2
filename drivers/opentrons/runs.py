"""Talking to an Opentrons robot: questions that are asked again, protocols, runs.

Source: see `opentrons.replies`. What makes a run happen once only: it has an id of its own, which
the robot gives before anything moves (`POST /runs`); `play` starts it only while it is idle and has
the robot; once it is over, or has been set aside (`PATCH current: false`), nothing starts it again.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sdl import clock
from sdl.drivers.opentrons import replies
from sdl.drivers.opentrons.replies import OVER, RECOVERING, Progress, Protocol, Run
from sdl.errors import FaultError, GarbledError, InstrumentError, NoReplyError, RefusedError
from sdl.wires.http import Answer, HttpRefusedError, HttpWire

T = TypeVar("T")

VERSION = {"Opentrons-Version": "3"}
TRIES = 3  # of what may be asked again
PAUSE = 0.3  # s before that
POLL = 0.5  # s between two looks at what is under way
STOPPING = 90.0  # s for a run to end that was told to stop: it homes and drops its tips first
ANALYSING = 180.0  # s for the robot to look through a protocol
COMMAND = 60.0  # s for a single command, such as homing

SAFE_TO_REPEAT = ("GET", "PUT", "PATCH")


@dataclass(frozen=True)
class Order:
    """What is to be run: a protocol by its name, or in full; and its parameters."""

    name: str
    content: bytes | None
    parameters: Mapping[str, Any]

    @property
    def key(self) -> str:
        digest = hashlib.sha256(self.content or b"").hexdigest()
        return json.dumps([self.name, digest, self.parameters], sort_keys=True)

    def __str__(self) -> str:
        given = f" with {dict(self.parameters)}" if self.parameters else ""
        return f"protocol {self.name!r}{given}"


def order(value: Any, folder: Path | None) -> Order:
    """Read what `set` was given.

    :raises ValueError: it is none; the message says what is allowed.
    """
    parameters: Any = {}
    if isinstance(value, Mapping) and "protocol" in value:
        if unknown := set(value) - {"protocol", "parameters"}:
            raise ValueError(f"unknown {', '.join(sorted(unknown))}; known: protocol, parameters")
        value, parameters = value["protocol"], value.get("parameters", {})
        if not isinstance(parameters, Mapping) or not all(
            isinstance(each, bool | int | float | str) for each in parameters.values()
        ):
            raise ValueError("parameters must be numbers, texts or booleans by their names")
    if isinstance(value, Mapping):
        if not isinstance(value.get("commands"), list) or "schemaVersion" not in value:
            raise ValueError("a protocol in full has schemaVersion and commands (JSON schema 6-8)")
        if parameters:
            raise ValueError("a JSON protocol has no parameters")
        content = json.dumps(value, sort_keys=True, allow_nan=False).encode()
        name = f"sdl-{hashlib.sha256(content).hexdigest()[:12]}.json"
        return Order(name, content, {})
    if not isinstance(value, str) or not value:
        raise ValueError("a protocol is given by its name, or in full as JSON")
    if folder is not None and Path(value).name == value and (folder / value).is_file():
        return Order(value, (folder / value).read_bytes(), dict(parameters))
    return Order(value, None, dict(parameters))


class Robot:
    """The conversation with one robot."""

    def __init__(self, wire: HttpWire, who: Callable[[], str]) -> None:
        """:param who: what it is called in messages."""
        self._wire, self._who = wire, who
        self._unsure = ""  # the run whose `play` nobody has confirmed

    async def ask(
        self, parse: Callable[[bytes], T], path: str, method: str = "GET", **request: Any
    ) -> T:
        """Ask, and ask again where no good answer came, if that changes nothing more.

        :param request: see `HttpWire.ask`.
        :raises RefusedError: the robot said no; nothing has changed.
        :raises FaultError: it needs a person, or has failed.
        :raises NoReplyError: it does not answer.
        """
        tries = TRIES if method in SAFE_TO_REPEAT else 1
        for attempt in range(1, tries + 1):
            try:
                return self._read(parse, await self._send(method, path, request))
            except NoReplyError:
                if attempt == tries:
                    raise
            await asyncio.sleep(PAUSE)
        raise AssertionError("a last attempt returns or raises")

    async def again(
        self, parse: Callable[[bytes], T], path: str, method: str = "POST", **request: Any
    ) -> T:
        """Send a request that asks for the same however often it comes. See `ask`."""
        for _ in range(TRIES - 1):
            try:
                return await self.ask(parse, path, method, **request)
            except NoReplyError:
                await asyncio.sleep(PAUSE)
        return await self.ask(parse, path, method, **request)

    async def _send(self, method: str, path: str, request: Mapping[str, Any]) -> Answer:
        try:
            return await self._wire.ask(method, path, headers=VERSION, **request)
        except HttpRefusedError as error:
            raise replies.meaning(self._who(), error) from error
        except InstrumentError as error:
            what = str(error).removeprefix(f"{error.instrument}: ")
            raise type_of(error)(self._who(), what) from error

    def _read(self, parse: Callable[[bytes], T], answer: Answer) -> T:
        try:
            return parse(answer.body)
        except GarbledError as error:
            raise GarbledError(self._who(), f"{answer.asked}: {error}") from error

    # runs

    async def run(self, ident: str) -> Run:
        """:raises RefusedError: it does not know such a run."""
        found = await self.ask(replies.parse_run, f"/runs/{ident}")
        if found.id != ident:
            raise GarbledError(self._who(), f"GET /runs/{ident}: the answer is of run {found.id}")
        return found

    async def current_run(self) -> Run | None:
        """The run that has the robot, over or not."""
        return await self.ask(replies.parse_newest_run, "/runs", query={"pageLength": 1})

    async def progress(self, ident: str) -> Progress:
        query = {"pageLength": 1}
        return await self.ask(replies.parse_progress, f"/runs/{ident}/commands", query=query)

    async def prepare(self, wanted: Order) -> Run:
        """Have the robot know the protocol, find it good, and give it a run. Nothing moves.

        :raises RefusedError: there is no such protocol, it is wrong, or another run is under way.
        """
        protocol = await self._protocol(wanted)
        await self._analysed(protocol, wanted)
        data: dict[str, Any] = {"protocolId": protocol.id}
        if wanted.parameters:
            data["runTimeParameterValues"] = dict(wanted.parameters)
        return await self.again(replies.parse_run, "/runs", data={"data": data})

    async def start(self, ident: str) -> None:
        """Let a run begin; asked for once only.

        :raises RefusedError: it cannot begin; nothing has moved.
        :raises NoReplyError: nothing shows that it has begun; it may still begin.
        """
        self._unsure = ident
        try:
            await self._act(ident, "play")
        except (NoReplyError, FaultError) as error:
            if isinstance(error.__cause__, HttpRefusedError):
                raise
            if not (await self.run(ident)).was_begun:
                raise NoReplyError(self._who(), f"run {ident} has not begun: {error}") from error
        self._unsure = ""

    async def stop(self) -> None:
        """End what the robot does, and have that confirmed.

        A run that we asked to begin, and that has not, is set aside: it may have been asked late.

        :raises NoReplyError: it was not confirmed: it may be moving.
        :raises FaultError: it needs a person.
        """
        run = await self.current_run()
        deadline = clock.monotonic() + STOPPING
        problem = ""
        if run is not None and run.status == "idle" and run.id == self._unsure:
            try:
                await self.set_aside(run.id)
            except RefusedError:  # it begins just now
                run = await self.run(run.id)
        while run is not None and run.status != "idle" and run.status not in OVER:
            if clock.monotonic() > deadline:
                why = f"run {run.id} is {run.status} {STOPPING:g} s after it was told to stop"
                raise NoReplyError(self._who(), f"{why}; {problem}".rstrip("; "))
            if run.status not in ("stop-requested", "finishing"):
                try:
                    await self._act(run.id, "stop")
                except (RefusedError, NoReplyError, FaultError) as error:
                    problem = str(error)  # over by itself, perhaps: its status tells
            run = await self._after(run.id)

    async def pause(self) -> None:
        """Pause what the robot does after the step that it is at; do nothing if it does nothing."""
        run = await self.current_run()
        if run is not None and run.status == "running":
            await self.again(_anything, f"/runs/{run.id}/actions", data=_action("pause"))

    async def resume(self) -> None:
        """Go on with a paused run."""
        run = await self.current_run()
        if run is not None and run.status in ("paused", "blocked-by-open-door"):
            await self._act(run.id, "play")

    async def set_aside(self, ident: str) -> None:
        """Take care that a run that has not begun never will.

        :raises RefusedError: it has begun, or has not the robot any more.
        """
        await self.ask(replies.parse_run, f"/runs/{ident}", "PATCH", data=_CLOSED)

    async def ended(self, ident: str, longest: float) -> Run:
        """Wait until a run is over.

        :raises FaultError: it waits for a person who recovers it.
        :raises NoReplyError: it is not over after `longest` s, or cannot be asked.
        """
        deadline = clock.monotonic() + longest
        run = await self.run(ident)
        while run.status not in OVER:
            self.check_recovery(run)
            if clock.monotonic() > deadline:
                raise NoReplyError(self._who(), f"run {ident} is {run.status} after {longest:g} s")
            run = await self._after(ident)
        return run

    def check_recovery(self, run: Run) -> None:
        """:raises FaultError: it waits for a person who recovers it."""
        if run.status in RECOVERING:
            what = f"run {run.id} {RECOVERING[run.status]}: {run.errors}".rstrip(": ")
            raise FaultError(self._who(), what)

    async def _after(self, ident: str) -> Run:
        await asyncio.sleep(POLL)
        return await self.run(ident)

    async def _act(self, ident: str, action: str) -> None:
        await self.ask(_anything, f"/runs/{ident}/actions", "POST", data=_action(action))

    # single commands, while no run has the robot

    async def command(self, kind: str, **parameters: Any) -> None:
        """Have a command executed that changes nothing more when it is executed again.

        :raises RefusedError: a run is under way; nothing has changed.
        :raises FaultError: it failed.
        """
        data = {"data": {"commandType": kind, "params": parameters}}
        ident, status, wrong = await self.again(replies.parse_command, "/commands", data=data)
        deadline = clock.monotonic() + COMMAND
        while status not in ("succeeded", "failed"):
            if clock.monotonic() > deadline:
                raise NoReplyError(self._who(), f"{kind}: {status} after {COMMAND:g} s")
            await asyncio.sleep(POLL)
            _, status, wrong = await self.ask(replies.parse_command, f"/commands/{ident}")
        if status == "failed":
            raise FaultError(self._who(), f"{kind} failed: {wrong}")

    # protocols

    async def _protocol(self, wanted: Order) -> Protocol:
        if wanted.content is not None:
            form = {"runTimeParameterValues": json.dumps(wanted.parameters, allow_nan=False)}
            return await self.again(  # the same content gives the same protocol
                replies.parse_protocol,
                "/protocols",
                files=[("files", (wanted.name, wanted.content))],
                form=form if wanted.parameters else None,
            )
        known = await self.ask(replies.parse_protocols, "/protocols")
        for protocol in reversed(known):
            if wanted.name in protocol.names:
                return protocol
        names = ", ".join(sorted({name for each in known for name in each.names})) or "none"
        why = f"the robot has none of that name, but {names}; upload it; nothing has moved"
        raise RefusedError(self._who(), f"{wanted}: {why}")

    async def _analysed(self, protocol: Protocol, wanted: Order) -> None:
        path, deadline = f"/protocols/{protocol.id}", clock.monotonic() + ANALYSING
        while protocol.analysis == "pending":
            if clock.monotonic() > deadline:
                why = f"the robot is not through with its analysis in {ANALYSING:g} s"
                raise NoReplyError(self._who(), f"{wanted}: {why}; nothing has moved")
            await asyncio.sleep(POLL)
            protocol = await self.ask(replies.parse_protocol, path)
        if protocol.result == "not-ok" and not wanted.parameters:
            newest = f"{path}/analyses/{protocol.analysis_id}"
            wrong = await self.ask(replies.parse_analysis_errors, newest)
            raise RefusedError(self._who(), f"{wanted}: it cannot run: {wrong}; nothing has moved")


def type_of(error: InstrumentError) -> type[InstrumentError]:
    """Which error of ours is raised for one of the wire's, under the instrument's name."""
    for kind in (GarbledError, NoReplyError, RefusedError, FaultError):
        if isinstance(error, kind):
            return kind
    return InstrumentError


_CLOSED = {"data": {"current": False}}


def _action(kind: str) -> dict[str, Any]:
    return {"data": {"actionType": kind}}


def _anything(body: bytes) -> None:
    """Read nothing: the status has said it."""
