"""Questions and lines to one Grbl controller, and what it says unasked."""

import logging
from collections.abc import Callable

from sdl import clock
from sdl.drivers.grbl.messages import (
    ALARMS,
    ERRORS,
    Report,
    answer_frame,
    hello_frame,
    parse_answer,
    parse_pushed,
    parse_report,
    report_frame,
)
from sdl.errors import FaultError, GarbledError, NoReplyError, RefusedError
from sdl.wires import StreamWire
from sdl.wires.wire import LogEntry

LOOKS = 7  # reports that are asked for until two in a row agree
TRIES = 2  # of a line that may be repeated

log = logging.getLogger(__name__)


class Conversation:
    """Believes nothing that was said once: reports and answers have no checksum, no number.

    Two answers in a row must agree. That also keeps away a late one, which none but the one after
    it would agree with.
    """

    def __init__(self, wire: StreamWire, who: Callable[[], str]) -> None:
        """:param who: what the controller is called in messages, now."""
        self._wire, self._who = wire, who
        self._newest: LogEntry | None = None  # of the wire's log, that was looked through
        self.resets = 0
        """how often it was reset by somebody else, or lost its power"""
        self.alarm = 0
        """the newest that was heard"""

    async def look(self) -> Report:
        """Return a status report that two in a row agree on.

        :raises NoReplyError: there were none; it homes, or a limit has locked it, or it is gone.
        :raises FaultError: it says nothing since an alarm.
        """
        before: Report | None = None
        asked, failure = 0.0, None
        for _ in range(LOOKS):
            began = clock.monotonic()
            try:
                report = await self.report()
            except NoReplyError as error:
                if failure is not None and not isinstance(error, GarbledError):
                    raise self._why_silent(error) from error
                failure, before = error, None
                continue
            if before is not None and report.agrees(before, clock.monotonic() - asked):
                return report
            before, asked = report, began
        why = "" if failure is None else f"; {failure}"
        raise GarbledError(self._who(), f"status: no two reports in a row agree{why}") from failure

    async def report(self, before: bytes = b"", *, urgent: bool = False) -> Report:
        """Ask once, behind real-time bytes that are to act at once.

        :raises NoReplyError: whether the bytes were heard is not known.
        """
        request = before + b"?"
        try:
            reply = await self._wire.ask(request, report_frame, urgent=urgent)
        except NoReplyError as error:
            raise type(error)(self._who(), f"status: {error}") from error
        finally:
            self.notice()
        pushed, _, report = reply.decode("latin-1").rpartition("<")
        self._note(pushed)
        return parse_report(f"<{report}")

    async def line(self, text: str, data: str = "", *, timeout: float | None = None) -> str:
        """Send a line once; return what it answers beside `ok`.

        :param data: what that must be, as a regular expression.
        :raises RefusedError: it answered with an error; nothing has changed.
        :raises NoReplyError: whether it was executed is not known.
        """
        request = f"{text}\n".encode("ascii")
        try:
            reply = await self._wire.ask(request, answer_frame(data), timeout=timeout)
        except NoReplyError as error:
            raise type(error)(self._who(), f"{text}: {error}") from error
        finally:
            self.notice()
        pushed, said, error_number = parse_answer(reply.decode("latin-1"), data)
        self._note(pushed)
        if error_number:
            meaning = ERRORS.get(error_number, "see the list of errors of Grbl 1.1")
            raise RefusedError(self._who(), f"{text}: error:{error_number}: {meaning}")
        return said

    async def ask(self, text: str, data: str) -> str:
        """Ask a question until two answers in a row are the same.

        :raises NoReplyError: there were none.
        """
        before, failure = None, None
        for _ in range(LOOKS):
            try:
                said = await self.line(text, data)
            except NoReplyError as error:
                if failure is not None and not isinstance(error, GarbledError):
                    raise
                failure, before = error, None
                continue
            if said == before:
                return said
            before = said
        raise GarbledError(self._who(), f"{text}: no two answers in a row agree") from failure

    async def reset(self) -> None:
        """Soft reset; what moves is stopped at once, and has lost its position.

        :raises NoReplyError: it did not say hello.
        """
        self.notice()
        for last in (False, False, True):
            try:
                said = await self._wire.ask(b"\x18", hello_frame, urgent=True)
            except NoReplyError as error:
                if last:
                    raise type(error)(self._who(), f"reset: {error}") from error
            else:
                self.alarm = 3 if b"ALARM:3" in said else 0
                break
        self._newest = tuple(self._wire.log)[-1]  # this hello was asked for

    def notice(self) -> None:
        """Look through what came unasked, and was thrown away by the wire."""
        entries, fresh = tuple(self._wire.log), []
        for entry in reversed(entries):
            if entry is self._newest:
                break
            if entry.direction == "discarded":
                fresh.append(entry.data)
        for data in reversed(fresh):
            self._note(data.decode("latin-1"))
        self._newest = entries[-1] if entries else None

    def _note(self, text: str) -> None:
        for line in text.splitlines(keepends=True):
            try:
                alarms, hello = parse_pushed(line)
            except GarbledError:
                continue
            if alarms:
                self.alarm = alarms[-1]
            if hello:
                log.warning("%s: it was reset, or lost its power", self._who())
                self.resets += 1

    def alarm_meant(self) -> str:
        """What the newest alarm was, for a person."""
        if not self.alarm:
            return "alarm: home it ($H), or unlock it if its position is known ($X)"
        return f"alarm {self.alarm}: {ALARMS.get(self.alarm, 'not in the list')}"

    def _why_silent(self, error: NoReplyError) -> NoReplyError | FaultError:
        if self.alarm in (1, 2):
            what = f"{self.alarm_meant()}; it says no more until make_safe resets it"
            return FaultError(self._who(), what)
        return error
