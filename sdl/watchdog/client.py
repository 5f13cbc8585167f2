"""The runtime's side of the watchdog: starts it, has the lab's loop beat, obeys its STOP.

    watchdog = Watchdog.start(lab, journal, timeout=2, beat=0.25, on_stop=…, loop=loop, tell=…)
    …
    watchdog.stand_down()

A beat is made *by the loop*: a thread only reminds it, so that a loop that is dead, or kept by a
plan that spins, beats no more, while one whose simulated clock is held still does.
"""

import asyncio
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from sdl import clock
from sdl.errors import UnsafeError, explain
from sdl.watchdog.child import ENDING, Child
from sdl.watchdog.lock import Lock
from sdl.watchdog.messages import REPORT_GRACE, Orders
from sdl.watchdog.places import places

if TYPE_CHECKING:
    from sdl.lab import Lab

PREDECESSOR = 30.0  # s that a watchdog before us may take to make the lab safe, at least
ROUNDS = 4  # as many times as it may try, and one more
RESTART_AFTER = 1.0  # s
RESTARTS = 5  # in one session; more is no accident

OnStop = Callable[[str, str], Awaitable[dict[str, str]]]
"""`on_stop(who, why)`, in the lab's loop: make all instruments safe; return what went wrong with
those that did not confirm, by name. What it raises means that it could not."""


class Watchdog:
    """A watchdog at work, from `start` to `stand_down`."""

    def __init__(
        self,
        orders: Orders,
        *,
        beat: float,
        on_stop: OnStop,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[str], None],
    ) -> None:
        self._orders, self._beat, self._on_stop = orders, beat, on_stop
        self._loop, self._tell = loop, tell
        self._over, self._beating = threading.Event(), False
        self._obeying: set[Future[None]] = set()
        self._child = self._begin()
        names = (("watchdog listener", self._listen), ("watchdog beat", self._remind))
        self._threads = [threading.Thread(target=t, name=n, daemon=True) for n, t in names]
        for thread in self._threads:
            thread.start()

    @classmethod
    def start(
        cls,
        lab: "Lab",
        journal_url: str,
        *,
        timeout: float,
        beat: float,
        on_stop: OnStop,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[str], None],
    ) -> Self:
        """Have the lab watched; call it before the lab is opened, not in the loop. It blocks.

        :param timeout: s (real time) without a beat after which the runtime counts as dead.
        :param beat: s (real time) between two beats; a small part of `timeout`.
        :param loop: the lab's, running.
        :param tell: hears what a person should know; called from this thread and others.
        :raises UnsafeError: there is no watchdog; nothing has moved.
        """
        where = places(journal_url, lab.lab, lab.folder)
        patience = max(PREDECESSOR, ROUNDS * lab.safety.stop_timeout)
        _wait_for_predecessor(Lock(where.lock), lab.lab, patience, tell)
        read_from_a_file = lab.folder is not None and not lab.is_twin
        orders = Orders(
            lab=lab.lab,
            file=str(lab.document.path.resolve()) if read_from_a_file else None,
            instruments=list(lab.instruments),
            journal=journal_url,
            timeout=timeout,
            safe_timeout=lab.safety.stop_timeout,
            pid=os.getpid(),
            lock=str(where.lock),
            control=str(where.control),
            log=str(where.log),
            simulated=clock.simulated(loop),
        )
        return cls(orders, beat=beat, on_stop=on_stop, loop=loop, tell=tell)

    @property
    def pid(self) -> int:
        """Of the watchdog's process."""
        return self._child.pid

    def stand_down(self) -> None:
        """End the watch without touching anything. The lab's loop must still run; blocks.

        A STOP that is being obeyed is reported first. A second time does nothing.
        """
        if self._over.is_set():
            return
        deadline = time.monotonic() + self._orders.safe_timeout + REPORT_GRACE
        for report in tuple(self._obeying):
            with contextlib.suppress(Exception):  # it was said where it happened
                report.result(max(0.0, deadline - time.monotonic()))
        self._over.set()
        self._child.say(stand_down=True)
        self._child.leave()
        for thread in self._threads:
            thread.join(ENDING)
        self._child.close()

    # -- in threads -----------------------------------------------------------------------------

    def _begin(self) -> Child:
        """Start the process and wait until it watches. :raises UnsafeError: it does not."""
        try:
            child = Child(self._orders)
        except OSError as error:
            raise UnsafeError(f"the watchdog does not start: {error}; nothing has moved") from error
        while (said := child.first_words()).get("note"):
            self._tell(said["note"])
        ready = said.get("ready")
        if not isinstance(ready, dict):
            child.leave()
            child.close()
            why = said.get("failed", f"it ended with exit code {child.exit_code}")
            raise UnsafeError(
                f"the watchdog does not start: {why}; nothing has moved (its log: "
                f"{self._orders.log})"
            )
        self._orders = dataclasses.replace(
            self._orders, port=ready["port"], token=ready["token"]
        )  # for the next one
        return child

    def _listen(self) -> None:
        restarts = 0
        while True:
            for message in self._child.lines():
                self._heard(message)
            if self._over.is_set():
                return
            self._child.leave()
            died = f"the watchdog died (exit code {self._child.exit_code})"
            if restarts == RESTARTS:
                self._tell(f"{died}, the {restarts + 1}th time; nobody watches any more")
                return
            self._tell(f"{died}; it is started again")
            restarts += 1
            if self._over.wait(RESTART_AFTER):
                return
            try:
                self._child.close()
                self._child = self._begin()
                if self._over.is_set():  # it was told to nobody: the new one was not there yet
                    self._child.say(stand_down=True)
                    self._child.leave()
                    return
            except UnsafeError as error:
                self._tell(f"{explain(error)}; nobody watches any more")
                return

    def _heard(self, message: dict[str, Any]) -> None:
        if "note" in message:
            self._tell(str(message["note"]))
        if "stop" in message:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the watchdog will act
                self._loop.call_soon_threadsafe(self._obey, message)

    def _remind(self) -> None:
        while not self._over.wait(self._beat):
            if self._beating:  # the loop has not come to the one before
                continue
            self._beating = True
            with contextlib.suppress(RuntimeError):  # closed: it does not beat any more
                self._loop.call_soon_threadsafe(self._one_beat)

    # -- in the loop ----------------------------------------------------------------------------

    def _one_beat(self) -> None:
        self._beating = False
        self._child.say(beat=clock.now(self._loop))

    def _obey(self, message: dict[str, Any]) -> None:
        number, who, why = message["stop"], str(message["who"]), str(message["why"])
        self._child.say(ack=number)
        report: Future[None] = Future()
        self._obeying.add(report)
        task = self._loop.create_task(self._stop_all(number, who, why))
        task.add_done_callback(lambda _: (self._obeying.discard(report), report.set_result(None)))

    async def _stop_all(self, number: int, who: str, why: str) -> None:
        try:
            failures = await self._on_stop(who, why)
        except Exception as error:  # noqa: BLE001 (the watchdog acts instead, whatever it was)
            self._tell(f"STOP by {who} could not be obeyed: {explain(error)}")
            self._child.say(cannot=number, why=explain(error)[:500])
        else:
            self._child.say(safe=number, failures={n: w[:200] for n, w in failures.items()})


def _wait_for_predecessor(
    lock: Lock, lab: str, patience: float, tell: Callable[[str], None]
) -> None:
    try:
        if not lock.take():
            tell(f"waiting for the watchdog of the last session to make {lab} safe")
            if not lock.wait(patience):
                raise UnsafeError(
                    f"{lab}: the watchdog of the last session still makes it safe after "
                    f"{patience:g} s; its log is sdl.log; try again, or end that process"
                )
    except OSError as error:
        raise UnsafeError(f"{lab}: the watchdog's lock: {error}; nothing has moved") from error
    lock.free()
