"""A cable in memory: the same bytes without a port, for twins and tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sdl.endpoints.line import Cable
from sdl.wires import StreamWire


def memory(cable: Cable, *, network: bool = False) -> "MemoryConnector":
    """Return what a `StreamWire` needs to talk to the simulators on `cable`.

    :param network: it stands for a network: there are connections to be closed, and greetings.
    """
    return MemoryConnector(cable, network)


@asynccontextmanager
async def joined(
    url: str, cable: Cable, timeout: float, *, network: bool = False
) -> AsyncIterator[StreamWire]:
    """A wire to the simulators on `cable`, which have power meanwhile.

    :param network: see `memory`.
    :raises Exception: on leaving, what a simulator died of.
    """
    wire = StreamWire(url, memory(cable, network=network), timeout=timeout)
    await cable.plug_in()
    try:
        yield wire
    finally:
        await wire.close()
        await cable.pull_out()


class MemoryConnector:
    """Opens a connection to the simulators on a cable: one host at a time, the newest."""

    def __init__(self, cable: Cable, network: bool = False) -> None:
        self._cable, self._network = cable, network

    async def __call__(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        """:raises ConnectionRefusedError: somebody else is connected."""
        if self._network and self._cable.is_taken:
            raise ConnectionRefusedError("connection refused: somebody else is connected")
        transport = MemoryTransport(self._cable, protocol)
        protocol.connection_made(transport)
        if self._network:
            self._cable.on_hang_up = lambda: transport.lose(ConnectionResetError("reset"))
            protocol.data_received(self._cable.greeting)
        return transport


class MemoryTransport(asyncio.WriteTransport):
    """The host's end of the cable."""

    def __init__(self, cable: Cable, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._cable, self._protocol, self._closing = cable, protocol, False
        self._hear = protocol.data_received
        cable.to_host = self._hear

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing:
            self._cable.from_host(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def lose(self, error: OSError) -> None:
        """Break the connection, as a pulled plug does."""
        self._end(error)

    def _end(self, error: OSError | None) -> None:
        if self._closing:
            return
        self._closing = True
        if self._cable.to_host is self._hear:
            self._cable.to_host = None
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)
