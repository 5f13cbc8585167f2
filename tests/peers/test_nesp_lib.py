"""Somebody else's driver, NESP-Lib 2.0, drives our NE-1000 over a real pseudo-terminal."""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import nesp_lib
import numpy as np
import pytest

from sdl.endpoints.pty import serve
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.parts.syringe import PumpHead

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals"),
]


class Now:
    """A world that has only time."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def advance(self) -> None: ...


def drive(work: Callable[[nesp_lib.Port], None], **options: Any) -> None:
    """Run their blocking code in a thread while the loop serves the pump."""

    async def session() -> None:
        head = PumpHead(Now(), capacity_mL=50.0, filled_mL=25.0)
        pump = SimulatedNE1000(head, rng=np.random.default_rng(1), **options)
        async with serve("serial:///dev/ttyUSB0?baudrate=19200", [pump]) as url:
            with nesp_lib.Port(urlsplit(url).path, 19200) as port:
                async with asyncio.timeout(20):
                    await asyncio.to_thread(work, port)

    asyncio.run(session())


def test_it_opens_a_pump_that_was_just_powered_up_and_knows_it() -> None:
    def work(port: nesp_lib.Port) -> None:
        pump = nesp_lib.Pump(port, model_number=1000)
        assert (pump.model_number, pump.firmware_version) == (1000, (3, 923))
        assert pump.status is nesp_lib.Status.STOPPED
        assert pump.safe_mode_timeout_s == 0

    drive(work)


def test_it_changes_diameter_rate_and_direction() -> None:
    def work(port: nesp_lib.Port) -> None:
        pump = nesp_lib.Pump(port)
        pump.syringe_diameter_mm = 20.05
        assert pump.syringe_diameter_mm == 20.05
        pump.pumping_rate_ml_per_min = 1.25
        assert pump.pumping_rate_ml_per_min == pytest.approx(1.25)
        pump.pumping_direction = nesp_lib.PumpingDirection.WITHDRAW
        assert pump.pumping_direction is nesp_lib.PumpingDirection.WITHDRAW
        with pytest.raises(ValueError, match="exceeds limit"):
            pump.pumping_rate_ml_per_min = 100.0

    drive(work)


def test_it_pumps_a_volume_both_ways_and_reads_what_was_moved() -> None:
    def work(port: nesp_lib.Port) -> None:
        pump = nesp_lib.Pump(port)
        pump.pumping_rate_ml_per_min = 20.0
        pump.pumping_volume_ml = 0.1
        pump.run()
        assert pump.volume_infused_ml == pytest.approx(0.1)
        pump.pumping_direction = nesp_lib.PumpingDirection.WITHDRAW
        pump.pumping_volume_ml = 0.05
        pump.run()
        assert pump.volume_withdrawn_ml == pytest.approx(0.05)
        pump.volume_infused_clear()
        assert pump.volume_infused_ml == 0.0

    drive(work)


def test_while_it_runs_it_can_be_stopped_and_not_be_reconfigured() -> None:
    def work(port: nesp_lib.Port) -> None:
        pump = nesp_lib.Pump(port)
        pump.pumping_rate_ml_per_min = 20.0
        pump.pumping_volume_ml = 5.0
        pump.run(wait_while_running=False)
        assert pump.running
        with pytest.raises(nesp_lib.StateException):
            pump.syringe_diameter_mm = 20.0
        pump.stop()
        assert pump.status is nesp_lib.Status.PAUSED

    drive(work)


def test_its_heartbeat_keeps_a_pump_in_safe_mode_running() -> None:
    def work(port: nesp_lib.Port) -> None:
        pump = nesp_lib.Pump(port, safe_mode_timeout_s=1)
        assert pump.safe_mode_timeout_s == 1
        pump.pumping_rate_ml_per_min = 2.0
        pump.pumping_volume_ml = 5.0
        pump.run(wait_while_running=False)
        time.sleep(1.5)  # their heartbeat speaks every half second
        assert pump.running
        pump.safe_mode_timeout_s = 0
        assert pump.safe_mode_timeout_s == 0

    drive(work, reset_alarm=False)
