"""The runtime, as its watchdog sees it: a parent that beats, acknowledges and can be ended."""

import asyncio
import contextlib
import itertools
import os
import signal
from typing import Any

from sdl.watchdog.messages import ACK_TIMEOUT, REPORT_GRACE, encode

DYING = 1.0  # s for a killed process to be gone, so that its ports are free
POLL = 0.01  # s


class SilentError(Exception):
    """The runtime did not do what it was asked; what it did is not known."""


class Runtime:
    """Lives in the watchdog's loop. `out` is a pipe to the runtime that never blocks us."""

    def __init__(self, pid: int, out: int) -> None:
        self._pid, self._out = pid, out
        self._numbers = itertools.count(1)
        self._acknowledged: dict[int, asyncio.Event] = {}
        self._reports: dict[int, asyncio.Future[dict[str, str]]] = {}

    @property
    def alive(self) -> bool:
        return os.getppid() == self._pid

    def say(self, **message: Any) -> None:
        """Say something; what the runtime has no time to read is lost."""
        with contextlib.suppress(OSError):
            os.write(self._out, encode(message))

    async def stop(self, who: str, why: str, safe_timeout: float) -> dict[str, str]:
        """Have the runtime make its lab safe.

        :returns: what went wrong with instruments that did not confirm, by name.
        :raises SilentError: it did not acknowledge or not report in time, or it cannot.
        """
        number = next(self._numbers)
        acknowledged = self._acknowledged[number] = asyncio.Event()
        report = self._reports[number] = asyncio.get_running_loop().create_future()
        try:
            self.say(stop=number, who=who, why=why)
            await _in_time(acknowledged.wait(), ACK_TIMEOUT, "acknowledge the STOP")
            return await _in_time(report, safe_timeout + REPORT_GRACE, "report that it is safe")
        finally:
            del self._acknowledged[number], self._reports[number]

    def heard(self, message: dict[str, Any]) -> None:
        """Take what it said about a STOP."""
        if (event := self._acknowledged.get(message.get("ack", 0))) is not None:
            event.set()
        number = message.get("safe", message.get("cannot", 0))
        report = self._reports.get(number)
        if report is None or report.done():
            return
        if "safe" in message:
            report.set_result(dict(message.get("failures", {})))
        else:
            report.set_exception(SilentError(f"could not obey the STOP: {message.get('why')}"))

    async def kill(self) -> bool:
        """End it, and wait until it is gone.

        :returns: whether it is gone; one that waits for a dead disk may stay for a while.
        """
        if self.alive:  # our parent's number is nobody else's as long as it is our parent
            with contextlib.suppress(OSError):
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DYING
        while self.alive and loop.time() < deadline:
            await asyncio.sleep(POLL)
        return not self.alive


async def _in_time(work: Any, seconds: float, what: str) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise SilentError(f"did not {what} in {seconds:g} s") from None
