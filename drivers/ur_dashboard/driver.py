"""The Dashboard Server of a Universal Robots arm (e-Series and CB3, not PolyScope X), port 29999.

Source: Universal Robots, "Dashboard Server, port 29999" (FAQ 15690) and its e-Series edition:
commands, replies, modes; what is said in local mode, and that one must connect anew after it:
issues 125 and 262 of UniversalRobots/Universal_Robots_ROS_Driver; patterns of the replies compared
with UniversalRobots/Universal_Robots_Client_Library. Lines end with LF; who connects is greeted.
Not used: installations, user roles, operational modes, reports.

An arm does what was taught to it: `set("pick.urp")` loads a program and plays it, once, to its end.
Whether a program went well it cannot say here, and one that was stopped at the pendant looks like
one that has ended.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, WatchableAsyncStatus, WatcherUpdate
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.ur_dashboard.conversation import TRIES, Conversation
from sdl.drivers.ur_dashboard.words import (
    LOADED,
    MODE,
    NONE_LOADED,
    PROGRAM_NAME,
    RUNNING,
    SAFE,
    SAFETY,
    STATE,
)
from sdl.errors import (
    ConfigError,
    FaultError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import Effect, Finding, Instrument, StopPolicy, Verdict, poll_r, poll_rw
from sdl.wires import StreamWire

PERIOD = 0.5  # s between looks at a program, or at an arm that gets its power
PATIENCE = 10.0  # s that an arm may be silent while it is at work
POWERING = 25.0  # s from no power to released brakes

log = logging.getLogger(__name__)


class UrDashboard(Instrument):
    """Plays programs; says what the arm does. On e-Series only in remote control mode."""

    title: ClassVar[str] = "Universal Robots e-Series or CB3, robot arm (Dashboard Server)"
    delivered: ClassVar[str] = "tcp://192.168.0.20:29999"
    unverified: ClassVar[tuple[str, ...]] = (
        "what `stop` answers while nothing runs",
        "programState while no program is loaded",
        "how long power on and brake release take",
    )
    effect: ClassVar[Effect | None] = Effect.RELATIVE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(self, wire: StreamWire, *, timeout: float = 600.0, name: str = "") -> None:
        """Describe an arm.

        :param timeout: s that a program may take.
        :raises ConfigError: that is impossible.
        """
        if not 0 < timeout < float("inf"):
            raise ConfigError(f"ur_dashboard: timeout={timeout}: must be above 0 s")
        self._dashboard = Conversation(wire, lambda: self.name)
        self._timeout = timeout
        self._mocked = self._playing = False
        self._stops = 0
        self._told_to_stop, self._rests = asyncio.Event(), asyncio.Event()
        self._rests.set()
        at = f"{wire.url} "
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.program_state = poll_r(str, self._get_state, source=f"{at}programState")
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.program = poll_r(str, self._get_program, source=f"{at}get loaded program")
            self.running = poll_r(bool, self._get_running, source=f"{at}running")
            self.robot_mode = poll_r(str, self._get_mode, source=f"{at}robotmode")
            self.safety = poll_r(str, self._get_safety, source=f"{at}safetystatus")
            self.remote = poll_r(bool, self._get_remote, source=f"{at}is in remote control")
            self.power = poll_rw(bool, self._get_power, self._set_power, source=f"{at}power")
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._mocked = bool(mock)
        if not mock:
            self._dashboard.forget()
            await self._dashboard.version()
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Return model, serial number and software version, as far as the software tells them."""
        version = await self._dashboard.version()
        said = f"PolyScope {version.text}"
        if version.tells_model:
            model = await self._dashboard.agreed("get robot model", r"UR\d+e?")
            serial = await self._dashboard.agreed("get serial number", r"\d{8,14}")
            return f"{model} {serial}, {said}"
        return said

    async def check_value(self, value: str) -> None:
        """Refuse what is no name of a program.

        :raises RefusedError: nothing was sent.
        """
        if not isinstance(value, str) or re.fullmatch(PROGRAM_NAME, value) is None:
            allowed = "a name like pick.urp, or folder/pick.urp; nothing was sent"
            raise RefusedError(self.name, f"set {value!r}: allowed is {allowed}")

    @WatchableAsyncStatus.wrap
    async def set(self, value: str) -> AsyncIterator[WatcherUpdate[float]]:
        """Load a program, play it once, and wait for its end; the updates count the seconds.

        :raises RefusedError: the arm said no; nothing has moved.
        :raises FaultError: a protective or emergency stop, or it does not end; it may be half done.
        :raises InstrumentError: it was told to stop.
        :raises NoReplyError: the arm may be moving.
        """
        await self.check_value(value)
        if self._playing:
            raise RefusedError(self.name, f"play {value}: another is under way; nothing was sent")
        if self._mocked:
            yield self._update(0.0)
            return
        self._playing = True
        self._rests.clear()
        self._told_to_stop.clear()
        try:
            async for elapsed in self._perform(value):
                yield self._update(elapsed)
        except (asyncio.CancelledError, FaultError):
            with contextlib.suppress(InstrumentError):
                await self._stop()
            raise
        finally:
            self._playing = False
            self._rests.set()

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Return which program is loaded; nothing moves.

        :raises RefusedError: one runs.
        """
        if command != "set" or self._mocked:
            return {}
        await self.check_value(argument)
        await self._check_at_rest(f"play {argument}")
        return {"program": await self._get_program()}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Wait until no program runs, and say what is known of the one that was to be played.

        It is `NOT_DONE` where another program is still loaded, `DONE` where it was seen to run and
        to end while nothing was wrong, else `UNKNOWN`.

        :raises InstrumentError: it cannot be asked now, or it does not end.
        """
        if command != "set":
            return Finding(Verdict.UNKNOWN, f"{self.name} can tell nothing of a {command}")
        if self._mocked:
            return Finding(Verdict.NOT_DONE, f"{self.name} is mocked: nothing ever moves")
        seen, loaded = await self._get_state() == "PLAYING", await self._get_program()
        if not seen and loaded != _path(argument):
            return Finding(Verdict.NOT_DONE, f"{loaded or 'no program'} is loaded, nothing runs")
        began, state = clock.monotonic(), await self._get_state()
        while state == "PLAYING":
            if clock.monotonic() - began > self._timeout:
                raise InstrumentError(self.name, f"{loaded} runs since more than {self._timeout} s")
            await asyncio.sleep(PERIOD)
            state = await self._get_state()
        safety, mode = await self._get_safety(), await self._get_mode()
        evidence = f"{loaded}: {state.lower()}, {mode}, safety {safety}"
        well = state == "STOPPED" and mode == "RUNNING" and safety in SAFE
        if seen and loaded == _path(argument) and well:
            return Finding(Verdict.DONE, f"it was seen to run, and ended: {evidence}")
        return Finding(Verdict.UNKNOWN, evidence)

    async def unlock(self) -> None:
        """Release a protective stop; somebody must have looked at its cause.

        :raises RefusedError: it is too early (5 s), or local mode.
        """
        if not self._mocked:
            await self._dashboard.asked(
                "unlock protective stop", r"(Protective stop releasing|Cannot .*)"
            )
            await self._dashboard.asked("close safety popup", r"closing safety popup")

    async def show(self, text: str) -> None:
        """Show a message on the pendant; an empty one takes it away."""
        line = " ".join(text.split())
        if self._mocked:
            return
        if line:
            await self._dashboard.asked(f"popup {line}", "showing popup")
        else:
            await self._dashboard.asked("close popup", "closing popup")

    async def halt(self) -> None:
        """Stop the program, and have that confirmed.

        :raises NoReplyError: it was not confirmed: the arm may be moving.
        :raises FaultError: it runs, and must be stopped at the pendant.
        """
        if self._mocked:
            return
        await self._stop()
        try:
            async with asyncio.timeout(PATIENCE):  # who waits for the program sees that it is over
                await self._rests.wait()
        except TimeoutError as error:
            why = f"stopped, but who waits for the program has not seen it in {PATIENCE:g} s"
            raise InstrumentError(self.name, why) from error

    async def make_safe(self) -> None:
        """Stop the program, and have that confirmed; power and brakes stay as they are."""
        await self.halt()

    # A program

    async def _perform(self, name: str) -> AsyncIterator[float]:
        stops, what = self._stops, f"play {name}"
        await self._check_at_rest(what)
        await self._check_ready(what)
        await self._load(name)
        if stops != self._stops:
            raise InstrumentError(self.name, f"{what}: told to stop before it began")
        await self._play(what)
        began = heard = clock.monotonic()
        while True:
            elapsed = clock.monotonic() - began
            yield elapsed
            try:
                state = await self._get_state()
                safety = await self._get_safety()
                heard = clock.monotonic()
            except NoReplyError:
                if clock.monotonic() - heard > PATIENCE:
                    raise
                await asyncio.sleep(PERIOD)  # a broken connection fails at once
                continue
            if stops != self._stops:
                raise InstrumentError(self.name, f"{what}: told to stop after {elapsed:.1f} s")
            if safety not in SAFE:
                raise FaultError(self.name, f"{what}: safety: {safety}, after {elapsed:.1f} s")
            if state == "STOPPED":
                break
            if elapsed > self._timeout:
                raise FaultError(self.name, f"{what}: {state.lower()} after {elapsed:.0f} s")
            await self._rest()
        await self._check_ready(what)

    async def _check_at_rest(self, what: str) -> None:
        if (state := await self._get_state()) != "STOPPED":
            raise RefusedError(self.name, f"{what}: another program is {state.lower()}")

    async def _check_ready(self, what: str) -> None:
        safety, mode = await self._get_safety(), await self._get_mode()
        if safety not in SAFE:
            raise FaultError(self.name, f"{what}: safety: {safety}")
        if mode != "RUNNING":
            raise FaultError(self.name, f"{what}: robot mode {mode}: it has no power; set `power`")

    async def _load(self, name: str) -> None:
        pattern = r"(Loading program: .*|File not found: .*|Error while loading program: .*)"
        await self._dashboard.asked(f"load {name}", pattern)
        if (loaded := await self._get_program()) != _path(name):
            raise RefusedError(self.name, f"load {name}: {loaded or 'nothing'} is loaded")

    async def _play(self, what: str) -> None:
        """Have it begin, once; without an answer the arm is asked whether it did."""
        try:
            await self._dashboard.command("play", r"(Starting program|Failed to execute: play)")
        except NoReplyError as error:
            log.warning("does it play? %s", error)
            if await self._get_state() != "PLAYING":
                why = f"{what}: no reply to play, and it does not play now: it may have ended"
                raise NoReplyError(self.name, why) from error

    async def _rest(self) -> None:
        """Wait for the next look; a stop ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PERIOD):
                await self._told_to_stop.wait()

    async def _stop(self) -> None:
        self._stops += 1
        refusal: InstrumentError | None = None
        pattern = r"(Stopped|Failed to execute: stop)"
        try:
            for _ in range(2 * TRIES):
                try:
                    await self._dashboard.command("stop", pattern, urgent=True)
                except (RefusedError, NoReplyError) as error:
                    refusal = error
                if not await self._get_running() and await self._get_state() != "PLAYING":
                    return
                await asyncio.sleep(PERIOD / 5)
        finally:
            self._told_to_stop.set()
        raise FaultError(self.name, f"stop: it runs: {refusal or 'no reason is known'}")

    # Signals

    async def _get_state(self) -> str:
        return (await self._dashboard.asked("programState", STATE))[1]

    async def _get_running(self) -> bool:
        return (await self._dashboard.asked("running", RUNNING))[1] == "true"

    async def _get_mode(self) -> str:
        return (await self._dashboard.asked("robotmode", MODE))[1]

    async def _get_safety(self) -> str:
        new = (await self._dashboard.version()).has_safetystatus
        return (await self._dashboard.asked("safetystatus" if new else "safetymode", SAFETY))[1]

    async def _get_remote(self) -> bool:
        """CB3 has no local mode: it obeys always."""
        if not (await self._dashboard.version()).has_remote_mode:
            return True
        return (await self._dashboard.asked("is in remote control", r"(true|false)"))[1] == "true"

    async def _get_program(self) -> str:
        """Return its path; empty if none is loaded."""
        said = await self._dashboard.agreed("get loaded program", rf"{LOADED}|{NONE_LOADED}")
        return "" if said == NONE_LOADED else said.removeprefix("Loaded program: ")

    async def _get_power(self) -> bool:
        return await self._get_mode() == "RUNNING"

    async def _set_power(self, on: bool) -> None:
        """Switch the arm's power on and release its brakes; or switch it off.

        :raises FaultError: a safety stop, or it does not get there.
        """
        if not on:
            await self._dashboard.asked("power off", "Powering off")
            await self._until_mode("POWER_OFF")
            return
        if (safety := await self._get_safety()) not in SAFE:
            raise FaultError(self.name, f"power on: safety: {safety}")
        if await self._get_power():
            return
        await self._dashboard.asked("power on", "Powering on")
        await self._until_mode("IDLE", "RUNNING")
        await self._dashboard.asked("brake release", "Brake releasing")
        await self._until_mode("RUNNING")

    async def _until_mode(self, *wanted: str) -> None:
        deadline = clock.monotonic() + POWERING
        while (mode := await self._get_mode()) not in wanted:
            if clock.monotonic() > deadline:
                raise FaultError(self.name, f"power: robot mode {mode} after {POWERING:g} s")
            await asyncio.sleep(PERIOD)

    def _update(self, elapsed: float) -> WatcherUpdate[float]:
        return WatcherUpdate(
            current=elapsed,
            initial=0.0,
            target=self._timeout,
            name=self.name,
            unit="s",
            precision=1,
            time_elapsed=elapsed,
        )


def _path(name: str) -> str:
    return name if name.startswith("/") else f"/programs/{name}"
