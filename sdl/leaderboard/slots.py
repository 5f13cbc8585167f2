"""Workers as the bench sees them: one process at a time, killed when a strategy hangs."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

START = 120.0  # s that a process may take until it is ready, on a busy machine
TRIAL = 3600.0  # s that one trial of a twin may take in real time

# One thread, so that jobs side by side do not disturb each other and CPU seconds compare.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    **dict.fromkeys(("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}


class Slot:
    """Does one job after the other, in a process of its own.

    A process is kept while the jobs are of the same strategy: what one strategy has imported must
    not count as memory of another, nor change what it does.
    """

    def __init__(self, ask_timeout: float) -> None:
        self._limits = {"asking": ask_timeout, "trial": TRIAL, "waiting": START}
        self._process: _Process | None = None
        self._strategy: object = None
        self._ended = False

    def do(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job's result (see `job.run`); a dead or hung process is an error in it.

        :raises OSError: no process can be started.
        """
        strategy = order["use"], json.dumps(order["options"], sort_keys=True)
        if self._process is None or self._strategy != strategy:
            self._drop()
            self._process, self._strategy = _Process(), strategy
        if self._ended:  # while it was started
            self._drop()
            return _failed("ended", "the bench was ended", 0)
        result = self._exchange(self._process, order)
        error = result["error"]
        if error is not None and error["kind"] != "ConfigError":
            self._drop()  # whatever state that left behind
        return result

    def _exchange(self, process: "_Process", order: Mapping[str, Any]) -> dict[str, Any]:
        process.send(order)
        doing, trials = "waiting", 0
        while True:
            try:
                said = process.lines.get(timeout=self._limits.get(doing, TRIAL))
            except queue.Empty:
                what = {"asking": "it gave no answer"}.get(doing, f"{doing} did not end")
                return _failed("hung", f"{what} within {self._limits[doing]:g} s", trials)
            if said is None:
                return _failed("died", process.ending(), trials)
            if "result" in said:
                return said["result"]
            doing = said["doing"]
            trials += doing == "trial"

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def close(self) -> None:
        """End the process, for good; may be called from any thread."""
        self._ended = True
        self._drop()


class _Process:
    def __init__(self) -> None:
        windows = sys.platform == "win32"
        self._popen = subprocess.Popen(  # -P: a random.py beside the bench must not be ours
            [sys.executable, "-P", "-m", "sdl.leaderboard.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT,
            start_new_session=not windows,  # Ctrl-C is ours, and a kill takes all of it
        )
        self.lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=20)
        out, errors = self._popen.stdout, self._popen.stderr
        self._threads = [
            threading.Thread(target=self._read, args=(out,), daemon=True),
            threading.Thread(target=self._collect, args=(errors,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, order: Mapping[str, Any]) -> None:
        """Send a job; a process that is gone says so on `lines`."""
        pipe = self._popen.stdin
        assert pipe is not None  # it was asked for
        with suppress(OSError, ValueError):
            pipe.write(json.dumps(order).encode() + b"\n")
            pipe.flush()

    def ending(self) -> str:
        """Say how it ended, with the last lines that it wrote."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=5)
        self._threads[1].join(timeout=2)
        tail = "".join(f"\n  | {line}" for line in self._errors)
        return f"its process ended with exit code {self._popen.poll()}{tail}"

    def close(self) -> None:
        with suppress(OSError):
            if self._popen.poll() is None:
                if sys.platform == "win32":
                    self._popen.kill()
                else:
                    os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(timeout=10)
        for thread in self._threads:
            thread.join(timeout=2)
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            with suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()

    def _read(self, pipe: IO[bytes]) -> None:
        with suppress(ValueError, OSError):  # closed under it, or cut off in the middle
            for line in pipe:
                self.lines.put(json.loads(line))
        self.lines.put(None)

    def _collect(self, pipe: IO[bytes]) -> None:
        with suppress(ValueError, OSError):
            for line in pipe:
                self._errors.append(line.decode(errors="replace").rstrip())


def _failed(kind: str, message: str, trials: int) -> dict[str, Any]:
    return {"trials": [], "error": {"kind": kind, "message": message, "trials": trials}}
