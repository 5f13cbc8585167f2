"""What an NE-1000 has to be asked and told to move its plunger exactly once, and to be sure of it.

Source: user manual, publication 1200-01, sections 10.2 to 10.4 (pp. 33-35).
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sdl import clock
from sdl.drivers.ne1000.conversation import HARMLESS, RESET_NOTE, TRIES, Conversation
from sdl.drivers.ne1000.packets import PROMPTS, Quantity, quantity, read
from sdl.errors import FaultError, InstrumentError, NoReplyError, RefusedError

SMALL_SYRINGE = 14.0  # mm; up to here the pump's own volume unit is the microlitre
VOLUMES = {"ML": 1.0, "UL": 1e-3}  # mL
RATES = {"MM": 1.0, "MH": 1 / 60, "UM": 1e-3, "UH": 1e-3 / 60}  # mL/min
MOST_COUNTED = 9999  # in the counters' unit; then they begin again at 0

UPDATES = 20  # looks wanted at a move …
SHORTEST_PERIOD, LONGEST_PERIOD = 0.25, 5.0  # … but never closer, nor farther apart (s)
MARGIN = 0.05  # s after the expected end of a move until the pump is asked
PATIENCE = 10.0  # s that a running pump may be silent, or its counter stand still
READY_FOR = 5.0  # s from being made ready for a dose to RUN; later it is made ready again
RUNNING, MOVING = "IW", "IWX"
SLACK = 2  # of the counter's digits by which a dose that was given may differ from what is counted

T = TypeVar("T")
NUMBER = r"(\d\.\d{0,3}|\d\d\.\d{0,2}|\d{3}\.\d?|\d{4}\.)"  # the point is always there
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dose:
    """A volume as it is commanded: in four digits."""

    volume: Quantity
    infuse: bool

    def __str__(self) -> str:
        return f"{'infuse' if self.infuse else 'withdraw'} {self.volume.value:g} mL"


@dataclass(frozen=True)
class Look:
    """What the pump says of itself in one reply: its prompt and both counters."""

    prompt: str
    infused: Quantity
    withdrawn: Quantity

    def counter(self, dose: Dose) -> Quantity:
        return self.infused if dose.infuse else self.withdrawn


@dataclass(frozen=True)
class Ready:
    """That the pump needs only RUN to give a dose."""

    dose: Dose
    before: Look
    resets: int
    until: float  # on the loop's clock


class Plunger:
    """One dose at a time. Errors are those of `Conversation`, or said."""

    def __init__(self, pump: Conversation, diameter: float, *, longest_period: float) -> None:
        """:param longest_period: s between two looks at a move, at most."""
        self._pump, self._diameter = pump, quantity(diameter, {"": 1.0})
        self.limit_period(longest_period)
        self._ready: Ready | None = None
        self._rate: Quantity | None = None  # as set; None: whatever the pump has
        self._stops, self._programmed = 0, -1
        self._told_to_stop = asyncio.Event()
        self._alarms = 0  # heard before the newest dose was ready to run

    def limit_period(self, seconds: float) -> None:
        """Look at a move at least so often."""
        self._longest_period = min(seconds, LONGEST_PERIOD)

    @property
    def diameter(self) -> float:
        """mm, of the syringe, as it is told to the pump."""
        return self._diameter.value

    async def set_up(self) -> None:
        """Make the pump's settings ours; one that runs (our own dose, perhaps) is left running.

        After phase 1 the pump goes on to phase 2, which therefore is programmed to stop. The
        diameter is set only if it differs: setting it clears the counters.
        """
        prompt, match = await self._pump.ask("DIA", NUMBER)
        resets = self._pump.resets
        if abs(float(match[1]) - self._diameter.value) > 1e-6:
            if prompt in RUNNING:
                raise self._refused(f"it runs with diameter {match[1]} mm; stop it first")
            await self._pump.ask(RESET_NOTE)  # the counters go, as when the power is lost
            await self._pump.ask(f"DIA{self._diameter.text}")
        if prompt not in RUNNING:
            for command in ("PHN2", "FUNSTP", "PHN1", "FUNRAT"):
                await self._pump.ask(command)
            self._programmed = resets

    async def look(self, during: Dose | None = None) -> Look:
        prompt, match = await self._pump.ask("DIS", f"I{NUMBER}W{NUMBER}(UL|ML)", during=during)
        infused, withdrawn, unit = match.groups()
        return Look(prompt, read(infused, unit, VOLUMES), read(withdrawn, unit, VOLUMES))

    async def rate(self) -> Quantity:
        """mL/min."""
        _, match = await self._pump.ask("RAT", NUMBER + "([MU][MH])")
        return read(match[1], match[2], RATES)

    async def volume(self) -> float:
        """What it is programmed to move, mL."""
        _, match = await self._pump.ask("VOL", NUMBER + "(UL|ML)")
        return read(match[1], match[2], VOLUMES).value

    async def set_rate(self, value: float) -> None:
        """:param value: mL/min; while the pump runs, in the unit that it has."""
        prompt, match = await self._pump.ask("RAT", NUMBER + "([MU][MH])")
        unit = match[2]
        try:
            rate = quantity(value, {unit: RATES[unit]} if prompt in RUNNING else RATES)
        except ValueError as error:
            raise self._refused(f"rate {value:g} mL/min: {error}") from error
        await self._pump.ask(f"RAT{rate.text}{rate.unit}")
        self._rate = rate

    def dose(self, value: float) -> Dose:
        """Round a volume to what the pump can be told.

        :param value: mL, + infuses, - withdraws.
        :raises RefusedError: it cannot be told so; nothing was sent.
        """
        small = self._diameter.value <= SMALL_SYRINGE
        micro_first = abs(value) < (5.0 if small else 0.1)
        try:
            if not math.isfinite(value) or value == 0:
                raise ValueError("that is no volume to be dosed")
            units = dict(sorted(VOLUMES.items(), reverse=micro_first))
            return Dose(quantity(abs(value), units), value > 0)
        except ValueError as error:
            allowed = f"allowed is 1e-6 to {MOST_COUNTED} mL, + or -; nothing was sent"
            raise self._refused(f"set {value:g} mL: {error}; {allowed}") from error

    async def make_ready(self, dose: Dose) -> Look:
        """Prepare a dose so that it can be counted; return the counters from which it is.

        :raises RefusedError: the pump is busy, or says no; nothing has moved.
        """
        before = await self._prepare(dose)
        self._ready = Ready(dose, before, self._pump.resets, clock.monotonic() + READY_FOR)
        return before

    async def move(self, dose: Dose) -> AsyncIterator[float]:
        """Give a dose; yield how many mL of it the pump has counted.

        :raises RefusedError: nothing has moved.
        :raises FaultError: an alarm, or it stopped short; part of it may have moved.
        :raises NoReplyError: the pump may be moving, and will stop at the volume.
        :raises InstrumentError: it was told to stop.
        """
        stops = self._stops
        self._told_to_stop.clear()
        before = await self._start(dose, stops)
        size, start = dose.volume.value, before.counter(dose)
        progressed, most = clock.monotonic(), 0.0
        while True:
            look = await self._look_on(dose)
            counter = look.counter(dose)
            done, slack = (
                counter.value - start.value,
                SLACK * max(counter.resolution, start.resolution),
            )
            yield done
            if look.prompt not in RUNNING:
                break
            if done > most:
                most, progressed = done, clock.monotonic()
            stood = clock.monotonic() - progressed
            if done > size + slack or stood > PATIENCE + self.seconds(3 * counter.resolution):
                raise self._fault(f"{dose}: it runs, with {done:g} mL counted")
            left = max(self.seconds(size - done), 0) + MARGIN
            await self._sleep(min(left, self._period(size)))
        if abs(done - size) <= slack * (1 + 1e-9):
            return
        after = f"{dose}: {PROMPTS[look.prompt]} after {done:g} mL"
        if stops != self._stops:
            raise InstrumentError(self._pump.who(), f"{after}: it was told to stop")
        raise self._fault(f"{after}: by hand, or by another program")

    async def stop(self) -> None:
        """Stop (the first STP pauses, the second stops) and have that confirmed.

        :raises NoReplyError: it was not confirmed: the plunger may be moving.
        """
        self._stops += 1
        self._ready = None
        try:
            await self._stop()
        finally:
            self._told_to_stop.set()

    async def _stop(self) -> None:
        problem: NoReplyError | None = None
        for _ in range(3 * TRIES):
            try:
                reply = await self._pump.exchange("STP", urgent=True)
            except NoReplyError as error:
                problem = error
                continue
            if reply.prompt == "S":  # with ?NA if it had stopped before
                return
            if reply.alarm is not None:  # an alarm stops it too; the next reply has the prompt
                log.warning("%s", self._pump.fault("STP", reply.alarm))
        why = "STP: it does not confirm that it stopped"
        raise NoReplyError(self._pump.who(), why) from problem

    async def _sleep(self, seconds: float) -> None:
        """Wait for the next look at a move; a stop ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told_to_stop.wait()

    def seconds(self, volume: float) -> float:
        """How long (s) the plunger takes for mL, at the newest rate."""
        return volume * 60 / self._rate.value if self._rate else 0.0

    async def _start(self, dose: Dose, stops: int) -> Look:
        """Have the pump run, once; return what it had counted before."""
        for _ in range(TRIES):
            before = await self._still_ready(dose) or await self._prepare(dose)
            if stops != self._stops:
                raise InstrumentError(self._pump.who(), f"{dose}: told to stop before it began")
            if await self._run(dose, before):
                return before
        raise self._refused(f"{dose}: RUN was not executed; nothing has moved")

    async def _still_ready(self, dose: Dose) -> Look | None:
        """Return what the pump has counted, if it was made ready for just this and still is."""
        ready, self._ready = self._ready, None
        if ready is None or ready.dose != dose or clock.monotonic() > ready.until:
            return None
        look = await self.look()
        if look != ready.before or self._pump.resets != ready.resets:
            return None
        self._alarms = len(self._pump.alarms)
        return look

    async def _prepare(self, dose: Dose) -> Look:
        for _ in range(TRIES):
            resets = self._pump.resets
            look = await self.look()
            if look.prompt == "P":
                await self._pump.ask("STP")
            elif look.prompt != "S":
                raise self._refused(f"{dose}: it is {PROMPTS[look.prompt]} for somebody else")
            if self._programmed != resets:
                await self.set_up()
            await self._check_rate(dose)
            before = await self._make_countable(dose)
            await self._pump.ask(f"VOL{dose.volume.text}")
            await self._pump.ask("DIRINF" if dose.infuse else "DIRWDR")
            if self._pump.resets == resets:
                self._alarms = len(self._pump.alarms)
                return before
        raise self._refused(f"{dose}: its power fails again and again; nothing has moved")

    async def _check_rate(self, dose: Dose) -> None:
        actual, wanted = await self.rate(), self._rate
        if wanted is not None and abs(actual.value / wanted.value - 1) > 1e-9:
            await self._pump.ask(f"RAT{wanted.text}{wanted.unit}")
        elif actual.value <= 0:
            raise self._refused(f"{dose}: its rate is 0; set `rate` first")
        self._rate = wanted or actual

    async def _make_countable(self, dose: Dose) -> Look:
        """Set the volume's unit; clear the counter if it cannot resolve this dose."""
        size, look = dose.volume.value, await self.look()
        if look.counter(dose).unit != dose.volume.unit:
            await self._pump.ask(f"VOL{dose.volume.unit}")
            look = await self.look()
        old = look.counter(dose)
        coarse = old.value > 5 * size and old.resolution > size / 200
        if coarse or old.value + size > MOST_COUNTED * VOLUMES[old.unit]:
            await self._pump.ask("CLDINF" if dose.infuse else "CLDWDR")
            look = await self.look()
        return look

    async def _run(self, dose: Dose, before: Look) -> bool:
        """Send RUN; whether it was executed says the reply or, without one, the pump when asked."""
        try:
            reply = await self._pump.exchange("RUN")
        except NoReplyError as error:
            log.warning("is it running? %s", error)
        else:
            if reply.alarm is not None:
                if reply.alarm not in HARMLESS:
                    raise self._pump.fault(str(dose), reply.alarm)
                self._pump.acknowledge(reply.alarm)
                return False
            self._pump.judge(f"{dose}: RUN", reply)
            if reply.prompt in RUNNING:
                return True
        look = await self._look_on(dose)
        now, then = look.counter(dose), before.counter(dose)
        if look.prompt in RUNNING or now.value != then.value:
            return True
        if dose.volume.value < 3 * now.resolution:
            why = f"{dose}: no reply to RUN, and it is too little for the counter to tell"
            raise NoReplyError(self._pump.who(), why)
        return False

    async def _look_on(self, dose: Dose) -> Look:
        """Look at a dose that may be under way; a line that fails for a moment does not end it."""
        look = await self.patiently(lambda: self.look(dose))
        if len(self._pump.alarms) > self._alarms:  # somebody else who asked has heard it
            raise self._pump.fault(str(dose), self._pump.alarms[-1])
        return look

    async def patiently(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, for some seconds.

        :raises NoReplyError: there was none.
        """
        deadline = clock.monotonic() + PATIENCE
        while True:
            try:
                return await question()
            except NoReplyError:
                if clock.monotonic() > deadline:
                    raise
                await asyncio.sleep(SHORTEST_PERIOD)  # a broken connection fails at once

    async def rest(self, dose: Dose, before: float) -> Look:
        """Wait for the end of what may be under way, and only ask; return what is counted then.

        What is at rest is looked at twice: without a checksum one look may be garbled.

        :param before: mL that the dose's counter had before.
        :returns: a look at a pump at rest, or at one that has moved more than the dose.
        :raises FaultError: it runs and counts nothing, or it says an alarm again and again.
        :raises NoReplyError: it cannot be asked now.
        """
        rate = (await self._heard_out(self.rate)).value / 60  # mL/s
        size, most, progressed = dose.volume.value, -math.inf, clock.monotonic()
        last: Look | None = None
        while True:
            look = await self._heard_out(self.look)
            if look.prompt not in MOVING and look == last:
                return look
            last, counter = look, look.counter(dose)
            if look.prompt not in MOVING:
                continue
            if counter.value > most:
                most, progressed = counter.value, clock.monotonic()
            left = before + size - counter.value
            if left < -SLACK * counter.resolution:
                return look
            patience = PATIENCE + (3 * counter.resolution / rate if rate > 0 else 0.0)
            if clock.monotonic() - progressed > patience:
                raise self._fault(f"{dose}: it is {PROMPTS[look.prompt]}, and counts nothing")
            wait = max(left, 0.0) / rate if rate > 0 else 0.0
            await asyncio.sleep(min(max(wait + MARGIN, SHORTEST_PERIOD), self._longest_period))

    async def _heard_out(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask, and ask again where the answer is an alarm: hearing it has acknowledged it."""
        for _ in range(TRIES):
            with contextlib.suppress(FaultError):
                return await self.patiently(question)
        return await self.patiently(question)

    def _period(self, volume: float) -> float:
        return min(max(self.seconds(volume) / UPDATES, SHORTEST_PERIOD), self._longest_period)

    def _refused(self, message: str) -> RefusedError:
        return RefusedError(self._pump.who(), message)

    def _fault(self, message: str) -> FaultError:
        return FaultError(self._pump.who(), message)
