"""How the flow or pressure that a controller of gas controls comes to its setpoint."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from ophyd_async.core import WatcherUpdate

from sdl import clock
from sdl.errors import FaultError, InstrumentError

LOOKS = 0.25  # s between looks


class Approach:
    """Follows a reading until it has settled, or somebody decides anew where it should go."""

    def __init__(
        self,
        *,
        units: str,
        tolerance: float,
        settle: float,
        timeout: float,
        who: Callable[[], str],
    ) -> None:
        """:param tolerance: from the setpoint, what counts as there.
        :param settle: s that it must stay there.
        :param timeout: s until it counts as not getting there.
        :param who: what the instrument is called in messages, now.
        """
        self.units, self.tolerance = units, tolerance
        self._settle, self._timeout, self._who = settle, timeout, who
        self._aims = 0  # how often somebody decided
        self._decided = asyncio.Event()

    def decide(self) -> int:
        """End what is followed now; return the number of this decision."""
        self._aims += 1
        self._decided.set()
        self._decided = asyncio.Event()
        return self._aims

    def check(self, aim: int, value: float, current: float) -> None:
        """:raises InstrumentError: somebody has decided anew since `aim`."""
        if aim != self._aims:
            at = f"stopped at {current:g} {self.units}"
            raise InstrumentError(self._who(), f"set {value:g} {self.units}: {at}")

    async def follow(
        self, aim: int, value: float, look: Callable[[], Awaitable[float]]
    ) -> AsyncIterator[WatcherUpdate[float]]:
        """Look until the reading has settled at `value`.

        :param look: reads it, and raises if it cannot come there any more.
        :raises FaultError: it did not come there in time.
        :raises InstrumentError: somebody has decided anew.
        """
        began = clock.monotonic()
        initial: float | None = None
        settled: float | None = None
        while True:
            current, now = await look(), clock.monotonic()
            initial = current if initial is None else initial
            self.check(aim, value, current)
            yield self.update(value, current, initial, now - began)
            near = abs(current - value) <= self.tolerance
            settled = (now if settled is None else settled) if near else None
            if settled is not None and now - settled >= self._settle:
                return
            if now - began > self._timeout:
                at = f"not settled: at {current:g} {self.units} after {self._timeout:g} s"
                raise FaultError(self._who(), f"set {value:g} {self.units}: {at}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOKS):
                    await self._decided.wait()

    def update(
        self, value: float, current: float, initial: float, elapsed: float = 0.0
    ) -> WatcherUpdate[float]:
        return WatcherUpdate(
            current=current,
            initial=initial,
            target=value,
            name=self._who(),
            unit=self.units,
            precision=3,
            time_elapsed=elapsed,
        )
