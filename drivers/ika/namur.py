"""NAMUR commands of an IKA plate, and its answers. Source: IKA Plate (RCT digital), operating
instructions 11/2018, "Interfaces and outputs" (p. 30; shared facts, 2.8).

Questions are answered with `value channel`; what starts, stops and sets has no answer at all, not
even an error: only `@` commands repeat their value. Every line ends with blank, CR, LF. Nothing in
an answer shows a digit that was lost, so that numbers are asked for twice (`agreeing`).
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable

from sdl import clock
from sdl.errors import GarbledError, NoReplyError
from sdl.instrument.agreeing import agreed, near, same
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

PAUSE = 0.1  # s between two commands, as drivers in the field keep it; the manual names none
TRIES = 2  # of a question
END = b"\r\n"
NUMBER = r"-?(?:0|[1-9]\d{0,3})(?:\.\d{1,2})?"
ON, OFF = "11", "12"
Alike = Callable[[str, str], bool]

log = logging.getLogger(__name__)


def parse_value(reply: bytes, channel: int) -> str:
    """Return the number in the answer to `IN_PV_n` or `IN_SP_n`, as it is written.

    :raises GarbledError: it is no such answer.
    """
    return _match(rf"({NUMBER}) {channel} ?", reply)


def parse_echo(reply: bytes) -> float:
    """Return the number that an `@` command is answered with; some plates add a channel.

    :raises GarbledError: it is no such answer.
    """
    return float(_match(rf"({NUMBER})(?: \d{{1,2}})? ?", reply))


def parse_switch(reply: bytes, channel: int) -> bool:
    """Return whether the answer to `STATUS_n` says that it is switched on.

    :raises GarbledError: it is no such answer.
    """
    return _match(rf"({ON}|{OFF}) {channel} ?", reply) == ON


def parse_name(reply: bytes) -> str:
    """Return what a plate calls itself.

    :raises GarbledError: it is no name, but an echo or a number.
    """
    return _match(r"((?!IN_)[A-Za-z][ -~]*?[!-~]) ?", reply)


def parse_text(reply: bytes) -> str:
    """Return a text such as a version.

    :raises GarbledError: it is none, or an echo.
    """
    return _match(r"((?!IN_)[!-~][ -~]*?) ?", reply)


def _match(pattern: str, reply: bytes) -> str:
    match = re.fullmatch(pattern.encode() + END, reply)
    if match is None:
        raise GarbledError("", f"{reply!r} is no answer to it")
    return match[1].decode("ascii")


def _is_name(reply: bytes) -> bool:
    try:
        parse_name(reply)
    except GarbledError:
        return False
    return True


SYNC = Sync(b"IN_NAME \r\n", until(END), _is_name)


class Namur:
    """Talks to one plate, one command after the other, with pauses; feeds its watchdog."""

    def __init__(self, wire: StreamWire, who: Callable[[], str]) -> None:
        """:param who: what the plate is called in messages, now."""
        self._wire, self._who = wire, who
        self._turn, self._free = asyncio.Lock(), 0.0
        self._watchdog, self._seconds, self._fed = "", 0.0, 0.0

    async def number(
        self, question: str, *, exact: bool = False, alike: Alike | None = None
    ) -> float:
        """Ask for a value; `exact`: one that changes only when it is set.

        :param alike: whether two answers may be readings of one value (default: of a slow one).
        :raises NoReplyError: there is no answer, or none to be believed.
        """
        channel = int(question.rpartition("_")[2])

        async def once() -> str:
            reply = await self._ask(question, lambda reply: parse_value(reply, channel))
            return parse_value(reply, channel)

        return float(await self._agreed(question, once, alike or (same if exact else near)))

    async def switch(self, question: str) -> bool:
        """Ask `STATUS_n` whether something is switched on.

        :raises NoReplyError: there is no answer: many plates do not know the question.
        """
        channel = int(question.rpartition("_")[2])
        try:
            reply = await self._ask(question, lambda reply: parse_switch(reply, channel))
        except GarbledError as error:
            raise GarbledError(self._who(), f"{question}: {error}") from error
        except NoReplyError as error:
            hint = "a plate that never answers it is described with `status: false`"
            raise NoReplyError(self._who(), f"{question}: {error}; {hint}") from error
        return parse_switch(reply, channel)

    async def text(self, question: str, parse: Callable[[bytes], str] = parse_text) -> str:
        async def once() -> str:
            return parse(await self._ask(question, parse))

        return await self._agreed(question, once, same)

    async def tell(self, command: str) -> None:
        """Send what has no answer; whether it was heard has to be asked.

        :raises NoReplyError: there is no connection, or the place on the line cannot be found.
        """
        async with self._turn:
            await self._pause()
            try:
                await self._wire.send(_line(command))
            finally:
                self._free = clock.monotonic() + PAUSE

    async def repeat(self, command: str, value: float) -> None:
        """Send an `@` command, which is answered with its value.

        :raises NoReplyError: it was not.
        """

        def accept(reply: bytes) -> None:
            if parse_echo(reply) != value:
                raise GarbledError("", f"{reply!r} where {value:g} was sent")

        await self._ask(f"{command}@{value:g}", accept, feed=False)

    async def last_words(self, command: str) -> None:
        """Send what stops, even where no answer is heard any more."""
        async with self._turn:
            await self._pause()
            with contextlib.suppress(NoReplyError):  # no answer was to be expected
                line, end = _line(command), until(END)
                await self._wire.ask(line, end, timeout=PAUSE, sync=SYNC, urgent=True)

    async def arm(self, command: str, seconds: float) -> None:
        """Start a watchdog, and feed it from now on with each exchange that finds it hungry.

        It is not fed where nobody asks anything: it goes off `seconds` after our last words.
        """
        await self.repeat(command, seconds)
        self._watchdog, self._seconds, self._fed = command, seconds, clock.monotonic()

    async def end_warning(self) -> None:
        """End what watchdog 2 has done; one that was armed is armed again.

        :raises NoReplyError: it was not confirmed.
        """
        await self.repeat("OUT_WD2", 0)
        if self._watchdog:
            await self.arm(self._watchdog, self._seconds)

    async def _feed(self) -> None:
        if not self._watchdog or clock.monotonic() - self._fed < self._seconds / 4:
            return
        try:
            await self.repeat(self._watchdog, self._seconds)
        except NoReplyError as error:  # the answer in hand is none the worse for it
            log.warning("%s: its watchdog was not fed, it may go off: %s", self._who(), error)
        else:
            self._fed = clock.monotonic()

    async def _agreed(self, question: str, once: Callable[[], Awaitable[str]], alike: Alike) -> str:
        try:
            return await agreed(once, alike)
        except NoReplyError as error:
            raise type(error)(self._who(), f"{question}: {error}") from error

    async def _ask(
        self, command: str, accept: Callable[[bytes], object], *, feed: bool = True
    ) -> bytes:
        """Ask; again, if there is no answer. Questions and `@` commands may be sent twice."""
        for _ in range(TRIES - 1):
            try:
                reply = await self._ask_once(command, accept)
            except NoReplyError as error:
                log.info("asked again: %s", error)
            else:
                break
        else:
            reply = await self._ask_once(command, accept)
        if feed:
            await self._feed()
        return reply

    async def _ask_once(self, command: str, accept: Callable[[bytes], object]) -> bytes:
        def is_answer(reply: bytes) -> bool:
            try:
                accept(reply)
            except GarbledError:
                return False
            return True

        frame = answering(until(END), is_answer)
        async with self._turn:
            await self._pause()
            try:
                return await self._wire.ask(_line(command), frame, sync=SYNC)
            finally:
                self._free = clock.monotonic() + PAUSE

    async def _pause(self) -> None:
        await asyncio.sleep(max(0.0, self._free - clock.monotonic()))


def _line(command: str) -> bytes:
    return f"{command} \r\n".encode("ascii")
