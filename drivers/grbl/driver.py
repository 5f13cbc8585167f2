"""A gantry on Grbl 1.1: three axes, a spindle output, a coolant output.

Source: Grbl 1.1 documentation (interface.md: messages, status reports, errors, alarms; commands.md:
`$` and real-time commands; settings); facts from a run of 1.1h (shared facts 2.17). Line: 115200
8N1; lines end with LF.

Moves are jogs in machine coordinates (`$J=G21G90G53…`): they do not depend on the modes that others
left behind, nor change them, a target beyond the travel is refused and raises no alarm, and a feed
hold ends them. One at a time is sent, so the 128 bytes of its buffer never fill. Not used:
G-code programs, work coordinates, overrides, probing. Needed are reports in mm (`$13=0`) of
machine positions (`$10=1`).
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, WatchableAsyncStatus, WatcherUpdate
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.grbl.conversation import TRIES, Conversation
from sdl.drivers.grbl.machine import AXES, Machine, Point, Space, shown
from sdl.drivers.grbl.messages import BUILD, MODES, SETTINGS, Report
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, poll_r, poll_rw
from sdl.wires import StreamWire

PERIOD = 0.2  # s between looks at a move: the documentation asks for no more than 5 in a second
PATIENCE = 10.0  # s that a move may stand still, or a stop may take
BOOT = 5.0  # s that a controller may need to wake up: opening a USB port resets an Arduino

log = logging.getLogger(__name__)


class Grbl(Instrument):
    """`set((x, y, z))` goes to a place, in mm of the machine; done when it rests there.

    After a loss of power the position is not true any more: readings of it and moves raise
    `FaultError` until it is homed (`home`), or connected anew by somebody who has looked.
    """

    title: ClassVar[str] = "Grbl 1.1, motion controller of a gantry"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=115200"
    unverified: ClassVar[tuple[str, ...]] = ("that opening a USB port resets an Arduino for 2 s",)
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: StreamWire,
        *,
        feed: float = 1000.0,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
        max_spindle: float = 1000.0,
        homing_timeout: float = 120.0,
        name: str = "",
    ) -> None:
        """Describe a gantry.

        :param feed: mm/min of the moves; no axis goes faster than its own limit.
        :param low: mm of each axis below which it must not go; `high` above which. The machine's
            own travel holds besides, where its soft limits are on ($20).
        :param max_spindle: rpm.
        :param homing_timeout: s.
        :raises ConfigError: one of them is impossible.
        """
        self._feed, self._homing_timeout = feed, homing_timeout
        self._space = Space.of(low, high)
        self._check_options(max_spindle)
        self._grbl = Conversation(wire, lambda: self.name)
        self._machine: Machine | None = None
        self._mocked = self._moving = self._homing = False
        self._stops, self._known_resets = 0, 0
        self._told_to_stop = asyncio.Event()
        self._rests = asyncio.Event()
        self._rests.set()
        at = f"{wire.url} "
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.x = poll_r(float, self._get_x, source=f"{at}X", units="mm", precision=3)
            self.y = poll_r(float, self._get_y, source=f"{at}Y", units="mm", precision=3)
            self.z = poll_r(float, self._get_z, source=f"{at}Z", units="mm", precision=3)
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.state = poll_r(str, self._get_state, source=f"{at}state")
            self.speed = poll_r(
                float, self._get_speed, source=f"{at}FS", units="mm/min", precision=0
            )
            self.pins = poll_r(str, self._get_pins, source=f"{at}Pn")
            self.spindle = poll_rw(
                float,
                self._get_spindle,
                self._set_spindle,
                source=f"{at}S",
                units="rpm",
                precision=0,
                limits=(0.0, max_spindle),
            )
            self.coolant = poll_rw(bool, self._get_coolant, self._set_coolant, source=f"{at}M8")
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Learn the machine's settings; that it was reset before is acknowledged.

        :raises ConfigError: it reports inches, or work coordinates.
        """
        self._mocked = bool(mock)
        if not mock:
            report = await self._awake()
            self._known_resets, self._machine = self._grbl.resets, None
            if report.state in ("Idle", "Alarm"):
                await self._known_machine()
            else:
                log.warning("%s: its state is %s: settings not read yet", self.name, report.state)
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Return version and date of its firmware, and the text that its owner gave it."""
        said = await self._grbl.ask("$I", BUILD)
        version, _, text = said.removeprefix("[VER:").partition("]")[0].partition(":")
        return f"Grbl {version} {text}".rstrip()

    async def check_value(self, value: Sequence[float]) -> None:
        """Refuse a place where it must not go.

        :raises RefusedError: nothing was sent.
        """
        self._place(value)

    @WatchableAsyncStatus.wrap
    async def set(self, value: Sequence[float]) -> AsyncIterator[WatcherUpdate[float]]:
        """Go to (x, y, z), mm of the machine, in a straight line; the updates count the way in mm.

        :raises RefusedError: the limits or the machine said no; nothing has moved.
        :raises FaultError: an alarm, a hold, or it does not get there.
        :raises InstrumentError: it was told to stop.
        :raises NoReplyError: it cannot be reached; it may be on its way.
        """
        target = self._place(value)
        if self._moving:
            raise RefusedError(self.name, "set: another move is under way; nothing was sent")
        if self._mocked:
            yield self._update(0.0, 0.0, 0.0)
            return
        self._begin()
        try:
            async for update in self._go(target):
                yield update
        except asyncio.CancelledError:
            await self._stop()
            raise
        finally:
            self._end()

    async def home(self) -> None:
        """Find the limit switches, and with them the position.

        :raises RefusedError: homing is not enabled, or another move is under way.
        :raises FaultError: it did not find them.
        """
        if self._mocked:
            return
        if self._moving:
            raise RefusedError(self.name, "home: another move is under way; nothing was sent")
        machine = await self._known_machine()
        if not machine.homing:
            raise RefusedError(self.name, "home: homing is not enabled ($22); nothing was sent")
        self._begin(homing=True)
        try:
            await self._find_home(machine.home)
        except asyncio.CancelledError:
            await self._stop()
            raise
        finally:
            self._end()

    async def unlock(self) -> None:
        """Clear an alarm whose cause is known not to have cost the position (`$X`).

        :raises RefusedError: the door is open.
        """
        if not self._mocked:
            await self._repeated("$X")
            self._grbl.alarm = 0
            self._known_resets = self._grbl.resets

    async def halt(self) -> None:
        """Slow down, stop, and have that confirmed; the position is kept.

        :raises NoReplyError: it was not confirmed: it may be moving.
        """
        if self._mocked:
            return
        if self._moving or not await self._is_at_rest():
            await self._stop()
        try:
            async with asyncio.timeout(PATIENCE):  # the move is woken to see that it is over
                await self._rests.wait()
        except TimeoutError as error:
            why = f"stopped, but the move under way has not seen it in {PATIENCE:g} s"
            raise InstrumentError(self.name, why) from error

    async def make_safe(self) -> None:
        """Stop; then reset, which switches spindle and coolant off and forgets what was planned.

        :raises NoReplyError: it was not confirmed.
        :raises FaultError: the spindle still turns.
        """
        if self._mocked:
            return
        await self._stop(always_reset=True)
        report = await self._grbl.look()
        if report.spindle or not report.rests:
            found = f"{report.state}, spindle at {report.spindle:g} rpm"
            raise FaultError(self.name, f"make safe: {found}")

    # On the way

    def _begin(self, *, homing: bool = False) -> None:
        self._moving, self._homing = True, homing
        self._rests.clear()
        self._told_to_stop.clear()

    def _end(self) -> None:
        self._moving = self._homing = False
        self._rests.set()

    async def _go(self, target: Point) -> AsyncIterator[WatcherUpdate[float]]:
        stops, began = self._stops, clock.monotonic()
        start = await self._ready_to_go(target)
        machine = await self._known_machine()
        what = f"go to {shown(target)}"
        tries, progressed, before = 0, began, start
        while True:
            if stops != self._stops:
                raise InstrumentError(self.name, f"{what}: told to stop")
            if before.state != "Jog" and not machine.is_there(before.position, target):
                tries += 1
                if tries > TRIES:
                    at = shown(before.position)
                    raise FaultError(self.name, f"{what}: it rests at {at}")
                await self._jog(target)
                progressed = clock.monotonic()
            report = await self._grbl.look()
            self._check_way(report, what, stops)
            gone, length = (math.dist(start.position, at) for at in (report.position, target))
            yield self._update(gone, length, clock.monotonic() - began)
            if report.state == "Idle" and machine.is_there(report.position, target):
                return
            if report.position != before.position:
                progressed = clock.monotonic()
            if clock.monotonic() - progressed > PATIENCE:
                at = shown(report.position)
                raise FaultError(self.name, f"{what}: it stands still at {at}")
            before = report
            await self._rest()

    async def _ready_to_go(self, target: Point) -> Report:
        """Return where it starts from.

        :raises RefusedError: it may not go there, or is busy.
        :raises FaultError: it cannot go.
        """
        report = await self._known()
        if report.state == "Idle":
            await self._known_machine()
            self._place(target)
            return report
        what = f"go to {shown(target)}"
        if report.state == "Alarm":
            raise FaultError(self.name, f"{what}: {self._grbl.alarm_meant()}")
        if report.state in ("Run", "Jog", "Home", "Check"):
            raise RefusedError(self.name, f"{what}: it is busy for somebody else ({report.state})")
        raise FaultError(self.name, f"{what}: {_held(report.state)}")

    async def _jog(self, target: Point) -> None:
        """Have it go; a line whose answer is lost is looked after by who looks at the way."""
        words = "".join(f"{axis}{at:.3f}" for axis, at in zip(AXES, target, strict=True))
        try:
            await self._grbl.line(f"$J=G21G90G53{words}F{self._feed:.0f}")
        except NoReplyError as error:
            log.info("is it on its way? %s", error)

    def _check_way(self, report: Report, what: str, stops: int) -> None:
        if self._known_resets != self._grbl.resets:
            raise FaultError(self.name, f"{what}: it lost its power, or was reset on the way")
        if stops != self._stops:
            at = shown(report.position)
            raise InstrumentError(self.name, f"{what}: told to stop, near {at}")
        if report.state == "Alarm":
            raise FaultError(self.name, f"{what}: {self._grbl.alarm_meant()}")
        if report.state not in ("Idle", "Jog", "Run"):
            raise FaultError(self.name, f"{what}: {_held(report.state)}")

    async def _find_home(self, home: Point) -> None:
        stops, deadline = self._stops, clock.monotonic() + self._homing_timeout
        found = ""
        for _ in range(TRIES):
            self._grbl.alarm = 0
            with contextlib.suppress(NoReplyError):  # it says nothing until it is there
                await self._grbl.line("$H", timeout=1.0)
            report = None
            while report is None or report.state == "Home":
                if clock.monotonic() > deadline:
                    raise FaultError(self.name, f"home: not there in {self._homing_timeout:g} s")
                with contextlib.suppress(NoReplyError):
                    report = await self._grbl.look()
                await self._rest()
                if stops != self._stops:
                    raise InstrumentError(self.name, "home: told to stop")
            if report.state == "Idle" and math.dist(report.position, home) < 0.1:
                self._known_resets, self._grbl.alarm = self._grbl.resets, 0
                return
            found = f"{report.state} at {shown(report.position)}"
            if self._grbl.alarm:  # it has tried: not once more into what is in its way
                raise FaultError(self.name, f"home: {self._grbl.alarm_meant()}")
        raise FaultError(self.name, f"home: {found}")

    async def _rest(self) -> None:
        """Wait for the next look; a stop ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PERIOD):
                await self._told_to_stop.wait()

    # Stopping

    async def _is_at_rest(self) -> bool:
        try:
            report = await self._grbl.look()
        except InstrumentError as error:
            log.warning("%s: is it moving? %s", self.name, error)
            return False
        return report.state in ("Idle", "Alarm", "Check", "Sleep")

    async def _stop(self, *, always_reset: bool = False) -> None:
        """Hold, and reset when it stands: that keeps the position; a reset in motion does not."""
        self._stops += 1
        self._told_to_stop.set()
        report = None if self._homing else await self._hold()
        if report is None or always_reset or report.state != "Idle":
            await self._grbl.reset()

    async def _hold(self) -> Report | None:
        """Return how it stands; None if that cannot be known."""
        deadline, failure, hold = clock.monotonic() + PATIENCE, None, b"!"
        while clock.monotonic() < deadline:
            try:
                report = await self._grbl.report(hold, urgent=True)
                hold = b""  # a second one would hold what has come to rest
                if report.rests:
                    report = await self._grbl.look()
                    if report.rests:
                        return report
            except (NoReplyError, FaultError) as error:
                if failure is not None:
                    break
                failure = error
            await asyncio.sleep(PERIOD / 4)
        log.warning("%s: it does not hold: %s", self.name, failure)
        return None

    # What is known of the machine

    async def _awake(self) -> Report:
        deadline = clock.monotonic() + BOOT
        while True:
            try:
                return await self._grbl.look()
            except NoReplyError:
                if clock.monotonic() > deadline:
                    raise
            await asyncio.sleep(PERIOD)

    async def _known_machine(self) -> Machine:
        if self._machine is None:
            printed = await self._grbl.ask("$$", SETTINGS)
            self._machine = Machine.of(printed, self.name)
        return self._machine

    async def _known(self) -> Report:
        """Return a report whose position can be true."""
        report = await self._grbl.look()
        if self._known_resets != self._grbl.resets:
            what = "it was reset, or lost its power: its position is not known; home it"
            raise FaultError(self.name, what)
        return report

    def _place(self, value: Sequence[float]) -> Point:
        """:raises RefusedError: it is none, or it must not go there."""
        try:
            x, y, z = (float(each) for each in value)
        except (TypeError, ValueError) as error:
            given = f"set {value!r}: allowed are three numbers (x, y, z); nothing was sent"
            raise RefusedError(self.name, given) from error
        space = self._space if self._machine is None else self._space.within(self._machine)
        if problem := space.check((x, y, z)):
            raise RefusedError(self.name, f"set {problem}; nothing was sent")
        return x, y, z

    def _check_options(self, max_spindle: float) -> None:
        problems = []
        if not 1 <= self._feed < math.inf:
            problems.append(f"feed={self._feed}: at least 1 mm/min")
        if not 0 < max_spindle < math.inf:
            problems.append(f"max_spindle={max_spindle}: above 0 rpm")
        if not 0 < self._homing_timeout < math.inf:
            problems.append(f"homing_timeout={self._homing_timeout}: above 0 s")
        if problems:
            raise ConfigError(*(f"grbl: {problem}" for problem in problems))

    # Signals

    async def _get_x(self) -> float:
        return (await self._known()).position[0]

    async def _get_y(self) -> float:
        return (await self._known()).position[1]

    async def _get_z(self) -> float:
        return (await self._known()).position[2]

    async def _get_state(self) -> str:
        return (await self._grbl.look()).state

    async def _get_speed(self) -> float:
        return (await self._grbl.look()).feed

    async def _get_pins(self) -> str:
        return (await self._grbl.look()).pins

    async def _get_spindle(self) -> float:
        return (await self._grbl.look()).spindle

    async def _set_spindle(self, rpm: float) -> None:
        """:raises RefusedError: an alarm locks it; :raises FaultError: it turns otherwise."""
        await self._repeated(f"M3S{rpm:.0f}" if rpm > 0 else "M5S0")
        turns = await self._get_spindle()
        if abs(turns - rpm) > 0.6:
            found = f"it turns at {turns:g} rpm: beyond $30 or $31, or another tool's"
            raise FaultError(self.name, f"spindle {rpm:g} rpm: {found}")

    async def _get_coolant(self) -> bool:
        try:
            modes = (await self._grbl.ask("$G", MODES)).split("]")[0].split()
        except NoReplyError as error:  # lines wait while it holds
            state = (await self._grbl.look()).state
            if state.partition(":")[0] not in ("Hold", "Door", "Sleep"):
                raise
            raise FaultError(self.name, f"coolant: {_held(state)}") from error
        return "M8" in modes or "M7" in modes

    async def _set_coolant(self, on: bool) -> None:
        await self._repeated("M8" if on else "M9")
        if await self._get_coolant() is not on:
            raise FaultError(self.name, f"coolant {on}: it is {not on}")

    async def _repeated(self, line: str) -> None:
        """Send a line that changes nothing when it comes twice."""
        for _ in range(TRIES - 1):
            try:
                await self._grbl.line(line, r"(?:\[MSG:[^\]]*\]\r\n)?")
                return
            except NoReplyError as error:
                log.info("sent again: %s", error)
        await self._grbl.line(line, r"(?:\[MSG:[^\]]*\]\r\n)?")

    def _update(self, gone: float, length: float, elapsed: float) -> WatcherUpdate[float]:
        return WatcherUpdate(
            current=gone,
            initial=0.0,
            target=length,
            name=self.name,
            unit="mm",
            precision=3,
            time_elapsed=elapsed,
        )


def _held(state: str) -> str:
    kind = state.partition(":")[0]
    meaning = {"Hold": "a feed hold", "Door": "its door was opened", "Sleep": "it sleeps"}
    return f"{meaning.get(kind, 'it does something else')} ({state}); make_safe resets it"
