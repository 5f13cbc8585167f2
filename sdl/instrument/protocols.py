"""Protocols that plans ask for beyond Bluesky's own."""

from typing import Any, Protocol, runtime_checkable

from bluesky.protocols import Movable


@runtime_checkable
class Doser(Movable[float], Protocol):
    """Moves a volume of liquid at a rate.

    `set(volume)` is relative, in mL: positive dispenses, negative draws up. It is done when the
    plunger has stopped.
    """

    @property
    def rate(self) -> Movable[Any]:
        """Flow rate in mL/min of what is dispensed next; absolute."""
        ...
