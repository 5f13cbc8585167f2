"""examples/foreign: six ways to speak to an instrument, in one campaign; real, and on the twin."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdl import Campaign, Lab
from sdl.clock import new_loop
from sdl.errors import FaultError, InstrumentError
from sdl.instrument import Verdict
from sdl.journal import Journal
from sdl.plugins import load
from tests.foreign.serving import EXAMPLE, epics_environment, free_port, serving

for each in ("sila2", "asyncua", "pylabrobot", "caproto", "aioca"):
    pytest.importorskip(each)


def copied(tmp_path: Path, **places: int) -> Path:
    """The example in a folder of its own; its servers at other ports."""
    folder = tmp_path / "foreign"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.db", "__pycache__"))
    text = (folder / "lab.yaml").read_text()
    for old, new in places.items():
        text = text.replace(old.removeprefix("port_"), str(new))
    (folder / "lab.yaml").write_text(text)
    return folder


def test_it_runs_on_the_twin_which_reaches_for_nobody(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    campaign = Campaign.load(folder / "campaign.yaml")
    results = campaign.run_blocking(Lab.load(folder / "lab.yaml").twin())
    assert len(results.completed) == 3


@pytest.mark.peer
@pytest.mark.slow
def test_it_runs_with_its_servers(tmp_path: Path) -> None:
    sila, opcua, environment = free_port(), free_port(), epics_environment()
    folder = copied(tmp_path, port_50052=sila, port_4840=opcua)
    with (
        serving("sila_incubator.py", str(sila)),
        serving("lads_oven.py", str(opcua)),
        serving("epics_bench.py", environment=environment),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sdl.cli", "run", "campaign.yaml", "--plain"],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    with Journal.open(folder / "journal.db", readonly=True) as journal:
        trials = [trial for trial in journal.trials("foreign") if trial.outcomes]
    assert len(trials) == 3
    for trial in trials:
        assert trial.outcomes is not None
        off = (float(trial.parameters["temperature"]) - 37.0) / 10
        assert trial.outcomes["growth"] == pytest.approx(2.718281828 ** -(off**2), rel=1e-3)


def test_the_vendors_pump_counts_and_is_asked_what_became_of_a_dose(tmp_path: Path) -> None:
    folder = copied(tmp_path)

    async def live() -> None:
        pump = load("drivers", "acme_pump", folder)("COM3", name="feed")
        await pump.connect()
        assert await pump.identify() == "ACME SP-1 firmware 3.2"
        await pump.rate.set(10.0)
        mark = await pump.mark("set", 1.0)
        dose = pump.set(1.0)
        await asyncio.sleep(0.1)
        await pump.stop()
        with pytest.raises(InstrumentError, match="stopped before it was done"):
            await dose
        finding = await pump.reconcile("set", 1.0, mark)
        assert finding.verdict is Verdict.PARTLY
        await pump.set(finding.rest)
        assert (await pump.reconcile("set", 1.0, mark)).verdict is Verdict.DONE
        with pytest.raises(FaultError, match="the syringe is empty"):
            await pump.set(10.0)
        await pump.close()

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        runner.run(live())
