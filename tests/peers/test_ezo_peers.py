"""Other people's software reads our EZO circuits, and ours reads theirs, over real ports."""

import numpy as np
import pytest

from sdl.drivers.ezo import Ezo
from sdl.simulators.ezo import SimulatedEzo
from sdl.simulators.parts.seen import Immersed
from sdl.testing import StillWorld
from sdl.wires import StreamWire
from tests.peers.environment import environment
from tests.peers.test_balance_peers import ON_A_PORT, THEIRS, asked_of, with_theirs

pytestmark = pytest.mark.peer


def probe() -> SimulatedEzo:
    liquid = Immersed(StillWorld(), lambda: 7.316, lambda: 25.0)
    return SimulatedEzo(liquid, rng=np.random.default_rng(1), noise=False)


@ON_A_PORT
def test_ezo_driver_reads_our_ph() -> None:
    said = asked_of(probe, environment("balances"), "their_ezo_driver.py", "pty")
    assert "product_code='pH', firmware_version='2.16'" in said[0]
    assert said[1:] == [
        "reading PhReading(ph=7.316)",
        "compensated PhReading(ph=7.316)",
        "calibration PhCalibrationStatus(level=<PHCalibrationLevel.NONE: 0>)",
        "slope PhSlope(acid_percent=100.0, base_percent=100.0, neutral_mv=0.0)",
    ]


def test_labmcp_reads_and_calibrates_our_ph() -> None:
    said = asked_of(probe, environment("labmcp"), THEIRS, "drive", "ezo", "tcp")
    assert said[0].endswith("'firmware': '2.16'} {'ph': 7.316} ('P', 5.038)")
    assert said[1:] == ["30.0 0 (100.0, 100.0, 0.0)", "1 {'ph': 7.0}"]


@pytest.mark.parametrize(("measures", "near"), [("pH", 7.32), ("EC", 1498.0), ("RTD", 25.45)])
def test_our_driver_reads_labmcps_probes(measures: str, near: float) -> None:
    async def story(wire: StreamWire) -> None:
        ours = Ezo(wire, measures=measures, name="probe")  # type: ignore[arg-type]
        await ours.connect()
        assert await ours.value.get_value() == pytest.approx(near, rel=0.02)
        assert await ours.calibration.get_value() == 0

    with_theirs(environment("labmcp"), story, THEIRS, "simulate", measures)
