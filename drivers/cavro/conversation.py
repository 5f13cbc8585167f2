"""Questions and commands to one Cavro pump on a wire that it may share; each command once.

Source: manual 734237-C, sections 3.2.1 (sequence number and repeat flag) and 3.6 (status). In OEM a
command whose answer was lost is sent again at once, with its number and the repeat flag: a pump
that has it already only says so. Nothing may come between, as the pump compares with the last block
it had, a question included; hence the lock, and no search for the line's place in between.

No answer says what it answers. A number is therefore asked for after a `Q`, whose answer is empty:
an answer to the question before shows by its shape. DT has no checksum either: a number counts if
two answers are the same, or as the middle one of three, so that no single lost digit can matter.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from sdl import clock
from sdl.drivers.cavro.packets import (
    REFUSALS,
    Protocol,
    Reply,
    meaning,
    parse,
    reply_frame,
    request,
)
from sdl.errors import FaultError, GarbledError, NoReplyError, RefusedError
from sdl.wires import StreamWire, Sync
from sdl.wires.frames import answering

TRIES = 2  # of a question
REPEATS = 2  # of a command in OEM, flagged as such
SYNC_SEQUENCE, MOST_SEQUENCE = 7, 6  # the question that finds the place has a number of its own
PATIENCE, PAUSE = 10.0, 0.25  # s that a pump may be silent; s between questions meanwhile
STOPPING = 5.0  # s for a valve that is turning to come to rest; T does not end that
NUMBER = r"\d{1,6}"
TEXT = r"(?=.*[A-Za-z])[ -~]{3,}"  # what the firmware calls itself: no number, no valve position
NOT_KNOWN = (2, 3, 4)  # errors of a question that this pump does not have

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """A pump at one moment: `Q`, and the answer to one more question."""

    ready: bool
    error: int
    text: str

    @property
    def number(self) -> int:
        return int(self.text)


class Conversation:
    """Knows the protocol, numbers the blocks, and remembers all errors that were heard."""

    def __init__(
        self, wire: StreamWire, address: int, protocol: Protocol, who: Callable[[], str]
    ) -> None:
        """:param who: what the pump is called in messages, now."""
        self._wire, self._address, self.who = wire, address, who
        self.protocol: Protocol = protocol
        self._frame = reply_frame(protocol)
        firmware = request(protocol, address, "&", SYNC_SEQUENCE)
        self._sync = Sync(firmware, self._frame, lambda frame: self._fits(frame, TEXT))
        self._turn = asyncio.Lock()
        self._sequence = 0
        self.errors: list[int] = []
        """all that were heard: `Q` clears some, whoever asks it"""
        self.stops = 0
        """how often it was told to stop"""

    async def ask(self, question: str, pattern: str) -> Reply:
        """Ask, and ask again if there is no answer.

        :param pattern: what the data must be.
        :raises RefusedError: the pump does not know the question.
        :raises NoReplyError: there was no answer.
        """
        for _ in range(TRIES - 1):
            try:
                return await self._ask_once(question, pattern)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._ask_once(question, pattern)

    async def look(self, question: str = "?", pattern: str = NUMBER) -> Seen:
        """Ask `Q`, and then something that has an answer in words or digits."""
        status = await self.ask("Q", "")
        answers = [(await self.ask(question, pattern)).data]
        while self.protocol == "dt" and not _settled(answers):
            answers.append((await self.ask(question, pattern)).data)
            if len(answers) > TRIES + 3:
                raise GarbledError(self.who(), f"{question}: no two answers agree: {answers}")
        return Seen(status.ready, status.error, _agreed(answers))

    async def patiently(self, question: str = "?", pattern: str = NUMBER) -> Seen:
        """Look until there is an answer, for some seconds.

        :raises NoReplyError: there was none.
        """
        deadline = clock.monotonic() + PATIENCE
        while True:
            try:
                return await self.look(question, pattern)
            except NoReplyError:
                if clock.monotonic() > deadline:
                    raise
                await asyncio.sleep(PAUSE)  # a broken connection fails at once

    async def tell(self, command: str) -> None:
        """Have a string of commands executed, at most once; `R` is added.

        :raises RefusedError: the pump said no; nothing has moved.
        :raises FaultError: the pump reports a failure.
        :raises NoReplyError: whether it was executed is not known.
        """
        stops = self.stops
        async with self._turn:
            self._sequence = self._sequence % MOST_SEQUENCE + 1
            reply = await self._tell(f"{command}R", self._sequence, stops)
        self.judge(command, reply.error)

    async def _tell(self, block: str, sequence: int, stops: int) -> Reply:
        for repeat in range(REPEATS if self.protocol == "oem" else 0):
            try:
                return await self._exchange(block, "", sequence, repeated=repeat > 0, sync=None)
            except NoReplyError as error:
                if stops != self.stops:  # a stop is waiting: it must be the last word
                    raise
                log.info("repeated: %s", error)
        repeated = self.protocol == "oem"
        return await self._exchange(block, "", sequence, repeated=repeated, sync=None)

    async def stop(self) -> None:
        """End what moves (`T`), and have it confirmed that the pump is at rest.

        :raises NoReplyError: it was not confirmed: the plunger may be moving.
        """
        self.stops += 1
        await self._terminate()
        deadline = clock.monotonic() + STOPPING
        while not (await self.patiently()).ready:
            if clock.monotonic() > deadline:
                raise NoReplyError(self.who(), f"T: it is still busy after {STOPPING:g} s")
            await asyncio.sleep(PAUSE)

    async def _terminate(self) -> None:
        problem: NoReplyError | None = None
        for _ in range(3 * TRIES):
            try:
                async with self._turn:
                    self._sequence = self._sequence % MOST_SEQUENCE + 1
                    await self._exchange("T", "", self._sequence, sync=self._sync, urgent=True)
            except NoReplyError as error:
                problem = error
            else:
                return
        raise NoReplyError(self.who(), "T: it does not confirm that it stopped") from problem

    def judge(self, what: str, error: int) -> None:
        """:raises RefusedError: with this error nothing has moved.
        :raises FaultError: it is another.
        """
        if error in REFUSALS:
            raise RefusedError(self.who(), f"{what}: {meaning(error)}; nothing has moved")
        if error:
            raise FaultError(self.who(), f"{what}: {meaning(error)}")

    async def _ask_once(self, question: str, pattern: str) -> Reply:
        async with self._turn:
            self._sequence = self._sequence % MOST_SEQUENCE + 1
            reply = await self._exchange(question, pattern, self._sequence, sync=self._sync)
        if question != "Q" and reply.error in NOT_KNOWN and not reply.data:
            raise RefusedError(self.who(), f"{question}: {meaning(reply.error)}")
        return reply

    async def _exchange(
        self,
        data: str,
        pattern: str,
        sequence: int,
        *,
        sync: Sync | None,
        repeated: bool = False,
        urgent: bool = False,
    ) -> Reply:
        packet = request(self.protocol, self._address, data, sequence, repeated=repeated)
        frame = answering(self._frame, lambda frame: self._fits(frame, pattern))
        try:
            got = await self._wire.ask(packet, frame, sync=sync, urgent=urgent)
        except NoReplyError as error:
            raise type(error)(self.who(), f"{data}: {error}") from error
        reply = parse(self.protocol, got)
        if reply.error:
            self.errors.append(reply.error)
        return reply

    def _fits(self, frame: bytes, pattern: str) -> bool:
        try:
            reply = parse(self.protocol, frame)
        except GarbledError:
            return False
        unknown = reply.error in NOT_KNOWN and not reply.data
        return re.fullmatch(pattern, reply.data) is not None or unknown


def _settled(answers: list[str]) -> bool:
    """Whether what a DT pump said can be believed: said twice in a row, or a third number."""
    return answers[-1:] == answers[-2:-1] or (len(answers) == 3 and answers[0].isdigit())


def _agreed(answers: list[str]) -> str:
    if len(answers) == 3 and answers[1] != answers[2]:
        return sorted(answers, key=int)[1]  # the middle one
    return answers[-1]
