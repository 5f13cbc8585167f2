"""Commands and answers of one Alicat instrument on a line that it may share with others."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from typing import TypeVar

from sdl.drivers.alicat.frames import (
    Frame,
    Layout,
    parse_firmware,
    parse_frame,
    parse_information,
    parse_layout,
)
from sdl.errors import GarbledError, NoReplyError, RefusedError
from sdl.wires import Frame as WireFrame
from sdl.wires import StreamWire, Sync
from sdl.wires.frames import answering

T = TypeVar("T")

TRIES = 2  # of whatever is asked: everything here may be asked again
TABLES = 4  # that are asked for until two agree
LONG = 3.0  # s for a table at 9600 baud
FIRMWARE = 9  # row of the information
log = logging.getLogger(__name__)


class Conversation:
    """Knows the columns, and takes nothing for an answer that does not fit the question.

    A table (`??M*`) can be taken for no data frame: it is how the place on the line is found.
    """

    def __init__(self, wire: StreamWire, unit: str, *, who: Callable[[], str]) -> None:
        """:param who: what the instrument is called in messages, now."""
        self.unit, self._wire, self._who = unit, wire, who
        self.firmware, self.layout = (0, 0), Layout(())
        self._sync = Sync(self._bytes("??M*"), _information, self._is_information)
        self._polling, self._polls = asyncio.Lock(), 0
        self._newest: tuple[int, Frame] | None = None

    async def learn(self) -> None:
        """Ask for firmware and columns.

        The columns are asked for until two answers agree: no letter missing in them would show.

        :raises GarbledError: no two answers agree.
        :raises RefusedError: it has no such question.
        """
        self.firmware = parse_firmware((await self.information())[FIRMWARE])
        seen: list[Layout] = []
        unknown = 0
        for _ in range(TABLES):
            with contextlib.suppress(GarbledError):
                table = await self._table()
                unknown += table.strip() == "?"
                layout = parse_layout(table, self.unit)
                if layout in seen:
                    self.layout = layout
                    return
                seen.append(layout)
        if unknown > 1:
            firmware = "{}v{:02d}".format(*self.firmware)
            why = f"it does not tell the columns of its data frames, with firmware {firmware}"
            raise RefusedError(self._who(), f"??D*: {why}")
        raise GarbledError(self._who(), "??D*: no two answers about its data frames agree")

    async def information(self) -> list[str]:
        """Return the ten rows that say what it is."""
        frame = answering(_information, self._is_information)
        reply = await self._again("??M*", frame, timeout=LONG)
        return parse_information(reply, self.unit)

    async def poll(self) -> Frame:
        """Return a data frame that was asked for after now; those who wait together share one."""
        asked = self._polls
        async with self._polling:
            if self._newest is not None and self._newest[0] > asked:
                return self._newest[1]
            await asyncio.sleep(0)  # who comes at the same time is counted before it begins
            self._polls += 1
            number = self._polls
            frame = await self.command("")
            self._newest = number, frame
            return frame

    async def command(self, command: str, *, urgent: bool = False) -> Frame:
        """Send a command; return the data frame that answers it.

        :param urgent: send it once, even if no answer could be believed.
        :raises RefusedError: it was answered `?`: nothing has changed.
        """
        return await self.ask(
            command, lambda text: parse_frame(text, self.unit, self.layout), urgent=urgent
        )

    async def ask(self, command: str, parse: Callable[[str], T], *, urgent: bool = False) -> T:
        """Ask; return what `parse` makes of the answer, a line.

        :raises RefusedError: it was answered `?`.
        """

        def fits(reply: bytes) -> bool:
            try:
                text = reply.decode("ascii").strip("\r")
                if text != "?":
                    parse(text)
            except (GarbledError, UnicodeDecodeError):
                return False
            return True

        text = (await self._again(command, answering(_line, fits), urgent=urgent)).strip("\r")
        if text == "?":
            raise RefusedError(self._who(), f"{command}: it does not know that, or not now")
        return parse(text)

    async def _table(self) -> str:
        """Return what it says of its columns: an empty line ends that, or, if old, silence."""
        heard = b""

        def whole(received: bytes) -> int | None:
            nonlocal heard
            heard = received
            return len(received) if received.endswith((b"\r\r", b"?\r")) else None

        try:
            await self._wire.ask(self._bytes("??D*"), whole, timeout=LONG, sync=self._sync)
        except GarbledError:
            if not heard.endswith(b"\r"):
                raise
        return heard.decode("latin-1")

    async def _again(
        self,
        command: str,
        frame: WireFrame,
        *,
        timeout: float | None = None,
        urgent: bool = False,
    ) -> str:
        request, tries = self._bytes(command), 1 if urgent else TRIES
        for left in reversed(range(tries)):
            try:
                reply = await self._wire.ask(
                    request, frame, timeout=timeout, sync=self._sync, urgent=urgent
                )
            except NoReplyError as error:
                if not left:
                    raise type(error)(self._who(), f"{command or 'poll'}: {error}") from error
                log.info("asked again: %s", error)
            else:
                return reply.decode("ascii")
        raise AssertionError("it was tried at least once")

    def _is_information(self, reply: bytes) -> bool:
        try:
            parse_information(reply.decode("ascii"), self.unit)
        except (GarbledError, UnicodeDecodeError):
            return False
        return True

    def _bytes(self, command: str) -> bytes:
        return f"{self.unit}{command}\r".encode("ascii")


def _line(received: bytes) -> int | None:
    """One line; empty ones before it, which come before some refusals, are part of it."""
    at = received.find(b"\r", len(received) - len(received.lstrip(b"\r")))
    return None if at < 0 else at + 1


def _information(received: bytes) -> int | None:
    """All rows of `??M*`."""
    match = re.search(rb"M09[^\r]*\r", received)
    return None if match is None else match.end()
