"""`sdl simulate` in a process of its own, for as long as a test needs it."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def simulating(command: Sequence[str], folder: Path | None = None) -> Iterator[None]:
    """Run `command` until the block ends; enter it when the simulators are ready."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("ready"):
                break
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()
