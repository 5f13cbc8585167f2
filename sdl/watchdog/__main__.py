"""`python -m sdl.watchdog`: started by a session (`client`), never by hand."""

import asyncio
import logging
import logging.handlers
import os
import queue
import signal
import sys
from pathlib import Path

from sdl.clock import new_loop
from sdl.watchdog.lock import Lock
from sdl.watchdog.messages import Orders, encode
from sdl.watchdog.process import WatchdogProcess

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOCK_TIMEOUT = 5.0  # s; who started us has waited for it before
FLUSHING = 0.5  # s for the log


def main() -> None:
    # a group that is told to end (Ctrl-C, a service manager) ends the runtime: that is seen to here
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    out = _keep_pipe(1)
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        orders = Orders.read(pipe.readline())
    log = _log_to(Path(orders.log))
    lock = Lock(Path(orders.lock))
    try:
        held = lock.wait(LOCK_TIMEOUT)
    except OSError as error:
        held = _refuse(out, f"{orders.lock}: {error}")
    else:
        held = held or _refuse(out, f"{orders.lock} is held by another watchdog")
    code = 1
    try:
        if held:
            asyncio.Runner(loop_factory=new_loop).run(WatchdogProcess.watch(orders, 0, out))
            code = 0
    except BaseException:
        logging.getLogger("sdl.watchdog").exception("the watchdog broke")
    log.stop()
    lock.free()
    os._exit(code)  # what hangs (a driver's thread, a disk) keeps neither this process nor its lock


def _keep_pipe(descriptor: int) -> int:
    """Keep the pipe to the runtime for us alone: what a driver prints must not get into it."""
    pipe = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
    if sys.platform != "win32":
        os.set_blocking(pipe, False)
    return pipe


def _refuse(out: int, why: str) -> bool:
    os.write(out, encode({"failed": why}))
    return False


class _Thread(logging.handlers.QueueListener):
    """Writes the log beside everything else: the disk may be full, or hang."""

    def stop(self) -> None:
        self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(FLUSHING)


def _log_to(file: Path) -> _Thread:
    logging.raiseExceptions = False  # a full disk is no news to a log
    waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(logging.handlers.QueueHandler(waiting))  # type: ignore[arg-type]
    kind = logging.FileHandler if sys.platform == "win32" else logging.handlers.WatchedFileHandler
    handler = kind(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter(FORMAT))
    thread = _Thread(waiting, handler)  # type: ignore[arg-type]
    thread.start()
    return thread


if __name__ == "__main__":
    main()
