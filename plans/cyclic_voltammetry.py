"""Make up a solution of a redox couple, and record a cyclic voltammogram of it."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from sdl.errors import ConfigError, PlanError
from sdl.instrument import Doser
from sdl.plans import stubs

Array = NDArray[np.float64]

TOP = 0.02  # V to each side of a peak in which it is taken for a cubic parabola
LEAST = 7  # points there
FAINTEST = 3.0  # times what a curve scatters by, that a peak must be


def cyclic_voltammetry(
    redox: Doser,
    salt: Doser,
    water: Doser,
    waste: Doser,
    potentiostat: Readable[Any],
    method: Movable[str],
    *,
    concentration: float,
    salt_concentration: float,
    scan_rate: float,
    volume: float = 10.0,
    rinse: float = 10.0,
    cell_volume: float = 20.0,
    redox_stock: float = 20.0,
    salt_stock: float = 2.0,
    begin: float = -0.1,
    vertex: float = 0.55,
    step: float = 0.002,
    quiet: float = 10.0,
    rate: float = 12.0,
    longest_wait: float = 60.0,
) -> MsgGenerator[dict[str, float]]:
    """Rinse and fill the cell, sweep the potential up and back.

    Return `peak_current` (uA, of the oxidation), `separation` of the peaks (mV) and `half_wave`
    (V, between them). A staircase gives somewhat lower peaks, further apart, than a linear sweep.

    :param concentration: mM of the reduced form; `salt_concentration`: M; `scan_rate`: V/s.
    :param volume: mL to measure; `rinse`: mL of water before, to 10 uL; `cell_volume`: mL it holds.
    :param redox_stock: mM; `salt_stock`: M.
    :param begin: V where nothing is oxidised; `vertex`: V where all is; `step`: V of a stair.
    :param quiet: s after filling; `rate`: mL/min of the pumps.
    :param longest_wait: min that an interruption may leave the solution in air, which oxidises it.
    :raises ConfigError: the stocks are too dilute, the cell is too small; nothing has moved.
    :raises PlanError: the curve has not the two peaks.
    """
    parts = concentration / redox_stock, salt_concentration / salt_stock
    if not (min(*parts, scan_rate, step) > 0 and sum(parts) <= 1 and begin < vertex):
        raise ConfigError(
            f"cyclic_voltammetry: {concentration} mM, {salt_concentration} M salt, {scan_rate} V/s "
            f"in steps of {step} V from {begin} to {vertex} V: all must be positive, the sweep "
            f"upwards, and stocks of {redox_stock} mM and {salt_stock} M suffice for both"
        )
    if not 0 < max(volume, rinse) <= cell_volume:
        raise ConfigError(f"cyclic_voltammetry: {volume} mL: the cell holds {cell_volume} mL")
    fill = {redox: round(parts[0] * volume, 3), salt: round(parts[1] * volume, 3)}
    fill[water] = round(volume - sum(fill.values()), 2)  # pumps know four digits: what is drawn at
    draw = {pump: -each for pump, each in fill.items()}  # once must be what goes out in portions
    draw[water] = round(draw[water] - rinse, 2)
    text = f"cv begin={begin:g} vertex1={vertex:g} vertex2={begin:g} step={step:g}"
    curves: list[tuple[Array, Array]] = []

    def empty() -> MsgGenerator[None]:
        yield from stubs.move({waste: -cell_volume}, rate=rate)
        yield from stubs.move({waste: cell_volume}, rate=rate)

    @bpp.run_decorator(
        md={
            "plan_name": "cyclic_voltammetry",
            "concentration": concentration,
            "salt_concentration": salt_concentration,
            "scan_rate": scan_rate,
        }
    )
    def inner() -> MsgGenerator[None]:
        yield from bps.abs_set(method, f"{text} rate={scan_rate:g} equilibration=2", wait=True)
        yield from empty()
        yield from stubs.move(draw, rate=rate)
        if rinse > 0:
            yield from stubs.move({water: rinse}, rate=rate)
            yield from empty()
        yield from stubs.may_wait(longest_wait)
        yield from stubs.move(fill, rate=rate)
        yield from bps.sleep(quiet)
        reading = yield from bps.trigger_and_read([potentiostat])
        yield from stubs.may_wait(None)
        curves.append(_curve(potentiostat.name, reading))

    yield from bpp.contingency_wrapper(
        inner(), except_plan=lambda _: stubs.stop(redox, salt, water, waste)
    )
    (upper, oxidation), (lower, _) = peaks(*curves[0])
    return {
        "peak_current": 1e6 * oxidation,
        "separation": 1e3 * (upper - lower),
        "half_wave": (upper + lower) / 2,
    }


def peaks(potential: Array, current: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return V and A of the peaks of oxidation and reduction, on the way up and on the way back.

    :param potential: (n,) V, up and back; `current`: (n,) A, NaN where it was too large.
    :raises PlanError: one of them is not there, or not whole.
    """
    if not np.isfinite(current).all():
        raise PlanError(f"voltammogram: {np.isnan(current).sum()} currents were too large")
    turn = int(np.argmax(potential))
    up = _peak(potential[: turn + 1], current[: turn + 1], "oxidation")
    volts, amperes = _peak(potential[turn:], -current[turn:], "reduction")
    return up, (volts, -amperes)


def _peak(potential: Array, current: Array, name: str) -> tuple[float, float]:
    if len(current) < 2 * LEAST:
        raise PlanError(f"voltammogram: {len(current)} points show no {name}")
    at = potential[np.argmax(current)]
    near = np.abs(potential - at) <= TOP
    if not potential.min() + TOP < at < potential.max() - TOP or near.sum() < LEAST:
        raise PlanError(f"voltammogram: no peak of {name}; the highest current is at {at:.3g} V")
    shape = np.polynomial.Polynomial.fit(potential[near], current[near], 3)
    tops = shape.deriv().roots()
    tops = tops[np.isreal(tops) & (shape.deriv(2)(tops).real < 0)].real
    scatter = float(np.median(np.abs(np.diff(current))))
    if not (len(tops) and abs(tops[0] - at) <= TOP and shape(tops[0]) > FAINTEST * scatter):
        raise PlanError(f"voltammogram: what stands at {at:.3g} V is no peak of {name}")
    return float(tops[0]), float(shape(tops[0]))


def _curve(name: str, reading: Any) -> tuple[Array, Array]:
    try:
        pair = [np.asarray(reading[f"{name}-{what}"]["value"]) for what in ("potential", "current")]
    except (KeyError, TypeError) as error:
        given = sorted(reading) if reading else "nothing"
        raise PlanError(f"{name}: it gave no potential and current, but {given}") from error
    if pair[0].shape != pair[1].shape:
        raise PlanError(f"{name}: {pair[0].size} potentials and {pair[1].size} currents")
    return pair[0], pair[1]
