"""Wires: one module per kind; each also in memory."""

from sdl.wires.frames import Frame, answering, between, exactly, until
from sdl.wires.stream import StreamWire, Sync
from sdl.wires.wire import Wire

__all__ = ["Frame", "StreamWire", "Sync", "Wire", "answering", "between", "exactly", "until"]
