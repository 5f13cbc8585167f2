"""Simulators on a broker: the embedded one on a real port, and the one in memory."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from sdl import clock
from sdl.endpoints.mqtt import memory_wire, serve
from sdl.errors import ConfigError
from sdl.wires.mqtt import MqttWire, wire
from sdl.wires.mqtt_session import Session, Will

WILL = Will("echo/LWT", b"Offline", retain=True)


class Echo:
    """Says again what it hears."""

    will = WILL

    async def serve(self, session: Session) -> None:
        await session.publish("echo/LWT", b"Online", retain=True)
        await session.subscribe("echo/in")
        while True:
            message = await session.receive()
            if message.payload == b"die":
                raise ValueError("a bug in a simulator")
            await session.publish("echo/out", message.payload)


def run(test: Callable[[], Awaitable[None]], speed: clock.Speed = 1.0) -> None:
    async def whole() -> None:
        before = asyncio.all_tasks()
        await test()
        await asyncio.sleep(0.05)
        left = asyncio.all_tasks() - before
        assert not left, f"tasks left behind: {left}"

    with asyncio.Runner(loop_factory=lambda: clock.new_loop(speed)) as runner:
        runner.run(whole())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def heard_on(mqtt: MqttWire, topic_filter: str) -> "asyncio.Queue[bytes]":
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await mqtt.subscribe(topic_filter, lambda _topic, payload, _retained: heard.put_nowait(payload))
    return heard


async def next_of(heard: "asyncio.Queue[bytes]") -> bytes:
    async with asyncio.timeout(3):
        return await heard.get()


def test_a_driver_anywhere_reaches_a_simulator_through_the_embedded_broker(
    caplog: pytest.LogCaptureFixture,
):
    async def test() -> None:
        async with serve("mqtt://lab:secret@bench-broker?keepalive=20", [Echo()]) as url:
            assert url.startswith("mqtt://lab:secret@127.0.0.1:")
            assert url.endswith("?keepalive=20")
            mqtt = wire(url)
            heard = await heard_on(mqtt, "echo/out")
            await mqtt.publish("echo/in", "hello")
            assert await next_of(heard) == b"hello"
            await mqtt.close()

    with caplog.at_level(logging.WARNING):
        run(test)
    assert caplog.records == []


def test_question_and_answer_do_not_wait_for_nagle():
    async def test() -> None:
        async with serve("mqtt://broker", [Echo()]) as url:
            mqtt = wire(url)
            heard = await heard_on(mqtt, "echo/out")
            start = time.perf_counter()
            for _ in range(20):
                await mqtt.publish("echo/in", "x")
                await next_of(heard)
            assert time.perf_counter() - start < 0.7  # 40 ms and more each without TCP_NODELAY
            await mqtt.close()

    run(test)


def test_a_loopback_url_keeps_its_port_and_uses_the_broker_that_is_there():
    async def test() -> None:
        port = free_port()
        async with (
            serve(f"mqtt://localhost:{port}", []) as first,
            serve(f"mqtt://127.0.0.1:{port}", [Echo()]) as second,
        ):
            assert first == second == f"mqtt://127.0.0.1:{port}"
            mqtt = wire(first)
            heard = await heard_on(mqtt, "echo/out")
            await mqtt.publish("echo/in", "?")
            assert await next_of(heard) == b"?"
            await mqtt.close()

    run(test)


def test_the_power_of_a_simulator_fails_when_serving_ends_and_the_broker_tells():
    async def test() -> None:
        async with serve("mqtt://broker", []) as broker:
            mqtt = wire(broker)
            async with serve(broker, [Echo()]):
                heard = await heard_on(mqtt, "echo/LWT")
                assert await next_of(heard) == b"Online"
            while (said := await next_of(heard)) != b"Offline":
                assert said == b"Online"  # amqtt says what it has retained twice
            await mqtt.close()

    run(test)


def test_a_simulator_and_a_wire_outlive_their_broker():
    async def test() -> None:
        port = free_port()
        mqtt = wire(f"mqtt://127.0.0.1:{port}", timeout=0.5)
        async with serve(f"mqtt://127.0.0.1:{port}", []) as url:
            pass
        stack = serve(url, [])
        await stack.__aenter__()
        async with serve(url, [Echo()]):
            heard = await heard_on(mqtt, "echo/out")
            await stack.__aexit__(None, None, None)
            async with serve(url, []):
                async with asyncio.timeout(8):
                    while heard.empty():
                        mqtt.post("echo/in", "back?")
                        await asyncio.sleep(0.2)
                assert mqtt.health.connections == 2
            await mqtt.close()

    run(test)


def test_what_a_simulator_died_of_is_raised_on_leaving():
    async def test() -> None:
        served = serve("mqtt://broker", [Echo()])
        mqtt = wire(await served.__aenter__())
        await mqtt.publish("echo/in", "die")
        await asyncio.sleep(0.1)
        await mqtt.close()
        with pytest.raises(ValueError, match="a bug in a simulator"):
            await served.__aexit__(None, None, None)

    run(test)


def test_a_port_that_something_else_has_is_named():
    async def test() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*in use"):
            async with serve(f"mqtt://127.0.0.1:{port}", [Echo()]):
                pass
        server.close()
        await server.wait_closed()

    run(test)


@pytest.mark.parametrize("url", ["tcp://broker:1", "mqtt://broker/x"])
def test_a_wrong_url_is_refused_before_anything_is_started(url: str):
    async def test() -> None:
        with pytest.raises(ConfigError):
            async with serve(url, []):
                pass
        with pytest.raises(ConfigError):
            async with memory_wire(url, []):
                pass

    run(test)


def test_in_memory_the_same_holds_on_virtual_time_without_a_socket():
    async def test() -> None:
        async with memory_wire("mqtt://broker", [Echo()], timeout=1.0) as mqtt:
            heard = await heard_on(mqtt, "echo/out")
            await asyncio.sleep(86_400)
            await mqtt.publish("echo/in", "hello")
            assert await next_of(heard) == b"hello"
            assert clock.monotonic() >= 86_400

    run(test, "virtual")


def test_in_memory_a_dead_simulator_is_raised_too():
    async def test() -> None:
        joined = memory_wire("mqtt://broker", [Echo()], timeout=1.0)
        mqtt = await joined.__aenter__()
        await mqtt.publish("echo/in", "die")
        await asyncio.sleep(1)
        with pytest.raises(ValueError, match="a bug in a simulator"):
            await joined.__aexit__(None, None, None)

    run(test, "virtual")
