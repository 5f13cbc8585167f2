"""Zaber's own libraries drive our stage: zaber-motion over TCP, zaber.serial over a PTY."""

import asyncio
import json
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.endpoints import pty, tcp
from sdl.simulators.parts.carriage import Carriage
from sdl.simulators.zaber import SimulatedZaber
from sdl.testing import StillWorld
from tests.peers.environment import environment

pytestmark = pytest.mark.peer


def stage() -> tuple[SimulatedZaber, Carriage]:
    part = Carriage(StillWorld(), travel_mm=50.8, position_mm=1.0)
    return SimulatedZaber(part, rng=np.random.default_rng(1)), part


def test_zaber_motion_homes_moves_stops_and_parks_it() -> None:
    peer = environment("zaber")

    async def story() -> None:
        simulator, part = stage()
        async with tcp.serve("tcp://stage:55550", [simulator]) as url:
            port = str(urlsplit(url).port)
            read = json.loads(await peer.run("their_zaber.py", "motion", port))
        assert read == [["WR"], 30000.0, True, False, "BADDATA", "PARKED", 100000.0, "46657"]
        assert part.position > 30000 * 0.000047625  # it went on at a speed until it was stopped

    asyncio.run(story())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_zaber_serial_homes_moves_and_is_refused() -> None:
    peer = environment("zaber")

    async def story() -> None:
        simulator, part = stage()
        async with pty.serve("serial:///dev/ttyUSB0?baudrate=115200", [simulator]) as url:
            read = json.loads(await peer.run("their_zaber.py", "serial", urlsplit(url).path))
        assert read == [20000, 15000, "IDLE", "RJ", "BADDATA"]
        assert part.position == pytest.approx(15000 * 0.000047625)

    asyncio.run(story())
