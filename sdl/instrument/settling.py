"""The way of something slow to its setpoint, which a later decision ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from ophyd_async.core import WatcherUpdate

from sdl import clock
from sdl.errors import FaultError, InstrumentError

PERIOD, LONGEST_PERIOD = 1.0, 5.0  # s between looks: when near, when far
FASTEST = 2.0  # degC/s that it is taken to come nearer at most
SLOWEST, PATIENCE = 60.0, 900.0  # s per degC, and s more, until it counts as not getting there


class Settling:
    """Knows what was decided last, and waits until a temperature has settled there."""

    def __init__(self, *, tolerance: float, settle: float, timeout: float | None) -> None:
        """:param tolerance: degC from the setpoint that count as there.
        :param settle: s the temperature must stay there.
        :param timeout: s until it has failed; None: 15 minutes, and one more for each degC to go.
        """
        self.tolerance, self._settle, self._timeout = tolerance, settle, timeout
        self._decisions, self._decided = 0, asyncio.Event()

    def decide(self) -> int:
        """End the way to any earlier aim; return the number of this decision."""
        self._decisions += 1
        self._decided.set()
        self._decided = asyncio.Event()
        return self._decisions

    def check(self, decision: int, name: str, value: float) -> None:
        """:raises InstrumentError: somebody decided otherwise since."""
        if decision != self._decisions:
            what = f"set {value:g} degC: stopped, or set otherwise, on the way"
            raise InstrumentError(name, what)

    async def follow(
        self,
        decision: int,
        name: str,
        value: float,
        look: Callable[[], Awaitable[float]],
    ) -> AsyncIterator[WatcherUpdate[float]]:
        """Look until what `look` returns has settled at `value`.

        :raises FaultError: it does not get there in time.
        :raises InstrumentError: somebody decided otherwise.
        """
        began, initial = clock.monotonic(), await look()
        limit, settled = self._timeout, None
        if limit is None:
            limit = PATIENCE + SLOWEST * abs(value - initial)
        current = initial
        while True:
            self.check(decision, name, value)
            now = clock.monotonic()
            yield _update(name, value, current, initial, now - began)
            near = abs(current - value) <= self.tolerance
            settled = (now if settled is None else settled) if near else None
            if settled is not None and now - settled >= self._settle:
                return
            if now - began > limit:
                at = f"at {current:g} degC after {limit:g} s"
                raise FaultError(name, f"set {value:g} degC: not settled: {at}")
            await self._rest(min(max(abs(current - value) / FASTEST, PERIOD), LONGEST_PERIOD))
            self.check(decision, name, value)
            current = await look()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until somebody decides anew."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._decided.wait()


def _update(
    name: str, value: float, current: float, initial: float, elapsed: float
) -> WatcherUpdate[float]:
    return WatcherUpdate(
        current=current,
        initial=initial,
        target=value,
        name=name,
        unit="degC",
        precision=1,
        time_elapsed=elapsed,
    )
