"""The watchdog's own process: listens for beats, opens the door for STOP, acts when it has to.

It acts once: ends the runtime (`kill -9`), opens the wires, sends the safe states, records what
came of it, and ends. `time` here is real time: the process knows no simulated one.
"""

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl.errors import explain
from sdl.watchdog import control
from sdl.watchdog.control import Answer, Control
from sdl.watchdog.door import Door
from sdl.watchdog.messages import Orders, decode
from sdl.watchdog.record import record, summary
from sdl.watchdog.runtime import Runtime, SilentError

if TYPE_CHECKING:
    from sdl.lab import Lab

TICK = 0.1  # s between two looks at the clock
HELD = 1.0  # s that a tick may be late; later, it was this process that slept
LAST_ANSWERS = 1.0  # s for those who asked to get their answers
log = logging.getLogger("sdl.watchdog")


class WatchdogProcess:
    """One runtime, one lab. Made in the loop that it runs on."""

    def __init__(self, orders: Orders, inbox: int, out: int) -> None:
        """:param inbox: and `out`: the pipes from and to the runtime."""
        self._orders, self._inbox = orders, inbox
        self._loop = asyncio.get_running_loop()
        self._runtime = Runtime(orders.pid, out)
        self._beat_at, self._lab_time = self._loop.time(), None
        self._cause: asyncio.Future[str | None] = self._loop.create_future()
        self._first: asyncio.Future[Answer] = self._loop.create_future()
        self._stopping: asyncio.Task[Answer] | None = None
        self._lab: Lab | None = None
        self._why_not = "this lab has no file that the watchdog could open (a twin, or Python)"

    _lab_time: float | None

    @classmethod
    async def watch(cls, orders: Orders, inbox: int, out: int) -> None:
        """Be the watchdog, from beginning to end."""
        await cls(orders, inbox, out).run()

    async def run(self) -> None:
        """Watch until the runtime says that all is well, or act."""
        longest = 2 * self._orders.safe_timeout  # the runtime, then this process
        async with Door(self._stop, longest, self._orders.port, self._orders.token) as door:
            mine = Control(door.port, door.token, self._orders.pid)
            self._publish(mine)
            threading.Thread(target=self._listen, name="runtime", daemon=True).start()
            ticking = asyncio.create_task(self._tick())
            if self._orders.file is not None:
                threading.Thread(target=self._warm_up, name="warm up", daemon=True).start()
            cause = await self._cause
            ticking.cancel()
            if cause is not None:
                await self._act(cause)
            await door.last_answers(LAST_ANSWERS)
            await _for_a_while(control.remove, Path(self._orders.control), mine)

    # -- what the runtime says ------------------------------------------------------------------

    def _publish(self, mine: Control) -> None:
        try:
            mine.write(Path(self._orders.control))
        except OSError as error:
            text = f"{self._orders.control} cannot be written ({error}): `sdl stop` finds nobody"
            self._runtime.say(note=text)
            log.error("%s", text)
        self._runtime.say(ready={"port": mine.port, "token": mine.token, "pid": os.getpid()})
        log.info("watching process %d (%s)", self._orders.pid, self._orders.lab)

    def _listen(self) -> None:
        """Read the pipe; runs in a thread, so that no import of ours hides a beat."""
        with contextlib.suppress(RuntimeError, OSError):  # RuntimeError: the loop has been closed
            with open(self._inbox, "rb", closefd=False) as lines:
                for line in lines:
                    self._loop.call_soon_threadsafe(self._heard, decode(line))
            self._loop.call_soon_threadsafe(self._decide, "the runtime died")

    def _heard(self, message: dict[str, Any]) -> None:
        self._beat_at = self._loop.time()  # whatever its loop says, it says something
        if "beat" in message:
            self._lab_time = message["beat"]
        elif "stand_down" in message:
            self._decide(None)
        else:
            self._runtime.heard(message)

    async def _tick(self) -> None:
        """Decide that the runtime is dead, or hangs."""
        before = self._loop.time()
        while True:
            await asyncio.sleep(TICK)
            now = self._loop.time()
            if now - before > TICK + HELD:  # the whole machine slept, or this process did
                self._beat_at = now
            before = now
            if not self._runtime.alive:
                self._decide("the runtime died")
            elif now - self._beat_at > self._orders.timeout:
                self._decide(f"the runtime hung: no beat for {self._orders.timeout:g} s")

    def _decide(self, cause: str | None) -> None:
        if not self._cause.done():
            self._cause.set_result(cause)

    # -- STOP -----------------------------------------------------------------------------------

    async def _stop(self, who: str, why: str) -> Answer:
        """Have the lab made safe; all who ask while that is under way hear the same."""
        if self._cause.done():
            if self._cause.result() is None:
                return self._of_all(None, "the runtime, which had ended")
            return await asyncio.shield(self._first)
        if self._stopping is None or self._stopping.done():
            log.warning("STOP by %s: %s", who, why)
            self._stopping = asyncio.create_task(self._have_it_stopped(who, why))
        return await asyncio.shield(self._stopping)

    async def _have_it_stopped(self, who: str, why: str) -> Answer:
        asking = asyncio.create_task(self._runtime.stop(who, why, self._orders.safe_timeout))
        await asyncio.wait({asking, self._cause}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            try:
                failures = asking.result()
            except SilentError as error:
                self._decide(f"STOP by {who} ({why}): the runtime {error}")
            else:
                log.warning("the runtime obeyed the STOP; did not confirm: %s", failures or "none")
                return self._of_all(failures, "the runtime")
        asking.cancel()
        if self._cause.done() and self._cause.result() is None:
            return self._of_all(None, "the runtime, which has ended")
        return await asyncio.shield(self._first)

    def _of_all(self, failures: dict[str, str] | None, by: str) -> Answer:
        names = self._orders.instruments
        return Answer({**dict.fromkeys(names), **(failures or {})}, by)

    # -- acting ---------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        """Load the lab and its drivers, so that nothing has to be read from a disk later."""
        from sdl.watchdog import reach  # heavy: the watch has begun before

        lab = self._load()
        failed = {} if lab is None else reach.prepare(lab)
        for name, why in failed.items():
            log.error("%s could not be made safe from here: %s", name, why)
        self._lab = self._lab or lab

    def _load(self) -> "Lab | None":
        from sdl.lab import Lab

        assert self._orders.file is not None  # asked by the callers
        try:
            return Lab.read(self._orders.file)
        except Exception as error:  # noqa: BLE001 (whatever it is, who asked for a STOP must hear)
            self._why_not = f"the watchdog cannot read the lab file: {explain(error)}"
            log.error("%s", self._why_not)
            return None

    async def _act(self, cause: str) -> None:
        log.error("%s; ending process %d", cause, self._orders.pid)
        gone = await self._runtime.kill()
        if not gone:
            log.error("process %d does not die; going on", self._orders.pid)
        answers = await self._make_safe()
        text = f"{cause}; the watchdog made the lab safe: {summary(answers)}"
        log.error("%s", text)
        at = self._lab_time if self._orders.simulated else None
        why = await asyncio.to_thread(
            record, self._orders.journal, self._orders.lab, text, answers, who="watchdog", at=at
        )
        if why is not None:
            log.error("the journal has not heard of it: %s", why)

    async def _make_safe(self) -> dict[str, str | None]:
        by = "the watchdog, which ended the runtime"
        if self._orders.file is not None and self._lab is None:
            self._lab = self._load()  # it was not warm yet
        if self._lab is None:
            failures: dict[str, str | None] = dict.fromkeys(self._orders.instruments, self._why_not)
            self._first.set_result(Answer(failures, by))
            return failures
        from sdl.watchdog import reach

        def told(answers: dict[str, str | None]) -> None:
            if not self._first.done():
                self._first.set_result(Answer(dict(answers), by))
            log.warning("%s", summary(answers))

        timeout = self._orders.safe_timeout
        return await reach.make_safe_patiently(self._lab, timeout=timeout, told=told)


async def _for_a_while(work: Any, *arguments: Any) -> None:
    """Run blocking work for a second; a disk that hangs ends nothing here."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, 1.0)
