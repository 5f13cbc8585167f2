"""The 0MQ wire against services in plain pyzmq: slow, silent, confused and malicious."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zmq
import zmq.asyncio
from zmq.utils import z85

from sdl.clock import new_loop
from sdl.errors import ConfigError, GarbledError, NoReplyError, RefusedError
from sdl.wires.urls import open_wire
from sdl.wires.zmq import DetectorRefusedError, Link, ZmqWire, wire

Send = Callable[[list[bytes]], Awaitable[Any]]
Answer = Callable[[bytes, dict[str, Any], Send], Coroutine[Any, Any, None]]
OK = {"protocol": 1, "status": "ok", "session": "s", "t": 0.0}


def ok(ident: bytes, **more: Any) -> list[bytes]:
    return [ident, json.dumps({**OK, **more}).encode()]


@asynccontextmanager
async def service(answer: Answer, *, port: int = 0, secret: bytes = b"") -> AsyncIterator[str]:
    """A service that knows hello and leaves the rest to `answer(id, header, send)`."""
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        if secret:
            router.curve_server, router.curve_secretkey = True, secret
        router.bind(f"tcp://127.0.0.1:{port}" if port else "tcp://127.0.0.1:*")

        async def listen() -> None:
            while True:
                client, ident, text = await router.recv_multipart()
                header = json.loads(text)

                async def send(parts: list[bytes], client: bytes = client) -> None:
                    await router.send_multipart([client, *parts])

                if header["command"] == "hello":
                    await send(ok(ident, model="M", serial="1", firmware="1", stream=None))
                else:
                    tasks.append(asyncio.create_task(answer(ident, header, send)))

        tasks: list[asyncio.Task[None]] = [asyncio.create_task(listen())]
        try:
            yield router.getsockopt_string(zmq.LAST_ENDPOINT).replace("tcp", "zmq+tcp", 1)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def with_service(
    answer: Answer, client: Callable[[ZmqWire], Awaitable[None]], timeout: float = 0.2
) -> None:
    async def main() -> None:
        async with service(answer) as url:
            link = wire(url, timeout=timeout)
            try:
                await client(link)
            finally:
                await link.close()

    asyncio.run(main())


async def echo(ident: bytes, header: dict[str, Any], send: Send) -> None:
    await send(ok(ident, echo=header["n"]))


async def n_of(link: ZmqWire, n: int) -> int:
    header, _ = await link.ask({"command": "echo", "n": n})
    return header["echo"]


def test_a_reply_comes_back_to_whoever_asked() -> None:
    async def client(link: ZmqWire) -> None:
        assert await asyncio.gather(*(n_of(link, n) for n in range(20))) == [*range(20)]
        assert link.health.exchanges == 20

    with_service(echo, client)


def test_a_late_reply_never_answers_the_next_request() -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        if header["n"] == 1:
            await asyncio.sleep(0.15)
        await send(ok(ident, echo=header["n"]))

    async def client(link: ZmqWire) -> None:
        with pytest.raises(NoReplyError, match=r"no reply to 'echo' in 0\.1 s"):
            await n_of(link, 1)
        for n in range(2, 12):
            assert await n_of(link, n) == n
            await asyncio.sleep(0.01)

    with_service(answer, client, timeout=0.1)


def test_replies_with_other_ids_are_dropped() -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        await send(ok(b"another", echo=-1))
        await send([b""])
        await send(ok(ident[:-1] + b"?", echo=-2))
        await send(ok(ident, echo=header["n"]))
        await send(ok(ident, echo=-3))  # a second answer to the same request

    async def client(link: ZmqWire) -> None:
        assert [await n_of(link, n) for n in range(5)] == [*range(5)]
        assert sum(entry.direction == "discarded" for entry in link.log) >= 3

    with_service(answer, client)


def test_a_reply_with_a_wrong_id_only_is_no_reply() -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        await send(ok(ident + b"x", echo=header["n"]))

    async def client(link: ZmqWire) -> None:
        with pytest.raises(NoReplyError, match="no reply"):
            await n_of(link, 1)

    with_service(answer, client)


def test_after_silence_the_socket_is_new_and_nothing_was_sent_twice() -> None:
    heard: list[int] = []

    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        heard.append(header["n"])
        if header["n"] != 1:
            await send(ok(ident, echo=header["n"]))

    async def client(link: ZmqWire) -> None:
        with pytest.raises(NoReplyError):
            await n_of(link, 1)
        assert not link.health.connected
        assert await n_of(link, 2) == 2
        assert link.health.connections == 2
        assert heard == [1, 2]

    with_service(answer, client)


GOOD = json.dumps(OK).encode()
ARRAY = json.dumps({**OK, "dtype": "<f8", "shape": [2]}).encode()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "no header"),
        ([b"hello"], "not JSON"),
        ([b"\xff\xfe"], "not JSON"),
        ([b"[" * 100_000], "not JSON"),
        ([b'{"t": NaN}'], "not JSON"),
        ([b"[1]"], "not a JSON object"),
        ([b"{}"], "neither ok nor an error"),
        ([b'{"protocol": 1, "status": "fine"}'], "neither ok nor an error"),
        ([b'{"protocol": 2, "status": "ok"}'], "neither ok nor an error"),
        ([b'{"protocol": 1, "status": "error", "error": 1}'], "neither ok nor an error"),
        ([GOOD, b"12345678"], "raw frames"),
        ([ARRAY], "raw frames"),
        ([ARRAY, b"1234567"], "raw frames"),
        ([ARRAY, bytes(16), b""], "raw frames"),
        ([ARRAY.replace(b"<f8", b">f8"), bytes(16)], "dtype '>f8' is none of"),
        ([ARRAY.replace(b'"<f8"', b"[]"), bytes(16)], "dtype"),
        ([ARRAY.replace(b"[2]", b"[-2]"), bytes(16)], "shape"),
        ([ARRAY.replace(b"[2]", b"[true]"), bytes(8)], "shape"),
        ([ARRAY.replace(b"[2]", b"2"), bytes(16)], "shape"),
    ],
)
def test_a_malformed_reply_is_garbled_and_the_wire_goes_on(parts: list[bytes], said: str) -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        await send([ident, *parts] if header["n"] == 1 else ok(ident, echo=header["n"]))

    async def client(link: ZmqWire) -> None:
        with pytest.raises(GarbledError, match=said):
            await n_of(link, 1)
        assert await n_of(link, 2) == 2

    with_service(answer, client, timeout=1.0)


def test_a_raw_frame_arrives_as_it_was_sent_and_stays_out_of_the_log() -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        await send([ident, ARRAY, bytes(range(16))])

    async def client(link: ZmqWire) -> None:
        header, frames = await link.ask({"command": "read"})
        assert (header["dtype"], header["shape"], frames) == ("<f8", [2], [bytes(range(16))])
        assert [*link.log][-1].data.endswith(b" + 16 bytes")

    with_service(answer, client)


def test_an_error_reply_is_a_refusal_with_its_code() -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        error = {"code": "busy", "message": "measuring", "remaining": 2.5}
        await send(ok(ident, status="error", error=error))

    async def client(link: ZmqWire) -> None:
        with pytest.raises(RefusedError, match=r"'trigger' refused: measuring \(busy\)") as caught:
            await link.ask({"command": "trigger"})
        assert isinstance(caught.value, DetectorRefusedError)
        assert (caught.value.code, caught.value.remaining) == ("busy", 2.5)

    with_service(answer, client)


def test_a_caller_that_is_cancelled_leaves_the_wire_in_order() -> None:
    async def answer(ident: bytes, header: dict[str, Any], send: Send) -> None:
        await asyncio.sleep(0.02)
        await send(ok(ident, echo=header["n"]))

    async def client(link: ZmqWire) -> None:
        await link.connect()
        asking = asyncio.create_task(n_of(link, 1))
        await asyncio.sleep(0.005)
        asking.cancel()
        assert await n_of(link, 2) == 2
        assert link.health.connections == 1

    with_service(answer, client)


def test_nobody_at_the_address_is_found_out_and_asked_ever_less_often() -> None:
    async def main() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            port = socket.bind_to_random_port("tcp://127.0.0.1")
        link = wire(f"zmq+tcp://127.0.0.1:{port}", timeout=0.01)
        with pytest.raises(NoReplyError, match="cannot connect"):
            await link.connect()
        with pytest.raises(NoReplyError, match="next attempt in"):
            await link.connect()
        await link.close()

    asyncio.run(main())


def test_somebody_who_cannot_say_hello_is_no_connection() -> None:
    class Stranger:
        async def send(self, parts: Any) -> None:
            self.ident = parts[0]

        async def receive(self) -> list[bytes]:
            return [self.ident, b"220 mail ready"]

        def listen(self, port: int, topic: str, heard: Any) -> None: ...

        async def close(self) -> None: ...

    async def main() -> None:
        link = ZmqWire("zmq+tcp://x:1", Stranger)
        with pytest.raises(NoReplyError, match=r"cannot connect: .*'hello' is malformed"):
            await link.ask({"command": "status"})
        assert not link.health.connected

    asyncio.run(main())


class SilentLink:
    """Says hello and nothing else."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def send(self, parts: Any) -> None:
        if json.loads(parts[1])["command"] == "hello":
            self.inbox.put_nowait(ok(parts[0]))

    async def receive(self) -> list[bytes]:
        return await self.inbox.get()

    def listen(self, port: int, topic: str, heard: Any) -> None: ...

    async def close(self) -> None: ...


def test_waiting_costs_no_real_time_on_a_virtual_clock() -> None:
    async def main() -> None:
        link = ZmqWire("zmq+tcp://x:1", SilentLink, timeout=3600.0)
        with pytest.raises(NoReplyError, match="in 3600 s"):
            await link.ask({"command": "status"})
        assert asyncio.get_running_loop().time() == pytest.approx(3600.0)

    began = time.perf_counter()
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())
    assert time.perf_counter() - began < 5.0


def test_a_service_without_a_stream_refuses_subscribers() -> None:
    async def main() -> None:
        link: Link = SilentLink()
        with pytest.raises(RefusedError, match="no stream"):
            await ZmqWire("zmq+tcp://x:1", lambda: link).subscribe("frame", lambda *_: None)

    asyncio.run(main())


def test_with_a_server_key_only_its_owner_is_talked_to() -> None:
    async def main() -> None:
        public, secret = zmq.curve_keypair()
        stranger, _ = zmq.curve_keypair()
        async with service(echo, secret=secret) as url:
            right = wire(f"{url}?server_key={z85.decode(public).hex()}", timeout=0.2)
            wrong = wire(f"{url}?server_key={z85.decode(stranger).hex()}", timeout=0.2)
            try:
                assert await n_of(right, 7) == 7
                with pytest.raises(NoReplyError, match="cannot connect"):
                    await wrong.connect()
            finally:
                await right.close()
                await wrong.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("zmq+tcp://host", "port"),
        ("zmq+tcp://:5555", "host"),
        ("zmq+tcp://host:70000", "65535"),
        ("zmq+tcp://host:5555/device", "/device"),
        ("zmq+tcp://host:5555?timeout=1", "server_key"),
        ("zmq+tcp://host:5555?server_key=12", "64 hexadecimal digits"),
        ("tcp://host:5555", "zmq\\+tcp"),
    ],
)
def test_a_wrong_url_is_told_with_what_is_allowed(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        wire(url)


def test_the_resolver_knows_the_scheme() -> None:
    assert isinstance(open_wire("zmq+tcp://10.0.0.9:5555"), ZmqWire)
