"""What a driver is built from: signals over a wire, declared effects, a safe state."""

from sdl.instrument.backends import PollBackend, PushBackend, check_limits
from sdl.instrument.device import Instrument
from sdl.instrument.effects import Effect, StopPolicy, effect_of, effect_of_command
from sdl.instrument.protocols import Doser
from sdl.instrument.reconciling import Finding, Reconcilable, Verdict
from sdl.instrument.signals import poll_r, poll_rw, push_r

__all__ = [
    "Doser",
    "Effect",
    "Finding",
    "Instrument",
    "PollBackend",
    "PushBackend",
    "Reconcilable",
    "StopPolicy",
    "Verdict",
    "check_limits",
    "effect_of",
    "effect_of_command",
    "poll_r",
    "poll_rw",
    "push_r",
]
