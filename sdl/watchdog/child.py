"""The watchdog's process as the runtime holds it: started, spoken to, listened to, ended."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

from sdl.watchdog.messages import Orders, decode, encode

READY_TIMEOUT = 20.0  # s for the process to say that it watches
ENDING = 3.0  # s for it to end once it was told to


class Child:
    """Starts at once. Any thread may `say`; one thread listens."""

    def __init__(self, orders: Orders) -> None:
        """:raises OSError: no process could be started."""
        self._process = subprocess.Popen(  # -P: a lab's own queue.py must not be ours
            [sys.executable, "-P", "-m", "sdl.watchdog"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # a session of its own: Ctrl-C and a closed terminal are the runtime's
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._speaking = threading.Lock()
        pipe = _open(self._process.stdin)
        try:
            pipe.write(orders.line())
            pipe.flush()
        except OSError:
            self.leave()
            self.close()
            raise
        if sys.platform != "win32":
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, **message: Any) -> None:
        """Say something; if nobody reads, it is lost, and never waits.

        Short lines go into a pipe whole or not at all (POSIX `write`, at most PIPE_BUF bytes).
        """
        with contextlib.suppress(OSError, ValueError), self._speaking:  # ValueError: closed
            os.write(_open(self._process.stdin).fileno(), encode(message))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what it says until it ends; blocks."""
        with contextlib.suppress(OSError, ValueError):
            for line in _open(self._process.stdout):
                yield decode(line)

    def first_words(self) -> dict[str, Any]:
        """Wait for the first message; empty if it ended, or said none in time (and was killed)."""
        timer = threading.Timer(READY_TIMEOUT, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            return decode(_open(self._process.stdout).readline())
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Let it end, and see that it does: it was told to stand down, or it is dead."""
        with self._speaking, contextlib.suppress(OSError):
            _open(self._process.stdin).close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(ENDING)

    def close(self) -> None:
        """Give back the pipe that was listened to; when nobody does any more."""
        with contextlib.suppress(OSError):
            _open(self._process.stdout).close()

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # all were asked for
    return pipe
