"""Vessels that liquids are pumped into and out of: volumes, masses and amounts are conserved.

Mixing is ideal and at once. A world moves liquid between vessels by the totals of its pumps, once a
step, and everything that looks at a vessel (a balance, a probe, a camera) sees the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Liquid:
    """What a bottle holds, however much of it."""

    molar: Mapping[str, float] = field(default_factory=dict)
    """mol/L of each species"""
    density: float = 0.998
    """g/mL"""


class Vessel:
    """A stirred vessel. Species are named by the world; what they do is its own to say."""

    def __init__(self, *, capacity: float, residue: float = 0.0) -> None:
        """Describe an empty vessel.

        :param capacity: mL to the brim; what is poured in beyond runs over, as mixed.
        :param residue: mL that nobody can draw off.
        """
        self.capacity, self.residue = capacity, residue
        self.volume = 0.0
        """mL"""
        self.mass = 0.0
        """g"""
        self.amounts: dict[str, float] = {}
        """mmol of each species that was ever in it"""
        self.spilled = 0.0
        """mL that have run over"""

    def molar(self, species: str) -> float:
        """Return mol/L; 0 where it is dry."""
        return self.amounts.get(species, 0.0) / self.volume if self.volume > 0 else 0.0

    def pour(self, liquid: Liquid, volume: float) -> None:
        """Add mL of a liquid."""
        if volume <= 0:
            return
        self.volume += volume
        self.mass += volume * liquid.density
        for species, molar in liquid.molar.items():
            self.amounts[species] = self.amounts.get(species, 0.0) + molar * volume
        over = self.volume - self.capacity
        if over > 0:
            self.spilled += over
            self._leave(over)

    def draw(self, volume: float) -> Liquid:
        """Take mL out, as far as there are some; return what it was."""
        taken = Liquid({species: self.molar(species) for species in self.amounts}, self.density)
        self._leave(min(volume, self.volume - self.residue))
        return taken

    @property
    def density(self) -> float:
        """g/mL of what is in it; of water where it is dry."""
        return self.mass / self.volume if self.volume > 0 else Liquid().density

    def _leave(self, volume: float) -> None:
        if volume <= 0:
            return
        left = 1.0 - volume / self.volume
        self.volume *= left
        self.mass *= left
        for species in self.amounts:
            self.amounts[species] *= left
