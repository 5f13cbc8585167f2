"""Other people's valve drivers drive our valves over a real pseudo-terminal.

Their simulators stand where the line would be (flowchem) or answer half a packet (matterlab), so
that no other driver can talk to them.
"""

import asyncio
import json
import sys
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.endpoints.pty import serve
from sdl.simulators.parts.selector import Selector
from sdl.simulators.parts.syringe import PumpHead
from sdl.simulators.runze import SimulatedRunzePump, SimulatedRunzeValve
from sdl.simulators.vici import SimulatedVici
from sdl.testing import StillWorld
from tests.peers.environment import Environment, environment

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals"),
]


async def told(peer: Environment, script: str, kind: str, simulator: Any) -> list[Any]:
    """Let them drive it, and return what they read."""
    async with serve("serial:///dev/ttyUSB0?baudrate=9600", [simulator]) as url:
        return json.loads(await peer.run(script, kind, urlsplit(url).path))


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_flowchem_finds_the_ports_of_a_runze_valve_and_turns_it() -> None:
    peer = environment("flowchem")

    async def story() -> None:
        part = Selector(StillWorld(), ports=8)
        valve = SimulatedRunzeValve(part, rng=rng(), circle=0.8)
        assert await told(peer, "their_flowchem_valves.py", "runze_valve", valve) == [
            "8",
            "2",
            "00",
        ]
        assert part.open == 2

    asyncio.run(story())


def test_flowchem_doses_with_a_runze_pump() -> None:
    peer = environment("flowchem")

    async def story() -> None:
        part = PumpHead(StillWorld(), capacity_mL=5.0, filled_mL=1.0)
        pump = SimulatedRunzePump(part, rng=rng(), address=3, stroke=1.0)
        read = await told(peer, "their_flowchem_valves.py", "runze_pump", pump)
        assert read == [4800, 3600, True, False]
        assert (part.syringe, pump.open_to) == (pytest.approx(1.5), 4)

    asyncio.run(story())


def test_flowchem_switches_a_vici_injection_valve() -> None:
    peer = environment("flowchem")

    async def story() -> None:
        part = Selector(StillWorld(), ports=2)
        valve = SimulatedVici(part, rng=rng(), address="5")
        assert await told(peer, "their_flowchem_valves.py", "vici", valve) == []
        assert part.open == 2

    asyncio.run(story())


def test_matterlab_turns_a_runze_valve_both_ways() -> None:
    peer = environment("valves")

    async def story() -> None:
        part = Selector(StillWorld(), ports=6)
        valve = SimulatedRunzeValve(part, rng=rng(), circle=0.5)
        assert await told(peer, "their_valves.py", "runze", valve) == [2, 3, 0]
        assert part.open == 3

    asyncio.run(story())


def test_matterlab_sets_a_vici_actuator_up_and_turns_it() -> None:
    peer = environment("valves")

    async def story() -> None:
        part = Selector(StillWorld(), ports=8)
        valve = SimulatedVici(part, rng=rng(), ports=10, step=0.02)
        assert await told(peer, "their_valves.py", "valco", valve) == [8, 4]
        assert part.open == 4

    asyncio.run(story())


def test_vicivalve_learns_switches_and_toggles_on_rs485() -> None:
    peer = environment("valves")

    async def story() -> None:
        part = Selector(StillWorld(), ports=2)
        valve = SimulatedVici(part, rng=rng(), address="/7", step=0.02)
        read = await told(peer, "their_valves.py", "vici", valve)
        assert read == [True, True, "A", True, "A"]

    asyncio.run(story())
