"""SCPI with one instrument, so that no answer is ever taken for another's.

Answers in SCPI say nothing of their question. So each message carries a number of its own, put into
the event enable register and asked back (`*ESE 17;*ESE?`: it does nothing on a serial line or a
socket), asks for the event register (errors, and whether the power was lost), and asks its question
twice: a byte that was lost makes the two answers differ. Compound messages are IEEE 488.2's, 6.1.
"""

import itertools
import logging
import re
from collections.abc import Callable

from sdl.errors import FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument.agreeing import agreed, same
from sdl.wires import StreamWire, Sync, answering, until

TRIES = 2  # of a question, and of an absolute setting
POWER_ON, ERRORS = 1 << 7, 0b0011_1100  # in the event register
MOST_ERRORS = 20  # that are taken out of the queue
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d{1,3})?"
EXACT = r"[+-]?\d\.\d{6}E[+-]\d\d"  # a reading, where it cannot be asked for twice
ERROR = r'([+-]?\d{1,5}),"([^"]*)"'

log = logging.getLogger(__name__)


def parse(reply: str, tag: int, answer: str) -> tuple[int, str | None]:
    """Take `tag;events;answer;answer` apart: return events and answer, or None if there is none.

    :param answer: a regular expression for the whole answer.
    :raises GarbledError: it is no reply to that.
    """
    match = re.fullmatch(r"(0|[1-9]\d{0,2});(0|[1-9]\d{0,2})(?:;(.*))?", reply)
    if match is None or int(match[1]) != tag or int(match[2]) > 255:
        raise GarbledError("", f"{reply!r} is no reply to number {tag}")
    events, rest = int(match[2]), match[3]
    if rest is None:
        return events, None
    half, rem = divmod(len(rest) - 1, 2)
    if rem or rest[half] != ";" or rest[:half] != rest[half + 1 :]:
        raise GarbledError("", f"{rest!r} is not the same answer twice")
    if re.fullmatch(answer, rest[:half], re.IGNORECASE) is None:
        raise GarbledError("", f"{rest[:half]!r} is no answer to it")
    return events, rest[:half]


def parse_error(reply: str) -> tuple[int, str]:
    """Return number and text of an entry of the error queue.

    :raises GarbledError: it is none.
    """
    match = re.fullmatch(ERROR, reply)
    if match is None:
        raise GarbledError("", f"{reply!r} is no entry of the error queue")
    return int(match[1]), match[2].partition(";")[0]


class Conversation:
    """Questions and settings; a question may be asked again, and so may what is absolute."""

    def __init__(self, wire: StreamWire, *, end: bytes, tags: bool, who: Callable[[], str]) -> None:
        """:param end: what messages and replies end with.
        :param tags: whether messages are numbered; else what is asked is asked until two answers
            in a row are one, and readings must have seven digits.
        :param who: what the instrument is called in messages, now.
        """
        self._wire, self._end, self.tags, self._who = wire, end, tags, who
        self._numbers = itertools.cycle(range(1, 256))
        self.power_losses = 0
        """how often it was found to have lost its power"""

    async def ask(
        self,
        question: str,
        answer: str,
        *,
        before: str = "",
        again: str | None = None,
        timeout: float | None = None,
        urgent: bool = False,
    ) -> str:
        """Return the answer to a question.

        :param answer: a regular expression for the whole answer.
        :param before: commands that go before it in the same breath; they must be absolute.
        :param again: what brings the same answer once more (default: the question).
        :param urgent: send it even where no answer could be believed.
        :raises RefusedError: it did not answer, and says why.
        :raises FaultError: it has lost its power since the last question.
        :raises NoReplyError: it could not be asked; `before` may have been heard.
        """
        for _ in range(TRIES - 1):
            try:
                return await self._ask(question, answer, before, again, timeout, urgent)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._ask(question, answer, before, again, timeout, urgent)

    async def errors(self) -> list[str]:
        """Take all errors out of its queue."""
        found: list[str] = []
        for _ in range(MOST_ERRORS):
            number, text = parse_error(await self._exchange(":SYST:ERR?", ERROR, None, False))
            if number == 0:
                break
            found.append(f"{number:+d} {text}")
        return found

    async def _ask(
        self,
        question: str,
        answer: str,
        before: str,
        again: str | None,
        timeout: float | None,
        urgent: bool,
    ) -> str:
        if not self.tags:
            return await self._ask_plainly(question, answer, before, timeout, urgent)
        tag = next(self._numbers)
        asked = f"*ESE {tag};*ESE?;*ESR?;{question};{again or question}"
        reply = await self._exchange(asked, "", timeout, urgent, before, tag, answer)
        events, found = parse(reply, tag, answer)
        if events & POWER_ON:
            self.power_losses += 1
            lost = "it has lost its power: the output is off, and its settings are those of *RST"
            raise FaultError(self._who(), f"{before or question}: {lost}")
        if found is None:
            raise await self.refusal(question)
        if events & ERRORS and before:
            raise await self.refusal(before)
        return found

    async def refusal(self, what: str) -> RefusedError:
        """Return the error that says why it did not do something."""
        why = ", ".join(await self.errors()) or "it gives no reason"
        return RefusedError(self._who(), f"{what}: {why}")

    async def _ask_plainly(
        self, question: str, answer: str, before: str, timeout: float | None, urgent: bool
    ) -> str:
        if answer != NUMBER and NUMBER in answer:  # a reading: no two are one
            exact = answer.replace(NUMBER, EXACT)
            return await self._exchange(question, exact, timeout, urgent, before)

        async def once() -> str:
            return await self._exchange(question, answer, timeout, urgent, before)

        return await agreed(once, same)

    async def _exchange(
        self,
        question: str,
        answer: str,
        timeout: float | None,
        urgent: bool,
        before: str = "",
        tag: int | None = None,
        tagged: str = "",
    ) -> str:
        def accept(reply: bytes) -> bool:
            try:
                text = self._text(reply)
                if tag is not None:
                    parse(text, tag, tagged)
                    return True
            except GarbledError:
                return False
            return re.fullmatch(answer, text, re.IGNORECASE) is not None

        request = b"".join(line.encode("ascii") + self._end for line in (before, question) if line)
        limit = None if timeout is None else self._wire.timeout + timeout
        try:
            reply = await self._wire.ask(
                request,
                answering(until(self._end), accept),
                timeout=limit,
                sync=self._sync(),
                urgent=urgent,
            )
        except NoReplyError as error:
            raise type(error)(self._who(), str(error)) from error
        return self._text(reply)

    def _text(self, reply: bytes) -> str:
        if not reply.isascii():
            raise GarbledError("", f"{reply!r} is not ASCII")
        return reply.decode("ascii").removesuffix(self._end.decode("ascii"))

    def _sync(self) -> Sync:
        if not self.tags:
            return Sync(b"*OPC?" + self._end, until(self._end), lambda r: r == b"1" + self._end)
        tag = next(self._numbers)
        wanted = b"%d;%d" % (tag, tag) + self._end
        request = b"*ESE %d;*ESE?;*ESE?" % tag + self._end
        return Sync(request, until(self._end), lambda reply: reply == wanted, who=self)
