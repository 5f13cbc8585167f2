"""How a trial under way is held up, ended or left for later, at a step.

*Pause* begins nothing new. *Abort* ends the trial: its plan sees an error, its clean-up runs.
*Freeze* leaves it as it is, to be gone on with later: the plan is closed without clean-up, as a
crash would, and only instruments are made safe.
"""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from sdl import clock
from sdl.errors import SdlError, SpoiledError, StoppedError


class Interruption:
    """What one trial is to be kept from. All in the lab's loop."""

    def __init__(self, step_reached: int, gap: float | None) -> None:
        """Take up a trial.

        :param step_reached: the last step before the crash or stop that lies behind; 0 if none.
        :param gap: s since then; below 0 if nobody can tell; None if there was none.
        """
        self.frozen: SdlError | None = None
        """Why nothing is begun any more."""
        self.halted = False
        """Whether instruments are stopped under their steps: what those raise means nothing."""
        self.may_wait: float | None = None
        """s that the sample may be left alone from here on; the plan says so."""
        self._step, self._gap = step_reached, gap
        self._failing: list[SdlError] = []
        self._waits: set[asyncio.Future[None]] = set()
        self._doses: set[asyncio.Future[None]] = set()
        self._going, self._idle, self._frozen = (asyncio.Event() for _ in range(3))
        self._going.set()
        self._idle.set()
        self._paused_at = 0.0

    def freeze(self, why: SdlError, *, at_once: bool = False) -> None:
        """Begin nothing more; waits end, a dose under way is finished first.

        :param at_once: a STOP: doses are not waited for either.
        """
        self.frozen = self.frozen or why
        self._frozen.set()
        self._break_off(self._waits, self.frozen)
        self.halted = self.halted or at_once
        if at_once:
            self._break_off(self._doses, self.frozen)
        self._going.set()

    def abort(self, why: StoppedError) -> None:
        """Have the plan see `why` now, or at its next step if only a dose is under way."""
        if not self._break_off(self._waits, why):
            self._failing.append(why)
        self._going.set()

    def let_go(self, why: SdlError) -> None:
        """Wait no longer for what may be broken off."""
        self._break_off(self._waits, why)

    @staticmethod
    def _break_off(under_way: "set[asyncio.Future[None]]", why: SdlError) -> bool:
        live = [future for future in under_way if not future.done()]
        for future in live:
            future.set_exception(why)
        return bool(live)

    async def until_frozen(self) -> None:
        await self._frozen.wait()

    # -- pauses, and samples that cannot wait -----------------------------------------------------

    @property
    def paused(self) -> bool:
        return not self._going.is_set()

    def pause(self) -> None:
        if not self.paused and self.frozen is None:
            self._going.clear()
            self._paused_at = clock.monotonic()

    def resume(self) -> None:
        if not self.paused:
            return
        waited = clock.monotonic() - self._paused_at
        if self.may_wait is not None and waited > self.may_wait:
            self._spoil(f"the sample was left alone for {waited:.0f} s by a pause", self.may_wait)
        self._going.set()

    async def until_resumed(self) -> None:
        await self._going.wait()

    def judge_gap(self) -> None:
        """The plan is where it was interrupted: decide whether the sample may still be used."""
        gap, limit, self._gap = self._gap, self.may_wait, None
        if gap is None or limit is None or 0 <= gap <= limit:
            return
        known = f"{gap:.0f} s" if gap >= 0 else "nobody knows how long: the clock was set back;"
        self._spoil(f"the sample was left alone for {known} at step {self._step}", limit)

    def _spoil(self, what: str, limit: float) -> None:
        self.may_wait = None
        self._failing.append(SpoiledError(f"{what}; it may wait {limit:g} s"))

    def failing(self) -> SdlError | None:
        """What the next step must fail with instead of being performed, if so; told once."""
        return self._failing.pop(0) if self._failing else None

    # -- what is under way ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a dose is under way."""
        return not self._idle.is_set()

    async def until_idle(self) -> None:
        await self._idle.wait()

    async def wait(self, work: "asyncio.Future[Any]") -> Any:
        """Wait for what may be broken off: a setpoint to be reached, time to pass.

        :raises SdlError: it was broken off; `work` was cancelled.
        """
        if self.frozen is not None:
            work.cancel()
            raise self.frozen
        return await self._either(work, self._waits, cancel=True)

    async def dose(self, work: Awaitable[Any]) -> Any:
        """Wait for what is finished once it was begun; only a STOP ends the wait."""
        if self.frozen is not None:
            if inspect.iscoroutine(work):
                work.close()
            raise self.frozen
        self._idle.clear()
        try:
            return await self._either(asyncio.ensure_future(work), self._doses, cancel=False)
        finally:
            if not any(not f.done() for f in self._doses):
                self._idle.set()

    async def _either(
        self,
        work: "asyncio.Future[object]",
        under_way: "set[asyncio.Future[None]]",
        *,
        cancel: bool,
    ) -> Any:
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        under_way.add(broken)
        try:
            await asyncio.wait({work, broken}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            work.add_done_callback(retrieve)
            if cancel:
                work.cancel()
            return broken.result()
        finally:
            under_way.discard(broken)
            broken.cancel()


def retrieve(future: "asyncio.Future[Any]") -> None:
    """Look at how it ended, so that asyncio does not complain that nobody did."""
    if not future.cancelled():
        future.exception()
