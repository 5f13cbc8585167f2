"""What recipes share: how long a sample may wait; syringe pumps; a detector."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Readable
from bluesky.utils import Msg, MsgGenerator
from numpy.typing import NDArray

from sdl.errors import ConfigError, PlanError
from sdl.instrument import Doser

Array = NDArray[np.float64]

LEAST = 1e-3  # mL; no pump is asked for less
SPARE = 60.0  # s that a pump may take longer than volume / rate


def may_wait(minutes: float | None) -> MsgGenerator[None]:
    """From here on no interruption (a crash, a pause) may leave the sample alone for longer.

    After a longer one the trial is not gone on with: the campaign's recovery plan runs and the
    trial counts as failed. It does nothing to an uninterrupted plan, nor on a plain RunEngine.

    :param minutes: from 0, which forbids any interruption; None lifts what was said before.
    :raises ConfigError: it is no time span; nothing was done.
    """
    if minutes is not None and not (math.isfinite(minutes) and minutes >= 0):
        raise ConfigError(f"may_wait: {minutes} minutes; allowed are numbers from 0, or None")
    seconds = None if minutes is None else 60.0 * minutes
    yield Msg("null", None, sdl="may_wait", seconds=seconds)


def begin(volumes: Mapping[Doser, float], *, minutes: float, group: str) -> MsgGenerator[None]:
    """Set all pumps going so that each has moved its volume (mL, signed) after `minutes`."""
    moves = {pump: volume for pump, volume in volumes.items() if abs(volume) >= LEAST}
    if moves:
        rates = [x for pump, volume in moves.items() for x in (pump.rate, abs(volume) / minutes)]
        yield from bps.mv(*rates)
    for pump, volume in moves.items():
        yield from bps.abs_set(pump, volume, group=group)


def move(volumes: Mapping[Doser, float], *, rate: float, group: str = "move") -> MsgGenerator[None]:
    """Move each pump by its volume (mL, signed) at `rate` mL/min, all at once, and wait for all."""
    longest = max(map(abs, volumes.values()))
    for pump, volume in volumes.items():
        yield from begin({pump: volume}, minutes=abs(volume) / rate, group=group)
    yield from bps.wait(group, timeout=60 * longest / rate + SPARE)


def stop(*pumps: Doser) -> MsgGenerator[None]:
    """Stop all pumps, also if one of them cannot be: what a recipe does when it fails."""
    if pumps:
        first, *others = pumps
        yield from bpp.finalize_wrapper(bps.stop(first), stop(*others))  # type: ignore[arg-type]


def measure(
    detector: Readable[Any], *beside: object, times: int, stream: str = "primary"
) -> MsgGenerator[tuple[Array, Array]]:
    """Read the detector `times` times, one event each; return (axis, mean of the intensities).

    :param beside: instruments whose readings shall stand in the same events, if they have any.
    :raises PlanError: the detector gave no `-axis` or no `-intensity`.
    """
    devices: list[Readable[Any]] = [detector]
    devices += [cast("Readable[Any]", device) for device in beside if isinstance(device, Readable)]
    axis: Sequence[float] = ()
    spectra: list[Array] = []
    for _ in range(times):
        reading = yield from bps.trigger_and_read(devices, name=stream)
        try:
            axis = reading[f"{detector.name}-axis"]["value"]
            spectra.append(np.asarray(reading[f"{detector.name}-intensity"]["value"], dtype=float))
        except (KeyError, TypeError) as error:
            raise PlanError(
                f"{detector.name} was asked for {detector.name}-axis and -intensity; "
                f"it gave {sorted(reading) if reading else 'nothing'}"
            ) from error
    return np.asarray(axis, dtype=float), np.mean(spectra, axis=0)


def value(
    device: Readable[Any], *beside: Readable[Any], stream: str = "primary"
) -> MsgGenerator[tuple[float, float]]:
    """Read a device once, one event; return the number that it is for, and when (s since 1970).

    :param beside: instruments whose readings shall stand in the same event.
    :raises PlanError: it names no field as the one to look at (its hints), or that is no number.
    """
    reading = yield from bps.trigger_and_read([device, *beside], name=stream)
    fields = getattr(device, "hints", {}).get("fields", ())
    try:
        found = reading[fields[0]]
        return float(found["value"]), float(found["timestamp"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        given = sorted(reading) if reading else "nothing"
        raise PlanError(f"{device.name}: no number to look at; it gave {given}") from error
