"""A detector service over 0MQ: the client's side of docs/reference/detector-protocol.md.

0MQ connects to nobody without complaint, so a connection is only one when the service has answered
`hello`. Every request has an id of its own, and a reply with another id is dropped: what comes late
never answers the next question. After a time-out the socket is closed, with what still waits in it,
and opened again when it is next needed (the "lazy pirate"); nothing is sent again.
"""

import asyncio
import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import zmq
import zmq.asyncio
from zmq.utils import z85

from sdl.errors import GarbledError, NoReplyError, RefusedError
from sdl.wires.urls import WireUrl, parse
from sdl.wires.wire import Wire

Header = dict[str, Any]
Heard = Callable[[Header, list[bytes]], None]

PROTOCOL = 1
MOST_BYTES = 64 * 2**20  # of a message
ITEM_SIZES = {"|u1": 1, "<u2": 2, "<u4": 4, "<i2": 2, "<i4": 4, "<i8": 8, "<f4": 4, "<f8": 8}


class DetectorRefusedError(RefusedError):
    """The service said no; nothing has changed. `code` is one of the protocol's error codes."""

    def __init__(self, instrument: str, message: str, code: str, remaining: float) -> None:
        """:param remaining: s after which it is worth asking again, with `busy` and `not_ready`."""
        super().__init__(instrument, message)
        self.code, self.remaining = code, remaining


class Link(Protocol):
    """Carries multipart messages to one service: over sockets, or in memory."""

    async def send(self, parts: Sequence[bytes]) -> None: ...

    async def receive(self) -> list[bytes]: ...

    def listen(self, port: int, topic: str, heard: Callable[[list[bytes]], None]) -> None:
        """Hand on what the service publishes; `heard` is the same in all calls."""
        ...

    async def close(self) -> None:
        """Close, and drop what was not sent; never raise."""
        ...


class ZmqWire(Wire):
    """One request, one reply, each with its id."""

    def __init__(self, url: str, open_link: Callable[[], Link], *, timeout: float = 1.0) -> None:
        """Describe a connection; nothing is opened yet."""
        super().__init__(url, timeout=timeout)
        self._open_link, self._link = open_link, None
        self._prefix, self._asked = secrets.token_bytes(8), 0
        self._hello: Header = {}
        self._restarted = False
        self._callbacks: dict[str, list[Heard]] = {}

    _link: Link | None

    async def ask(
        self,
        header: Mapping[str, Any],
        frames: Sequence[bytes] = (),
        *,
        timeout: float | None = None,
    ) -> tuple[Header, list[bytes]]:
        """Send a request, return the reply to it: its header and its raw frames, checked.

        :param header: `command`, its arguments, perhaps `session`; `protocol` is put in.
        :param timeout: s to wait for the reply (default: the wire's).
        :raises NoReplyError: none came; what became of the request is not known.
        :raises GarbledError: what came is no reply of the protocol.
        :raises DetectorRefusedError: the service said no; nothing has changed.
        """
        limit = self.timeout if timeout is None else timeout

        async def exchange() -> tuple[Header, list[bytes]]:
            try:
                async with asyncio.timeout(limit):
                    reply = await self._converse(header, frames)
            except TimeoutError as error:
                await self._shut()
                reason = f"no reply to {header.get('command')!r} in {limit:g} s"
                raise NoReplyError(self.url, reason) from error
            if self._hello.get("session") not in (None, reply[0].get("session")):
                self._restarted = True  # its stream may have moved: say hello before the next
            return self._accepted(header, *reply)

        return await self._transact(exchange)

    async def subscribe(self, topic: str, callback: Heard) -> Callable[[], None]:
        """Call `callback(header, frames)` in the loop for what is published; some may be lost.

        :returns: what ends the subscription.
        :raises NoReplyError: nobody is there.
        :raises RefusedError: the service publishes nothing.
        """

        async def exchange() -> None:
            if self._hello.get("stream") is None:
                raise RefusedError(self.url, f"cannot subscribe to {topic!r}: it has no stream")
            self._callbacks.setdefault(topic, []).append(callback)
            self._listen()

        def end() -> None:
            if callback in self._callbacks[topic]:
                self._callbacks[topic].remove(callback)

        await self._transact(exchange)
        return end

    async def _converse(
        self, header: Mapping[str, Any], frames: Sequence[bytes]
    ) -> tuple[Header, list[bytes]]:
        if self._link is None:
            raise ConnectionError("not open")
        self._asked += 1
        ident = self._prefix + self._asked.to_bytes(4, "big")
        text = json.dumps({"protocol": PROTOCOL, **header}, allow_nan=False)
        request = [ident, text.encode(), *frames]
        self.log.sent(_short(request))
        await self._link.send(request)
        while True:
            reply = await self._link.receive()
            if reply and reply[0] == ident:
                break
            self.log.discarded(_short(reply))
        self.log.received(_short(reply))
        try:
            return _decode(reply[1:])
        except ValueError as error:
            reason = f"the reply to {header.get('command')!r} is malformed: {error}"
            raise GarbledError(self.url, reason) from error

    def _accepted(
        self, asked: Mapping[str, Any], header: Header, frames: list[bytes]
    ) -> tuple[Header, list[bytes]]:
        if header.get("status") == "ok" and header.get("protocol") == PROTOCOL:
            return header, frames
        command, error = asked.get("command"), header.get("error")
        if header.get("status") != "error" or not isinstance(error, dict):
            reason = f"the reply to {command!r} is neither ok nor an error: {str(header)[:200]}"
            raise GarbledError(self.url, reason)
        code, wait = str(error.get("code")), error.get("remaining")
        remaining = float(wait) if isinstance(wait, int | float) and 0 <= wait < 1e9 else 0.0
        reason = f"{command!r} refused: {error.get('message')} ({code})"
        raise DetectorRefusedError(self.url, reason, code, remaining)

    async def _ready(self) -> None:
        if self._restarted and self.health.connected:
            await self._shut()
        await super()._ready()

    async def _open(self) -> None:
        await self._close()
        try:
            self._link = self._open_link()
            ask = {"command": "hello"}
            self._hello, _ = self._accepted(ask, *await self._converse(ask, ()))
        except (NoReplyError, RefusedError, zmq.ZMQError) as error:
            await self._close()
            raise ConnectionError(str(error)) from error
        except BaseException:
            await self._close()
            raise
        self._restarted = False
        self._listen()

    async def _close(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    def _listen(self) -> None:
        port = self._hello.get("stream")
        if self._link is not None and isinstance(port, int):
            for topic in self._callbacks:
                self._link.listen(port, topic, self._heard)

    def _heard(self, parts: list[bytes]) -> None:
        try:
            header, frames = _decode(parts[1:])
        except ValueError:
            self.log.discarded(_short(parts))
            return
        for callback in self._callbacks.get(parts[0].decode(errors="replace"), ()):
            # on its own: what a callback raises is the loop's to report, and ends nothing here
            asyncio.get_running_loop().call_soon(callback, header, frames)


class SocketLink:
    """A DEALER to the service, and a SUB where somebody listens."""

    def __init__(self, where: WireUrl) -> None:
        self._host = f"[{where.host}]" if ":" in where.host else where.host
        self._server_key = where.option("server_key", b"")
        self._context = zmq.asyncio.Context()
        self._dealer = self._connected(zmq.DEALER, where.port)
        self._stream: zmq.asyncio.Socket | None = None
        self._reading: asyncio.Task[None] | None = None

    async def send(self, parts: Sequence[bytes]) -> None:
        await self._dealer.send_multipart(list(parts))

    async def receive(self) -> list[bytes]:
        return await self._dealer.recv_multipart()

    def listen(self, port: int, topic: str, heard: Callable[[list[bytes]], None]) -> None:
        if self._stream is None:
            self._stream = self._connected(zmq.SUB, port)
            self._reading = asyncio.create_task(self._read(self._stream, heard))
        self._stream.setsockopt(zmq.SUBSCRIBE, topic.encode())

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._context.destroy(linger=0)

    @staticmethod
    async def _read(stream: zmq.asyncio.Socket, heard: Callable[[list[bytes]], None]) -> None:
        while True:
            heard(await stream.recv_multipart())

    def _connected(self, kind: int, port: int) -> zmq.asyncio.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int(":" in self._host))
        socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)  # ms: a half-open connection is made anew
        if self._server_key:
            socket.curve_serverkey = z85.encode(self._server_key)
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.connect(f"tcp://{self._host}:{port}")
        return socket


def wire(url: str, *, timeout: float = 1.0) -> ZmqWire:
    """Return the wire to the service at `url`: `zmq+tcp://host:port[?server_key=64 hex digits]`.

    :raises ConfigError: the URL is wrong.
    """
    where = parse(url, "zmq+tcp", allowed_options=OPTIONS)
    return ZmqWire(url, lambda: SocketLink(where), timeout=timeout)


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("the service's public CURVE key as 64 hexadecimal digits")
    return key


OPTIONS: Mapping[str, Callable[[str], bytes]] = {"server_key": _key}


def _decode(parts: Sequence[bytes]) -> tuple[Header, list[bytes]]:
    """Return the header and the raw frames.

    :raises ValueError: they are not what the protocol says; the message says what is wrong.
    """
    if not parts:
        raise ValueError("it has no header")
    try:
        header = json.loads(parts[0].decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    sizes = [_size(header)] if "dtype" in header else []
    frames = list(parts[1:])
    if [len(frame) for frame in frames] != sizes:
        got = [len(frame) for frame in frames]
        raise ValueError(f"its raw frames have {got} bytes; the header promises {sizes}")
    return header, frames


def _size(header: Header) -> int:
    dtype, shape = header["dtype"], header.get("shape")
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise ValueError(f"dtype {dtype!r} is none of {', '.join(ITEM_SIZES)}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"shape {shape!r} is not a list of whole numbers")
    return ITEM_SIZES[dtype] * math.prod(shape)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _short(parts: Sequence[bytes]) -> bytes:
    """What the log keeps of a message: raw frames would fill the memory."""
    if not parts:
        return b""
    ident, header, *frames = *parts, *[b""] * (2 - len(parts))
    sizes = b"".join(b" + %d bytes" % len(frame) for frame in frames)
    return ident[:64].hex().encode() + b" " + header[:2000] + sizes
