"""A line of gas behind a mass-flow or pressure controller."""

import math
from typing import Literal, Protocol

from sdl.simulators.parts.acting import Acting, Timekeeper

Valve = Literal["control", "held", "closed", "open"]


class GasPart(Protocol):
    """What controllers of gas act on: `GasLine`, or another. Its units are those of `GasLine`."""

    gas: str
    temperature: float

    @property
    def flow(self) -> float: ...
    @property
    def volume(self) -> float: ...
    @property
    def pressure(self) -> float: ...
    @property
    def supply(self) -> float: ...
    @property
    def setpoint(self) -> float: ...
    @setpoint.setter
    def setpoint(self, flow: float) -> None: ...
    @property
    def pressure_setpoint(self) -> float: ...
    @pressure_setpoint.setter
    def pressure_setpoint(self, kilopascal: float) -> None: ...
    @property
    def valve(self) -> Valve: ...
    @valve.setter
    def valve(self, valve: Valve) -> None: ...
    @property
    def stuck(self) -> bool: ...
    @stuck.setter
    def stuck(self, stuck: bool) -> None: ...


class GasLine(Acting):
    """Gas from a supply through a valve: the flow follows what the valve aims at, with a lag.

    Flows and volumes are those of the gas at 0 degC and 101.325 kPa. They are exact at every
    moment, whatever the steps of the world. What is behind the valve resists: pressure there is
    that of the outlet and `resistance` for each mL/min.

    Its actions: `aim` (`flow`, mL/min; `valve`) whenever what the valve aims at changes.
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        gas: str = "N2",
        temperature: float = 22.0,
        supply: float = 2000.0,
        outlet: float = 101.325,
        resistance: float = 0.02,
        lag: float = 0.3,
    ) -> None:
        """:param temperature: of the gas, degC.
        :param supply: mL/min that flow with the valve fully open; 0: there is no gas.
        :param outlet: kPa, absolute.
        :param resistance: kPa for each mL/min.
        :param lag: s; a step of the setpoint is followed to 63 % in this time.
        """
        self._world, self._lag = world, lag
        self.gas, self.temperature = gas, temperature
        self.outlet, self.resistance = outlet, resistance
        self._supply, self._setpoint, self._stuck = supply, 0.0, False
        self._valve: Valve = "control"
        self._since, self._began, self._gone = world.now, 0.0, 0.0  # s, mL/min, mL

    @property
    def setpoint(self) -> float:
        """What the controller aims at, mL/min."""
        return self._setpoint

    @setpoint.setter
    def setpoint(self, flow: float) -> None:
        self._bend()
        if flow != self._setpoint:
            self._setpoint = flow
            self._tell()

    @property
    def pressure_setpoint(self) -> float:
        """What a pressure controller aims at, kPa absolute: another way to say `setpoint`."""
        return self.outlet + self.resistance * self._setpoint

    @pressure_setpoint.setter
    def pressure_setpoint(self, kilopascal: float) -> None:
        self.setpoint = (kilopascal - self.outlet) / self.resistance

    @property
    def valve(self) -> Valve:
        """Controlled, or held where it is, or fully closed or open."""
        return self._valve

    @valve.setter
    def valve(self, valve: Valve) -> None:
        self._bend()
        if valve != self._valve:
            self._valve = valve
            self._tell()

    @property
    def supply(self) -> float:
        """mL/min that flow with the valve open; a fault to inject: 0 is an empty bottle."""
        return self._supply

    @supply.setter
    def supply(self, flow: float) -> None:
        self._bend()
        self._supply = flow

    @property
    def stuck(self) -> bool:
        """A fault to inject: the valve stays where it is."""
        return self._stuck

    @stuck.setter
    def stuck(self, stuck: bool) -> None:
        self._bend()
        self._stuck = stuck

    @property
    def flow(self) -> float:
        """Of the gas now, mL/min."""
        self._world.advance()
        return self._flow(self._world.now)

    @property
    def volume(self) -> float:
        """What has gone through since the world began, mL."""
        self._world.advance()
        t = self._world.now
        aim, gone = self._aim(), t - self._since
        followed = self._lag * (1 - math.exp(-gone / self._lag))
        return self._gone + (aim * gone + (self._began - aim) * followed) / 60.0

    @property
    def pressure(self) -> float:
        """Behind the valve, kPa absolute."""
        return self.outlet + self.resistance * self.flow

    def place(self, flow: float) -> None:
        """Have `flow` mL/min aimed at and flowing, at once: where a story begins."""
        self.valve, self.setpoint = "control", flow
        self._bend()
        self._began = flow

    def _aim(self) -> float:
        if self._stuck or self._valve == "held":
            return min(self._began, self._supply)
        aims = {"control": self._setpoint, "closed": 0.0, "open": self._supply}
        return min(max(aims[self._valve], 0.0), self._supply)

    def _flow(self, t: float) -> float:
        aim = self._aim()
        return aim + (self._began - aim) * math.exp(-(t - self._since) / self._lag)

    def _bend(self) -> None:
        """Begin a new curve now."""
        self._gone, flow = self.volume, self.flow
        self._began, self._since = flow, self._world.now

    def _tell(self) -> None:
        self._act(self._since, "aim", flow=round(self._setpoint, 6), valve=self._valve)
