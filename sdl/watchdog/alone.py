"""Make a lab safe where no runtime and no watchdog is: as `sdl stop` does then.

The lab is owned meanwhile, so that no runtime starts beside it. A STOP is never gated: where it
cannot be told whether somebody owns the lab (a full disk, a server that is down), it goes on.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from sdl.clock import new_loop
from sdl.errors import InstrumentError, JournalError
from sdl.journal import Journal
from sdl.journal.address import Address, parse_address
from sdl.journal.database import PostgresqlDatabase, connect
from sdl.journal.ownership import AdvisoryLock, FileLock
from sdl.journal.ownership import Lock as OwnerLock
from sdl.lab import Lab
from sdl.watchdog import reach
from sdl.watchdog.control import Answer
from sdl.watchdog.lock import Lock
from sdl.watchdog.places import Places
from sdl.watchdog.record import record, summary

LONGER = 5.0  # s beyond the instruments' time-out to load drivers and close wires
ASKING = 3.0  # s for a database server to say who owns the lab
log = logging.getLogger(__name__)


@contextlib.contextmanager
def owned(journal: str, lab: str, where: Places) -> Iterator[bool]:
    """Keep runtimes and watchdogs away from a lab; whether nobody has it is yielded."""
    watchdog = Lock(where.lock)
    if not _free_for_us(watchdog, where):
        yield False
        return
    taken, release = False, lambda: None
    try:
        taken, release = _take(parse_address(journal), lab)
        yield taken
    finally:
        release()
        watchdog.free()


def _free_for_us(lock: Lock, where: Places) -> bool:
    try:
        return lock.take()
    except OSError as error:
        log.warning("%s: %s; going on without", where.lock, error)
        return True


def make_safe(lab: Lab, journal: str, who: str, why: str) -> Answer:
    """Open the wires and put every instrument into its safe state; blocks."""
    done: Future[dict[str, str | None]] = Future()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(_make_safe(lab, done.set_result))
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            if not done.done():
                done.set_exception(error)

    # a driver that does not let go keeps this thread, and nobody else
    threading.Thread(target=work, name="make safe", daemon=True).start()
    answers = done.result(lab.safety.stop_timeout + LONGER)
    text = f"STOP by {who} ({why}), with no runtime at work: {summary(answers)}"
    failed = record(journal, lab.lab, text, answers, who=who)
    by = "this command itself; no runtime was at work"
    return Answer(answers, f"{by} (not in the journal: {failed})" if failed else by)


async def _make_safe(lab: Lab, told: reach.Told) -> None:
    told(await reach.make_safe(lab, timeout=lab.safety.stop_timeout))


def end_runtime(journal: str, lab: str, how: signal.Signals) -> str:
    """Send a signal to the runtime that owns a lab; return what it is.

    :raises InstrumentError: it is none of this machine, or nobody can tell; says what to do.
    """
    problem = "somebody runs this lab"
    try:
        with Journal.open(journal, readonly=True) as opened:
            owner = opened.owner(lab)
        if owner is not None and owner.held:
            problem = f"process {owner.pid} on {owner.host} runs this lab"
            if owner.host == socket.gethostname():
                os.kill(owner.pid, how)
                return f"process {owner.pid}"
    except (JournalError, OSError) as error:
        problem += f" ({error})"
    raise InstrumentError(
        lab,
        f"STOP: {problem}, and no watchdog answers; nothing was done. Press the emergency stop if "
        "it cannot wait; else end that process, where it runs, and call `sdl stop` again",
    )


def _take(address: Address, lab: str) -> tuple[bool, Callable[[], None]]:
    """Whether the lab could be had, or nobody can tell; and how to let it go."""
    outcome: list[tuple[bool, Callable[[], None]]] = []

    def ask() -> None:
        try:
            lock, close = _lock(address, lab)
            outcome.append((lock.take(), lambda: (lock.free(), close())[0]))
        except JournalError as error:
            log.warning("whether somebody owns %s cannot be told: %s", lab, error)

    asking = threading.Thread(target=ask, name="journal", daemon=True)
    asking.start()
    asking.join(ASKING)
    return outcome[0] if outcome else (True, lambda: None)


def _lock(address: Address, lab: str) -> tuple[OwnerLock, Callable[[], None]]:
    if address.file is not None:
        return FileLock(address.file, lab), lambda: None
    database = connect(address, readonly=True)
    assert isinstance(database, PostgresqlDatabase)  # there are two kinds
    return AdvisoryLock(database, lab), database.close
