"""What acting twice would mean, and what the end of a plan means: an instrument's to say."""

from collections.abc import Mapping
from enum import StrEnum


class Effect(StrEnum):
    """What repeating an action does to the world."""

    ABSOLUTE = "absolute"
    """A setpoint: sent again it changes nothing, and after a restart it must be sent again."""

    RELATIVE = "relative"
    """A dose, a move of a sample: never repeated; whether it happened the instrument is asked."""

    MEASURE = "measure"
    """A reading: the recorded one is used. One that consumes sample is `RELATIVE`."""


class StopPolicy(StrEnum):
    """What `stop(success=True)`, which ends every Bluesky plan, does to an instrument."""

    HOLD = "hold"
    """It keeps its setpoint: a heater that must stay hot, a stirrer, a held flow."""

    STOP = "stop"
    """It stops moving: a pump, a stage."""


def effect_of(device: object) -> Effect:
    """Return the effect of `device.set`: declared, or `ABSOLUTE` where nobody said otherwise.

    Signals on our backends carry theirs; an `Instrument` declares its own; any other Ophyd device
    may be given an attribute `effect` by the lab file.
    """
    declared = getattr(device, "effect", None)
    if declared is None:
        backend = getattr(getattr(device, "_connector", None), "backend", None)
        declared = getattr(backend, "effect", None)
    return Effect(declared) if declared is not None else Effect.ABSOLUTE


_OF_COMMANDS = {"trigger": Effect.MEASURE, "kickoff": Effect.RELATIVE, "read": Effect.MEASURE}
_OF_COMMANDS |= {"collect": Effect.MEASURE, "locate": Effect.MEASURE}


def effect_of_command(device: object, command: str) -> Effect:
    """Return what repeating a Bluesky message (`trigger`, `kickoff`, …) to a device would mean.

    A device says so in a mapping `effects`, such as `{"trigger": Effect.RELATIVE}` for an assay
    that consumes sample. Where it does not, a trigger measures, a kickoff is relative, and all that
    prepares a device is absolute.
    """
    if command == "set":
        return effect_of(device)
    declared = getattr(device, "effects", None)
    if isinstance(declared, Mapping) and command in declared:
        return Effect(declared[command])
    return _OF_COMMANDS.get(command, Effect.ABSOLUTE)
