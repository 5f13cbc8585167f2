"""Time is what the event loop says: real, scaled, or virtual.

All waiting in the runtime, in drivers and in simulators goes through asyncio, so a loop whose clock
runs faster, or jumps, is all that a simulated week needs. On a virtual loop time jumps to the next
timer when nothing is ready and nothing outside (thread, process, socket) is pending; work outside
holds the clock (`held`). How it works and what was tried: docs/decisions/0005-clock.md.
"""

import asyncio
import selectors
import time as real_time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

TICK = 1e-6  # s; timers nearer than this fire together, as a step too small for a float never would

T = TypeVar("T")
Speed = float | Literal["virtual"]

LOOK_OUTSIDE = 16  # turns of a busy virtual loop between two looks at sockets and threads
SIMULATED_EPOCH = 946_684_800.0  # 2000-01-01T00:00Z: nobody takes it for a real time stamp


class RealLoop(asyncio.SelectorEventLoop):
    """The ordinary loop (a selector loop, which 0MQ and MQTT need on Windows too)."""

    simulated = False
    _selector: selectors.BaseSelector
    _clock_resolution: float

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())


class VirtualLoop(RealLoop):
    """Time jumps to the next timer when nothing is ready and nothing outside is pending.

    With a pace it does not jump but goes there, `pace` times as fast as the wall clock. Either way
    it stands still while this process computes: however slow that is, no time-out is missed.
    """

    simulated = True

    def __init__(self, start: float = 0.0, pace: float | None = None) -> None:
        self._now, self._holds, self._turns, self._pace = start, 0, 0, pace
        super().__init__()
        self._clock_resolution = TICK
        self._look = self._selector.select
        self._selector.select = self._wait  # type: ignore[method-assign]

    def _wait(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:  # callbacks are ready: time stands still
            self._turns += 1  # a look is a system call, and the dearest part of a turn
            return self._look(timeout) if self._turns % LOOK_OUTSIDE == 0 else []
        if self._holds:
            return self._look(None)
        if self._pace is not None:
            return self._go(timeout, self._pace)
        events = self._look(None if timeout is None else 0)
        if not events and timeout is not None:
            self._now += timeout
        return events

    def _go(self, timeout: float | None, pace: float) -> list[Any]:
        began = real_time.perf_counter()
        events = self._look(None if timeout is None else timeout / pace)
        gone = (real_time.perf_counter() - began) * pace
        # without events exactly to the timer: two runs see the same times
        self._now += gone if timeout is None else (min(gone, timeout) if events else timeout)
        return events

    def time(self) -> float:
        return self._now

    def hold(self) -> None:
        """Stop the clock until `release`: something outside is at work. Call it in the loop."""
        self._holds += 1

    def release(self) -> None:
        self._holds -= 1


Loop = RealLoop


def new_loop(speed: Speed = 1.0, start: float = 0.0) -> Loop:
    """Return a loop, not yet running: 1 is real time, "virtual" jumps, N runs N times as fast.

    :param start: s that a simulated clock shows at first (real time shows what it shows).
    """
    if speed == "virtual":
        return VirtualLoop(start)
    if not speed > 0:
        raise ValueError(f"speed must be positive, not {speed}")
    return RealLoop() if speed == 1 else VirtualLoop(start, pace=float(speed))


def simulated(loop: asyncio.AbstractEventLoop | None = None) -> bool:
    """Whether time on this loop (default: the running one) is not the wall clock's."""
    return getattr(loop or asyncio.get_running_loop(), "simulated", False)


def monotonic() -> float:
    """Seconds on the running loop's clock; compare and subtract only."""
    return asyncio.get_running_loop().time()


def now(loop: asyncio.AbstractEventLoop | None = None) -> float:
    """Seconds since 1970 for time stamps; on a simulated clock, since `SIMULATED_EPOCH` began."""
    loop = loop or asyncio.get_running_loop()
    return SIMULATED_EPOCH + loop.time() if simulated(loop) else real_time.time()


@contextmanager
def held(loop: asyncio.AbstractEventLoop | None = None) -> Iterator[None]:
    """Hold a virtual clock while something outside the loop is at work; else do nothing."""
    loop = loop or asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    loop.hold()
    try:
        yield
    finally:
        loop.release()


async def outside(work: Callable[..., T], *args: Any) -> T:
    """Run blocking `work(*args)` in a thread; a virtual clock stands still meanwhile."""
    with held():
        return await asyncio.get_running_loop().run_in_executor(None, work, *args)
