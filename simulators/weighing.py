"""The weighing cell that simulated balances have, whatever they speak."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from sdl.simulators.simulated import Simulated

ZERO_RANGE = 0.02  # of the capacity, that may be zeroed
UNDERLOAD = 0.05  # of the capacity, below zero


class Load(Protocol):
    """The part of a world that is weighed."""

    @property
    def mass(self) -> float:
        """True mass on the pan, g."""
        ...

    @property
    def moving(self) -> bool:
        """Whether the mass changes now."""
        ...


@dataclass(frozen=True)
class Look:
    """What the cell finds at one moment."""

    gross: float
    """g above the zero point, rounded to the readability"""
    net: float
    """g above zero point and tare, rounded"""
    stable: bool
    range: int
    """0: within the weighing range, 1: overload, -1: underload"""


class WeighingCell:
    """Zero point and tare, noise, settling, and the ends of the range."""

    def __init__(
        self,
        load: Load,
        owner: Simulated,
        *,
        capacity: float,
        decimals: int,
        noise: bool,
        settling: float,
    ) -> None:
        """:param capacity: g.
        :param decimals: of a gram, that are shown.
        :param settling: s after a change during which a weight is not stable.
        """
        self._load, self._owner = load, owner
        self.capacity, self.decimals = capacity, decimals
        self._noise, self.settling = noise, settling
        self.zero_point = self.tare = 0.0  # g
        self._seen, self._restless_until = load.mass, 0.0

    @property
    def digit(self) -> float:
        """The smallest step that is shown, g."""
        return 10.0**-self.decimals

    def power_up(self) -> None:
        """Lose the tare; take what is on the pan for zero where it is little enough."""
        self.tare = 0.0
        if abs(self._load.mass - self.zero_point) <= ZERO_RANGE * self.capacity:
            self.zero_point = self._load.mass
        self._seen, self._restless_until = self._load.mass, 0.0

    def look(self) -> Look:
        """Weigh now."""
        now, mass = asyncio.get_running_loop().time(), self._load.mass
        if self._load.moving or abs(mass - self._seen) > self.digit:
            self._restless_until = now + self.settling
        self._seen = mass
        stable = now >= self._restless_until and "noise" not in self._owner.troubles
        gross = mass - self.zero_point
        end = self.capacity * 1.02
        if "saturation" in self._owner.troubles:
            end = self._owner.troubles["saturation"] / 100 * self.capacity
        beyond = 1 if gross > end else -1 if gross < -UNDERLOAD * self.capacity else 0
        gross = self._measured(gross, stable)
        return Look(
            round(gross, self.decimals), round(gross - self.tare, self.decimals), stable, beyond
        )

    def take_tare(self, look: Look) -> None:
        """Count from what lies there now."""
        self.tare = max(look.gross, 0.0)

    def take_zero(self, look: Look) -> bool:
        """Have zero where it is now; False where that is too far from the first zero."""
        if abs(self.zero_point + look.gross) > ZERO_RANGE * self.capacity:
            return False
        self.zero_point, self.tare = self.zero_point + look.gross, 0.0
        return True

    def _measured(self, gross: float, stable: bool) -> float:
        sigma = (0.5 if stable else 5.0) * self.digit if self._noise else 0.0
        gross += sigma * float(self._owner.rng.standard_normal())
        low, high = -2 * self.capacity, 2 * self.capacity  # its ends are told, not cut off
        troubles = self._owner.troubles
        if "noise" in troubles:
            gross += troubles["noise"] / 100 * self.capacity * self._owner.rng.standard_normal()
        gross += troubles.get("drift", 0.0) / 100 * self.capacity
        return float(min(max(gross, low), high))
