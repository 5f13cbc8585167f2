"""Other people's Sparkplug: their edge nodes under our driver, their hosts over our simulator.

mqtt-spb-wrapper 2.1.2 and pysparkplug 0.6.1, each in an environment of its own, both with Google's
protobuf, over mosquitto (Debian) and over amqtt (which `sdl simulate` brings).
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl import clock
from sdl.drivers.sparkplug import Sparkplug
from sdl.endpoints.mqtt import serve
from sdl.errors import SdlError
from sdl.simulators.sparkplug import SimulatedSparkplug
from sdl.wires.mqtt import wire
from tests.peers.environment import environment
from tests.peers.test_mosquitto import BROKER, Mosquitto

PEERS = {"mqtt_spb": "their_mqtt_spb.py", "pysparkplug": "their_pysparkplug.py"}
METRICS: Any = {
    "temperature": {"units": "degC"},
    "level": {"type": "int"},
    "mode": {"type": "str"},
    "setpoint": {"units": "degC", "writable": True},
}

pytestmark = pytest.mark.peer


class Reactor:
    temperature, level, mode, setpoint = 20.5, -3, "manual", 25.0


@contextlib.asynccontextmanager
async def broker(kind: str, folder: Path) -> AsyncIterator[str]:
    """A URL under which `serve` finds a broker, or starts one."""
    if kind == "amqtt":
        yield "mqtt://peer"
        return
    if not BROKER:
        pytest.skip("needs mosquitto (Debian)")
    mosquitto = Mosquitto(folder)
    await mosquitto.start()
    try:
        yield mosquitto.url
    finally:
        await mosquitto.kill()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await story()

    with asyncio.Runner(loop_factory=clock.new_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
@pytest.mark.parametrize("peer", PEERS)
def test_their_edge_node_is_read_written_and_seen_to_go(
    peer: str, kind: str, tmp_path: Path
) -> None:
    async def story() -> None:
        theirs = environment(peer)
        async with broker(kind, tmp_path) as url, serve(url, []) as here:
            line = wire(here, timeout=2.0)
            device: Any = Sparkplug(
                line, group="plant", node="gateway", device="reactor", metrics=METRICS, name="it"
            )
            connecting = asyncio.create_task(device.connect(timeout=15))
            await heard(device)
            port = here.rpartition(":")[2]
            script = asyncio.create_task(theirs.run(PEERS[peer], "edge", port))
            await connecting
            assert await device.temperature.get_value() == 20.5
            assert await device.mode.get_value() == "manual"
            if peer == "pysparkplug":
                await until(lambda: device.level.get_value(), -299)
            await device.setpoint.set(42.5)
            assert await device.setpoint.get_value() == 42.5
            assert json.loads(await script) == [["setpoint", 42.5]]
            await until(lambda: device.online.get_value(), False)
            await line.close()

    run(story)


async def heard(device: Sparkplug) -> None:
    """Wait until it listens: their births are not repeated."""
    async with asyncio.timeout(5):
        while not device._listening:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
@pytest.mark.parametrize("peer", PEERS)
def test_their_host_reads_writes_and_outlives_our_node(
    peer: str, kind: str, tmp_path: Path
) -> None:
    async def story() -> None:
        theirs, reactor = environment(peer), Reactor()
        node = SimulatedSparkplug(
            reactor,
            rng=np.random.default_rng(1),
            group="plant",
            node="gateway",
            device="reactor",
            metrics=METRICS,
            datatypes={"level": "Int64"},  # mqtt-spb-wrapper reads the others' signs as size
            aliases=peer != "mqtt_spb",  # it needs names and datatypes in data
            scan_rate=0.1,
        )
        async with broker(kind, tmp_path) as url, serve(url, [node]) as here:
            port = here.rpartition(":")[2]
            script = asyncio.create_task(theirs.run(PEERS[peer], "host", port))
            async with asyncio.timeout(15):
                while reactor.setpoint != 42.5 and not script.done():
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            node.begin("power cycle")
            said = json.loads(await script)
        if peer == "mqtt_spb":
            births, deaths = said["births"], said["deaths"]
            assert [each for each, _ in births] == ["NBIRTH", "DBIRTH"] * 2
        else:
            births = [each for each in said if "BIRTH" in each[0]]
            deaths = [each for each in said if "DEATH" in each[0]]
        device = births[1][1]
        assert {name: device[name] for name in ("temperature", "level", "mode")} == {
            "temperature": 20.5,
            "level": -3,
            "mode": "manual",
        }
        assert births[-1][1]["setpoint"] == 42.5
        assert deaths == [["NDEATH", {"bdSeq": 0}]]
        assert [each["bdSeq"] for kind, each in births if kind == "NBIRTH"] == [0, 1]

    run(story)


async def until(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    newest: object = None
    try:
        async with asyncio.timeout(8):
            while newest != wanted:
                with contextlib.suppress(SdlError):
                    newest = await ask()
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"it is {newest!r} and never became {wanted!r}")
