"""What a Cavro pump has to be told and asked to move its plunger once, and to be sure of it.

Source: manual 734237-C, sections 3.3 to 3.6. In OEM doses are relative (`P`, `D`), as the repeat
flag keeps them from being done twice; in DT they are told as positions (`A`), which cannot be.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sdl import clock
from sdl.drivers.cavro.conversation import PATIENCE, TRIES, Conversation, Seen
from sdl.drivers.cavro.packets import PLACELESS, REFUSALS, meaning
from sdl.errors import FaultError, InstrumentError, NoReplyError, RefusedError

SLOWEST, FASTEST = 5, 6000  # pulses/s that V may be
POWER_UP_SPEED = 1400  # that V is when power has come
ROUGHEST = 0.05  # part by which a rate may be rounded
FINER = 8  # positions for each in normal resolution
UPDATES, SHORTEST_PERIOD, LONGEST_PERIOD = 20, 0.1, 5.0  # looks at a move, and s between them
MARGIN = 0.05  # s after the expected end of a move
LONGEST_INITIALIZATION = 90.0  # s
NOT_BEGUN = (3, 11)  # errors of a command that was acknowledged first and then not begun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stroke:
    """A syringe, and how a pump divides its stroke."""

    capacity: float
    """mL"""
    steps: int
    """of a full stroke, in the resolution that is used"""
    pulses: int
    """of a full stroke, in which speeds are counted"""

    def volume(self, steps: int) -> float:
        return steps * self.capacity / self.steps

    def rate(self, speed: int) -> float:
        """mL/min."""
        return speed * 60 * self.capacity / self.pulses

    def seconds(self, steps: int, speed: int) -> float:
        return abs(steps) / self.steps * self.pulses / speed


@dataclass(frozen=True)
class Dose:
    """What is commanded: a whole number of steps."""

    steps: int
    """+ dispenses, - aspirates"""
    volume: float
    """mL that they are"""

    def __str__(self) -> str:
        return f"{'dispense' if self.steps > 0 else 'aspirate'} {abs(self.volume):g} mL"


class Plunger:
    """One dose at a time. Errors are those of `Conversation`, or said."""

    def __init__(self, pump: Conversation, stroke: Stroke, mode: int) -> None:
        """:param mode: of resolution, as `N` has it."""
        self._pump, self.stroke, self._mode = pump, stroke, mode
        self._speed: int | None = None  # as set; None: whatever the pump has
        self._told_to_stop = asyncio.Event()

    def dose(self, value: float) -> Dose:
        """:raises RefusedError: no stroke is so long, or so short; nothing was sent."""
        capacity = self.stroke.capacity
        steps = round(value / capacity * self.stroke.steps) if math.isfinite(value) else 0
        if not steps or abs(steps) > self.stroke.steps:
            least = self.stroke.volume(1)
            allowed = f"allowed is {least:.3g} to {capacity:g} mL, + or -; nothing was sent"
            raise RefusedError(self._pump.who(), f"set {value:g} mL: {allowed}")
        return Dose(steps, self.stroke.volume(steps))

    async def set_up(self) -> None:
        """Have the pump count in our resolution; one that is moving is left alone.

        :raises RefusedError: it is moving, and counts otherwise.
        """
        for _ in range(TRIES):
            if (await self._pump.look("?28", r"\d")).number == self._mode:
                return
            with contextlib.suppress(NoReplyError):  # it is read back
                await self._pump.tell(f"N{self._mode}")
        found = (await self._pump.look("?28", r"\d")).number
        if found != self._mode:
            raise FaultError(self._pump.who(), f"N{self._mode}: it stays in resolution N{found}")

    async def initialize(self, command: str) -> None:
        """Find the plunger's place: it goes to the top, what was in the syringe goes out.

        :param command: `Z` or `Y`, with its parameters.
        :raises FaultError: it did not succeed.
        """
        for _ in range(TRIES):
            try:
                await self._pump.tell(command)
                break
            except NoReplyError as error:
                if not (await self._pump.patiently()).ready:
                    break
                log.info("is it initialized? %s", error)
        deadline = clock.monotonic() + LONGEST_INITIALIZATION
        while not (seen := await self._pump.patiently()).ready:
            if clock.monotonic() > deadline:
                why = f"still busy after {LONGEST_INITIALIZATION:g} s"
                raise FaultError(self._pump.who(), f"initialize: {why}")
            await asyncio.sleep(SHORTEST_PERIOD)
        if seen.error or seen.number:
            where = f"{meaning(seen.error)}, plunger at {seen.number}"
            raise FaultError(self._pump.who(), f"initialize: {where}")
        await self.set_up()

    async def position(self) -> Seen:
        """Look where the plunger is.

        :raises FaultError: the pump does not know, or its power was lost just before it said so.
        """
        seen = await self._pump.look()
        for error in (seen.error, (await self._pump.ask("Q", "")).error):
            if error in PLACELESS:
                raise self._fault(f"volume: {meaning(error)}; initialize it")
        return seen

    async def speed(self) -> int:
        """Pulses/s that the pump says it moves with."""
        return (await self._pump.look("?2")).number

    async def set_rate(self, value: float) -> None:
        """:param value: mL/min; a move under way goes on with it.
        :raises RefusedError: no whole number of pulses/s is near; nothing was sent.
        """
        stroke = self.stroke
        speed = min(max(round(value / stroke.rate(1)), SLOWEST), FASTEST)
        if speed == POWER_UP_SPEED:  # a pump that lost its power must not look as if set by us
            speed += 1
        if abs(stroke.rate(speed) - value) > ROUGHEST * value:
            nearest = f"it would be rounded to {stroke.rate(speed):.3g}; nothing was sent"
            raise RefusedError(self._pump.who(), f"rate {value:g} mL/min: {nearest}")
        self._speed = speed
        await self._tell_speed(speed)

    async def ready_for(self, dose: Dose) -> tuple[int, int]:
        """Check that a dose can be given, tell the rate; return the position and the speed.

        :raises RefusedError: it cannot; nothing has moved.
        """
        seen = await self._pump.look()
        if not seen.ready:
            raise self._refused(f"{dose}: it is busy")
        if seen.error in PLACELESS:
            raise self._refused(f"{dose}: {meaning(seen.error)}; initialize it first")
        await self.set_up()
        after = seen.number - dose.steps
        if not 0 <= after <= self.stroke.steps:
            holds = f"it holds {self.stroke.volume(seen.number):.6g} of {self.stroke.capacity:g} mL"
            raise self._refused(f"{dose}: {holds}")
        speed = self._speed or await self.speed()
        if speed == POWER_UP_SPEED:
            speed += 1
        await self._tell_speed(speed)
        return seen.number, speed

    async def move(self, dose: Dose) -> AsyncIterator[int]:
        """Give a dose; yield how many steps of it the pump has counted.

        :raises RefusedError: nothing has moved.
        :raises FaultError: a failure, or it stopped short; part of it may have moved.
        :raises NoReplyError: the plunger may be moving, and will stop at the volume.
        :raises InstrumentError: it was told to stop.
        """
        stops = self._pump.stops
        self._told_to_stop.clear()
        start, speed = await self.ready_for(dose)
        heard = len(self._pump.errors)
        self._check_stops(stops, f"{dose}: told to stop before it began")
        await self._start(dose, start, stops)
        done = 0
        async for done in self._follow(dose, start, speed, heard):
            yield done
        if done == dose.steps and await self.speed() in (speed, self._speed):
            return
        after = f"{dose}: at rest after {self.stroke.volume(done):g} mL"
        self._check_stops(stops, f"{after}: it was told to stop")
        why = "its power was lost" if done == dose.steps else "by hand, or by another program"
        raise self._fault(f"{after}: {why}")

    async def rest(self, dose: Dose) -> Seen:
        """Wait until what may be under way is over, and only ask; look twice at what is at rest.

        :raises FaultError: it is busy, and nothing moves.
        :raises NoReplyError: it cannot be asked now.
        """
        last, progressed = None, clock.monotonic()
        while True:
            seen = await self._pump.patiently()
            if seen.ready and last is not None and (last.ready, last.text) == (True, seen.text):
                return seen
            if last is None or last.text != seen.text:
                progressed = clock.monotonic()
            if clock.monotonic() - progressed > PATIENCE:
                raise self._fault(f"{dose}: it is busy, and nothing moves")
            last = seen
            await asyncio.sleep(SHORTEST_PERIOD)

    async def stop(self) -> None:
        """:raises NoReplyError: it was not confirmed."""
        try:
            await self._pump.stop()
        finally:
            self._told_to_stop.set()

    async def _start(self, dose: Dose, start: int, stops: int) -> None:
        """Have it begin; a command of which nothing was heard is judged by what has moved."""
        oem = self._pump.protocol == "oem"
        relative = f"{'D' if dose.steps > 0 else 'P'}{abs(dose.steps)}"
        command = relative if oem else f"A{start - dose.steps}"
        for _ in range(1 if oem else TRIES):
            try:
                await self._pump.tell(command)
            except NoReplyError as error:
                log.info("is it moving? %s", error)
                if await self._has_begun(start):
                    return
                self._check_stops(stops, f"{dose}: told to stop before it began")
            else:
                return
        raise self._refused(f"{dose}: it was not executed; nothing has moved")

    async def _has_begun(self, start: int) -> bool:
        for _ in range(2):
            seen = await self._pump.patiently()
            if not seen.ready or seen.number != start:
                return True
        return False

    async def _follow(self, dose: Dose, start: int, speed: int, heard: int) -> AsyncIterator[int]:
        """Yield the steps that are done, the last when the pump is at rest."""
        sign = 1 if dose.steps > 0 else -1
        most, progressed, rested = 0, clock.monotonic(), None
        while True:
            seen = await self._pump.patiently()
            self._judge(dose, heard)
            done = start - seen.number
            yield done
            if seen.ready and (done == dose.steps or rested == done):
                return
            rested = done if seen.ready else None
            if done * sign > most:
                most, progressed = done * sign, clock.monotonic()
            if clock.monotonic() - progressed > PATIENCE:
                counted = f"{self.stroke.volume(done):g} mL"
                raise self._fault(f"{dose}: it is busy, with {counted} done")
            left = self.stroke.seconds(dose.steps - done, speed) + MARGIN
            period = self.stroke.seconds(dose.steps, speed) / UPDATES
            period = min(max(period, SHORTEST_PERIOD), LONGEST_PERIOD)
            await self._sleep(SHORTEST_PERIOD if seen.ready else min(left, period))

    async def _tell_speed(self, speed: int) -> None:
        """Have it move with that speed from now on, read back."""
        for _ in range(TRIES):
            with contextlib.suppress(NoReplyError):
                await self._pump.tell(f"V{speed}")
            if await self.speed() == speed:
                return
        raise self._fault(f"V{speed}: it holds another speed")

    async def _sleep(self, seconds: float) -> None:
        """Wait; a stop ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told_to_stop.wait()

    def _judge(self, dose: Dose, heard: int) -> None:
        """:raises FaultError: a failure was heard since, by whoever asked."""
        for error in self._pump.errors[heard:]:
            if error in PLACELESS or error not in REFUSALS:
                raise self._fault(f"{dose}: {meaning(error)}")
            if error in NOT_BEGUN:
                self._pump.judge(str(dose), error)

    def _check_stops(self, stops: int, message: str) -> None:
        if stops != self._pump.stops:
            raise InstrumentError(self._pump.who(), message)

    def _refused(self, message: str) -> RefusedError:
        return RefusedError(self._pump.who(), message)

    def _fault(self, message: str) -> FaultError:
        return FaultError(self._pump.who(), message)
