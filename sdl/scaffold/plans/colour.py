"""What is done in one trial. A plan is a Bluesky plan: it gets instruments by what they can do and
parameters by name, and returns its outcomes.
"""

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from sdl.instrument import Doser


def colour(
    pump: Doser, photometer: Readable, *, flow_rate: float, volume: float = 8.0, looks: int = 3
) -> MsgGenerator[dict[str, float]]:
    """Push `volume` mL at `flow_rate` mL/min through the cell, then read the colour.

    :param looks: how often to read; the mean is the outcome.
    """
    seen: list[float] = []

    @bpp.run_decorator(md={"flow_rate": flow_rate})
    def run() -> MsgGenerator[None]:
        yield from bps.mv(pump.rate, 8.0)
        yield from bps.mv(pump, -volume)  # draw it from the feed
        yield from bps.mv(pump.rate, flow_rate)
        yield from bps.mv(pump, volume)
        for _ in range(looks):
            readings = yield from bps.trigger_and_read([photometer, pump])
            seen.append(readings[f"{photometer.name}-absorbance"]["value"])

    yield from run()
    return {"absorbance": sum(seen) / len(seen)}
