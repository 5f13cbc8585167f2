"""Lines of bytes over TCP: instruments with an Ethernet port, and serial device servers (raw mode).

`tcp://10.0.0.7:4001`. The time-out of the wire bounds connecting too.
"""

import asyncio
import socket

from sdl.wires.stream import StreamWire
from sdl.wires.urls import parse

KEEPALIVE = {  # s, s, times: a peer that lost its power is noticed after about half a minute
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
}


def wire(url: str, *, timeout: float = 1.0) -> StreamWire:
    """Return the wire to `tcp://host:port`; it connects when it is first used.

    :raises ConfigError: the URL is wrong.
    """
    parts = parse(url, "tcp")
    return StreamWire(url, TcpConnector(parts.host, parts.port), timeout=timeout)


class TcpConnector:
    """Connects; small requests go out at once, and a dead peer is noticed."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def __call__(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, self._host, self._port, happy_eyeballs_delay=0.25
            )
        except ConnectionRefusedError as error:
            raise OSError(f"nobody listens on port {self._port} of {self._host}") from error
        except socket.gaierror as error:
            raise OSError(f"no host is called {self._host!r}") from error
        _tune(transport.get_extra_info("socket"))
        return transport


def _tune(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not every system lets one say
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
