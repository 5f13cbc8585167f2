"""Commands and replies of one New Era pump on a wire that it may share with others."""

import logging
import re
import uuid
from collections.abc import Callable

from sdl import clock
from sdl.drivers.ne1000.packets import (
    ALARMS,
    REFUSALS,
    Reply,
    is_full,
    parse,
    reply_frame,
    request,
    shape,
)
from sdl.errors import FaultError, GarbledError, NoReplyError, RefusedError
from sdl.wires import Frame, StreamWire, Sync

READINGS = 4  # at most, where a digit may be missing
TRIES = 2  # of a command that may be repeated; RUN is none
HARMLESS = "RT"  # alarms that are no fault while nothing moves: power came back, watchdog expired
RESET_NOTE = "VOL0.001"  # no dose that could be counted has this volume, whatever its unit

log = logging.getLogger(__name__)


class Conversation:
    """Knows the mode, checks who answers, and never takes an alarm for "executed".

    That the power was lost a pump says once, to whoever asks first. It is therefore noted in the
    pump itself, with the next packet: the volume of the dose that it was made ready for is gone.
    """

    def __init__(
        self, wire: StreamWire, address: int, *, safe: bool, who: Callable[[], str]
    ) -> None:
        """:param who: what the pump is called in messages, now."""
        self._wire, self._address, self._safe, self.who = wire, address, safe, who
        # a safe packet is understood in both modes
        self._sync = Sync(request(address, "VER", safe=True), reply_frame, self._is_me)
        self._missed: str | None = None  # an alarm heard while the wire looked for its place
        self.resets = 0
        """how often the pump was found to have lost its power"""
        self.alarms: list[str] = []
        """all that were heard, by whoever asked"""
        self._doubtful_since: float | None = None  # an answer was given up that may have been one
        self._unnoted = False  # whether a loss of power is still to be noted in the pump
        self.session = str(uuid.uuid4())
        """what tells this conversation from those of other processes"""

    async def ask(
        self, command: str, pattern: str = "", *, during: object = None
    ) -> tuple[str, re.Match[str]]:
        """Send a command that may be repeated; return prompt and data.

        :param pattern: the whole data must match it; a setting has none.
        :param during: the move under way, if any: then every alarm is a fault.
        :raises RefusedError: the pump said `?…`; nothing has changed.
        :raises FaultError: an alarm; the command was not executed, the pump has stopped.
        :raises NoReplyError: whether it was executed is not known.
        """
        for last in (False, True):
            reply = await self._exchange_in_full(command, pattern)
            alarm, self._missed = reply.alarm or self._missed, None
            if alarm is None:
                break
            if last or during is not None or alarm not in HARMLESS:
                raise self.fault(str(during or command or "status"), alarm)
            self.acknowledge(alarm)
        self.judge(command, reply)
        match = re.fullmatch(pattern, reply.data)
        assert match is not None  # the frame has seen to it
        return reply.prompt, match

    async def exchange(self, command: str, pattern: str = "", *, urgent: bool = False) -> Reply:
        """Send one packet, once, and return what answers it; an alarm is returned, not raised.

        :param urgent: send it even if no answer could be believed: a stop.
        :raises NoReplyError: whether it was executed is not known.
        :raises GarbledError: the same, and something else came.
        """
        opening = command.startswith("SAF")
        packet = request(self._address, command, safe=self._safe or opening)
        unasked: list[Reply] = []
        answers: list[Reply] = []
        frame = self._frame(pattern, unasked, any_mode=opening, answers=answers)
        began = clock.now()
        try:
            await self._wire.ask(packet, frame, sync=self._sync, urgent=urgent)
            reply = answers[-1]
            self._look_through_discarded(None)
        except NoReplyError as error:
            self._look_through_discarded(None if unasked else began)
            if not unasked:
                raise type(error)(self.who(), f"{command or 'status'}: {error}") from error
            reply = unasked[0]
        if reply.alarm is not None:
            self._heard(reply.alarm)
        if self._unnoted:
            await self._note_reset()
        return reply

    def _heard(self, alarm: str) -> None:
        self.alarms.append(alarm)
        self._unnoted = self._unnoted or alarm == "R"

    def _look_through_discarded(self, began: float | None) -> None:
        """Find the alarm that answered a question, but came when its answer was given up.

        It was acknowledged by the question and comes no more; the wire drains it before the next.

        :param began: when the newest question began, if its answer was given up (lab's clock).
        """
        if self._doubtful_since is not None:
            of_mine = re.compile(rb"\x02[^0-9]?%02dA\?([RSTEO])" % self._address)
            since = [e for e in self._wire.log if e.time >= self._doubtful_since]
            gone = [e.data for e in since if e.direction == "discarded"]
            for alarm in {m.decode() for m in of_mine.findall(b"".join(gone))}:
                self._missed = alarm
                self._heard(alarm)
        self._doubtful_since = began

    async def _note_reset(self) -> None:
        """Make another process see that the power was lost; tried again with the next exchange.

        A pump that moves refuses it, but then its counters are no longer at 0.
        """
        packet = request(self._address, RESET_NOTE, safe=True)  # understood in both modes
        frame = self._frame("", [], any_mode=True, answers=[])
        try:
            await self._wire.ask(packet, frame, sync=self._sync)
        except NoReplyError as error:
            log.warning("%s: the loss of power could not be noted: %s", self.who(), error)
        else:
            self._unnoted = False

    def judge(self, command: str, reply: Reply) -> None:
        """:raises RefusedError: the reply says no."""
        if reply.data.startswith("?"):
            reason = REFUSALS.get(reply.data, "no reason is known")
            raise RefusedError(self.who(), f"{command}: refused with {reply.data!r}: {reason}")

    def fault(self, what: str, alarm: str) -> FaultError:
        return FaultError(self.who(), f"{what}: alarm {alarm!r}: {ALARMS[alarm]}")

    def acknowledge(self, alarm: str) -> None:
        """Take note of a harmless alarm: the pump has seen that we know of it.

        The watchdog (T) expires whenever nobody talks to a pump at rest: no news to a person.
        """
        level = logging.DEBUG if alarm == "T" else logging.WARNING
        log.log(level, "%s: alarm acknowledged: %s", self.who(), ALARMS[alarm])
        self.resets += alarm == "R"

    async def _exchange_in_full(self, command: str, pattern: str) -> Reply:
        """Ask again where a number is shorter than usual, until two replies in a row look alike.

        The pump shows four digits and a point; in basic mode nothing else tells that one was lost.
        """
        reply = await self._exchange_again(command, pattern)
        for _ in range(READINGS - 1):
            if reply.alarm is not None or is_full(reply.data):
                return reply
            before, reply = reply, await self._exchange_again(command, pattern)
            if reply.alarm is None and shape(reply.data) == shape(before.data):
                return reply
        raise GarbledError(self.who(), f"{command}: no two replies are alike: {reply.data!r}")

    async def _exchange_again(self, command: str, pattern: str) -> Reply:
        for _ in range(TRIES - 1):
            try:
                return await self.exchange(command, pattern)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self.exchange(command, pattern)

    def _frame(
        self, pattern: str, unasked: list[Reply], *, any_mode: bool, answers: list[Reply]
    ) -> Frame:
        answer = re.compile(rf"{pattern}|\?\w*").fullmatch  # compiled once: `re` remembers it

        def frame(received: bytes) -> int | None:
            """Only this pump's answer to this command passes; after all else the line is drained.

            In safe mode an alarm may have come unasked, with the reply still behind it: it is put
            aside, and the wire told that it has lost its place.
            """
            length = reply_frame(received)
            if length is None:
                return None
            reply = parse(received[:length])
            if reply.address != self._address:
                raise GarbledError("", f"pump {reply.address} answered")
            if reply.alarm is not None and reply.safe:
                unasked.append(reply)
                raise GarbledError("", f"alarm {reply.alarm!r}")
            if reply.safe != self._safe and not any_mode:
                raise GarbledError("", f"it answers in {'safe' if reply.safe else 'basic'} mode")
            if reply.alarm is None and not answer(reply.data):
                raise GarbledError("", f"{reply.data!r} is no answer to it")
            answers.append(reply)
            return length

        return frame

    def _is_me(self, frame: bytes) -> bool:
        try:
            reply = parse(frame)
        except GarbledError:
            return False
        if reply.address == self._address and reply.alarm is not None:
            self._missed = reply.alarm  # this question has acknowledged it
            self._heard(reply.alarm)
        return reply.address == self._address and reply.data.startswith("NE")
