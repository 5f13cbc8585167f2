"""A motor and a scaler of a soft IOC: by ophyd-async here, by classic `ophyd` in the example."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdl.instrument.classic import fake
from sdl.journal import Journal
from tests.foreign.serving import epics_environment, serving

PLAN = """
import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable


def scan(axis: Movable, counter: Readable, *, position: float):
    found = {}

    @bpp.run_decorator()
    @bpp.stage_decorator([counter])
    def inner():
        yield from bps.mv(axis, position)
        found.update((yield from bps.trigger_and_read([axis, counter])))

    yield from inner()
    return {
        "counts": float(found["counter_channels_chan2"]["value"]),
        "at": float(found["axis"]["value"]),
    }
"""

LAB = """\
lab: epics
instruments:
  axis: {driver: "ophyd_async.epics.motor:Motor", prefix: "FOREIGN:m1"}
  counter: {driver: "ophyd:EpicsScaler", prefix: "FOREIGN:scaler1"}
"""

CAMPAIGN = """\
campaign: scan
plan: scan
instruments: {axis: axis, counter: counter}
parameters:
  position: {low: 0, high: 8, units: mm}
objectives: {counts: {direction: maximize}}
optimizer: sobol
budget: {trials: 3}
"""


@pytest.mark.peer
def test_an_ophyd_async_motor_and_a_classic_scaler_run_a_campaign(tmp_path: Path) -> None:
    pytest.importorskip("caproto", reason="caproto is not installed: no soft IOC")
    pytest.importorskip("aioca", reason="ophyd-async[ca] is not installed")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "scan.py").write_text(PLAN)
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    environment = epics_environment()
    with serving("epics_bench.py", environment=environment):
        done = subprocess.run(
            [sys.executable, "-m", "sdl.cli", "run", "campaign.yaml", "--plain"],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    with Journal.open(tmp_path / "journal.db", readonly=True) as journal:
        trials = [trial for trial in journal.trials("scan") if trial.outcomes]
    assert len(trials) == 3
    for trial in trials:
        assert trial.outcomes is not None
        assert trial.outcomes["at"] == pytest.approx(trial.parameters["position"])
    best = max(trials, key=lambda trial: (trial.outcomes or {})["counts"])
    nearest = min(trials, key=lambda trial: abs(float(trial.parameters["position"]) - 4.0))
    assert best is nearest


def test_a_fake_motor_arrives_and_a_fake_scaler_counts() -> None:
    """Those of `ophyd.sim` alone do neither: a plan on the twin would wait for ever."""
    from ophyd import EpicsMotor, EpicsScaler

    motor = fake(EpicsMotor)("FAKE:m1", name="motor")
    motor.set(3.0).wait(5)
    assert motor.read()["motor"]["value"] == 3.0
    counter = fake(EpicsScaler)("FAKE:s1", name="counter")
    counter.stage()
    counter.trigger().wait(5)
    assert counter.describe()["counter_channels_chan2"]["dtype"] in ("integer", "number")
    assert counter.read()["counter_channels_chan2"]["value"] == 0
    counter.unstage()


def test_what_is_no_device_is_faked_as_ophyd_does() -> None:
    from ophyd import EpicsSignal
    from ophyd.sim import FakeEpicsSignal

    assert fake(EpicsSignal) is FakeEpicsSignal
