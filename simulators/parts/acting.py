"""What every part of a world needs: the world's time, and a way to tell what happens to it."""

from collections.abc import Callable
from typing import Any, Protocol


class Timekeeper(Protocol):
    """What a part needs of its world."""

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        ...

    def advance(self) -> None:
        """Bring the world up to `now`."""
        ...


class Acting:
    """A part that tells what physically happens to it, for whoever has to know the truth."""

    _told: Callable[[dict[str, Any]], None] | None = None

    def tell_actions(self, told: Callable[[dict[str, Any]], None] | None) -> None:
        """Call `told` with each action as it happens: `t` (s of the world), `action`, details."""
        self._told = told

    def _act(self, t: float, action: str, **details: Any) -> None:
        if self._told is not None:
            self._told({"t": round(t, 6), "action": action, **details})
