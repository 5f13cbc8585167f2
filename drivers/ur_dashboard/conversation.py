"""Questions and commands to one Dashboard Server, each with the replies that it can have."""

import logging
import re
from collections.abc import Callable

from sdl.drivers.ur_dashboard.words import NOT_REMOTE, VERSION, Version, frame, parse_reply
from sdl.errors import GarbledError, NoReplyError, RefusedError
from sdl.wires import StreamWire, Sync

TRIES = 2  # of a question, and of what may be said twice
ANSWERS = 5  # to a question, until two in a row are the same
HELLO = "PolyscopeVersion"
REFUSALS = ("Failed to", "File not found", "Error while", "Cannot ")

log = logging.getLogger(__name__)


class Conversation:
    """Says a line, takes the line that answers it, and knows a refusal."""

    def __init__(self, wire: StreamWire, who: Callable[[], str]) -> None:
        """:param who: what the arm is called in messages, now."""
        self._wire, self._who = wire, who
        self._sync = Sync(f"{HELLO}\n".encode(), frame(VERSION), _is_hello)
        self._version: Version | None = None

    def forget(self) -> None:
        """Ask for the version anew when it is needed."""
        self._version = None

    async def version(self) -> Version:
        """Return the version of PolyScope, asked for once."""
        if self._version is None:
            self._version = Version.of(await self.agreed(HELLO, VERSION))
        return self._version

    async def agreed(self, command: str, pattern: str) -> str:
        """Ask for free text until two answers in a row are the same: a lost letter is not seen."""
        before, failure = None, None
        for _ in range(ANSWERS):
            try:
                said = (await self.command(command, pattern))[0]
            except NoReplyError as error:
                if failure is not None and not isinstance(error, GarbledError):
                    raise
                before, failure = None, error
                continue
            if said == before:
                return said
            before = said
        raise GarbledError(self._who(), f"{command}: no two answers in a row agree") from failure

    async def asked(self, command: str, pattern: str) -> re.Match[str]:
        """Ask; a question may be asked twice."""
        for _ in range(TRIES - 1):
            try:
                return await self.command(command, pattern)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self.command(command, pattern)

    async def command(self, command: str, pattern: str, *, urgent: bool = False) -> re.Match[str]:
        """Say it once; return what answers it.

        :raises RefusedError: it said no; nothing has changed.
        :raises NoReplyError: whether it was heard is not known.
        """
        request = f"{command}\n".encode()
        try:
            reply = await self._wire.ask(request, frame(pattern), sync=self._sync, urgent=urgent)
        except NoReplyError as error:
            raise type(error)(self._who(), f"{command}: {error}") from error
        said = parse_reply(reply)
        match = re.fullmatch(pattern, said)
        if said == NOT_REMOTE:
            await self._wire.close()  # it obeys only who has connected since
            why = "local mode: switch it to remote control at the pendant"
            raise RefusedError(self._who(), f"{command}: {why}")
        if match is None or said.startswith(REFUSALS):
            raise RefusedError(self._who(), f"{command}: {said}")
        return match


def _is_hello(reply: bytes) -> bool:
    return parse_reply(reply).startswith("URSoftware")
