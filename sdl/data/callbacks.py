"""Bluesky callbacks that a user registers: called in threads, after the journal has a document."""

import copy
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

DocumentCallback = Callable[[str, dict[str, Any]], Any]
_END = object()

MOST_WAITING = 100_000
"""Documents that a callback may be behind; then it is given up, before memory runs out."""


class Callbacks:
    """Feeds documents to callbacks; one that is slow or broken delays or breaks nothing else.

    Each callback hears all documents in order, in a thread and with copies of its own.
    """

    def __init__(
        self, callbacks: Sequence[DocumentCallback], on_error: Callable[[str], None]
    ) -> None:
        """Start the threads.

        :param on_error: told, in some thread, why a callback is not called any more.
        """
        self._listeners = [_Listener(callback, on_error) for callback in callbacks]

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take a document; returns at once."""
        for listener in self._listeners:
            listener.take(name, doc)

    def close(self, timeout: float = 60.0) -> None:
        """Wait until all documents were heard, at most `timeout` s of real time."""
        deadline = time.monotonic() + timeout
        for listener in self._listeners:
            listener.end()
        for listener in self._listeners:
            listener.join(max(deadline - time.monotonic(), 0.0))


class _Listener:
    """One callback, its thread and what it has not heard yet."""

    def __init__(self, callback: DocumentCallback, on_error: Callable[[str], None]) -> None:
        self._callback, self._on_error = callback, on_error
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._over = False
        self._thread = threading.Thread(target=self._work, name=f"{callback!r}", daemon=True)
        self._thread.start()

    def take(self, name: str, doc: dict[str, Any]) -> None:
        if self._over:
            return
        if self._queue.qsize() >= MOST_WAITING:
            self._give_up(f"it is {MOST_WAITING} documents behind")
            return
        self._queue.put((name, doc))

    def end(self) -> None:
        self._queue.put(_END)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)
        if self._thread.is_alive() and not self._over:
            self._give_up(f"it had not heard all documents in time, {self._queue.qsize()} are left")

    def _work(self) -> None:
        while (item := self._queue.get()) is not _END and not self._over:
            name, doc = item
            try:
                self._callback(name, copy.deepcopy(doc))
            except Exception as error:  # noqa: BLE001 (somebody else's code, at its own risk)
                self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        self._over = True
        self._on_error(f"callback {self._callback!r} ended: {why}")
