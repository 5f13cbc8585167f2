"""The instrument's side of a TCP line: simulators behind a port on loopback, or in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sdl.endpoints.line import Cable, LineDevice
from sdl.endpoints.memory import joined
from sdl.errors import ConfigError
from sdl.wires.stream import StreamWire
from sdl.wires.urls import parse

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@asynccontextmanager
async def serve(
    url: str, devices: Sequence[LineDevice], *, most_clients: int = 1
) -> AsyncIterator[str]:
    """Serve simulators on a port of this machine; yield the URL at which a driver can connect.

    :param url: `tcp://host:port`; the port is kept where the host is this machine, else a free one
        is chosen.
    :param most_clients: how many may be connected at once, one on most instruments: what comes too
        many is closed at once. Each hears all replies, as behind a serial device server.
    :raises ConfigError: the URL is wrong, or its port is not free.
    :raises Exception: on leaving, what a simulator died of.
    """
    parts = parse(url, "tcp")
    here = parts.host if parts.host in LOOPBACK else "127.0.0.1"
    cable = Cable(devices)
    clients = Clients(cable, most_clients)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: _Client(clients), here, parts.port if parts.host in LOOPBACK else 0
        )
    except OSError as error:
        raise ConfigError(f"{url}: cannot serve there: {error.strerror or error}") from error
    try:
        await cable.plug_in()
        port = server.sockets[0].getsockname()[1]
        yield f"tcp://[{here}]:{port}" if ":" in here else f"tcp://{here}:{port}"
    finally:
        server.close()
        await clients.hang_up()
        await server.wait_closed()
        await cable.pull_out()


@asynccontextmanager
async def memory_wire(
    url: str, devices: Sequence[LineDevice], *, timeout: float = 1.0
) -> AsyncIterator[StreamWire]:
    """Join simulators to a wire in memory; virtual time works.

    :raises ConfigError: the URL is wrong.
    :raises Exception: on leaving, what a simulator died of.
    """
    parse(url, "tcp")
    async with joined(url, Cable(devices), timeout, network=True) as wire:
        yield wire


class Clients:
    """Who is connected to one instrument."""

    def __init__(self, cable: Cable, most: int) -> None:
        self._cable, self._most = cable, most
        self._connected: set[asyncio.Transport] = set()
        cable.to_host, cable.on_hang_up = self._say, self._abort
        self.hear = cable.from_host

    def come(self, transport: asyncio.Transport) -> None:
        if len(self._connected) >= self._most or self._cable.is_taken:
            transport.abort()
            return
        self._connected.add(transport)
        if greeting := self._cable.greeting:
            transport.write(greeting)

    def go(self, transport: asyncio.Transport) -> None:
        self._connected.discard(transport)

    async def hang_up(self) -> None:
        self._cable.to_host = None
        self._abort()
        await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop

    def _abort(self) -> None:
        for transport in tuple(self._connected):
            transport.abort()

    def _say(self, data: bytes) -> None:
        for transport in self._connected:
            transport.write(data)


class _Client(asyncio.Protocol):
    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # a TCP server's always is
        self._transport = transport
        self._clients.come(transport)

    def data_received(self, data: bytes) -> None:
        self._clients.hear(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.go(self._transport)
