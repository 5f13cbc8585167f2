"""The same campaign over a PTY, Modbus RTU, a broker and 0MQ sockets, between two processes."""

import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sdl import Campaign, Lab
from sdl.journal import Journal
from tests.simulating import simulating

EXAMPLE = Path(__file__).parent.parent / "examples" / "flow_chemistry"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no PTY")


def sdl(*words: str) -> list[str]:
    return [sys.executable, "-m", "sdl.cli", *words]


def simulated(folder: Path) -> AbstractContextManager[None]:
    """Ten times as fast as real time."""
    command = sdl("simulate", "lab.yaml", "--write", "simulated.yaml", "--speed", "10")
    return simulating(command, folder)


@pytest.mark.slow
def test_drivers_cannot_tell_and_the_result_is_the_twins(tmp_path: Path):
    folder = tmp_path / "flow"
    shutil.copytree(EXAMPLE, folder)
    text = (folder / "campaign.yaml").read_text()
    text = text.replace("{use: botorch}", "{use: sobol}").replace("{trials: 25}", "{trials: 1}")
    (folder / "campaign.yaml").write_text(text)

    campaign = Campaign.load(folder / "campaign.yaml")
    (twin,) = campaign.run_blocking(Lab.load(folder / "lab.yaml").twin()).rows

    with simulated(folder):
        ping = subprocess.run(
            sdl("instruments", "--lab", "simulated.yaml", "--ping"),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ping.returncode == 0, ping.stdout + ping.stderr
        done = subprocess.run(
            sdl("run", "campaign.yaml", "--lab", "simulated.yaml", "--plain"),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    with Journal.open(folder / "simulated.db", readonly=True) as journal:
        (real,) = journal.trials("snar-flow")
    assert real.outcomes is not None, real.cause
    for name, value in real.outcomes.items():
        assert value == pytest.approx(twin[name], rel=0.1), name
