"""A detector service on sockets and in memory, for clients that know the protocol page only."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import zmq

from sdl.clock import new_loop
from sdl.endpoints.zmq import memory_wire, serve
from sdl.errors import ConfigError, NoReplyError
from sdl.simulators.spectrometer import SimulatedSpectrometer
from sdl.wires.zmq import DetectorRefusedError, ZmqWire, wire

ANYWHERE = "zmq+tcp://10.0.0.9:5555"  # not this machine: a free port is taken


class Cuvette:
    axis, axis_name, axis_units = np.arange(400.0, 600.0, 50.0), "wavelength", "nm"
    quantity = "transmittance"

    def sample(self, integration_s: float) -> np.ndarray:
        return np.full(4, 0.5)


def spectrometer() -> SimulatedSpectrometer:
    return SimulatedSpectrometer(Cuvette(), rng=np.random.default_rng(1))


def strangers_client(address: str) -> list[np.ndarray]:
    """Written from docs/reference/detector-protocol.md: axis and one spectrum, as arrays."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger, socket.rcvtimeo = 0, 5000
        socket.connect(address)

        def ask(number: int, **request: object) -> tuple[dict[str, Any], list[bytes]]:
            header = json.dumps({"protocol": 1, **request}).encode()
            socket.send_multipart([b"%d" % number, header])
            ident, reply, *raw = socket.recv_multipart()
            answer = json.loads(reply)
            assert ident == b"%d" % number
            assert answer["status"] == "ok", answer
            return answer, raw

        hello, _ = ask(1, command="hello")
        session = hello["session"]
        axis = ask(2, command="describe", session=session)
        ask(3, command="configure", session=session, integration_time=0.02, averages=2)
        ask(4, command="arm", session=session)
        begun, _ = ask(5, command="trigger", session=session, key="the first")
        number = begun["acquisition"]
        data = ask(6, command="read", session=session, acquisition=number, wait=2.0)
        return [np.frombuffer(r[0], dtype=h["dtype"]).reshape(h["shape"]) for h, r in (axis, data)]


def test_a_stranger_who_read_the_protocol_page_measures() -> None:
    async def main() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            address = url.removeprefix("zmq+")
            axis, data = await asyncio.to_thread(strangers_client, address)
        assert axis.tolist() == Cuvette.axis.tolist()
        assert data.shape == (4,)
        assert (data > 500).all()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([b"id"], "malformed"),
        ([b"", b"{}"], "malformed"),
        ([b"i" * 65, b'{"protocol": 1, "command": "hello"}'], "malformed"),
        ([b"id", b""], "malformed"),
        ([b"id", b"\xff"], "malformed"),
        ([b"id", b"[" * 100_000], "malformed"),
        ([b"id", b"9" * 10_000], "malformed"),
        ([b"id", b"[]"], "malformed"),
        ([b"id", b'{"protocol": 1}'], "malformed"),
        ([b"id", b'{"protocol": 1, "command": ["hello"]}'], "malformed"),
        ([b"id", b'{"protocol": 1, "command": "hello", "x": NaN}'], "malformed"),
        ([b"id", b'{"protocol": 1, "command": "hello"}', b"raw"], "malformed"),
        ([b"id", b'{"protocol": 2, "command": "hello"}'], "protocol"),
        ([b"id", b'{"command": "hello"}'], "protocol"),
        ([b"id", b'{"protocol": 1, "command": "\\ud800"}'], "unknown_command"),
    ],
)
def test_a_malformed_request_gets_an_error_and_the_service_lives(
    parts: list[bytes], code: str
) -> None:
    def client(address: str) -> list[list[bytes]]:
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger, socket.rcvtimeo = 0, 5000
            socket.connect(address)
            socket.send_multipart(parts)
            socket.send_multipart([b"next", b'{"protocol": 1, "command": "hello"}'])
            return [socket.recv_multipart(), socket.recv_multipart()]

    async def main() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            replies = await asyncio.to_thread(client, url.removeprefix("zmq+"))
        refused, answered = sorted(replies, key=lambda reply: reply[0] == b"next")
        assert refused[0] == parts[0]
        assert json.loads(refused[1])["error"]["code"] == code
        assert json.loads(answered[1])["model"] == "SDL-UV16"

    asyncio.run(main())


async def prepared(link: ZmqWire, **settings: Any) -> None:
    await link.ask({"command": "configure", **settings})
    await link.ask({"command": "arm"})


def test_two_clients_get_each_their_own_replies() -> None:
    async def client(link: ZmqWire, name: str) -> None:
        reply: dict[str, Any] = {}
        while not reply:  # they share one detector: the other one is told that it is busy
            try:
                reply, _ = await link.ask({"command": "trigger", "key": name})
            except DetectorRefusedError as error:
                codes.add(error.code)
                await asyncio.sleep(error.remaining)
        ask = {"command": "read", "acquisition": reply["acquisition"], "wait": 1.0}
        data, _ = await link.ask(ask, timeout=2.0)
        assert data["acquisition"] == reply["acquisition"]
        numbers.append(reply["acquisition"])

    numbers: list[int] = []
    codes: set[str] = set()

    async def main() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            one, two = wire(url), wire(url)
            await prepared(one, integration_time=0.02)
            await asyncio.gather(client(one, "one"), client(two, "two"))
            await one.close()
            await two.close()

    asyncio.run(main())
    assert sorted(numbers) == [1, 2]
    assert codes == {"busy"}


def test_status_and_abort_are_answered_while_a_read_waits_and_others_in_order() -> None:
    def client(address: str) -> list[bytes]:
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger, socket.rcvtimeo = 0, 5000
            socket.connect(address)
            for ident, request in (
                (b"configure", {"command": "configure", "integration_time": 30.0}),
                (b"arm", {"command": "arm"}),
                (b"trigger", {"command": "trigger", "key": "k"}),
                (b"read", {"command": "read", "acquisition": 1, "wait": 10.0}),
                (b"describe", {"command": "describe"}),
            ):
                socket.send_multipart([ident, json.dumps({"protocol": 1, **request}).encode()])
            order = [socket.recv_multipart()[0] for _ in range(3)]
            for command in (b"status", b"abort"):
                text = b'{"protocol": 1, "command": "%s"}' % command
                socket.send_multipart([command, text])
                if command == b"status":
                    ident, text = socket.recv_multipart()
                    assert json.loads(text)["state"] == "acquiring"
                    order.append(ident)
            last = [socket.recv_multipart()[0] for _ in range(3)]
            assert b"abort" in last
            return [*order, *(ident for ident in last if ident != b"abort")]

    async def main() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            order = await asyncio.to_thread(client, url.removeprefix("zmq+"))
        assert order == [b"configure", b"arm", b"trigger", b"status", b"read", b"describe"]

    asyncio.run(main())


def with_both(client: Callable[[ZmqWire], Awaitable[None]]) -> None:
    async def socket() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            link = wire(url)
            try:
                await client(link)
            finally:
                await link.close()

    async def memory() -> None:
        async with memory_wire(ANYWHERE, [spectrometer()]) as link:
            await client(link)

    asyncio.run(socket())
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(memory())


def test_frames_and_heartbeats_are_published_by_topic() -> None:
    async def client(link: ZmqWire) -> None:
        frames: list[tuple[dict[str, Any], list[bytes]]] = []
        beats: list[dict[str, Any]] = []
        end = await link.subscribe("frame", lambda header, raw: frames.append((header, raw)))
        await link.subscribe("status", lambda header, raw: beats.append(header))
        await prepared(link, integration_time=0.01)
        await asyncio.sleep(2.3)  # 0MQ subscribes in its own time
        for key in ("a", "b"):
            number = (await link.ask({"command": "trigger", "key": key}))[0]["acquisition"]
            _, raw = await link.ask({"command": "read", "acquisition": number, "wait": 0.5})
            await asyncio.sleep(0.05)
            end()
        (header, published), *more = frames
        assert (header["seq"], header["dtype"], header["shape"]) == (1, "<f8", [4])
        assert len(published[0]) == len(raw[0]) == 32
        assert more == []  # the subscription had ended
        assert len(beats) >= 2
        assert beats[1]["seq"] == beats[0]["seq"] + 1
        assert beats[0]["state"] == "armed"

    with_both(client)


def test_a_subscriber_that_raises_stops_neither_wire_nor_the_others() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
        async with memory_wire(ANYWHERE, [spectrometer()]) as link:

            def broken(header: dict[str, Any], raw: list[bytes]) -> None:
                raise ZeroDivisionError

            await link.subscribe("status", broken)
            await link.subscribe("status", lambda header, raw: heard.append(header))
            await asyncio.sleep(3.5)
            await link.ask({"command": "hello"})

    caught: list[Any] = []
    heard: list[Any] = []
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())
    assert len(caught) == 4
    assert len(heard) == 3  # it subscribed after the first


def test_a_service_that_is_killed_and_restarted_is_found_again() -> None:
    async def main() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            link = wire(url, timeout=0.3)
            frames: list[Any] = []
            await link.subscribe("frame", lambda header, raw: frames.append(header))
            old = (await link.ask({"command": "hello"}))[0]["session"]
        with pytest.raises(NoReplyError):
            await link.ask({"command": "status"})
        async with serve(url, [spectrometer()]) as again:
            assert again == url
            await asyncio.sleep(0.2)  # the wire's back-off
            with pytest.raises(DetectorRefusedError) as caught:
                await link.ask({"command": "arm", "session": old})
            assert caught.value.code == "session"
            await prepared(link, integration_time=0.01)
            await asyncio.sleep(0.3)  # subscribed anew, at another port
            await link.ask({"command": "trigger", "key": "k"})
            await link.ask({"command": "read", "acquisition": 1, "wait": 0.2}, timeout=1.0)
            await asyncio.sleep(0.1)
            assert [header["seq"] for header in frames] == [1]
            await link.close()

    asyncio.run(main())


def test_a_restart_between_two_requests_does_not_go_unnoticed() -> None:
    async def main() -> None:
        device = spectrometer()
        async with memory_wire(ANYWHERE, [device]) as link:
            await link.ask({"command": "status"})
            await device.stop()
            await device.start(lambda *_: None)
            await link.ask({"command": "status"})
            assert link.health.connections == 1
            await link.ask({"command": "status"})
            assert link.health.connections == 2

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


def test_a_port_that_is_taken_is_told() -> None:
    async def main() -> None:
        async with serve(ANYWHERE, [spectrometer()]) as url:
            with pytest.raises(ConfigError, match="cannot serve at 127"):
                async with serve(url, [spectrometer()]):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize("devices", [0, 2])
def test_a_service_is_one_instrument(devices: int) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=f"not {devices}"):
            async with memory_wire(ANYWHERE, [spectrometer()] * devices):
                pass

    asyncio.run(main())


class Mortal(SimulatedSpectrometer):
    async def request(self, header: Any, frames: Any) -> Any:
        if header["command"] == "describe":
            raise ZeroDivisionError("the simulator has a bug")
        return await super().request(header, frames)


def test_what_a_simulator_died_of_is_raised_in_the_end() -> None:
    async def main() -> None:
        device = Mortal(Cuvette(), rng=np.random.default_rng(1))
        async with memory_wire(ANYWHERE, [device]) as link:
            for command in ("describe", "status"):
                with pytest.raises(NoReplyError):
                    await link.ask({"command": command})

    with (
        asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner,
        pytest.raises(ZeroDivisionError, match="has a bug"),
    ):
        runner.run(main())


def test_an_hour_of_exposure_in_memory_takes_no_real_time() -> None:
    async def main() -> None:
        async with memory_wire(ANYWHERE, [spectrometer()]) as link:
            await prepared(link, integration_time=60.0, averages=60)
            await link.ask({"command": "trigger", "key": "k"})
            await asyncio.sleep(3600.0)
            data, _ = await link.ask(
                {"command": "read", "acquisition": 1, "wait": 1.0}, timeout=2.0
            )
            assert data["acquired"] == pytest.approx(946_684_800.0 + 3600.0)

    began = time.perf_counter()
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())
    assert time.perf_counter() - began < 5.0
