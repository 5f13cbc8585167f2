"""One set of conditions in a flow reactor: blank, steady state, spectrum, outcomes."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator

from sdl.errors import ConfigError, PlanError
from sdl.instrument import Doser
from sdl.plans import stubs
from sdl.plans.green_metrics import e_factor, space_time_yield
from sdl.plans.spectra import concentrations


def flow_reaction(
    substrate: Doser,
    amine: Doser,
    solvent: Doser,
    reactor: Movable[Any],
    spectrometer: Readable[Any],
    *,
    temperature: float,
    residence_time: float,
    equivalents: float,
    concentration: float,
    reactor_volume: float = 3.0,
    substrate_feed: float = 2.0,
    amine_feed: float = 4.2,
    flush_volumes: float = 3.0,
    steady_volumes: float = 3.0,
    flush_rate: float = 6.0,
    draw_rate: float = 10.0,
    solvent_recovery: float = 0.0,
    readings: int = 3,
    heating_timeout: float = 2400.0,
    longest_wait: float = 10.0,
) -> MsgGenerator[dict[str, float]]:
    """Run one set of conditions to its steady state; return `space_time_yield` and `e_factor`.

    The syringes draw what the trial needs while the reactor heats; the flush with solvent gives the
    blank (stream "blank"). Then all three pumps push together, and the spectra (stream "primary")
    are taken while they still do. If anything fails the pumps are stopped.

    :param temperature: degC; `residence_time`: min; `equivalents`: mol amine per mol substrate;
        `concentration`: M of substrate where the streams have met.
    :param reactor_volume: mL; `substrate_feed`, `amine_feed`: M in the reservoirs.
    :param flush_volumes: reactor volumes of solvent before the blank; `steady_volumes`: of reaction
        mixture before the spectra.
    :param flush_rate: mL/min; so is `draw_rate`. `heating_timeout`: s.
    :param longest_wait: min that an interruption may leave the mixture in the hot reactor. What
        stood there has reacted for longer than `residence_time` says: the less, the truer.
    :param solvent_recovery: part of the solvent that is used again and so is no waste, 0..1.
    :raises ConfigError: the feeds are too dilute for these conditions; nothing has moved.
    :raises PlanError: the spectra say nothing, or that there is no product.
    """
    parts = {
        substrate: concentration / substrate_feed,
        amine: equivalents * concentration / amine_feed,
    }
    parts[solvent] = 1.0 - sum(parts.values())
    if parts[solvent] < 0 or min(temperature, residence_time, equivalents, concentration) <= 0:
        raise ConfigError(
            f"flow_reaction: {concentration} M, {equivalents} equivalents, {residence_time} min, "
            f"{temperature} degC: all must be positive, and feeds of {substrate_feed} M and "
            f"{amine_feed} M leave {parts[solvent]:.2f} of the volume to the solvent"
        )
    flow = reactor_volume / residence_time  # mL/min
    flush = {solvent: flush_volumes * reactor_volume}
    settle = {pump: part * steady_volumes * reactor_volume for pump, part in parts.items()}
    # long enough for the spectra at any flow rate: half a reactor volume, at least 30 s
    last = max(0.5 * reactor_volume, 0.5 * flow)
    finish = {pump: part * last for pump, part in parts.items()}
    draw = {pump: -(settle[pump] + finish[pump] + flush.get(pump, 0.0)) for pump in parts}
    found: dict[str, float] = {}

    @bpp.run_decorator(
        md={
            "plan_name": "flow_reaction",
            "temperature": temperature,
            "residence_time": residence_time,
            "equivalents": equivalents,
            "concentration": concentration,
        }
    )
    def inner() -> MsgGenerator[None]:
        yield from bps.abs_set(reactor, temperature, group="heat")
        yield from stubs.move(draw, rate=draw_rate, group="draw")
        yield from stubs.move(flush, rate=flush_rate, group="flush")
        _, blank = yield from stubs.measure(spectrometer, times=readings, stream="blank")
        yield from bps.wait("heat", timeout=heating_timeout)

        yield from stubs.may_wait(longest_wait)
        minutes = steady_volumes * reactor_volume / flow
        yield from stubs.begin(settle, minutes=minutes, group="settle")
        yield from bps.wait("settle", timeout=60 * minutes + stubs.SPARE)
        yield from stubs.begin(finish, minutes=last / flow, group="finish")
        axis, intensity = yield from stubs.measure(
            spectrometer, reactor, substrate, amine, solvent, times=readings
        )
        yield from stubs.may_wait(None)  # all that is wanted of this sample was measured
        yield from bps.wait("finish", timeout=60 * last / flow + stubs.SPARE)
        found.update(concentrations(axis, intensity, blank))

    yield from bpp.contingency_wrapper(
        inner(), except_plan=lambda _: stubs.stop(substrate, amine, solvent)
    )
    if found["ortho"] <= 0:
        raise PlanError(f"flow_reaction: no product in the spectrum: {found}")
    return {
        "space_time_yield": space_time_yield(found["ortho"], residence_time),
        "e_factor": e_factor(
            found["ortho"],
            concentration,
            equivalents * concentration,
            solvent_recovery=solvent_recovery,
        ),
    }
