"""What the conformance kit has to be told: a driver, its simulator, and what is true of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class StillWorld:
    """A world in which nothing happens but time: what a part needs that stands alone."""

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self._began

    def advance(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Rig:
    """A simulator on a part of a world, both fresh."""

    simulator: Any
    part: Any


@dataclass(frozen=True)
class Truth:
    """What a signal should read."""

    of: Callable[[Any], Any]
    """The right value, from the part."""

    within: float = 0.0
    """How far a right reading may be off: resolution, and what changes meanwhile."""

    units: str = ""
    """What the signal must declare."""

    def holds(self, reading: Any, part: Any) -> bool:
        """Whether a reading is right."""
        right = self.of(part)
        if isinstance(right, bool | str):
            return reading == right
        return bool(abs(reading - right) <= self.within + 1e-9)


@dataclass(frozen=True)
class Setting:
    """Something that can be set, and how the world shows that it was."""

    value: Any
    took: Callable[[Any], bool]
    """Whether the world is as it should be after setting `value`; asked of the part."""

    signal: str = ""
    """Which signal; empty: the instrument itself."""

    refused: Sequence[Any] = ()
    """Values that must be refused before anything is sent."""

    amount: float | None = None
    """How much `value` gives or moves, where that is not what the number itself says."""


@dataclass(frozen=True)
class Subject:
    """A driver and its simulator."""

    driver: Callable[[Any], Any]
    """Makes the driver on a wire; it must have a name."""

    rig: Callable[[], Rig]
    """Makes a fresh simulator without noise, and its part; called in the running loop."""

    url: str
    """The wire as the instrument is delivered; it decides what kind of wire is used."""

    identity: str
    """A regular expression for what `identify` says."""

    truths: Mapping[str, Truth]
    """By the name of a signal; what has no truth here is read, and not judged."""

    change: Callable[[Any, int], None] | None = None
    """Puts the part into its n-th state: all truths that can change differ between n and n + 1."""

    settings: Sequence[Setting] = ()

    prepare: Callable[[Any], Awaitable[None]] | None = None
    """What a user does with the connected driver before anything else: a rate, a homing."""

    dosed: Callable[[Any], float] | None = None
    """How much the part has given or moved in all, for an instrument whose `set` is relative."""

    safe: Callable[[Any], bool] | None = None
    """Whether the part is safe; asked after `make_safe`."""

    transcript: Path | None = None

    timeout: float = 1.0
    """Of the wire, s."""

    patience: float = 120.0
    """s of virtual time after which whatever went wrong must have come to an end."""

    exempt: Mapping[str, str] = field(default_factory=dict)
    """Faults that are not tried, each with the reason."""
