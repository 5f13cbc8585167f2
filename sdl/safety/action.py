"""What is about to be done to an instrument, as the guard sees it."""

from dataclasses import dataclass
from typing import Any

from sdl.instrument import Effect


@dataclass(frozen=True)
class Action:
    """One message of a plan that acts on an instrument of the lab."""

    command: str
    """Bluesky's: set, trigger, kickoff, complete, prepare, stage, unstage, configure, collect."""

    path: str
    """Which instrument, or which signal of one: "heater", "substrate_pump.rate"."""

    argument: Any
    """The first argument of the message; None without."""

    effect: Effect
    trial: str = ""
    """For whom: "snar-flow/7"; empty for an operator's own."""

    step: int = 0

    def __str__(self) -> str:
        said = "" if self.argument is None else f" {self.argument}"
        return f"{self.command} {self.path}{said}"
