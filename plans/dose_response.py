"""The potency of one compound: a dilution series on a plate, read, and fitted."""

from collections.abc import Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sdl.errors import PlanError
from sdl.plans import stubs
from sdl.plans.dilution_series import Series, number, protocol

Array = NDArray[np.float64]

GOOD = 0.4  # Z' below which the controls are not apart
PATIENCE = 3 * 3600.0  # s for the robot
CARRYING = 600.0  # s for the arm


def dose_response(
    robot: Movable[Any],
    arm: Movable[str],
    reader: Readable[Any],
    *,
    molecule: int,
    top: float = 100.0,
    factor: float = 4.0,
    points: int = 12,
    replicates: int = 4,
    controls: int = 6,
    stock: float = 10.0,
    layout: int = 1,
    incubation: float = 1800.0,
    readings: int = 3,
    fresh: str = "fresh_plates.urp",
    to_reader: str = "plate_to_reader.urp",
    longest_wait: float = 30.0,
) -> MsgGenerator[dict[str, float]]:
    """Lay new plates, dilute the compound into enzyme, incubate, read.

    Return `pic50` (-log10 of the IC50 in mol/L), its standard error `error`, the slope `hill`, and
    `z_prime` of the controls (Zhang, Chung and Oldenburg, 1999).

    :param molecule: its place in the library, from 1 on.
    :param top: uM, the highest concentration; `factor` between neighbours; `stock`: mM.
    :param layout: seed of where the wells lie; never at the plate's edge.
    :param incubation: s; `fresh`, `to_reader`: the arm's programs.
    :param longest_wait: min that an interruption may leave the enzyme at work.
    :raises ConfigError: no such series can be pipetted; nothing has moved.
    :raises PlanError: the controls are not apart, or no curve fits.
    """
    series = Series(
        top=top * 1e-6,
        factor=factor,
        points=points,
        replicates=replicates,
        controls=controls,
        stock=stock * 1e-3,
    )
    pipetting, wells = protocol(series, molecule, layout), series.layout(layout)
    light: list[Mapping[int, float]] = []

    @bpp.run_decorator(md={"plan_name": "dose_response", "molecule": molecule})
    def inner() -> MsgGenerator[None]:
        yield from _do(arm, fresh, CARRYING)
        yield from stubs.may_wait(longest_wait)
        yield from _do(robot, pipetting, PATIENCE)
        yield from bps.sleep(incubation)
        yield from _do(arm, to_reader, CARRYING)
        axis, counts = yield from stubs.measure(reader, times=readings)
        yield from stubs.may_wait(None)
        light.append({round(well): float(count) for well, count in zip(axis, counts, strict=True)})

    yield from inner()
    return evaluated(series, wells, light[0])


def _do(device: Movable[Any], what: Any, patience: float) -> MsgGenerator[None]:
    group = f"{device.name} at work"
    yield from bps.abs_set(device, what, group=group)
    yield from bps.wait(group, timeout=patience)


def evaluated(
    series: Series, wells: Mapping[str, Sequence[str]], light: Mapping[int, float]
) -> dict[str, float]:
    """Return the outcomes of a plate.

    :param wells: of each kind, as `Series.layout` has them; `light`: of each well by its number.
    :raises PlanError: see `dose_response`.
    """
    missing = [well for some in wells.values() for well in some if number(well) not in light]
    if missing:
        raise PlanError(f"dose_response: the reader told nothing of {', '.join(missing)}")
    counts = {kind: np.array([light[number(w)] for w in some]) for kind, some in wells.items()}
    high, low = counts["high"], counts["low"]
    window = float(high.mean() - low.mean())
    z_prime = 1 - 3 * float(high.std(ddof=1) + low.std(ddof=1)) / window if window > 0 else -np.inf
    if z_prime < GOOD:
        raise PlanError(
            f"dose_response: Z' is {z_prime:.2g}, less than {GOOD}: the controls give "
            f"{high.mean():.4g} and {low.mean():.4g} counts; look at enzyme, plate and reader"
        )
    molar = np.repeat(series.concentrations, series.replicates)
    measured = np.concatenate([counts[str(k)] for k in range(series.points)])
    pic50, error, hill = fitted(molar, (measured - low.mean()) / window)
    return {"pic50": pic50, "error": error, "hill": hill, "z_prime": z_prime}


def fitted(molar: Array, activity: Array) -> tuple[float, float, float]:
    """Fit the logistic of four parameters; return pIC50, its standard error, and the slope.

    :param molar: (n,) mol/L; `activity`: (n,) relative to the controls.
    :raises PlanError: no such curve, or one whose middle was not measured.
    """
    x = np.log10(molar)

    def curve(unknown: Array) -> Array:
        middle, hill, bottom, top = unknown
        return bottom + (top - bottom) / (1.0 + 10.0 ** (hill * (x - middle)))

    half = float(x[np.argmin(np.abs(activity - 0.5))])
    bounds = ([x.min() - 2, 0.3, -0.3, 0.6], [x.max() + 2, 3.0, 0.4, 1.4])
    start = np.array([half, 1.0, 0.0, 1.0])
    fit = least_squares(
        lambda u: curve(u) - activity, start, bounds=bounds, loss="soft_l1", f_scale=0.1
    )
    pic50, hill = -float(fit.x[0]), float(fit.x[1])
    if not (fit.success and x.min() <= -pic50 <= x.max() + 0.5):
        raise PlanError(
            f"dose_response: the curve's middle, pIC50 {pic50:.3g}, was not measured: "
            f"{-x.max():.3g} to {-x.min():.3g}"
        )
    freedom = len(x) - len(start)
    variance = np.linalg.pinv(fit.jac.T @ fit.jac) * 2 * fit.cost / freedom
    return pic50, float(np.sqrt(variance[0, 0])), hill
