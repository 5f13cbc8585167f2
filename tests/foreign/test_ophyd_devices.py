"""Other people's Ophyd devices stand in a lab file as they are: classic, ophyd-async, EPICS."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdl import Campaign, Lab
from sdl.journal import Journal

IOC = """
from caproto.server import PVGroup, pvproperty, run


class Oven(PVGroup):
    temperature = pvproperty(value=20.0, name="temperature", precision=1, units="degC")


run(Oven(prefix="OVEN:").pvdb, interfaces=["127.0.0.1"])
"""

PLAN = """
import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable


def bake(oven: Movable, stage: Movable, *, temperature: float):
    found = {}

    @bpp.run_decorator()
    def inner():
        yield from bps.mv(oven, temperature, stage, temperature / 10)
        found.update((yield from bps.trigger_and_read([oven, stage])))

    yield from inner()
    return {"y": found[oven.name]["value"], "x": found[stage.name]["value"]}
"""

LAB = """\
lab: guests
instruments:
  oven: {driver: "ophyd:EpicsSignal", read_pv: "OVEN:temperature"}
  stage: {driver: "ophyd.sim:SynAxis"}
"""

CAMPAIGN = """\
campaign: bake
plan: bake
instruments: {oven: oven, stage: stage}
parameters:
  temperature: {low: 30, high: 90, units: degC}
objectives: {y: {direction: maximize}}
optimizer: sobol
budget: {trials: 2}
"""


def write(folder: Path, lab: str = LAB) -> Path:
    (folder / "plans").mkdir()
    (folder / "plans" / "bake.py").write_text(PLAN)
    (folder / "lab.yaml").write_text(lab)
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    return folder / "campaign.yaml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.peer
def test_an_epics_signal_of_classic_ophyd_talks_to_a_soft_ioc(tmp_path: Path):
    pytest.importorskip("caproto", reason="caproto is not installed: no soft IOC")
    write(tmp_path)
    (tmp_path / "ioc.py").write_text(IOC)
    environment = {
        **os.environ,
        "OPHYD_CONTROL_LAYER": "caproto",
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(free_port()),
        "EPICS_CA_REPEATER_PORT": str(free_port()),
    }
    with (tmp_path / "ioc.txt").open("wb") as log:
        ioc = subprocess.Popen(
            [sys.executable, "ioc.py"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        time.sleep(1.0)  # another program, with a clock of its own
        done = subprocess.run(
            [sys.executable, "-m", "sdl.cli", "run", "campaign.yaml", "--plain"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        ioc.kill()
        ioc.wait(10)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "ioc.txt").read_text()
    with Journal.open(tmp_path / "journal.db", readonly=True) as journal:
        trials = journal.trials("bake")
        keys = next(d.doc for d in journal.documents() if d.name == "descriptor")["data_keys"]
    assert [t.outcomes["y"] for t in trials if t.outcomes] == pytest.approx(
        [t.parameters["temperature"] for t in trials]
    )
    assert keys["oven"]["units"] == "degC"


def test_a_twin_connects_them_to_nothing(tmp_path: Path):
    """A twin must not move a real motor: a classic device is faked, an ophyd-async one mocked."""
    path = write(tmp_path)
    results = Campaign.load(path).run_blocking(Lab.load(tmp_path / "lab.yaml").twin())
    assert [row["x"] for row in results] == pytest.approx(
        [row["temperature"] / 10 for row in results]
    )
    assert len(results.completed) == 2


def test_a_device_that_is_not_what_the_plan_wants_is_named(tmp_path: Path):
    lab = LAB.replace("ophyd.sim:SynAxis", "ophyd:Device")
    path = write(tmp_path, lab)
    (problem,) = Campaign.load(path).problems(Lab.load(tmp_path / "lab.yaml"))
    assert "the plan wants a Movable, but stage (Device) has no set" in str(problem)
