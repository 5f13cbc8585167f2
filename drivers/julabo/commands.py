"""JULABO interface commands. Source: MAGIO MX, original operating manual, 11.1 (p. 91:
commands, status messages); pauses from SC 2500w, p. 42, and CF31, p. 72; -13 from PRESTO, p. 101.

`in_…`, `version` and `status` are answered with one line; `out_…` with nothing: the next `status`
says what was wrong with it, once. A number in an answer has no redundancy (`agreeing`).
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sdl import clock
from sdl.errors import GarbledError, NoReplyError
from sdl.instrument.agreeing import agreed, near, same
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

AFTER_OUT, AFTER_IN = 0.25, 0.01  # s until the next command
MARGIN = 0.02  # s more, for a clock that goes otherwise; 0.3 s after an OUT is in use elsewhere
TRIES = 2  # of a question
END = b"\r\n"
STATES = {
    "MANUAL STOP": (False, False),
    "MANUAL START": (False, True),
    "REMOTE STOP": (True, False),
    "REMOTE START": (True, True),
}
"""Remote, running; some models put the numbers 00 to 03 before them, some always 00."""
REFUSALS = {
    -8: "it does not know the command",
    -9: "not allowed as it is operated now: is remote control switched on at its panel?",
    -10: "the value is too small",
    -11: "the value is too large",
    -13: "the value is outside of the warning limits",
}
ALARMS = {
    -1: "too little liquid in the bath",
    -2: "a sensor of the cooling unit has failed",
    -3: "above the high temperature warning limit",
    -4: "below the low temperature warning limit",
    -5: "working temperature sensor broken or short-circuited",
    -6: "working and safety sensor differ too much",
    -7: "internal bus error",
    -12: "error of the analog-digital converter",
    -14: "excess temperature protection has switched off",
    -15: "external sensor missing or short-circuited",
    -33: "safety sensor broken or short-circuited",
    -38: "external sensor gives no signal",
    -40: "early warning: the level is low",
    -41: "early warning: the level is high",
    -60: "internal read or write error",
    -61: "no communication with the cooling unit",
    -62: "internal bus error",
    -1501: "its watchdog heard no setpoint in time",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """What `status` answers."""

    text: str
    code: int
    remote: bool | None = None
    """None where an alarm or an error stands in its place."""
    running: bool | None = None

    @property
    def alarm(self) -> str | None:
        """What the alarm means, if it is one."""
        if self.code >= 0 or self.code in REFUSALS:
            return None
        return f"{self.text!r}: {ALARMS.get(self.code, 'see its manual')}"


def parse_status(reply: bytes) -> Status:
    """Return what `status` answered.

    :raises GarbledError: it is no such answer.
    """
    text = _match(r"-?\d{2,4} ?[A-Z][ -~]*", reply)
    if text[:2] in ("00", "01", "02", "03") and text[3:] in STATES:
        return Status(text, int(text[:2]), *STATES[text[3:]])
    if not text.startswith("-"):
        raise GarbledError("", f"{reply!r} is no known status")
    return Status(text, int(re.split(r"[^-\d]", text)[0]))


def parse_number(reply: bytes) -> str:
    """Return the number in an answer, as it is written.

    :raises GarbledError: it is none.
    """
    return _match(r"-?\d{1,4}(?:\.\d{1,3})?", reply)


def parse_version(reply: bytes) -> str:
    """Return what it calls itself.

    :raises GarbledError: it is no such text, but an echo, a number or a status.
    """
    return _match(r"(?!version|status|in_)[A-Za-z][ -~]{3,}", reply)


def _match(pattern: str, reply: bytes) -> str:
    match = re.fullmatch(rb"[ \x11\x13]*(" + pattern.encode() + rb")[ \x11\x13]*\r\n", reply)
    if match is None:
        raise GarbledError("", f"{reply!r} is no answer to it")
    return match[1].decode("ascii").rstrip()


def _is_version(reply: bytes) -> bool:
    try:
        parse_version(reply)
    except GarbledError:
        return False
    return True


SYNC = Sync(b"version\r", until(END), _is_version)


class Interface:
    """Talks to one circulator, one command after the other, and keeps the pauses it needs."""

    def __init__(self, wire: StreamWire, who: Callable[[], str]) -> None:
        """:param who: what the circulator is called in messages, now."""
        self._wire, self._who = wire, who
        self._turn, self._free = asyncio.Lock(), 0.0

    async def number(self, question: str, *, exact: bool = False) -> float:
        """Ask for a value; `exact`: one that changes only when it is set.

        :raises NoReplyError: there is no answer, or none to be believed.
        """

        async def once() -> str:
            return parse_number(await self._ask(question, parse_number))

        return float(await self._agreed(question, once, same if exact else near))

    async def version(self) -> str:
        async def once() -> str:
            return parse_version(await self._ask("version", parse_version))

        return await self._agreed("version", once, same)

    async def status(self) -> Status:
        """Ask for its state, an alarm, or what was wrong with the last command: it says that once.

        :raises NoReplyError: there is no answer.
        """
        try:
            return parse_status(await self._ask("status", parse_status))
        except NoReplyError as error:
            raise type(error)(self._who(), f"status: {error}") from error

    async def tell(self, command: str) -> None:
        """Send an `out_…` command; whether it was taken has to be asked.

        :raises NoReplyError: there is no connection, or the place on the line cannot be found.
        """
        async with self._turn:
            await self._pause()
            try:
                await self._wire.send(_line(command))
            finally:
                self._free = clock.monotonic() + AFTER_OUT + MARGIN

    async def last_words(self, command: str) -> None:
        """Send what stops, even where no answer is heard any more."""
        async with self._turn:
            await self._pause()
            try:
                await self._wire.ask(
                    _line(command), until(END), timeout=AFTER_OUT, sync=SYNC, urgent=True
                )
            except NoReplyError as error:  # no answer was to be expected
                log.debug("last words: %s", error)
            finally:
                self._free = clock.monotonic() + AFTER_OUT + MARGIN

    async def _agreed(
        self, question: str, once: Callable[[], Awaitable[str]], alike: Callable[[str, str], bool]
    ) -> str:
        try:
            return await agreed(once, alike)
        except NoReplyError as error:
            raise type(error)(self._who(), f"{question}: {error}") from error

    async def _ask(self, question: str, parse: Callable[[bytes], object]) -> bytes:
        for _ in range(TRIES - 1):
            try:
                return await self._ask_once(question, parse)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._ask_once(question, parse)

    async def _ask_once(self, question: str, parse: Callable[[bytes], object]) -> bytes:
        def is_answer(reply: bytes) -> bool:
            try:
                parse(reply)
            except GarbledError:
                return False
            return True

        async with self._turn:
            await self._pause()
            try:
                frame = answering(until(END), is_answer)
                return await self._wire.ask(_line(question), frame, sync=SYNC)
            finally:
                self._free = clock.monotonic() + AFTER_IN + MARGIN

    async def _pause(self) -> None:
        await asyncio.sleep(max(0.0, self._free - clock.monotonic()))


def _line(command: str) -> bytes:
    return f"{command}\r".encode("ascii")
