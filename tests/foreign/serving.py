"""The programs of examples/foreign/servers, each in a process of its own, while a test needs it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "foreign"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(
    script: str, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends; enter the block when it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "servers" / script), *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any(line.startswith("ready") for line in process.stdout), f"{script} has not begun"
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def epics_environment() -> dict[str, str]:
    """Channel Access of its own, so that nobody else's IOC answers."""
    return {
        "OPHYD_CONTROL_LAYER": "caproto",
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(free_port()),
        "EPICS_CA_REPEATER_PORT": str(free_port()),
    }
