"""Mix dyes in a glass and measure how far their colour is from the one that is wanted."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from sdl.errors import ConfigError
from sdl.instrument import Doser
from sdl.plans import stubs
from sdl.plans.colour import difference, lab_of_hex, lab_of_spectrum


def mix_colour(
    red: Doser,
    yellow: Doser,
    blue: Doser,
    water: Doser,
    waste: Doser,
    spectrometer: Readable[Any],
    *,
    red_volume: float,
    yellow_volume: float,
    blue_volume: float,
    target: str,
    volume: float = 8.0,
    glass: float = 12.0,
    rate: float = 6.0,
    wait: float = 5.0,
    readings: int = 3,
    longest_wait: float = 240.0,
) -> MsgGenerator[dict[str, float]]:
    """Rinse, measure water as white, mix; return `difference` from the target, and the colour.

    The difference is that of CIELAB (1976); the colour is its `lightness`, `green_red` (a*) and
    `blue_yellow` (b*). If anything fails the pumps are stopped.

    :param red_volume: mL of that dye; `volume`: mL of the mixture, the rest is water.
    :param target: a colour of sRGB, such as `#b7794b`.
    :param glass: mL that it holds; `rate`: mL/min; `wait`: s until the spectrum is taken.
    :param longest_wait: min that an interruption may leave the mixture in the glass.
    :raises ConfigError: it does not fit into the glass; nothing has moved.
    :raises PlanError: the spectrum says nothing of a colour.
    """
    wanted = lab_of_hex(target)
    dyes = {red: red_volume, yellow: yellow_volume, blue: blue_volume}
    diluted = volume - sum(dyes.values())
    if min(dyes.values()) < 0 or diluted < 0 or not 0 < volume <= glass:
        raise ConfigError(
            f"mix_colour: {red_volume}, {yellow_volume} and {blue_volume} mL of dyes in {volume} "
            f"mL: none may be negative, together not more than that, and the glass holds {glass} mL"
        )
    fill = {**dyes, water: diluted}
    found: dict[str, float] = {}

    @bpp.run_decorator(md={"plan_name": "mix_colour", "target": target})
    def inner() -> MsgGenerator[None]:
        yield from empty()
        yield from stubs.move({water: -volume}, rate=rate)
        yield from stubs.move({water: volume}, rate=rate)
        yield from bps.sleep(wait)
        _, blank = yield from stubs.measure(spectrometer, times=readings, stream="blank")
        yield from empty()
        yield from stubs.move({pump: -each for pump, each in fill.items()}, rate=rate)
        yield from stubs.may_wait(longest_wait)
        yield from stubs.move(fill, rate=rate)
        yield from bps.sleep(wait)
        axis, intensity = yield from stubs.measure(
            spectrometer, red, yellow, blue, water, times=readings
        )
        yield from stubs.may_wait(None)
        lightness, green_red, blue_yellow = colour = lab_of_spectrum(axis, intensity, blank)
        found["difference"] = difference(colour, wanted)
        found["lightness"] = float(lightness)
        found["green_red"], found["blue_yellow"] = float(green_red), float(blue_yellow)

    def empty() -> MsgGenerator[None]:
        yield from stubs.move({waste: -glass}, rate=rate)
        yield from stubs.move({waste: glass}, rate=rate)

    yield from bpp.contingency_wrapper(
        inner(), except_plan=lambda _: stubs.stop(red, yellow, blue, water, waste)
    )
    return found
