"""Our Cavro and Knauer pumps with other people's software, over real ports."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.drivers.cavro import Cavro
from sdl.endpoints import pty, tcp
from sdl.errors import RefusedError
from sdl.simulators.cavro import SimulatedCavro
from sdl.simulators.knauer import SimulatedKnauer
from sdl.simulators.parts.flow_pump import FlowPump
from sdl.simulators.parts.syringe_module import SyringeModule
from sdl.testing import StillWorld
from sdl.wires.tcp import wire as tcp_wire
from tests.peers.environment import environment

pytestmark = pytest.mark.peer
on_a_pty = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
SERIAL = "serial:///dev/ttyUSB0?baudrate=9600"


def cavro(**options: Any) -> tuple[SyringeModule, SimulatedCavro]:
    port = 2 if options.get("ports") else "output"
    part = SyringeModule(StillWorld(), capacity_mL=1.0, filled_mL=0.01, port=port)
    return part, SimulatedCavro(part, rng=np.random.default_rng(1), **options)


@on_a_pty
@pytest.mark.parametrize("model", ["xlp6000", "sy01b"])
def test_matterlab_draws_and_dispenses(model: Any) -> None:
    peer = environment("matterlab_pumps")

    async def story() -> None:
        part, simulator = cavro(model=model, ports=6)
        async with pty.serve(SERIAL, [simulator]) as url:
            said = await peer.run("their_matterlab_pumps.py", model, urlsplit(url).path)
        assert json.loads(said) == [1, 0, 3, pytest.approx(0.2), 4, pytest.approx(0.15)]
        assert part.drawn(3) == pytest.approx(0.2)
        assert part.dispensed(4) == pytest.approx(0.05, abs=1e-4)

    asyncio.run(story())


@on_a_pty
def test_labmcp_initializes_draws_dispenses_and_hears_refusals() -> None:
    peer = environment("labmcp")

    async def story() -> None:
        part, simulator = cavro()
        async with pty.serve(SERIAL, [simulator]) as url:
            said = await peer.run("their_labmcp_cavro.py", urlsplit(url).path)
        assert json.loads(said) == ["XLP6000 30024500 Rev-B", 1, "i", 4800, "o", 3600, 3000, 3]
        assert part.drawn("input") == pytest.approx(0.1)
        assert part.dispensed("output") == pytest.approx(0.01 + 0.025)

    asyncio.run(story())


def test_our_driver_doses_with_the_simulator_of_labmcp() -> None:
    peer = environment("labmcp")

    async def story() -> None:
        process = await asyncio.create_subprocess_exec(
            str(peer.python),
            str(Path(__file__).parent / "their_labmcp_cavro_simulator.py"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        wire = None
        try:
            port = int(await asyncio.wait_for(process.stdout.readline(), 10))
            wire = tcp_wire(f"tcp://127.0.0.1:{port}")
            pump = Cavro(wire, capacity=1.0, protocol="dt", fine=True, name="pump")
            await pump.connect()
            assert await pump.identify() == "XLP6000 V1.2.3 sim"
            with pytest.raises(RefusedError, match="not initialized"):
                await pump.set(-0.1)
            await pump.initialize()
            await pump.rate.set(30.0)
            await pump.set(-0.25)
            await pump.valve.set("output")  # type: ignore[arg-type]
            await pump.set(0.125)
            assert await pump.volume.get_value() == pytest.approx(0.125)
            assert await pump.rate.get_value() == pytest.approx(30.0)
            await pump.make_safe()
        finally:
            if wire is not None:
                await wire.close()
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 10)

    asyncio.run(story())


def test_flowchem_flows_and_reads_the_pressure() -> None:
    peer = environment("flowchem")

    async def story() -> None:
        part = FlowPump(StillWorld(), resistance=20.0)
        simulator = SimulatedKnauer(part, rng=np.random.default_rng(1), noise=False)
        async with tcp.serve("tcp://192.168.1.119:10001", [simulator]) as url:
            said = await peer.run("their_flowchem_knauer.py", str(urlsplit(url).port))
        assert json.loads(said) == [10, 1.5, pytest.approx(3.0), True, [0] * 5, False, 1000]
        assert simulator.settings["PMAX10"] == 200
        assert (simulator.flow, part.rate) == (2000, 0.0)

    asyncio.run(story())
