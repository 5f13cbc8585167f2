"""Other people's software weighs with our balances, and ours with theirs, over real ports."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.drivers.mtsics import MTSICS
from sdl.drivers.sartorius import Sartorius
from sdl.endpoints import pty, tcp
from sdl.errors import GarbledError
from sdl.simulators.mtsics import SimulatedMTSICS
from sdl.simulators.parts.seen import Pan
from sdl.simulators.sartorius import SimulatedSartorius
from sdl.testing import StillWorld
from sdl.wires import StreamWire
from sdl.wires.tcp import wire as tcp_wire
from tests.peers.environment import Environment, environment

pytestmark = pytest.mark.peer
ON_A_PORT = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
HERE = Path(__file__).parent
THEIRS = "their_labmcp_balances.py"


def asked_of(device: Any, environment: Environment, script: str, *arguments: str) -> list[str]:
    """Let their script drive our balance, on a pseudo-terminal or over TCP; what it printed."""

    async def session() -> list[str]:
        over_tcp = "tcp" in arguments
        kind, url = (tcp, "tcp://any:1") if over_tcp else (pty, "serial:///dev/any?baudrate=9600")
        async with kind.serve(url, [device()]) as served:
            parts = urlsplit(served)
            address = parts.netloc if over_tcp else parts.path
            mine = [address if each in ("tcp", "pty") else each for each in arguments]
            return (await environment.run(script, *mine)).splitlines()

    return asyncio.run(session())


@asynccontextmanager
async def their_side(peer: Environment, script: str, *arguments: str) -> AsyncIterator[StreamWire]:
    """A wire to a simulator of theirs, which prints its port and ends with its stdin."""
    process = await asyncio.create_subprocess_exec(
        *(str(peer.python), str(HERE / script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        wire = tcp_wire(f"tcp://127.0.0.1:{port}", timeout=1.0)
        try:
            yield wire
        finally:
            await wire.close()
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def with_theirs(
    peer: Environment, story: Callable[[StreamWire], Awaitable[None]], script: str, *arguments: str
) -> None:
    async def session() -> None:
        async with their_side(peer, script, *arguments) as wire:
            await story(wire)

    asyncio.run(session())


def mettler(grams: float = 52.1873) -> SimulatedMTSICS:
    pan = Pan(StillWorld(), lambda: grams)
    return SimulatedMTSICS(pan, rng=np.random.default_rng(1), noise=False)


def sartorius(grams: float = 52.1873) -> SimulatedSartorius:
    pan = Pan(StillWorld(), lambda: grams)
    return SimulatedSartorius(pan, rng=np.random.default_rng(1), noise=False)


@ON_A_PORT
def test_pylabrobot_weighs_and_tares_on_our_mettler() -> None:
    said = asked_of(mettler, environment("balances"), "their_pylabrobot_scale.py", "pty")
    assert said == [
        "serial B021002593",
        "stable 52.1873",
        "now 52.1873",
        "within 0.2 s 52.1873",
        "tare ['T', 'S', '52.1873', 'g']",
        "tare weight 52.1873",
        "net 0.0",
        "gross 52.1873",
        "display ['D', 'A'] ['DW', 'A']",
        "zero Balance in overload range.: None",
    ]


@ON_A_PORT
def test_mettler_toledo_device_weighs_on_our_mettler() -> None:
    peer = environment("balances")
    said = asked_of(lambda: mettler(10.5), peer, "their_mettler_toledo_device.py", "pty")
    assert said == [
        "serial B021002593",
        "data ['XS204', 'Excellence', '220.0000', 'g']",
        "software ['1.10', '12.28.0.493.142']",
        "level ['0123', '2.30', '2.20', '1.00', '1.50']",
        "stable [10.5, 'g']",
        "now [10.5, 'g', 'S']",
        "zero False",
    ]


def test_mt_sics_emulator_answers_si_otherwise_than_the_manual_and_is_not_believed() -> None:
    async def story(wire: StreamWire) -> None:
        balance = MTSICS(wire, name="balance")
        assert await balance.identify() == "B246813579, 2.30, serial number B246813579"
        with pytest.raises(GarbledError, match=r"SI S +52\.1873 g"):  # p. 204: S S
            await balance.connect()

    with_theirs(environment("balances"), story, "their_mt_sics_emulator.py")


def test_numat_sartorius_weighs_on_ours() -> None:
    said = asked_of(sartorius, environment("balances"), "their_sartorius.py", "tcp")
    what = "'units': 'g', 'stable': True, 'measurement': 'net'}"
    assert said == [
        "info {'model': 'MSE224S-000-DU', 'serial': '0037402012', 'software': '00-37-09'}",
        f"weight {{'mass': 52.1873, {what}",
        f"zeroed {{'mass': 0.0, {what}",
    ]


@ON_A_PORT
def test_sartoriusb_weighs_on_ours() -> None:
    said = asked_of(sartorius, environment("balances"), "their_sartoriusb.py", "pty")
    assert said == [
        r"type ['MSE224S-000-DU\r\n']",
        r"serial ['0037402012\r\n']",
        "weight ('N', '+52.1873', 'g', True, None)",
        "tared ('N', '+0.0000', 'g', True, None)",
    ]


def test_labmcp_weighs_on_our_mettler() -> None:
    said = asked_of(mettler, environment("labmcp"), THEIRS, "drive", "mettler", "tcp")
    weight = "Weight(value=52.1873, unit='g', stable=True)"
    assert "'balance_data': 'XS204 Excellence 220.0000 g'" in said[0]
    assert said[1] == f"{weight} {weight}"
    assert said[2] == f"{weight} {weight} Weight(value=1.5, unit='g', stable=True)"
    assert said[3] == "right_open [22.5, 22.8] B021002593"


def test_labmcp_weighs_on_our_sartorius() -> None:
    peer = environment("labmcp")
    said = asked_of(sartorius, peer, THEIRS, "drive", "sartorius", "tcp")
    assert "'model': 'MSE224S-000-DU', 'serial': '0037402012'" in said[0]
    assert said[1].startswith("SBIReading(value=52.1873, unit='g', stable=True, ident='N'")
    assert said[2].startswith("SBIReading(value=0.0, unit='g', stable=True, ident='N'")


def test_our_driver_weighs_on_labmcps_mettler() -> None:
    async def story(wire: StreamWire) -> None:
        balance = MTSICS(wire, draft_shield=True, name="balance")
        await balance.connect()
        assert "XS205DU Excellence 220.0000 g" in await balance.identify()
        assert await balance.weight.get_value() == pytest.approx(52.1873, abs=1e-3)
        assert not await balance.stable.get_value()  # theirs never says that a weight of SI is
        await balance.tare.trigger()
        assert await balance.tare_weight.get_value() == pytest.approx(52.1873, abs=1e-4)
        await balance.draft_shield.set("right open")
        await balance.display.set("HELLO")
        await balance.adjust.trigger()
        assert await balance.temperatures() == [21.8, 22.1]

    with_theirs(environment("labmcp"), story, THEIRS, "simulate", "mettler")


def test_our_driver_weighs_on_labmcps_sartorius() -> None:
    async def story(wire: StreamWire) -> None:
        balance = Sartorius(wire, name="balance")
        await balance.connect()
        said = await balance.identify()
        assert said == "QUINTIX224-1S, serial number 0037402012, software 00-20-12.01"
        assert abs(await balance.weigh() - 52.1873) < 3e-4
        await balance.tare.trigger()
        assert abs(await balance.weigh()) < 3e-4

    with_theirs(environment("labmcp"), story, THEIRS, "simulate", "sartorius")
