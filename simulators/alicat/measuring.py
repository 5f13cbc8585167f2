"""What an Alicat instrument measures and aims at, in the units and digits of its data frames."""

from typing import Literal

import numpy as np

from sdl.simulators.alicat import tables
from sdl.simulators.alicat.tables import Number
from sdl.simulators.parts.gas_line import GasPart
from sdl.simulators.simulated import Simulated

KELVIN, ATMOSPHERE, PSI = 273.15, 101.325, 6.89475729  # K, kPa, kPa
RANGE = 1.28  # of full scale that can be measured
REPEATABILITY = 0.0002  # of full scale
HIGHEST_PRESSURE = 160.0  # PSIA, of a flow controller
MASS_LOOP, ABSOLUTE_LOOP, GAUGE_LOOP = tables.SETPOINT, 34, 38
LOOPS = {
    MASS_LOOP: "Mass Flow Setpt",
    ABSOLUTE_LOOP: "Abs Press Setpt",
    GAUGE_LOOP: "Ga Press Setpt",
}


class Measuring:
    """Reads the part as the instrument does, and sets it."""

    def __init__(
        self,
        part: GasPart,
        troubled: Simulated,
        *,
        controls: Literal["flow", "pressure"],
        full_scale: float,
        totalizer: bool,
        reference: float,
        firmware: int,
        noise: np.random.Generator | None,
    ) -> None:
        """:param troubled: whose sensor it is, for its faults.
        :param full_scale: sccm, or, of a pressure controller, bar.
        """
        self._part, self._troubled, self._noise = part, troubled, noise
        self.of_flow = controls == "flow"
        self._full_scale = full_scale if self.of_flow else full_scale * 100.0  # sccm or kPa
        self._standard, self._totalizer = (KELVIN + reference) / KELVIN, totalizer
        self._firmware, self._tared = firmware, 0.0
        self._loop = MASS_LOOP if self.of_flow else ABSOLUTE_LOOP
        self.reset_total()

    @property
    def loop(self) -> int:
        """The statistic that is controlled; another one begins at 0."""
        return self._loop

    @loop.setter
    def loop(self, loop: int) -> None:
        if loop != self._loop:
            self._loop, self._part.setpoint = loop, 0.0

    def columns(self) -> list[Number]:
        pressure = Number(tables.ABSOLUTE, "Abs Press", 7, 2, "PSIA", 10)
        if self._loop == MASS_LOOP:
            setpoint = self._flow_column(MASS_LOOP, LOOPS[MASS_LOOP], "S")
        else:
            unit = "PSIG" if self._loop == GAUGE_LOOP else "PSIA"
            setpoint = Number(self._loop, LOOPS[self._loop], 7, 2, unit, 10)
        if not self.of_flow:
            return [pressure, setpoint]
        columns = [
            pressure,
            Number(tables.TEMPERATURE, "Flow Temp", 7, 2, "`C", 2),
            self._flow_column(tables.VOLUMETRIC, "Volu Flow"),
            self._flow_column(tables.MASS, "Mass Flow", "S"),
            setpoint,
        ]
        if self._totalizer:
            columns.append(Number(tables.TOTAL, "Mass Total", 10, 2, "SmL", 3))
        return columns

    def _flow_column(self, statistic: int, name: str, standard: str = "") -> Number:
        return tables.flow_column(
            statistic, name, self._full_scale, standard, firmware=self._firmware
        )

    def find(self, statistic: int) -> Number | None:
        return next((each for each in self.columns() if each.statistic == statistic), None)

    def value(self, statistic: int) -> float:
        """Return a reading, or the setpoint, in the unit of its column."""
        part = self._part
        if statistic == tables.ABSOLUTE:
            return self._pressure() / PSI
        if statistic == tables.TEMPERATURE:
            return part.temperature
        if statistic == tables.MASS:
            return self._mass()[0] / self._litres
        if statistic == tables.VOLUMETRIC:
            expansion = (KELVIN + part.temperature) / (KELVIN * self._standard)
            return self._mass()[0] * expansion * ATMOSPHERE / part.pressure / self._litres
        if statistic == tables.TOTAL:
            return (part.volume - self._counted_from) * self._standard
        return self.setpoint

    def most(self, statistic: int) -> float:
        """Return the full scale of a statistic, in the unit of its column."""
        if statistic == tables.TEMPERATURE:
            return 50.0
        if statistic == tables.TOTAL:
            return 9_999_999.99
        if statistic in (tables.ABSOLUTE, ABSOLUTE_LOOP, GAUGE_LOOP):
            return HIGHEST_PRESSURE if self.of_flow else self._full_scale / PSI
        return self._full_scale / self._litres

    @property
    def out_of_range(self) -> bool:
        return self.of_flow and self._mass()[1]

    @property
    def setpoint(self) -> float:
        if self._loop == MASS_LOOP:
            return self._part.setpoint * self._standard / self._litres
        idle = self._part.setpoint == 0 and not self.of_flow
        return 0.0 if idle else (self._part.pressure_setpoint - self._gauge) / PSI

    @setpoint.setter
    def setpoint(self, number: float) -> None:
        """Take a setpoint, cut to what can be."""
        number = min(max(number, 0.0), self.most(self._loop))
        if self._loop == MASS_LOOP:
            self._part.setpoint = number * self._litres / self._standard
        elif number == 0:
            self._part.setpoint = 0.0
        else:
            self._part.pressure_setpoint = number * PSI + self._gauge

    def tare(self) -> None:
        """Take the flow that is now for none, whatever it is."""
        if self.of_flow:
            self._tared = self._part.flow * self._standard

    def forget_tare(self) -> None:
        self._tared = 0.0

    def reset_total(self) -> None:
        self._counted_from = self._part.volume

    @property
    def _litres(self) -> float:
        return 1000.0 if self.of_flow and self._full_scale >= 1000 else 1.0

    @property
    def _gauge(self) -> float:
        return ATMOSPHERE if self._loop == GAUGE_LOOP else 0.0

    def _pressure(self) -> float:
        if self.of_flow:
            return self._part.pressure
        high = RANGE * self._full_scale
        return self._troubled.disturbed(self._part.pressure, low=0.0, high=high)

    def _mass(self) -> tuple[float, bool]:
        """Return sccm, and whether that is out of its range."""
        full = self._full_scale if self.of_flow else 500.0
        true = self._part.flow * self._standard - self._tared
        read = self._troubled.disturbed(true, low=-0.02 * full, high=RANGE * full)
        ended = "saturation" in self._troubled.troubles and read != true
        if self._noise is not None:
            read += REPEATABILITY * full * float(self._noise.standard_normal())
        return read, ended or true > RANGE * full
