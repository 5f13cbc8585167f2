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
MOST_FREE = 2  # strength and pKa


def titrate(
    sample: Doser,
    base: Doser,
    water: Doser,
    waste: Doser,
    balance: Readable[Any],
    ph: Readable[Any],
    stirrer: Movable[Any],
    *,
    sample_volume: float,
    increment: float,
    wait: float = 8.0,
    dilution: float = 20.0,
    speed: float = 400.0,
    base_strength: float = 0.1,
    longest: float = 25.0,
    end: float = 11.0,
    flask: float = 140.0,
    rate: float = 12.0,
    longest_wait: float = 120.0,
) -> MsgGenerator[dict[str, float]]:
    """Titrate once; return `strength` (mol/L), its standard error in %, `pka`, and `duration` (s).

    The sample is weighed. What was added and the pH after each addition are fitted with the charge
    balance of a weak acid and a strong base; only strength and pKa are free.

    :param sample_volume: mL; `increment`: mL of base at a time; `wait`: s until the pH is read.
    :param dilution: mL of water; `flask`: mL that waste can take out at once.
    :param base_strength: mol/L; `longest`: mL of base at most; `end`: pH where it is over.
    :raises ConfigError: nothing can come of that; nothing has moved.
    :raises PlanError: the curve is none of a weak acid.
    """
    if not (sample_volume > 0 and 0 < increment < longest and dilution >= 0):
        raise ConfigError(
            f"titrate: sample_volume={sample_volume}, increment={increment}, dilution={dilution}: "
            f"volumes must be positive, an increment less than longest={longest}"
        )
    curve: list[tuple[float, float]] = []
    weights: list[float] = []
    times: list[float] = []

    @bpp.run_decorator(
        md={"plan_name": "titrate", "sample_volume": sample_volume, "increment": increment}
    )
    def inner() -> MsgGenerator[None]:
        yield from bps.abs_set(stirrer, speed, wait=True)
        yield from stubs.move({waste: -flask}, rate=rate)
        yield from stubs.move({waste: flask}, rate=rate)
        draw = {sample: -sample_volume, water: -dilution, base: -longest}
        yield from stubs.move(draw, rate=rate)
        yield from stubs.move({water: dilution}, rate=rate)
        yield from weigh()
        yield from stubs.may_wait(longest_wait)
        yield from stubs.move({sample: sample_volume}, rate=rate)
        yield from weigh()
        added = 0.0
        while True:
            yield from bps.sleep(wait)
            found, time = yield from stubs.value(ph)
            curve.append((added, found))
            times.append(time)
            if found >= end or added + increment > longest:
                break
            yield from stubs.move({base: increment}, rate=rate)
            added += increment
        yield from stubs.may_wait(None)
        yield from stubs.move({base: longest - added}, rate=rate)  # what is left is not kept

    def weigh() -> MsgGenerator[None]:
        yield from bps.sleep(wait)
        grams, _ = yield from stubs.value(balance, stream="weights")
        weights.append(grams)

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
    :raises PlanError: too few points, or no such curve.
    """
    added, found = curve.T
    if len(added) < MOST_FREE + 2:
        raise PlanError(f"titrate: {len(added)} points are too few; take smaller increments")

    def missed(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        strength, pka = unknown
        free = 10.0**-found - 10.0 ** (found - PKW)  # H+ less OH-
        bound = strength * sample / (1.0 + 10.0 ** (pka - found))
        return (bound - free * (sample + water)) / (base + free) - added

    begin = np.array([base * added[-1] / sample, float(np.median(found))])
    fit = least_squares(missed, begin, loss="soft_l1", f_scale=0.1, bounds=([0, 0], [np.inf, 14]))
    spread = float(np.sqrt(np.mean(fit.fun**2)))
    if not fit.success or spread > BELIEVABLE * added[-1]:
        raise PlanError(f"titrate: no weak acid's curve: it is missed by {spread:.2g} mL")
    variance = np.linalg.inv(fit.jac.T @ fit.jac) * spread**2
    strength, pka = map(float, fit.x)
    return strength, float(np.sqrt(variance[0, 0])), pka
