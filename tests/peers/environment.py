"""Other people's software in virtual environments of its own, so that its pins bind nobody else.

    alicat = environment("alicat")           # tests/peers/requirements/alicat.txt, pinned
    said = await alicat.run("their_side.py", url)

    python -m tests.peers.environment        # builds all, as CI does while it has other work

An environment is built when it is first wanted, in `.peers/` of the checkout, and used from then
on; it is built anew when its requirements change.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdl.filelock import lock

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements"
BUILT = HERE.parents[1] / ".peers"
BUILDING = 600  # s, for all downloads


@dataclass(frozen=True)
class Environment:
    """A Python that has somebody's packages and none of ours."""

    python: Path

    async def run(self, script: str, *arguments: str, timeout: float = 30.0) -> str:
        """Run a script that stands beside the tests in this Python; return what it printed.

        It is ended when it takes longer than `timeout` s. What it wrote to stderr is in the message
        of the failure, if it fails.
        """
        process = await asyncio.create_subprocess_exec(
            str(self.python),
            str(HERE / script),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"},
        )
        try:
            out, error = await asyncio.wait_for(process.communicate(), timeout)
        except TimeoutError:
            process.kill()
            out, error = await process.communicate()
            pytest.fail(f"{script} was not through in {timeout:g} s: {out!r} {error!r}")
        assert process.returncode == 0, f"{script}: {error.decode()}\n{out.decode()}"
        return out.decode()


def environment(name: str) -> Environment:
    """Return the environment of `requirements/<name>.txt`; skip the test where it cannot be built.

    It is called inside of a test, not when tests are collected.
    """
    wanted = (REQUIREMENTS / f"{name}.txt").read_bytes()
    version = f"{sys.version_info.major}.{sys.version_info.minor}".encode()
    folder = BUILT / f"{name}-{hashlib.sha256(wanted + version).hexdigest()[:12]}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    BUILT.mkdir(exist_ok=True)
    with _alone(BUILT / f"{name}.lock"):
        if not ready.exists():
            _build(folder, python, REQUIREMENTS / f"{name}.txt")
            ready.touch()
    return Environment(python)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time: tests run side by side, and want the same environment."""
    with file.open("w") as opened:
        until = time.monotonic() + BUILDING
        while not lock(opened.fileno()):
            if time.monotonic() > until:
                pytest.fail(f"somebody has been building {file.stem} for {BUILDING} s")
            time.sleep(0.2)
        yield


def _build(folder: Path, python: Path, requirements: Path) -> None:
    install = ["--python", str(python), "install", "-q", "-r", str(requirements)]
    for command in (
        ["venv", "--without-pip", "--clear", str(folder)],
        ["pip", *install, "--no-deps"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, timeout=BUILDING
        )
        if done.returncode != 0:
            pytest.skip(f"{requirements.name} cannot be installed: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    for each in sorted(REQUIREMENTS.glob("*.txt")):
        with suppress(pytest.skip.Exception):  # whoever wants it will say so
            environment(each.stem)
