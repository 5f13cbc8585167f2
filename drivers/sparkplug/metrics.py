"""The metrics of a Sparkplug device as a lab file names them, and their signals."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Literal

from ophyd_async.core import SignalDatatypeT
from pydantic import BaseModel, ConfigDict, ValidationError

from sdl import clock
from sdl.errors import ConfigError, StaleError
from sdl.instrument import Effect
from sdl.instrument.asked_for import AskedFor

ASKED_AGAIN = 2.0  # s between rebirths until the first
TYPES: Mapping[str, type] = {"float": float, "int": int, "bool": bool, "str": str}


class MetricOption(BaseModel):
    """A metric as a lab file names it; its key there is the name of the signal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = ""
    """its name at the node; empty: that of the signal"""
    units: str | None = None
    """in which the node has it"""
    type: Literal["float", "int", "bool", "str"] = "float"
    writable: bool = False
    low: float | None = None
    high: float | None = None
    effect: Effect = Effect.ABSOLUTE
    """what writing it twice would do"""


class Reported(AskedFor[SignalDatatypeT]):
    """A metric: good as long as its node lives and is heard without a gap."""

    @property
    def counts(self) -> bool:
        return self._at is not None

    def confirm(self) -> None:
        """Take note that the newest value is still the present one."""
        if self._at is not None:
            self._at = clock.monotonic()

    def invalidate(self) -> None:
        self._arrived.clear()
        super().invalidate()

    async def connect(self, timeout: float) -> None:
        """Wait for a value, and ask again: some nodes are only born when they like."""
        deadline = clock.monotonic() + timeout
        await self._subscribe()
        while True:
            try:
                await self.get_reading()
                return
            except StaleError:
                left = deadline - clock.monotonic()
                if left <= 0:
                    raise
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, ASKED_AGAIN)):
                        await self._arrived.wait()


def checked_options(
    instrument: str, metrics: Mapping[str, MetricOption], taken: Collection[str]
) -> Mapping[str, MetricOption]:
    """Return the metrics of a lab file by signal.

    :param taken: what no signal can be called.
    :raises ConfigError: they make no sense.
    """
    found, problems = {}, []
    for name, given in metrics.items():
        if not name.isidentifier() or name.startswith("_") or name in taken:
            problems.append(f"{instrument}: metrics: {name!r} cannot be the name of a signal")
        try:
            found[name] = MetricOption.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (name, *first["loc"])))
            problems.append(f"{instrument}: metrics: {where}: {first['msg']}")
    if not metrics:
        problems.append(f"{instrument}: metrics: none; name those to read, by signal")
    names = [option.metric or name for name, option in found.items()]
    if len(set(names)) < len(names):
        problems.append(f"{instrument}: metrics: one of them has two signals: {names}")
    if problems:
        raise ConfigError(*problems)
    return found


def check_ids(instrument: str, **ids: str) -> None:
    """:raises ConfigError: they cannot stand in a topic."""
    for what, given in ids.items():
        needed = what in ("group", "node")
        if any(c in given for c in "+#/") or (needed and not given):
            raise ConfigError(f"{instrument}: {what}={given!r}: a name without + # and /")
