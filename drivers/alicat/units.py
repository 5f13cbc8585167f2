"""The units of Alicat instruments, and what they are in the project's.

`sccm` is mL/min at 101.325 kPa and a standard temperature: the instrument's own, which is 25 degC
for S units (as delivered) and 0 degC for N units, unless the lab says which it wants.
"""

from dataclasses import dataclass

from sdl.drivers.alicat.frames import Column
from sdl.errors import ConfigError

KELVIN, NORMAL = 273.15, 0.0
FLOWS = {"SCCM": 1.0, "SLPM": 1000.0, "NCCM": 1.0, "NLPM": 1000.0}  # mL/min at the standard
TOTALS = {"SmL": 1.0, "Scm3": 1.0, "SL": 1000.0, "NmL": 1.0, "Ncm3": 1.0, "NL": 1000.0}  # mL there
VOLUMETRIC = {"CCM": 1.0, "LPM": 1000.0}  # mL/min
PRESSURES = {
    f"{unit}{kind}": size
    for unit, size in {"PSI": 0.0689475729, "kPa": 0.01, "bar": 1.0, "mbar": 0.001}.items()
    for kind in ("A", "G", "D", "")
}  # bar: absolute, gauge, difference
TEMPERATURES = {"C": (1.0, 0.0), "F": (5 / 9, -160 / 9), "K": (1.0, -KELVIN)}
KNOWN = {"flow": FLOWS, "total": TOTALS, "volumetric": VOLUMETRIC, "pressure": PRESSURES}


@dataclass(frozen=True)
class Scale:
    """The straight line from the instrument's unit to ours."""

    factor: float = 1.0
    summand: float = 0.0

    def ours(self, number: float) -> float:
        return self.factor * number + self.summand

    def its(self, value: float) -> float:
        return (value - self.summand) / self.factor


@dataclass(frozen=True)
class Standards:
    """What standard flows mean: to the lab (None: what they mean to the instrument), and to it."""

    lab: float | None
    instrument: float

    def scale(self, quantity: str, column: Column) -> Scale:
        """Return what turns a column's numbers into ours.

        :raises ConfigError: nothing is known of its unit.
        """
        unit = column.unit
        if quantity == "temperature" and unit.lstrip("`") in TEMPERATURES:
            return Scale(*TEMPERATURES[unit.lstrip("`")])
        size = KNOWN.get(quantity, {}).get(unit)
        if size is None:
            allowed = ", ".join(KNOWN.get(quantity, TEMPERATURES))
            raise ConfigError(f"its {quantity} is in {unit!r}; known here are {allowed}")
        if quantity in ("flow", "total") and self.lab is not None:
            own = NORMAL if unit.startswith("N") else self.instrument
            size *= (KELVIN + self.lab) / (KELVIN + own)
        return Scale(size)
