"""Grow something on a bench of other people's instruments, and say how much grew."""

from collections.abc import Mapping

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator

from sdl.errors import PlanError


def grow(
    feed: Movable[float],
    incubator: Movable[float],
    oven: Movable[float],
    axis: Movable[float],
    photometer: Readable[float],
    scale: Readable[float],
    *,
    feed_volume: float,
    temperature: float,
    position: float,
) -> MsgGenerator[Mapping[str, float]]:
    """Feed, warm, look.

    :param feed_volume: mL.
    :param temperature: degC, of the incubator; the oven that dries is 30 degC hotter.
    :param position: mm, where the photometer looks.
    """
    found: dict[str, float] = {}

    @bpp.run_decorator()
    @bpp.stage_decorator([photometer])
    def inner() -> MsgGenerator[None]:
        yield from bps.mv(feed, feed_volume)
        yield from bps.mv(incubator, temperature, oven, temperature + 30, axis, position)
        everything = [feed, incubator, oven, axis, photometer, scale]
        reading = yield from bps.trigger_and_read(everything)
        found["growth"] = _of(reading, "absorbance")
        found["counts"] = _of(reading, "chan2")

    yield from inner()
    return found


def _of(reading: Mapping[str, Mapping[str, float]], ending: str) -> float:
    """The one value whose name ends so: every maker has names of their own."""
    fit = [each["value"] for key, each in reading.items() if key.endswith(ending)]
    if len(fit) != 1:
        raise PlanError(f"{len(fit)} readings end with {ending!r}: {', '.join(reading)}")
    return float(fit[0])
