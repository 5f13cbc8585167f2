"""The conformance kit: what every driver must do, with every simulator, whatever goes wrong.

For the drivers on our shelf and for anybody's. A test module names a subject and derives one class:

    class TestValve(Conformance):
        subject = Subject(driver=..., rig=..., url=..., identity=..., truths={...})

All of it runs on virtual time, over a wire in memory that carries the same bytes as a port.
"""

from sdl.testing.conformance import Conformance, Tried, on_virtual_time, tried
from sdl.testing.subject import Rig, Setting, StillWorld, Subject, Truth
from sdl.testing.transcripts import Exchange, Transcript, TranscriptSession

__all__ = [
    "Conformance",
    "Exchange",
    "Rig",
    "Setting",
    "StillWorld",
    "Subject",
    "Transcript",
    "TranscriptSession",
    "Tried",
    "Truth",
    "on_virtual_time",
    "tried",
]
