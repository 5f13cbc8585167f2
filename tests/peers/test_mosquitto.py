"""Mosquitto's broker and clients, as others use them, against our sensor, driver and wire."""

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from sdl import clock
from sdl.drivers.tasmota import TasmotaSensor
from sdl.endpoints.mqtt import serve
from sdl.errors import SdlError, StaleError
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.wires.mqtt import wire

BROKER = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
SUB, PUB = shutil.which("mosquitto_sub"), shutil.which("mosquitto_pub")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not (BROKER and SUB and PUB), reason="needs mosquitto and mosquitto-clients (Debian)"
    ),
]

SENSOR = '{"Time":"2001-01-01T00:00:00","SHT3X":{"Temperature":%s,"Humidity":40.5},"TempUnit":"C"}'


class Air:
    temperature = 23.4
    humidity = 41.0


class Mosquitto:
    """A broker of our own, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"]
        self._config.write_text("\n".join([*lines, "persistence false", "user root", ""]))

    async def start(self) -> None:
        null = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            str(BROKER), "-c", str(self._config), stdout=null, stderr=null
        )
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


def run(folder: Path, test: Callable[[Mosquitto], Awaitable[None]]) -> None:
    async def whole() -> None:
        broker = Mosquitto(folder)
        await broker.start()
        try:
            await test(broker)
        finally:
            await broker.kill()

    with asyncio.Runner(loop_factory=clock.new_loop) as runner:
        runner.run(whole())


async def publish(url: str, topic: str, payload: str, *options: str) -> None:
    port = url.rpartition(":")[2]
    at = ("-h", "127.0.0.1", "-p", port, "-q", "1")
    process = await asyncio.create_subprocess_exec(
        str(PUB), *at, *options, "-t", topic, "-m", payload
    )
    assert await process.wait() == 0


@contextlib.asynccontextmanager
async def heard(url: str, topic: str, count: int = 1) -> AsyncIterator[Callable]:
    """Have mosquitto_sub listen; yield what waits for `count` lines of `topic retained payload`."""
    at = ("-h", "127.0.0.1", "-p", url.rpartition(":")[2], "-t", topic, "-q", "1")
    process = await asyncio.create_subprocess_exec(
        *("stdbuf", "-oL", str(SUB), *at, "-d", "-C", str(count), "-W", "10"),
        *("-F", "HEARD %t %r %p"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    out = process.stdout
    async with asyncio.timeout(5):
        while b"SUBACK" not in (line := await out.readline()):
            assert line, "mosquitto_sub did not come to subscribe"

    async def lines() -> list[str]:
        async with asyncio.timeout(10):
            said = (await out.read()).decode().splitlines()
        return [line.removeprefix("HEARD ") for line in said if line.startswith("HEARD ")]

    try:
        yield lines
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


def board() -> SimulatedTasmota:
    return SimulatedTasmota(Air(), rng=np.random.default_rng(1), topic="bench")


async def sensors_heard_by_mosquitto(url: str) -> None:
    """Ask and hear the board with nothing but Mosquitto's clients."""
    async with heard(url, "stat/bench/STATUS10") as answer:
        await publish(url, "cmnd/bench/STATUS", "10")
        topic, retained, payload = (await answer())[0].split(" ", 2)
        values = json.loads(payload)["StatusSNS"]["SHT3X"]
        assert (topic, retained) == ("stat/bench/STATUS10", "0")
        assert values["Temperature"] == pytest.approx(23.4, abs=0.2)
    async with heard(url, "tele/bench/SENSOR") as telemetry:
        await publish(url, "cmnd/bench/TelePeriod", "10")
        assert json.loads((await telemetry())[0].split(" ", 2)[2])["TempUnit"] == "C"


def test_mosquitto_sub_hears_our_sensor_on_mosquitto(tmp_path: Path):
    async def test(broker: Mosquitto) -> None:
        async with serve(broker.url, [board()]) as url:
            assert url == broker.url
            await sensors_heard_by_mosquitto(url)

    run(tmp_path, test)


def test_mosquitto_sub_hears_our_sensor_on_the_embedded_broker(tmp_path: Path):
    async def test(_: Mosquitto) -> None:
        async with serve("mqtt://bench", [board()]) as url:
            await sensors_heard_by_mosquitto(url)

    run(tmp_path, test)


def test_mosquitto_publishes_the_will_of_our_sensor_when_its_power_fails(tmp_path: Path):
    async def test(broker: Mosquitto) -> None:
        async with contextlib.AsyncExitStack() as bench:
            await bench.enter_async_context(serve(broker.url, [board()]))
            async with heard(broker.url, "tele/bench/LWT", 2) as words:
                await bench.aclose()
                assert await words() == ["tele/bench/LWT 1 Online", "tele/bench/LWT 0 Offline"]

    run(tmp_path, test)


def test_our_driver_reads_a_board_that_mosquitto_pub_stands_in_for(tmp_path: Path):
    async def test(broker: Mosquitto) -> None:
        url, mqtt = broker.url, wire(broker.url, timeout=3.0)
        sensor = TasmotaSensor(mqtt, topic="bench", name="air")
        await publish(url, "tele/bench/LWT", "Online", "-r")
        await publish(url, "tele/bench/SENSOR", SENSOR % 99.9, "-r")  # yesterday's: no value
        async with heard(url, "cmnd/bench/#") as question:
            connecting = asyncio.create_task(sensor.connect())
            assert await question() == ["cmnd/bench/Status 0 10"]
        await publish(url, "stat/bench/STATUS10", '{"StatusSNS":%s}' % (SENSOR % 21.5))
        await connecting
        assert await sensor.temperature.get_value() == 21.5
        await publish(url, "tele/bench/SENSOR", SENSOR % 22.5)
        await until(lambda: sensor.temperature.get_value(), 22.5)
        await publish(url, "tele/bench/LWT", "Offline", "-r")
        await until(lambda: sensor.online.get_value(), False)
        with pytest.raises(StaleError, match="offline"):
            await sensor.read()
        await mqtt.close()

    run(tmp_path, test)


def test_a_broker_killed_and_started_again_makes_readings_stale_and_then_good(tmp_path: Path):
    async def test(broker: Mosquitto) -> None:
        mqtt = wire(broker.url, timeout=0.5)
        sensor = TasmotaSensor(mqtt, topic="bench", name="air")
        async with serve(broker.url, [board()]):
            await sensor.connect()
            await broker.kill()
            async with asyncio.timeout(2):
                while mqtt.health.connected:
                    await asyncio.sleep(0.01)
            with pytest.raises(StaleError):
                await sensor.read()
            await broker.start()
            await until(lambda: good(sensor), True)
            assert mqtt.health.connections == 2
            await mqtt.close()

    run(tmp_path, test)


def test_question_and_answer_over_mosquitto_do_not_wait_for_nagle(tmp_path: Path):
    async def test(broker: Mosquitto) -> None:
        asker, answerer = wire(broker.url), wire(broker.url)
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        await answerer.subscribe("question", lambda *_: answerer.post("answer", "!"))
        await asker.subscribe("answer", lambda _t, payload, _r: answers.put_nowait(payload))
        start = clock.monotonic()
        for _ in range(20):
            await asker.publish("question", "?")
            async with asyncio.timeout(3):
                await answers.get()
        assert clock.monotonic() - start < 0.7  # 40 ms and more each without TCP_NODELAY
        await asker.close()
        await answerer.close()

    run(tmp_path, test)


async def good(sensor: TasmotaSensor) -> bool:
    try:
        return (await sensor.read())["air-temperature"]["value"] > 20
    except SdlError:
        return False


async def until(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    async with asyncio.timeout(8):
        while await ask() != wanted:
            await asyncio.sleep(0.02)
