"""Other people's software drives our source-measure units, over real lines; ours drives theirs."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.drivers.keithley import Keithley2400, Keithley2450
from sdl.endpoints import pty, tcp
from sdl.errors import RefusedError
from sdl.simulators.keithley import Simulated2400, Simulated2450
from sdl.simulators.parts.load import Load
from sdl.testing import StillWorld
from sdl.wires.tcp import wire as tcp_wire
from tests.peers.environment import Environment, environment

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals"),
]
FAST = "serial:///dev/ttyUSB0?baudrate=115200"


@asynccontextmanager
async def their_side(peer: Environment, script: str, *arguments: str) -> AsyncIterator[str]:
    """Run a script of theirs until the block ends; yield the first line that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(str(peer.python), str(Path(__file__).with_name(script)), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


def drive_2400(who: str) -> dict:
    python = environment("keithley")

    async def session() -> str:
        load = Load(StillWorld(), resistance=1000.0)
        meter = Simulated2400(load, rng=np.random.default_rng(1))
        async with pty.serve(FAST, [meter]) as url:
            return await python.run("their_keithley.py", who, f"ASRL{urlsplit(url).path}::INSTR")

    return json.loads(asyncio.run(session()))


def test_pymeasure_sources_measures_ramps_and_fills_the_buffer_of_a_2400() -> None:
    said = drive_2400("pymeasure")
    assert said["id"].startswith("KEITHLEY INSTRUMENTS INC.,MODEL 2400")
    assert said["mode"] == "voltage"
    assert said["current"] == pytest.approx(5e-4, rel=1e-3)
    assert said["voltage"] == pytest.approx(0.5, rel=1e-3)
    assert said["resistance"] == pytest.approx(1000.0, rel=1e-3)
    assert said["ramped"] == pytest.approx(1.5)
    assert said["mean_current"] == pytest.approx(1.5e-3, rel=1e-3)
    assert said["buffer"] >= 5
    assert [(float(number), text) for number, text in said["errors"]] == [
        (-113.0, '"Undefined header"')
    ]
    assert said["enabled"] is False


def test_keithley2400_of_pypi_finds_a_2400_and_steps_through_voltages() -> None:
    said = drive_2400("keithley2400")
    assert said["model"] == "2400"
    assert (said["volts"], said["amps"]) == pytest.approx((0.25, 2.5e-4), rel=1e-3)
    assert said["sweep"] == [
        pytest.approx([0.1, 1e-4], rel=1e-3),
        pytest.approx([0.2, 2e-4], rel=1e-3),
    ]
    assert said["error"] == '0,"No error"'


def test_pyvisa_talks_to_a_2450_on_a_raw_socket() -> None:
    python = environment("keithley")

    async def session() -> str:
        load = Load(StillWorld(), resistance=1000.0)
        meter = Simulated2450(load, rng=np.random.default_rng(1))
        async with tcp.serve("tcp://10.0.0.7:5025", [meter]) as url:
            parts = urlsplit(url)
            resource = f"TCPIP::{parts.hostname}::{parts.port}::SOCKET"
            return await python.run("their_keithley.py", "visa2450", resource)

    said = json.loads(asyncio.run(session()))
    assert said["id"].startswith("KEITHLEY INSTRUMENTS,MODEL 2450")
    assert said["language"] == "SCPI"
    assert said["pair"] == pytest.approx([0.002, 2.0], rel=1e-3)
    assert said["sweep"][-2:] == pytest.approx([1.0, 1e-3], rel=1e-3)
    assert said["events"] == 0


@pytest.mark.skipif(shutil.which("lxi") is None, reason="lxi-tools is not installed")
def test_lxi_tools_ask_a_2450_who_it_is() -> None:
    async def session() -> str:
        meter = Simulated2450(Load(StillWorld()), rng=np.random.default_rng(1))
        async with tcp.serve("tcp://10.0.0.7:5025", [meter]) as url:
            parts = urlsplit(url)
            where = ["-a", str(parts.hostname), "-p", str(parts.port)]
            process = await asyncio.create_subprocess_exec(
                *["lxi", "scpi", "--raw", *where, "*IDN?"],
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await asyncio.wait_for(process.communicate(), 10)
            return out.decode()

    assert asyncio.run(session()).startswith("KEITHLEY INSTRUMENTS,MODEL 2450")


@pytest.mark.parametrize("model", ["2400", "2450"])
def test_labmcp_configures_reads_and_sweeps(model: str) -> None:
    python = environment("labmcp")

    async def session() -> str:
        load = Load(StillWorld(), resistance=1000.0)
        rng = np.random.default_rng(1)
        if model == "2400":
            async with pty.serve(FAST, [Simulated2400(load, rng=rng)]) as url:
                return await python.run("their_labmcp.py", "drive-2400", urlsplit(url).path)
        async with tcp.serve("tcp://10.0.0.7:5025", [Simulated2450(load, rng=rng)]) as url:
            return await python.run("their_labmcp.py", "drive-2450", url)

    said = json.loads(asyncio.run(session()))
    assert said["identity"]["model"] == model
    assert said["before"] is False
    assert said["after"] is False
    assert said["reading"] == [pytest.approx(0.5, 1e-3), pytest.approx(5e-4, 1e-3), False]
    assert [row[2] for row in said["sweep"]] == [False, False, True]
    assert said["sweep"][2][:2] == pytest.approx([10.0, 0.01], rel=1e-3)


@pytest.mark.parametrize("kind", [Keithley2400, Keithley2450])
def test_our_driver_sources_and_measures_with_the_simulators_of_labmcp(
    kind: type[Keithley2400] | type[Keithley2450],
) -> None:
    """They know neither *ESE nor FETCh?, and most settings not: no `connect`, no tags."""
    peer = environment("labmcp")

    async def session() -> None:
        async with their_side(peer, "their_labmcp.py", f"serve-{kind.model}") as port:
            wire = tcp_wire(f"tcp://127.0.0.1:{port}", timeout=0.5)
            meter = kind(wire, limit=0.01, tags=False, name="meter")
            assert f"MODEL {kind.model}," in await meter.identify()
            await meter.tell(":OUTP ON", ":OUTP?", "1")
            await meter.set(0.5)
            assert (await meter.locate())["setpoint"] == 0.5
            measured = await meter.measure_on()
            assert measured.volts == pytest.approx(0.105, rel=0.01)  # at its limit of 0.105 mA
            assert measured.amps == pytest.approx(1.05e-4, rel=0.01)
            assert measured.limited
            await meter.make_safe()
            assert not await meter._get_output()
            with pytest.raises(RefusedError, match="Data out of range"):
                await meter._put(":SOUR:VOLT:LEV 400", ":SOUR:VOLT:LEV?", 400.0)
            await wire.close()

    asyncio.run(session())
