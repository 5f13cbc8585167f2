"""What a potentiostat works on: a cell with a working, a counter and a reference electrode."""

import cmath
import math
from typing import Protocol

from sdl.simulators.parts.acting import Acting, Timekeeper


class ElectrochemicalCell(Protocol):
    """A cell. It lives in the time that it is told: a potentiostat samples it step by step."""

    def switch(self, on: bool) -> None:
        """Join it to the potentiostat, or leave it at rest."""
        ...

    def current(self, potential: float, dt: float) -> float:
        """Hold `potential` V (working against reference) for `dt` s; return A at the end."""
        ...

    def rest(self, dt: float) -> float:
        """Let nothing flow for `dt` s; return V of the open circuit at the end."""
        ...

    def impedance(self, frequency: float) -> complex:
        """Return ohm at `frequency` Hz and a small amplitude, about the potential it has."""
        ...


class RandlesCell(Acting):
    """A resistance of the solution, and behind it a capacitance beside a resistance to transfer.

    Linear, with closed forms: at a step of E the current falls from E/Rs to E/(Rs + Rt) with
    Rs Rt C/(Rs + Rt), and the open circuit comes back with Rt C. Its actions: `cell on` and
    `cell off`.
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        series: float = 100.0,
        transfer: float = 10_000.0,
        capacitance: float = 1e-6,
        equilibrium: float = 0.2,
    ) -> None:
        """:param series: Rs, ohm.
        :param transfer: Rt, ohm.
        :param capacitance: C, F.
        :param equilibrium: V at which nothing flows.
        """
        self._world = world
        self.series, self.transfer, self.capacitance = series, transfer, capacitance
        self.equilibrium = equilibrium
        self.polarisation = 0.0
        """V across the double layer, beyond the equilibrium"""
        self.is_on = False

    def switch(self, on: bool) -> None:
        self._world.advance()
        if on is not self.is_on:
            self._act(self._world.now, "cell on" if on else "cell off")
        self.is_on = on

    def current(self, potential: float, dt: float) -> float:
        applied = potential - self.equilibrium
        whole = self.series + self.transfer
        end = applied * self.transfer / whole
        tau = self.capacitance * self.series * self.transfer / whole
        self.polarisation = end + (self.polarisation - end) * math.exp(-dt / tau)
        return (applied - self.polarisation) / self.series

    def rest(self, dt: float) -> float:
        self.polarisation *= math.exp(-dt / (self.transfer * self.capacitance))
        return self.open_circuit

    def impedance(self, frequency: float) -> complex:
        admittance = 1 / self.transfer + 2j * cmath.pi * frequency * self.capacitance
        return self.series + 1 / admittance

    @property
    def open_circuit(self) -> float:
        """V between working and reference electrode while nothing flows."""
        return self.equilibrium + self.polarisation
