"""Where a reply ends: functions that find the first whole frame in what has arrived.

A `Frame` gets all bytes that arrived since the request and returns how many of them make up the
reply, or None while more must come. It raises GarbledError when no reply can begin like this.
"""

from collections.abc import Callable

from sdl.errors import GarbledError

Frame = Callable[[bytes], int | None]


def until(end: bytes) -> Frame:
    """Everything up to and with the first `end`."""

    def frame(received: bytes) -> int | None:
        at = received.find(end)
        return None if at < 0 else at + len(end)

    return frame


def between(start: bytes, end: bytes) -> Frame:
    """From the first `start` (bytes before it are part of the frame, to be looked at) to `end`."""

    def frame(received: bytes) -> int | None:
        begin = received.find(start)
        at = received.find(end, begin + len(start)) if begin >= 0 else -1
        return None if at < 0 else at + len(end)

    return frame


def exactly(length: int) -> Frame:
    """A reply of `length` bytes."""

    def frame(received: bytes) -> int | None:
        return length if len(received) >= length else None

    return frame


def answering(frame: Frame, accept: Callable[[bytes], bool]) -> Frame:
    """A reply that ends where `frame` says and that `accept` knows as the answer to this request.

    Where a reply says what it answers (an address, a number, the command repeated) this is how a
    request tells its own from another's: the wire drains the line before anybody else uses it.
    """

    def answer(received: bytes) -> int | None:
        length = frame(received)
        if length is not None and not accept(received[:length]):
            raise GarbledError("", f"{received[:length]!r} is no answer to it")
        return length

    return answer
