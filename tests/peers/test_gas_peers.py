"""Other people's software and our gas controllers, over real lines, in both directions."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.drivers.alicat import Alicat
from sdl.endpoints import pty
from sdl.simulators.alicat import SimulatedAlicat
from sdl.simulators.bronkhorst import SimulatedBronkhorst
from sdl.simulators.parts.gas_line import GasLine
from sdl.testing import StillWorld
from sdl.wires import tcp as tcp_wires
from tests.peers.environment import HERE, environment

on_a_pty = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
pytestmark = pytest.mark.peer


def alicat(**options: Any) -> SimulatedAlicat:
    part = GasLine(StillWorld(), lag=0.05)
    return SimulatedAlicat(part, rng=np.random.default_rng(1), **options)


@on_a_pty
def test_alicat_of_pypi_drives_a_flow_controller() -> None:
    peer = environment("alicat")

    async def story() -> dict[str, Any]:
        async with pty.serve(Alicat.delivered, [alicat(totalizer=True)]) as url:
            return json.loads(await peer.run("their_alicat.py", urlsplit(url).path))

    said = asyncio.run(story())
    assert "10v20" in said["firmware"]
    assert said["before"]["gas"] == "N2"
    assert said["flowing"]["setpoint"] == 120.0
    assert said["flowing"]["mass_flow"] == pytest.approx(120.0, abs=1.0)
    assert said["held"].endswith("HLD")
    assert (said["locked"], said["unlocked"]) == (True, False)
    assert said["mixed"] == "MYMIX"
    assert said["pid"]["loop_type"] == "PD/PDF"
    assert said["ramps"] == {"up": True, "down": False, "zero": False, "power": False}
    assert said["max ramp"]["max_ramp"] == 25.0
    assert said["batch"] == "12.50 SmL"
    assert said["control point"] == "abs pressure"
    assert said["after"]["total flow"] < 10.0


@on_a_pty
def test_the_makers_library_drives_a_bronkhorst_in_binary_and_in_ascii() -> None:
    peer = environment("bronkhorst")

    async def story() -> dict[str, Any]:
        part = GasLine(StillWorld(), lag=0.05)
        mfc = SimulatedBronkhorst(part, rng=np.random.default_rng(1), noise=False)
        async with pty.serve("serial:///dev/ttyUSB0?baudrate=38400", [mfc]) as url:
            return json.loads(await peer.run("their_propar.py", urlsplit(url).path))

    said = asyncio.run(story())
    (node,) = said["nodes"]
    assert (node["address"], node["type"], node["channels"]) == (3, "DMFC", 1)
    assert (said["capacity"], said["unit"], said["fluid"].strip()) == (500.0, "mln/min", "N2")
    assert (said["model"], said["serial"]) == ("F-201CV-500-RAD-33-V", "M6212345A")
    assert said["setpoint"] == 16000
    assert said["measure"] == pytest.approx(16000, abs=100)
    assert said["written"] is True
    assert said["fmeasure"] == pytest.approx(125.0, abs=1.0)
    assert [said[each] for each in ("read-only", "too much", "secured")] == [False] * 3
    assert said["chain"][0:2] == ["M6212345A", "USERTAG"]
    assert said["chain"][3:5] == [500.0, "mln/min"]
    assert said["ascii"] == [125.0, "N2", True]
    assert said["closed"] == [True, 3]
    assert said["nobody"] is None


@on_a_pty
@pytest.mark.parametrize("firmware", ["10v20.0-R24", "5v12.0-R22"])
def test_labmcp_alicat_drives_a_flow_controller(firmware: str) -> None:
    peer = environment("labmcp")

    async def story() -> dict[str, Any]:
        async with pty.serve(Alicat.delivered, [alicat(firmware=firmware, noise=False)]) as url:
            path = f"serial://{urlsplit(url).path}?baudrate=19200"
            return json.loads(await peer.run("their_labmcp_alicat.py", "drive", path))

    said = asyncio.run(story())
    new = firmware.startswith("10")
    assert said["identity"]["model"] == "MC-500SCCM-D"
    assert said["layout"] == ("??D*" if new else "??D* (legacy)")
    assert said["full scale"] == ([500.0, "SCCM"] if new else None)
    assert said["set"]["requested"] == 80.0
    assert said["flow"] == pytest.approx(80.0, abs=0.5)
    assert said["gas"] == [1, "Ar"]
    assert said["gases"][0] == [0, "Air"]
    assert (said["closed"], said["control"]) == (["HLD"], [])


@asynccontextmanager
async def their_simulator() -> AsyncIterator[int]:
    """Yield the port of labmcp-alicat's simulator."""
    script = [str(environment("labmcp").python), str(HERE / "their_labmcp_alicat.py")]
    process = await asyncio.create_subprocess_exec(*script, "serve", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


def test_our_driver_drives_the_simulator_of_labmcp_alicat() -> None:
    async def story() -> None:
        async with their_simulator() as port:
            wire = tcp_wires.wire(f"tcp://127.0.0.1:{port}")
            mfc = Alicat(wire, settle=0.3, name="nitrogen")
            await mfc.connect()
            assert await mfc.identify() == "MC-500SCCM-D 10v20.0-R24 (serial number 521641)"
            await mfc.set(80.0)
            assert await mfc.flow.get_value() == pytest.approx(80.0, abs=2.0)
            await mfc.gas.set("Ar")
            assert await mfc.gas.get_value() == "Ar"
            await mfc.valve.set("closed")
            assert await mfc.valve.get_value() == "held"
            await mfc.make_safe()
            assert await mfc.setpoint.get_value() == 0.0
            await wire.close()

    asyncio.run(story())
