"""One at a time makes a lab safe, or is ready to: a lock that dies with its process."""

import os
import time
from pathlib import Path

from sdl.filelock import lock

POLL = 0.05  # s


class Lock:
    """`flock` on a file; the file stays, only the lock on it counts."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def take(self) -> bool:
        """:raises OSError: the file cannot be opened."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def free(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def wait(self, timeout: float) -> bool:
        """Take it, as soon as it is free; blocks, in real time.

        :returns: whether it was free within `timeout` s.
        :raises OSError: the file cannot be opened.
        """
        deadline = time.monotonic() + timeout
        while not self.take():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)  # a process that waits for another has no loop yet
        return True
