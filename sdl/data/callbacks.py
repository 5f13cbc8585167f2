"""Bluesky callbacks that a user registers: called in order, in a thread, after the journal."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

DocumentCallback = Callable[[str, dict[str, Any]], Any]
_END = object()


class Callbacks:
    """Feeds documents to callbacks; one that is slow or broken delays or breaks nothing else."""

    def __init__(
        self, callbacks: Sequence[DocumentCallback], on_error: Callable[[str], None]
    ) -> None:
        """Start the thread, if there is anybody to call.

        :param on_error: told, in the thread, what a callback raised; it is not called again.
        """
        self._callbacks, self._on_error = list(callbacks), on_error
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="callbacks", daemon=True)
        if self._callbacks:
            self._thread.start()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take a document; returns at once."""
        if self._callbacks:
            self._queue.put((name, doc))

    def close(self, timeout: float = 60.0) -> None:
        """Wait until all documents were heard, at most `timeout` s of real time."""
        if self._callbacks:
            self._queue.put(_END)
            self._thread.join(timeout)

    def _work(self) -> None:
        while (item := self._queue.get()) is not _END:
            for callback in tuple(self._callbacks):
                try:
                    callback(*item)
                except Exception as error:  # noqa: BLE001 (somebody else's code, at its own risk)
                    self._callbacks.remove(callback)
                    self._on_error(f"callback {callback!r} ended: {type(error).__name__}: {error}")
