"""One worker process and the blocking exchange with it; used from one thread at a time."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

# One thread and a lower priority: the instruments' process has the machine first, and scipy's
# L-BFGS-B is slow with more threads (facts/optimizers.md).
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}


class ChildError(Exception):
    """The worker died, hung or talked rubbish; it is dead now."""


class Child:
    """Starts the worker at once."""

    def __init__(self) -> None:
        windows = sys.platform == "win32"
        self._process = subprocess.Popen(  # -P: a lab's own random.py must not be ours
            [sys.executable, "-P", "-m", "sdl.suggest.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT,
            # a group of its own, so that Ctrl-C is the parent's and a kill takes all of it
            start_new_session=not windows,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
            | getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
        )
        self._errors: deque[str] = deque(maxlen=20)
        self._count = 0
        self._ended = threading.Lock()
        pipe = _open(self._process.stderr)
        self._drain = threading.Thread(target=self._collect, args=(pipe,), daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exchange(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send one request and return its reply, in real time.

        :raises ChildError: no reply that can be read came in time; the worker has been killed.
        """
        self._count += 1
        line = json.dumps({"id": self._count, **request}, allow_nan=False, default=_plain)
        late = threading.Event()
        timer = threading.Timer(timeout, lambda: (late.set(), self.kill()))
        timer.daemon = True
        timer.start()
        try:
            answer = self._send(line.encode() + b"\n")
        finally:
            timer.cancel()
        with suppress(ValueError):
            reply = json.loads(answer or b"null")
            if isinstance(reply, dict) and reply.get("id") == self._count:
                return reply
        if not answer:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
        code = self._process.poll()
        self.close()
        if late.is_set():
            raise ChildError(f"it gave no answer within {timeout:g} s{self._tail()}")
        if code is not None:
            raise ChildError(f"it ended with exit code {code}{self._tail()}")
        raise ChildError(f"its answer made no sense: {answer[:200]!r}{self._tail()}")

    def _send(self, line: bytes) -> bytes:
        """Return the line that came back, empty when the worker is gone."""
        try:
            pipe = _open(self._process.stdin)
            pipe.write(line)
            pipe.flush()
            return _open(self._process.stdout).readline()
        except (OSError, ValueError):  # ValueError: closed
            return b""

    def kill(self) -> None:
        """End the worker and whatever it started; may be called from any thread."""
        with self._ended, suppress(OSError):
            if self._process.poll() is not None:
                return
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the worker and give back all that it held."""
        self.kill()
        self._process.wait(timeout=10)
        self._drain.join(timeout=2)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                _open(pipe).close()

    def _collect(self, pipe: IO[bytes]) -> None:
        with suppress(ValueError, OSError):  # closed under it
            for line in pipe:
                self._errors.append(line.decode(errors="replace").rstrip())

    def _tail(self) -> str:
        return "".join(f"\n  | {line}" for line in self._errors)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("the pipe is not there")
    return pipe


def _plain(value: Any) -> Any:
    """Make plain numbers of numpy's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is not JSON")
