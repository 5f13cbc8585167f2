"""Titrate a weak acid with a strong base, and find its strength by fitting the whole curve."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sdl.errors import ConfigError, PlanError
from sdl.instrument import Doser
from sdl.plans import stubs

PKW = 13.995
DENSITY = 0.999  # g/mL of a dilute acid
BELIEVABLE = 0.1  # of the base, that a fitted curve may miss its points by
FREE = 2  # strength and pKa
UL, LARGEST = 3, 9.0  # decimals of a mL, and mL: what pumps of four digits dose without rounding


def titrate(
    sample: Doser,
    base: Doser,
    water: Doser,
    waste: Doser,
    balance: Readable[Any],
    ph: Readable[Any],
    compensation: Movable[Any],
    thermometer: Readable[Any],
    stirrer: Movable[Any],
    *,
    sample_volume: float,
    increment: float,
    wait: float = 8.0,
    dilution: float = 20.0,
    rinse: float = 25.0,
    speed: float = 400.0,
    base_strength: float = 0.1,
    longest: float = 25.0,
    end: float = 11.0,
    flask: float = 140.0,
    rate: float = 12.0,
    waste_rate: float = 50.0,
    longest_wait: float = 120.0,
) -> MsgGenerator[dict[str, float]]:
    """Titrate once; return `strength` (mol/L), its standard error in %, `pka`, and `duration` (s).

    The flask is emptied and rinsed: the last trial's base would count as this one's. The sample is
    weighed, and the probe told the temperature. What was added and the pH after each addition are
    fitted with the charge balance of a weak acid and a strong base; only strength and pKa are free.
    The error is that of the fit: the base's strength and its pump's scale are believed.

    :param compensation: of the probe, degC; `thermometer`: in the flask.
    :param sample_volume: mL; `increment`: mL of base at a time, rounded to the uL; `wait`: s until
        the pH is read.
    :param dilution: mL of water; `rinse`: mL of it before; `flask`: mL that waste takes at once.
    :param base_strength: mol/L; `longest`: mL of base at most; `end`: pH where it is over.
    :param rate: mL/min; so is `waste_rate`. `longest_wait`: min that the sample may stand.
    :raises ConfigError: nothing can come of that; nothing has moved.
    :raises PlanError: the curve is none of a weak acid.
    """
    increment, longest = round(increment, UL), round(longest, UL)
    _check(sample_volume, increment, dilution, rinse, longest, flask)
    curve: list[tuple[float, float]] = []
    weights: list[float] = []
    times: list[float] = []

    @bpp.run_decorator(
        md={"plan_name": "titrate", "sample_volume": sample_volume, "increment": increment}
    )
    def inner() -> MsgGenerator[None]:
        yield from bps.abs_set(stirrer, speed, wait=True)
        yield from empty(flask)
        draw = {sample: -sample_volume, water: -dilution - rinse, base: -longest}
        yield from stubs.move(draw, rate=rate)
        if rinse > 0:
            yield from stubs.move({water: rinse}, rate=rate)
            yield from empty(2 * rinse)
        yield from stubs.move({water: dilution}, rate=rate)
        yield from weigh()
        yield from stubs.may_wait(longest_wait)
        yield from stubs.move({sample: sample_volume}, rate=rate)
        yield from weigh()
        celsius, _ = yield from stubs.value(thermometer, stream="temperature")
        yield from bps.abs_set(compensation, celsius, wait=True)
        added = yield from add_base()
        yield from stubs.may_wait(None)
        left = longest - added
        while left >= stubs.LEAST:  # it is not kept: the next trial begins with an empty syringe
            piece = round(min(left, LARGEST), UL)
            yield from stubs.move({base: piece}, rate=rate)
            left -= piece

    def empty(volume: float) -> MsgGenerator[None]:
        yield from stubs.move({waste: -volume}, rate=waste_rate)
        yield from stubs.move({waste: volume}, rate=waste_rate)

    def weigh() -> MsgGenerator[None]:
        yield from bps.sleep(wait)
        grams, _ = yield from stubs.value(balance, stream="weights")
        weights.append(grams)

    def add_base() -> MsgGenerator[float]:
        added = 0.0
        while True:
            yield from bps.sleep(wait)
            found, time = yield from stubs.value(ph)
            curve.append((added, found))
            times.append(time)
            if found >= end or added + increment > longest:
                return added
            yield from stubs.move({base: increment}, rate=rate)
            added += increment

    yield from bpp.contingency_wrapper(
        inner(), except_plan=lambda _: stubs.stop(sample, base, water, waste)
    )
    taken = (weights[1] - weights[0]) / DENSITY
    strength, error, pka = fitted(np.array(curve), taken, dilution, base_strength)
    outcomes = {"strength": strength, "error": 100 * error / strength, "pka": pka}
    return {**outcomes, "duration": times[-1] - times[0]}


def fitted(
    curve: NDArray[np.float64], sample: float, water: float, base: float
) -> tuple[float, float, float]:
    """Return a weak acid's mol/L, the standard error of that, and its pKa.

    At each pH the charge balance gives the volume of base that leads there; strength and pKa are
    what brings these nearest to what was added.

    :param curve: (n, 2) mL of base added, and pH.
    :param sample: mL of the acid; `water`: mL that dilute it; `base`: mol/L.
    :raises PlanError: too few points, no acid, or no such curve.
    """
    added, found = curve.T
    if len(added) < FREE + 2:
        raise PlanError(f"titrate: {len(added)} points are too few; take smaller increments")
    if sample <= 0:
        raise PlanError(f"titrate: the balance found {sample:.3g} mL of sample")

    def missed(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        strength, pka = unknown
        free = 10.0**-found - 10.0 ** (found - PKW)  # H+ less OH-
        bound = strength * sample / (1.0 + 10.0 ** (pka - found))
        return (bound - free * (sample + water)) / (base + free) - added

    begin = np.array([base * added[-1] / sample, float(np.median(found))])
    fit = least_squares(missed, begin, loss="soft_l1", f_scale=0.1, bounds=([0, 0], [np.inf, 14]))
    spread = float(np.sqrt(np.sum(fit.fun**2) / (len(added) - FREE)))
    if not fit.success or spread > BELIEVABLE * added[-1]:
        raise PlanError(f"titrate: no weak acid's curve: it is missed by {spread:.2g} mL")
    variance = np.linalg.inv(fit.jac.T @ fit.jac) * spread**2
    strength, pka = map(float, fit.x)
    return strength, float(np.sqrt(variance[0, 0])), pka


def _check(
    sample: float, increment: float, dilution: float, rinse: float, longest: float, flask: float
) -> None:
    if not (sample > 0 and 0 < increment < longest and dilution >= 0 and rinse >= 0):
        raise ConfigError(
            f"titrate: sample_volume={sample}, increment={increment}, dilution={dilution}, "
            f"rinse={rinse}: volumes must be positive, an increment less than longest={longest}"
        )
    if max(sample + dilution + longest, rinse) > flask:
        raise ConfigError(
            f"titrate: {sample} + {dilution} + {longest} mL, or {rinse} mL to rinse: the flask "
            f"holds {flask} mL"
        )
