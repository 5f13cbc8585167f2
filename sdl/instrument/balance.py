"""What all balances do for a lab: a weight, whether it is stable, and waiting until it is."""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    AsyncStatus,
    DeviceMock,
    SoftCommandBackend,
    StandardReadableFormat,
    TriggerableCommand,
)

from sdl import clock
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import Instrument, StopPolicy, poll_r
from sdl.wires import Wire

PERIOD = 0.25  # s between looks at a weight that settles
VOID = inspect.Signature([], return_annotation=None)


@dataclass(frozen=True)
class Weight:
    """What a balance says at one moment."""

    grams: float
    """net"""
    stable: bool
    decimals: int
    """how many it was written with"""


class Balance(Instrument):
    """A balance: `weight` is the net weight now, `stable` says whether it had settled.

    `trigger` waits until it is stable, and fails after `stability_timeout`. `tare` and `zero` are
    triggered, too: `yield from bps.trigger(balance.tare, wait=True)`. None of them moves anything,
    so a balance is safe as it stands; a stop ends the waiting.
    """

    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self, wire: Wire, *, source: str, precision: int, stability_timeout: float, name: str
    ) -> None:
        """:param source: how a weight is asked for.
        :param precision: decimals of a gram to show.
        :param stability_timeout: s.
        :raises ConfigError: the time is none.
        """
        if not 0 < stability_timeout <= 600:
            given = f"stability_timeout={stability_timeout}"
            raise ConfigError(f"{given}; allowed is more than 0 and at most 600 s")
        self._patience, self._stops, self._mocked = stability_timeout, 0, False
        self._decimals: int | None = None  # of its weights, once they are known
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.weight = poll_r(
                float, self._grams, source=f"{wire.url} {source}", units="g", precision=precision
            )
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.stable = poll_r(bool, self._is_stable, source=f"{wire.url} {source}")
        self.tare = self._command(self._tare, stability_timeout)
        self.zero = self._command(self._zero, stability_timeout)
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._mocked = bool(mock)
        if not mock:
            await self._prepare()
        await super().connect(mock, timeout, force_reconnect)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Wait until the weight is stable.

        :raises FaultError: it was not in time, or the balance reports an error.
        :raises InstrumentError: somebody stopped it.
        """
        if not self._mocked:
            await self.weigh()

    async def weigh(self) -> float:
        """Wait until the weight is stable and return it, in g. Errors: as `trigger`."""
        deadline, stops, last = clock.monotonic() + self._patience, self._stops, None
        while True:
            look = await self._look()
            if stops != self._stops:
                raise InstrumentError(self.name, "weigh: stopped")
            if look is not None and look.stable:
                return look.grams
            last = look or last
            if clock.monotonic() >= deadline:
                found = "it was busy" if last is None else f"the last was {last.grams:g} g"
                why = f"not stable in {self._patience:g} s, {found}; look for draught or shaking"
                raise FaultError(self.name, f"weigh: {why}")
            await asyncio.sleep(PERIOD)

    async def halt(self) -> None:
        """End the waiting for a stable weight."""
        self._stops += 1

    async def make_safe(self) -> None:
        """End the waiting; a balance is safe as it stands."""
        await self.halt()

    @abstractmethod
    async def _prepare(self) -> None:
        """Make sure of who is there, that it weighs in g, and with how many decimals."""

    @abstractmethod
    async def _look(self) -> Weight | None:
        """Return the weight now; None if the balance has none because it is busy.

        :raises FaultError: overload, underload, or an error of the balance.
        """

    @abstractmethod
    async def _tare(self) -> None:
        """Count from what lies there now; return when it is so."""

    @abstractmethod
    async def _zero(self) -> None:
        """Have the zero point here; return when it is so."""

    def _command(self, action: Callable[[], Awaitable[None]], seconds: float) -> TriggerableCommand:
        return TriggerableCommand(SoftCommandBackend(action, VOID), timeout=2 * seconds + 60.0)

    async def _grams(self) -> float:
        return (await self._weight()).grams

    async def _is_stable(self) -> bool:
        return (await self._weight()).stable

    async def _weight(self) -> Weight:
        if (look := await self._look()) is None:
            raise RefusedError(self.name, "weight: the balance is busy and has none now")
        return look

    def _check_decimals(self, weight: Weight) -> None:
        """Notice another unit, though its name was damaged or left out: mg have 3 decimals fewer.

        One decimal fewer is allowed: outside of a fine range.

        :raises GarbledError: there are as many decimals as in no weight of this balance in g.
        """
        if self._decimals is not None and not 0 <= self._decimals - weight.decimals <= 1:
            expected = f"{weight.decimals} decimals instead of {self._decimals}"
            raise GarbledError(self.name, f"weight: {expected}: another unit? Connect it anew")

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Have errors of the wire say which balance was asked for what."""
        try:
            yield
        except NoReplyError as error:
            raise type(error)(self.name, f"{what}: {error}") from error
