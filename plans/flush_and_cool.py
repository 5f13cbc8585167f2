"""After a trial failed: a flow reactor cold, with nothing but solvent in it."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable
from bluesky.utils import MsgGenerator

from sdl.instrument import Doser
from sdl.plans import stubs


def flush_and_cool(
    substrate: Doser,
    amine: Doser,
    solvent: Doser,
    reactor: Movable[Any],
    *,
    reactor_volume: float = 3.0,
    flush_volumes: float = 3.0,
    flush_rate: float = 6.0,
    draw_rate: float = 10.0,
    cool_to: float = 25.0,
) -> MsgGenerator[None]:
    """Stop the pumps, let the reactor cool, flush it with solvent; the recovery of `flow_reaction`.

    The solvent cools the reactor too. Nobody waits until it is cold: the next trial brings it to a
    temperature of its own. If the flush fails the pumps are stopped.

    :param reactor_volume: mL; `flush_volumes`: reactor volumes of solvent.
    :param flush_rate: mL/min; so is `draw_rate`. `cool_to`: degC.
    """
    volume = flush_volumes * reactor_volume

    def inner() -> MsgGenerator[None]:
        yield from stubs.stop(substrate, amine, solvent)
        yield from bps.abs_set(reactor, cool_to, group="cool")
        yield from stubs.move({solvent: -volume}, rate=draw_rate, group="draw")
        yield from stubs.move({solvent: volume}, rate=flush_rate, group="flush")

    yield from bpp.contingency_wrapper(
        inner(), except_plan=lambda _: stubs.stop(substrate, amine, solvent)
    )
