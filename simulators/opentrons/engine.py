"""An Opentrons robot's protocol engine: one run and the commands in it, on a deck.

Written from the engine of the package opentrons 8.5.1 (`protocol_engine.state.commands`: which
action is allowed when, which status follows) and robot-server's integration tests.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sdl.simulators.opentrons.steps import JSON, CommandFailed, OnDeck, Steps, new_id, timestamp

FINISHING = 4.0  # s: it homes, and drops its tips


class NotAllowed(Exception):  # noqa: N818
    """The engine does not take an action, or a command, now."""


@dataclass
class Command:
    kind: str
    params: JSON
    intent: str | None = None
    key: str = ""
    id: str = field(default_factory=new_id)
    created: str = field(default_factory=timestamp)
    status: str = "queued"
    started: str | None = None
    completed: str | None = None
    error: JSON | None = None
    result: JSON | None = None

    @property
    def is_setup(self) -> bool:
        return self.intent == "setup"

    def as_json(self, *, summary: bool = False) -> JSON:
        """As the API tells it; its null fields are left out."""
        said: JSON = {
            "id": self.id,
            "key": self.key or self.id,
            "commandType": self.kind,
            "createdAt": self.created,
            "startedAt": self.started,
            "completedAt": self.completed,
            "status": self.status,
            "error": self.error,
            "intent": self.intent,
            "notes": [],
        }
        said = {key: value for key, value in said.items() if value is not None}
        said["params"] = self.params
        return said if summary or self.result is None else {**said, "result": self.result}


class Run:
    """One run: its commands, what was asked of it, how it stands."""

    def __init__(
        self,
        deck: OnDeck,
        troubles: Mapping[str, float],
        *,
        protocol: str | None = None,
        commands: Sequence[Command] = (),
        failure: JSON | None = None,
        door_switch: bool = False,
    ) -> None:
        """:param failure: why the protocol cannot be executed; its run fails at once.
        :param door_switch: whether the door must be closed.
        """
        self.id, self.created, self.protocol = new_id(), timestamp(), protocol
        self.commands = list(commands)
        self.actions: list[JSON] = []
        self.errors: list[JSON] = []
        self.started: str | None = None
        self.completed: str | None = None
        self.steps = Steps(deck, self)
        self._deck, self._troubles, self._failure = deck, troubles, failure
        self._door_switch = door_switch
        self._queue, self._result, self._is_over = "setup", "", False
        self._changed = asyncio.Event()

    @property
    def status(self) -> str:
        if self._result:
            if self._is_over:
                return self._result
            return "stop-requested" if self._result == "stopped" else "finishing"
        if self._queue == "paused":
            return "blocked-by-open-door" if self._door_blocks else "paused"
        return "running" if self._queue == "running" else "idle"

    @property
    def is_idle_or_over(self) -> bool:
        """Whether another run may take the robot."""
        return self.status == "idle" or self._is_over

    @property
    def is_active(self) -> bool:
        return self._queue != "setup" and not self._is_over

    @property
    def _door_blocks(self) -> bool:
        return self._door_switch and self._deck.door_open

    def act(self, action: str) -> JSON:
        """Take an action.

        :raises NotAllowed: the message is the engine's.
        """
        if self._result:
            raise NotAllowed("The run has already stopped.")
        if action == "play":
            if self.status == "blocked-by-open-door":
                raise NotAllowed("Front door or top window is currently open.")
            self.started = self.started or timestamp()
            self._queue = "running"  # paused at once, if the door is open
        elif action == "pause":
            if self._queue != "running":
                raise NotAllowed("Cannot pause a run that is not running.")
            self._queue = "paused"
        elif action == "stop":
            self._result = "stopped"
        else:
            raise NotAllowed("Cannot resume from recovery when the run is not in recovery mode.")
        done = {"id": new_id(), "createdAt": timestamp(), "actionType": action}
        self.actions.append(done)
        self.wake()
        return done

    def add(self, command: Command) -> None:
        """Queue a command.

        :raises NotAllowed: the message is the engine's.
        """
        if self._result:
            raise NotAllowed("The run has already stopped.")
        if command.is_setup and self._queue != "setup":
            raise NotAllowed("Setup commands are not allowed after run has started.")
        self.commands.append(command)
        self.wake()

    def set_aside(self) -> None:
        """Let it be over, since it has not begun or has ended: another takes the robot."""
        self._result, self._is_over = self._result or "stopped", True
        self.completed = self.completed or timestamp()
        self.wake()

    def lose_power(self) -> None:
        """Forget all but what was asked of it, unless it was over: only then it was written."""
        if not self._is_over:
            self.commands, self.errors, self.started = [], [], None
            self._result, self._is_over = "stopped", True

    def wake(self) -> None:
        """Look again: something has changed."""
        if self._deck.estop == "physicallyEngaged" and self.is_active and not self._result:
            self._fail(CommandFailed("EStopActivatedError", "E-stop activated.", "3008").error)
        if self._queue == "running" and self._door_blocks:
            self._queue = "paused"
        self._changed.set()

    async def live(self) -> None:
        """Execute what is queued, until it is over."""
        while not self._result:
            command = self._next()
            if command is not None:
                await self._execute(command)
            elif self._queue == "running" and self.protocol is not None:
                self._result = "succeeded"
            else:
                await self._news(None)
        if self.started is not None and not self._is_over:
            for pipette in self.steps.pipettes.values():
                pipette.tip = None
            self._deck.move("home")
        if not self._is_over:
            await asyncio.sleep(0.1 if self.started is None else FINISHING)
        self._is_over, self.completed = True, self.completed or timestamp()
        self._changed.set()

    async def finished(self, command: Command, seconds: float | None) -> None:
        """Wait until a command is over, `seconds` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while command.status in ("queued", "running") and not self._is_over:
                    await asyncio.sleep(0.05)

    def _next(self) -> Command | None:
        queued = [command for command in self.commands if command.status == "queued"]
        setup = [command for command in queued if command.is_setup]
        if self._queue == "setup" or setup:
            return setup[0] if setup else None
        if self._queue != "running":
            return None
        if self._failure:
            self._fail(self._failure)
            return None
        return queued[0] if queued else None

    async def _execute(self, command: Command) -> None:
        command.status, command.started = "running", timestamp()
        try:
            command.result = await self.steps.do(command.kind, command.params)
            command.status = "succeeded"
        except CommandFailed as failure:
            command.status, command.error = "failed", failure.error
            if not command.is_setup and not self._result:
                self._fail(failure.error)
        command.completed = timestamp()

    def _fail(self, error: JSON) -> None:
        self._result = "failed"
        self.errors.append(error)

    async def hold(self) -> None:
        """Pause, until somebody plays it on."""
        self._queue = "paused"
        while self._queue == "paused" and not self._result:
            await self._news(None)

    async def part(self, seconds: float) -> float:
        """Let `seconds` pass; return the part that did, less than 1 if the run was stopped."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            stuck = "stuck" in self._troubles
            left = began + seconds - loop.time()
            if self._result:
                return 0.0 if stuck or seconds <= 0 else min(max(1 - left / seconds, 0.0), 0.999999)
            if left <= 1e-9 and not stuck:
                return 1.0
            await self._news(0.5 if stuck else left)

    async def _news(self, seconds: float | None) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
