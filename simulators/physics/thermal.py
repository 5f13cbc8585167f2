"""A heated block and the medium in it: two heat capacities, one path to the air."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TwoNodes:
    """Constants of the block (heater, sensor) and of what it heats."""

    block_capacity: float = 400.0
    """J/K"""
    medium_capacity: float = 40.0
    """J/K"""
    coupling: float = 20.0
    """W/K between block and medium"""
    loss: float = 2.0
    """W/K from block to air; a fan blows all the time, so that it also cools in minutes"""
    max_power: float = 350.0
    """W"""

    def step(
        self,
        block: float,
        medium: float,
        *,
        power: float,
        air: float,
        dt: float,
        stream: float = 0.0,
    ) -> tuple[float, float]:
        """Return (block, medium) in degC after one backward-Euler step; stable for every `dt`.

        :param power: W into the block.
        :param stream: W/K: heat capacity flow of what enters the medium at the air's temperature.
        """
        cb, cm = self.block_capacity / dt, self.medium_capacity / dt
        b1, b2 = cb + self.loss + self.coupling, cb * block + power + self.loss * air
        m1, m2 = cm + stream + self.coupling, cm * medium + stream * air
        g = self.coupling
        determinant = b1 * m1 - g * g
        return (b2 * m1 + g * m2) / determinant, (m2 * b1 + g * b2) / determinant
