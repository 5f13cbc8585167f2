"""What a driver is built from: signals over a wire, declared effects, a safe state."""

from sdl.instrument.backends import PollBackend, PushBackend, check_limits
from sdl.instrument.device import Instrument
from sdl.instrument.effects import Effect, StopPolicy, effect_of
from sdl.instrument.protocols import Doser
from sdl.instrument.signals import poll_r, poll_rw, push_r

__all__ = [
    "Doser",
    "Effect",
    "Instrument",
    "PollBackend",
    "PushBackend",
    "StopPolicy",
    "check_limits",
    "effect_of",
    "poll_r",
    "poll_rw",
    "push_r",
]
