"""TCP lines over loopback sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sdl.errors import ConfigError, NoReplyError
from sdl.wires import tcp, until
from sdl.wires.stream import Inbox

CR = until(b"\r")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, port: int = 0) -> AsyncIterator[int]:
    """Listen on loopback; yield the port. Every connection is closed when its talk ends."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(one, "127.0.0.1", port)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.read(100):
        writer.write(b"<" + line[:-1] + b">\r")


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r")


def test_a_request_is_answered():
    async def test() -> None:
        async with server(echo) as port:
            wire = tcp.wire(f"tcp://localhost:{port}")
            assert await wire.ask(b"a\r", CR) == b"<a>\r"
            await wire.close()

    asyncio.run(test())


def test_requests_go_out_at_once_and_a_dead_peer_is_noticed():
    async def test() -> None:
        async with server(echo) as port:
            transport = await tcp.TcpConnector("127.0.0.1", port)(Inbox())
            connected = transport.get_extra_info("socket")
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            if hasattr(socket, "TCP_KEEPIDLE"):
                assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            transport.close()
            await asyncio.sleep(0)

    asyncio.run(test())


def test_a_server_that_hangs_up_breaks_the_connection_and_may_come_back():
    async def test() -> None:
        async with server(hang_up) as port:
            wire = tcp.wire(f"tcp://127.0.0.1:{port}", timeout=0.3)
            with pytest.raises(NoReplyError, match="broke: closed by the other side"):
                await wire.ask(b"a\r", CR)
        with pytest.raises(NoReplyError, match=f"nobody listens on port {port} of 127.0.0.1"):
            await wire.ask(b"b\r", CR)
        async with server(echo, port):
            assert await wire.ask(b"c\r", CR) == b"<c>\r"
            await wire.close()

    asyncio.run(test())


def test_a_host_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch):
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def test() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        with pytest.raises(NoReplyError, match="cannot connect: no host is called 'pumpp'"):
            await tcp.wire("tcp://pumpp:4001").connect()

    asyncio.run(test())


def test_a_wrong_url_is_known_before_anything_is_opened():
    with pytest.raises(ConfigError, match="no port"):
        tcp.wire("tcp://pump")
