"""Zaber X-series stage, ASCII protocol (firmware 6 and 7). Source: Zaber's ASCII protocol manual as
others quote it (fields of a reply, flags, reasons of a rejection), and what zaber-motion 10.2.0
sends and understands. 115200 8N1, or TCP 55550; several devices in a chain share a wire.

Each command has a number that its reply repeats, and both a checksum: `set comm.checksum 1` is sent
when it is connected. Positions are microsteps there, mm here. Alerts and info lines between replies
are passed over. Not used: streams, lockstep, triggers, parking, I/O, velocity moves.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import ClassVar

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, WatchableAsyncStatus, WatcherUpdate
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.zaber.lines import Conversation, Reply, meaning, parse_number
from sdl.errors import ConfigError, FaultError, GarbledError, InstrumentError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.wires import StreamWire

LOST = ("WR", "FQ", "FI", "FA")  # while they last, its position means nothing
SPEED_UNIT = 1.6384  # of `maxspeed`, in each microstep/s
PERIOD = 0.1  # s between looks at a stage that moves
PATIENCE = 5.0  # s more than twice the time that a movement should take

log = logging.getLogger(__name__)


class Zaber(Instrument):
    """`set(mm)` moves one axis, and is done when it has stopped there.

    A stage without a reference position (after a loss of power) has no position, and is not moved:
    home it, or let `home` do so.
    """

    title: ClassVar[str] = "Zaber X-series, linear stage"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=115200"
    unverified: ClassVar[tuple[str, ...]] = (
        "on firmware 6: that the flags FO, FV and the like are 7's only",
        "that `move abs` is rejected without a reference (this driver does not send it then)",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: StreamWire,
        *,
        microstep: float,
        device: int = 1,
        axis: int = 1,
        limits: tuple[float, float] | None = None,
        tolerance: float = 0.005,
        home: bool = False,
        checksum: bool = True,
        name: str = "",
    ) -> None:
        """Describe an axis.

        :param microstep: mm of one, from the data sheet (X-LSM: 0.000047625).
        :param device: its number in the chain, 1 to 99.
        :param limits: mm, to allow less than the stage does.
        :param tolerance: mm from where it was sent that count as there.
        :param home: whether a stage without a reference position is homed when it is connected.
        :param checksum: whether replies have one; False for a device that refuses the setting.
        :raises ConfigError: one of them is impossible.
        """
        if not (microstep > 0 and 1 <= device <= 99 and 1 <= axis <= 9 and tolerance > 0):
            given = f"microstep={microstep:g}, device={device}, axis={axis}, tolerance={tolerance}"
            raise ConfigError(f"zaber: {given}; allowed are above 0, 1 to 99, 1 to 9, above 0")
        if limits is not None and not limits[0] < limits[1]:
            raise ConfigError(f"zaber: limits={limits}; the first must be less")
        self._microstep, self._tolerance = microstep, tolerance
        self._talk = Conversation(wire, device, lambda: self.name)
        self._axis, self._allowed = axis, limits
        self._limits, self._homes, self._checksum = limits, home, checksum
        self._aims, self._mocked = 0, False  # how often somebody sent it anywhere
        at = f"{wire.url}#{device}.{axis}"
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.position = poll_r(
                float, self._get_position, source=f"{at} pos", units="mm", precision=4
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.speed = poll_rw(
                float,
                self._get_speed,
                self._put_speed,
                source=f"{at} maxspeed",
                units="mm/s",
                precision=4,
                limits=(microstep, 1e9 * microstep),
            )
            self.status = poll_r(str, self._get_status, source=f"{at} status")
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Agree on checksums and learn its limits; home it if it must and may be.

        Faults of movements that are over are cleared, and stand in the log.
        """
        self._mocked = bool(mock)
        if not mock:
            await self._set_up()
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Return device id, firmware and serial number."""
        of = ("device.id", "version", "system.serial")
        said = [(await self._talk.ask(0, f"get {it}")).data for it in of]
        return "Zaber device {}, firmware {}, serial {}".format(*said)

    async def check_value(self, value: float) -> None:
        """Refuse a position that it does not reach.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, "mm")

    async def locate(self) -> Location[float]:
        position = await self.position.get_value()
        return Location(setpoint=position, readback=position)

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Move to `value` mm.

        :raises RefusedError: the limits or the stage said no; it was not sent there.
        :raises FaultError: it stalled, or stopped elsewhere.
        :raises InstrumentError: another movement or a stop came before it was there.
        :raises NoReplyError: it cannot be asked; it may be moving, and will stop there.
        """
        await self.check_value(value)
        self._aims += 1
        if self._mocked:
            yield WatcherUpdate(current=value, initial=value, target=value, name=self.name)
            return
        aim, what, began = self._aims, f"move to {value:g} mm", clock.monotonic()
        initial = await self._get_position()
        limit = 2 * abs(value - initial) / await self._get_speed() + PATIENCE
        self._check_aim(what, aim)
        try:
            await self._ask(f"move abs {round(value / self._microstep)}")
            while True:
                now = clock.monotonic() - began
                reply = await self._look(what)
                current = parse_number(reply.data) * self._microstep
                yield self._update(value, current, initial, now)
                self._check_aim(what, aim)
                if not reply.busy:
                    break
                if now > limit:
                    raise FaultError(self.name, f"{what}: still moving after {limit:.0f} s")
                await asyncio.sleep(PERIOD)
        except asyncio.CancelledError:
            await self._ask("stop", urgent=True)
            raise
        if abs(current - value) > self._tolerance:
            raise FaultError(self.name, f"{what}: it stopped at {current:.4f} mm")

    async def home(self) -> None:
        """Find the reference position: the stage moves to its lower end.

        :raises FaultError: it did not find it.
        """
        self._aims += 1
        if self._mocked:
            return
        aim = self._aims
        await self._ask("home")
        while (reply := await self._ask("")).busy:
            self._check_aim("home", aim)
            await asyncio.sleep(PERIOD)
        self._judge("home", reply)
        if lost := await self._lost(reply):
            raise FaultError(self.name, f"home: {meaning(lost)}")

    async def halt(self) -> None:
        """Stop it and have that confirmed.

        :raises NoReplyError: it was not confirmed: it may be moving.
        """
        self._aims += 1
        if self._mocked:
            return
        reply = await self._ask("stop", urgent=True)
        deadline = clock.monotonic() + PATIENCE
        while reply.busy:
            if clock.monotonic() > deadline:
                raise FaultError(self.name, f"stop: still moving after {PATIENCE:g} s")
            await asyncio.sleep(PERIOD)
            reply = await self._ask("")

    async def make_safe(self) -> None:
        """Stop it: a stage is safe where it stands."""
        await self.halt()

    # A movement

    async def _look(self, what: str) -> Reply:
        """Return where it is; a fault, or a position that means nothing, ends the movement."""
        reply = await self._ask("get pos")
        self._judge(what, reply)
        if lost := await self._lost(reply):
            raise FaultError(self.name, f"{what}: {meaning(lost)}")
        return reply

    def _judge(self, what: str, reply: Reply) -> None:
        """:raises FaultError: its flag is one of a fault."""
        if reply.flag.startswith("F"):
            raise FaultError(self.name, f"{what}: {meaning(reply.flag)}")

    def _check_aim(self, what: str, aim: int) -> None:
        if aim != self._aims:
            raise InstrumentError(self.name, f"{what}: stopped, or sent elsewhere")

    def _update(
        self, value: float, current: float, initial: float, elapsed: float
    ) -> WatcherUpdate[float]:
        return WatcherUpdate(
            current=current,
            initial=initial,
            target=value,
            name=self.name,
            unit="mm",
            precision=4,
            time_elapsed=elapsed,
        )

    # Signals

    async def _get_position(self) -> float:
        reply = await self._ask("get pos")
        if lost := await self._lost(reply):
            raise FaultError(self.name, f"position: {meaning(lost)}")
        return parse_number(reply.data) * self._microstep

    async def _lost(self, reply: Reply) -> str:
        """Return the flag that makes its position worthless, if any."""
        # a reply shows the worst only; N is the least
        if reply.flag in LOST or not reply.flag or reply.flag.startswith("N"):
            return reply.flag if reply.flag in LOST else ""
        return next((flag for flag in await self._flags() if flag in LOST), "")

    async def _flags(self, command: str = "warnings") -> list[str]:
        """Return all its flags: `02 WL WR`."""
        data = (await self._ask(command)).data
        if re.fullmatch(r"\d\d( [A-Z]{2})*", data) is None or len(data) != 2 + 3 * int(data[:2]):
            raise GarbledError(self.name, f"{command}: {data!r}")
        return data.split()[1:]

    async def _get_speed(self) -> float:
        said = parse_number((await self._ask("get maxspeed")).data)
        return said / SPEED_UNIT * self._microstep

    async def _put_speed(self, value: float) -> None:
        data = max(round(value / self._microstep * SPEED_UNIT), 1)
        await self._ask(f"set maxspeed {data}")

    async def _get_status(self) -> str:
        reply = await self._ask("")
        flags = await self._flags() if reply.flag else []
        return ", ".join(["moving" if reply.busy else "idle", *map(meaning, flags)])

    # Lines

    async def _set_up(self) -> None:
        if self._checksum:
            try:
                self._talk.checked = False
                await self._talk.ask(0, "set comm.checksum 1")
            except RefusedError as error:
                raise ConfigError(f"{error}; set checksum: false") from error
            self._talk.checked = True
        if gone := [flag for flag in await self._flags("warnings clear") if flag[0] == "F"]:
            log.warning("%s: cleared: %s", self.name, ", ".join(map(meaning, gone)))
        if self._homes and await self._lost(await self._ask("")):
            await self.home()
        ends = [
            parse_number((await self._ask(f"get limit.{end}")).data) * self._microstep
            for end in ("min", "max")
        ]
        low, high = self._allowed or ends
        self._limits = max(low, ends[0]), min(high, ends[1])

    async def _ask(self, command: str, *, urgent: bool = False) -> Reply:
        return await self._talk.ask(self._axis, command, urgent=urgent)
