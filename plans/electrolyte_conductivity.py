"""Mix an electrolyte in a thermostatted cell and measure its conductivity."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator

from sdl.errors import ConfigError, PlanError
from sdl.instrument import Doser
from sdl.plans import stubs
from sdl.plans.impedance import resistance


def electrolyte_conductivity(
    salt: Doser,
    solvent: Doser,
    waste: Doser,
    cell_heater: Movable[Any],
    cell: Readable[Any],
    *,
    salt_concentration: float,
    temperature: float,
    volume: float = 10.0,
    rinse: float = 5.0,
    cell_volume: float = 15.0,
    stock: float = 2.0,
    cell_constant: float = 1.0,
    leads: float = 0.35,
    rate: float = 10.0,
    equilibration: float = 90.0,
    readings: int = 3,
    heating_timeout: float = 2400.0,
    longest_wait: float = 60.0,
) -> MsgGenerator[dict[str, float]]:
    """Empty and rinse the cell, fill it, wait for its temperature; return `conductivity` in mS/cm.

    If anything fails the pumps are stopped.

    :param salt_concentration: M, at most `stock`; `temperature`: degC.
    :param volume: mL to measure; `rinse`: mL of solvent before; `cell_volume`: mL it holds.
    :param cell_constant: cm-1; `leads`: ohm; both from the calibration with a standard.
    :param rate: mL/min; `equilibration`: s that the liquid lags behind its heater.
    :param longest_wait: min that an interruption may leave the electrolyte in the warm cell: its
        carbonates evaporate, and moist air attacks the salt.
    :raises ConfigError: the stock is too dilute or the cell too small; nothing has moved.
    :raises PlanError: the spectrum is none of a filled cell.
    """
    part = salt_concentration / stock
    if not (0 < part <= 1 and 0 < max(volume, rinse) <= cell_volume):
        raise ConfigError(
            f"electrolyte_conductivity: {volume} mL of {salt_concentration} M: "
            f"the stock is {stock} M and the cell holds {cell_volume} mL"
        )
    fill = {salt: part * volume, solvent: (1.0 - part) * volume}
    found: list[float] = []

    def empty() -> MsgGenerator[None]:
        yield from stubs.move({waste: -cell_volume}, rate=rate)
        yield from stubs.move({waste: cell_volume}, rate=rate)

    @bpp.run_decorator(
        md={
            "plan_name": "electrolyte_conductivity",
            "salt_concentration": salt_concentration,
            "temperature": temperature,
        }
    )
    def inner() -> MsgGenerator[None]:
        yield from bps.abs_set(cell_heater, temperature, group="heat")
        yield from empty()
        yield from stubs.move({salt: -fill[salt], solvent: -fill[solvent] - rinse}, rate=rate)
        if rinse > 0:
            yield from stubs.move({solvent: rinse}, rate=rate)
            yield from empty()
        yield from stubs.may_wait(longest_wait)
        yield from stubs.move(fill, rate=rate)
        yield from bps.wait("heat", timeout=heating_timeout)
        yield from bps.sleep(equilibration)
        _, spectrum = yield from stubs.measure(
            cell, cell_heater, salt, solvent, waste, times=readings
        )
        yield from stubs.may_wait(None)
        found.append(resistance(spectrum) - leads)

    yield from bpp.contingency_wrapper(
        inner(), except_plan=lambda _: stubs.stop(salt, solvent, waste)
    )
    if found[0] <= 0:
        raise PlanError(f"electrolyte_conductivity: {found[0]:.4g} ohm are left without the leads")
    return {"conductivity": 1000.0 * cell_constant / found[0]}
