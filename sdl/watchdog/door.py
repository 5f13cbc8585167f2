"""The watchdog's door: takes a STOP from whoever knows the token, and answers it."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Self

from sdl.watchdog.control import HOST, Answer

LONGEST = 65536  # bytes of a request
PATIENCE = 5.0  # s for a visitor to say what it wants

Stop = Callable[[str, str], Awaitable[Answer]]  # (who, why)


class Door:
    """A port on loopback. Use it as an async context manager: leaving waits for nobody."""

    def __init__(self, stop: Stop, seconds: float, port: int = 0, token: str = "") -> None:
        """Describe a door; it opens when it is entered.

        :param seconds: that a STOP may take.
        :param port: and `token`: those of the watchdog before; a port that is taken is left.
        """
        self._seconds = seconds
        self._stop, self.port, self.token = stop, port, token or secrets.token_urlsafe(32)
        self._visits: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        try:
            self._server = await self._listen(self.port)
        except OSError:
            self._server = await self._listen(0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def last_answers(self, timeout: float) -> None:
        """Wait until those who were inside have their answers."""
        if self._visits:
            await asyncio.wait(self._visits, timeout=timeout)

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._visit, HOST, port, limit=LONGEST)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a server's callback runs in one
        self._visits.add(task)
        task.add_done_callback(self._visits.discard)
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE):
                request = _words(await reader.readline())
            if secrets.compare_digest(str(request.get("token")).encode(), self.token.encode()):
                await self._answer(request, writer)
        writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"heard": self._seconds}).encode() + b"\n")
        answer = await self._stop(str(request.get("who", "")), str(request.get("why", "")))
        writer.write(json.dumps(asdict(answer)).encode() + b"\n")
        await writer.drain()


def _words(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a request is a mapping")
    return found
