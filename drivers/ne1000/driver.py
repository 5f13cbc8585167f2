"""New Era NE-1000 syringe pump. Source: user manual, publication 1200-01, sections 10.2 to 10.4
(pp. 33-35: packets, prompts, alarms, commands); plunger speeds from its specifications. The line:
19200 baud, 8N1; several pumps may share it (RS-485, or one behind the other).

Not used: pumping programs beyond one phase, timed pauses, TTL inputs and outputs, bursts to all
pumps at once (nobody can read their replies).
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Literal

from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceMock,
    WatchableAsyncStatus,
    WatcherUpdate,
)
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.ne1000 import reconciling
from sdl.drivers.ne1000.conversation import Conversation
from sdl.drivers.ne1000.packets import PROMPTS
from sdl.drivers.ne1000.plunger import NUMBER, PATIENCE, Dose, Plunger
from sdl.errors import ConfigError, FaultError, InstrumentError, RefusedError
from sdl.instrument import Effect, Finding, Instrument, StopPolicy, Verdict, poll_r, poll_rw
from sdl.wires import StreamWire

SLOWEST, FASTEST = 0.004205 / 60, 5.1005  # cm/min of the plunger
LONGEST_WATCHDOG = 255  # s
ATTEMPTS = 3  # to connect, where each hears an alarm

log = logging.getLogger(__name__)


class NE1000(Instrument):
    """Doses mL at mL/min (`Doser`). Several pumps may share a wire, each with its address.

    `dispensed` and `withdrawn` are the pump's own counters: they go on from dose to dose and
    survive this process. Before a dose `set` clears the one it needs, if that is more than five
    times the dose and too coarse for it (four digits), or would run over.
    """

    title: ClassVar[str] = "New Era NE-1000, syringe pump"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=19200"
    unverified: ClassVar[tuple[str, ...]] = (
        "that the counters are lost with the power",
        "that the counters are converted when the volume's unit changes",
    )
    effect: ClassVar[Effect | None] = Effect.RELATIVE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: StreamWire,
        *,
        diameter: float,
        address: int = 0,
        mode: Literal["basic", "safe"] = "basic",
        watchdog: int = 0,
        max_rate: float | None = None,
        name: str = "",
    ) -> None:
        """Describe a pump.

        :param diameter: mm, inside of the syringe.
        :param address: 0..99, as set at the pump.
        :param mode: "safe": each packet has a CRC, and the watchdog is armed.
        :param watchdog: s without a valid packet after which the pump stops; in safe mode only (0
            means 255). That it expires while nothing moves is acknowledged, not an error.
        :param max_rate: mL/min, to allow less than the pump can do.
        :raises ConfigError: one of them is impossible.
        """
        _check(diameter, address, mode, watchdog, max_rate)
        self._timer = (watchdog or LONGEST_WATCHDOG) if mode == "safe" else 0
        self._pump = Conversation(wire, address, safe=mode == "safe", who=lambda: self.name)
        self._plunger = Plunger(self._pump, diameter, longest_period=self._timer / 3 or math.inf)
        self._moving = self._mocked = False
        self._rests = asyncio.Event()
        self._rests.set()
        area = math.pi * (diameter / 20) ** 2  # cm2
        rates = (SLOWEST * area, min(FASTEST * area, max_rate or math.inf))
        at = f"{wire.url}#{address}"
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.dispensed = poll_r(
                float, self._get_infused, source=f"{at} DIS", units="mL", precision=3
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.withdrawn = poll_r(
                float, self._get_withdrawn, source=f"{at} DIS", units="mL", precision=3
            )
            self.status = poll_r(str, self._get_status, source=f"{at} prompt")
            self.rate = poll_rw(
                float,
                self._get_rate,
                self._plunger.set_rate,
                source=f"{at} RAT",
                units="mL/min",
                precision=4,
                limits=rates,
            )
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.diameter = poll_r(
                float, self._get_diameter, source=f"{at} DIA", units="mm", precision=3
            )
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Agree on the mode and the settings with the pump; one that runs is left running.

        An alarm of a move that is over, such as a stall, is acknowledged: `reconcile` tells of it.
        """
        self._mocked = bool(mock)
        if not mock:
            await self._agree()
        await super().connect(mock, timeout, force_reconnect)

    async def _agree(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._pump.ask(f"SAF{self._timer}")
                await self._plunger.set_up()
                return
            except FaultError as error:  # told unasked it may come with any question
                if attempt == ATTEMPTS:
                    raise
                log.warning("heard on connecting: %s", error)

    async def identify(self) -> str:
        _, match = await self._pump.ask("VER", r"NE\d+X?\d*V\d+\.\d+")
        return match[0]

    async def moved(self) -> float:
        """Return net mL since the counters were cleared: + infused, - withdrawn."""
        look = await self._plunger.look()
        return look.infused.value - look.withdrawn.value

    async def check_value(self, value: float) -> None:
        """Refuse a volume that cannot be dosed.

        :raises RefusedError: nothing was sent.
        """
        self._plunger.dose(value)

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Infuse (+) or withdraw (-) mL; done when the pump has stopped and has counted them.

        What is commanded is the nearest volume of four digits: the target of the updates.

        :raises RefusedError: the pump or its limits said no; nothing has moved.
        :raises FaultError: an alarm, or it stopped short; part of the volume may have moved.
        :raises NoReplyError: it cannot be reached; it may be moving, and will stop at the volume.
        """
        dose, began = self._plunger.dose(value), clock.monotonic()
        if self._moving:
            raise RefusedError(self.name, f"{dose}: another move is under way; nothing was sent")
        if self._mocked:
            yield self._update(dose, dose.volume.value, 0.0)
            return
        self._moving = True
        self._rests.clear()
        try:
            async for done in self._plunger.move(dose):
                yield self._update(dose, done, clock.monotonic() - began)
        except (asyncio.CancelledError, FaultError):
            await self._plunger.stop()
            raise
        finally:
            self._moving = False
            self._rests.set()

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Make the pump ready for a dose that can be counted; return its counters (`Mark`).

        Nothing moves. What `set` would have to do before RUN is done here, so that no counter is
        cleared between what is returned and the dose.

        :raises RefusedError: it is busy, or cannot dose that; nothing has moved.
        """
        if command != "set" or self._mocked:
            return {}
        dose = self._plunger.dose(argument)
        if self._moving:
            raise RefusedError(self.name, f"{dose}: another move is under way; nothing was sent")
        return await reconciling.mark(self._pump, self._plunger, dose)

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Wait until the pump rests, and say from its counters what became of a dose.

        A dose that was stopped half-way is `PARTLY` done, whoever stopped it, its watchdog too; a
        stall as well. It is `UNKNOWN` where the power was lost since, or somebody else used it.

        :raises NoReplyError: it cannot be asked now.
        :raises FaultError: it runs and counts nothing.
        """
        if command != "set":
            return Finding(Verdict.UNKNOWN, f"{self.name} can tell nothing of a {command}")
        if self._mocked:
            return Finding(Verdict.NOT_DONE, f"{self.name} is mocked: nothing ever moves")
        return await reconciling.reconcile(
            self._pump, self._plunger, self._plunger.dose(argument), mark
        )

    async def arm_watchdog(self, seconds: float) -> None:
        """Have the pump stop when it hears nothing for `seconds` (rounded up to whole ones).

        In basic mode a pump has no such timer: nothing is sent, and nothing watches over it.

        :raises RefusedError: not 1 to 255 s; nothing was sent.
        """
        if self._mocked or not self._timer:
            return
        if not 0 < seconds <= LONGEST_WATCHDOG:
            allowed = f"allowed is 1 to {LONGEST_WATCHDOG} s; nothing was sent"
            raise RefusedError(self.name, f"watchdog {seconds:g} s: {allowed}")
        timer = math.ceil(seconds)
        self._plunger.limit_period(timer / 3)
        await self._pump.ask(f"SAF{timer}")
        self._timer = timer

    async def halt(self) -> None:
        """Stop the plunger and have that confirmed.

        :raises NoReplyError: it was not confirmed: the plunger may be moving.
        """
        if not self._mocked:
            await self._plunger.stop()
            try:
                async with asyncio.timeout(PATIENCE):  # the move is woken to see that it is over
                    await self._rests.wait()
            except TimeoutError as error:
                why = f"stopped, but the dose under way has not seen it in {PATIENCE:g} s"
                raise InstrumentError(self.name, why) from error

    async def make_safe(self) -> None:
        await self.halt()

    def _update(self, dose: Dose, done: float, elapsed: float) -> WatcherUpdate[float]:
        size, sign = dose.volume.value, 1 if dose.infuse else -1
        return WatcherUpdate(
            current=sign * done,
            initial=0.0,
            target=sign * size,
            name=self.name,
            unit="mL",
            precision=3,
            fraction=min(max(done / size, 0.0), 1.0),
            time_elapsed=elapsed,
            time_remaining=max(self._plunger.seconds(size - done), 0.0),
        )

    async def _get_infused(self) -> float:
        return (await self._plunger.look()).infused.value

    async def _get_withdrawn(self) -> float:
        return (await self._plunger.look()).withdrawn.value

    async def _get_rate(self) -> float:
        return (await self._plunger.rate()).value

    async def _get_status(self) -> str:
        return PROMPTS[(await self._pump.ask(""))[0]]

    async def _get_diameter(self) -> float:
        return float((await self._pump.ask("DIA", NUMBER))[1][1])


def _check(diameter: float, address: int, mode: str, watchdog: int, max_rate: float | None) -> None:
    problems: list[str] = []
    if not 0.1 <= diameter <= 50.0:
        problems.append(f"diameter {diameter} mm: allowed is 0.1 to 50")
    if not 0 <= address <= 99:
        problems.append(f"address {address}: allowed is 0 to 99")
    if mode not in ("basic", "safe"):
        problems.append(f"mode {mode!r}: allowed is basic or safe")
    if not 0 <= watchdog <= LONGEST_WATCHDOG:
        problems.append(f"watchdog {watchdog} s: allowed is 0 to {LONGEST_WATCHDOG}")
    elif watchdog and mode == "basic":
        problems.append(f"watchdog {watchdog} s: basic mode has none; use mode safe")
    if max_rate is not None and not max_rate > 0:
        problems.append(f"max_rate {max_rate} mL/min: must be positive")
    if problems:
        raise ConfigError(*(f"NE-1000: {problem}" for problem in problems))
