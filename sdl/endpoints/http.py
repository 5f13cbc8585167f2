"""The instrument's side of HTTP: a simulator that is an ASGI application, on a port or in memory.

Faults (`sdl.endpoints.faulty.Faulty`) happen to whole answers. HTTP runs on connections that lose
and double no byte, so that some of the catalogue look otherwise than on a line:

- a dropped byte is an answer that ends one byte before its Content-Length;
- a doubled answer, an echo: what comes unasked on a connection makes the client close it, and is
  never read; a stale one comes on a connection that was closed, as a late one does;
- a second client: the connection is refused.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import httpx
import uvicorn

from sdl.endpoints.faulty import Faulty, garbled
from sdl.endpoints.line import BITS_PER_BYTE
from sdl.errors import ConfigError
from sdl.wires.http import HttpWire, parts_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
STARTING = 10.0  # s for a server to listen


class HangUp(Exception):  # noqa: N818 (no error: what an instrument does)
    """Raised by an application: the connection is closed without an answer."""


class HttpDevice(Protocol):
    """A simulated instrument that answers HTTP requests."""

    @property
    def app(self) -> App:
        """Answers requests (ASGI 3, scope "http"), also while others wait; may raise `HangUp`."""
        ...

    async def serve(self) -> None:
        """Do what the instrument does of itself, until cancelled. Power comes with the call."""
        ...


@asynccontextmanager
async def serve(url: str, devices: Sequence[Any]) -> AsyncIterator[str]:
    """Serve one device on a port of this machine; yield the URL at which it is found.

    :param url: `http://host:port`, or https: it is served without TLS all the same. The port is
        kept where the host is this machine, else a free one is chosen.
    :raises ConfigError: the URL is wrong, or its port is not free.
    :raises Exception: on leaving, what the simulator died of.
    """
    where = parts_of(url)
    here = where.host if where.host in LOOPBACK else "127.0.0.1"
    listening = _listen(url, here, where.port if where.host in LOOPBACK else 0)
    with contextlib.closing(listening):
        async with _powered(devices, url) as answering:
            config = uvicorn.Config(
                _aborting(answering), http="h11", ws="none", lifespan="off", log_config=None
            )
            server = _Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                async with asyncio.timeout(STARTING):
                    while not server.started and not serving.done():
                        await asyncio.sleep(0.005)
                port = listening.getsockname()[1]
                yield f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
            finally:
                server.should_exit = server.force_exit = True
                await serving


@asynccontextmanager
async def memory_wire(
    url: str, devices: Sequence[Any], *, timeout: float = 1.0
) -> AsyncIterator[HttpWire]:
    """Join one device to a wire in memory; virtual time works.

    :raises ConfigError: the URL is wrong.
    :raises Exception: on leaving, what the simulator died of.
    """
    parts_of(url)
    async with _powered(devices, url) as answering:
        wire = HttpWire(url, lambda: MemoryTransport(answering), timeout=timeout)
        try:
            yield wire
        finally:
            await wire.close()


class MemoryTransport(httpx.AsyncBaseTransport):
    """Carries requests to an application in the same loop.

    A client that gives up waiting is gone for the application, which goes on, as on a network.
    """

    def __init__(self, answering: "Answering") -> None:
        self._answering = answering

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = _Call(await request.aread())
        task = self._answering.begin(_scope(request), call.receive, call.send)
        task.add_done_callback(lambda _: call.complete.set())
        try:
            await call.complete.wait()
        finally:
            call.gone.set()
        if call.status is None:
            raise httpx.RemoteProtocolError("the connection was closed without an answer")
        return httpx.Response(
            call.status, headers=call.headers, stream=httpx.ByteStream(bytes(call.body))
        )


class Answering:
    """Runs a device's application, one task a request, with the faults that are planned for it."""

    def __init__(self, device: Any) -> None:
        self._faulty = device if isinstance(device, Faulty) else None
        self._device = device.device if isinstance(device, Faulty) else device
        self._tasks: set[asyncio.Task[None]] = set()
        self._died: list[BaseException] = []
        self._deaf_until = 0.0

    async def live(self) -> None:
        await self._device.serve()

    def begin(self, scope: Scope, receive: Receive, send: Send) -> "asyncio.Task[None]":
        """Answer a request in a task of its own, which outlives whoever asked."""
        task = asyncio.ensure_future(self.app(scope, receive, send))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application."""
        if self._faulty is None:
            await self._device.app(scope, receive, send)
        else:
            await self._unlucky(self._faulty, scope, receive, send)

    async def end(self) -> None:
        """End all that is under way, and raise what the application died of, if it did."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._died:
            raise self._died[0]

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, HangUp):
            self._died.append(error)

    async def _unlucky(self, faulty: Faulty, scope: Scope, receive: Receive, send: Send) -> None:
        faulty.begin_exchange()
        event_is_due = faulty.event is not None and faulty.is_due(
            *(fault.kind for fault in faulty.planned)
        )
        if event_is_due and faulty.before_request:
            _happen(faulty)
        if faulty.take("connection reset") or faulty.lasting("second client"):
            raise HangUp
        cut = faulty.lasting("cut")
        unheard = cut is not None and cut.at != faulty.exchanges  # the first request still came
        deaf = asyncio.get_running_loop().time() < self._deaf_until
        if faulty.take("lost request") or unheard or deaf:
            await _gone(receive)
            return
        heard = _Call(await _whole(receive))
        await self._device.app(scope, heard.receive, heard.send)
        if event_is_due and not faulty.before_request:
            _happen(faulty)
        faulty.take("event")
        mute = faulty.lasting("cut") or faulty.lasting("silence")
        if mute or faulty.take("lost reply") or faulty.take("stale reply"):
            await _gone(receive)
            return
        await self._say(faulty, heard, send)

    async def _say(self, faulty: Faulty, said: "_Call", send: Send) -> None:
        faulty.take("double reply")
        late, split = faulty.take("late reply"), faulty.take("split reply")
        body = bytes(said.body)
        if damage := faulty.take("garbled reply"):
            body = garbled(body, damage.where)
        if faulty.take("dropped byte"):
            body = body[:-1]
        if thinking := faulty.lasting("think time"):
            await asyncio.sleep(thinking.amount * float(faulty.rng.random()))
        if pacing := faulty.lasting("pacing"):
            await asyncio.sleep(BITS_PER_BYTE / pacing.amount * len(body))
        if late:
            await asyncio.sleep(late.seconds)
        at = max(1, round(split.where * (len(body) - 1))) if split else len(body)
        await send({"type": "http.response.start", "status": said.status, "headers": said.headers})
        await send({"type": "http.response.body", "body": body[:at], "more_body": True})
        if split:
            await asyncio.sleep(split.amount)
        if early := faulty.lasting("early command"):
            self._deaf_until = asyncio.get_running_loop().time() + early.amount
        if len(body) < len(said.body):
            raise HangUp  # the rest never comes
        await send({"type": "http.response.body", "body": body[at:], "more_body": False})


class _Call:
    """One request, and what was answered to it."""

    def __init__(self, request: bytes) -> None:
        self._request: bytes | None = request
        self.complete, self.gone = asyncio.Event(), asyncio.Event()
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()

    async def receive(self) -> Message:
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                self.complete.set()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to whoever owns the process."""
        yield


@asynccontextmanager
async def _powered(devices: Sequence[Any], url: str) -> AsyncIterator[Answering]:
    if len(devices) != 1:
        raise ConfigError(f"{url!r}: behind a URL is one instrument, not {len(devices)}")
    answering = Answering(devices[0])
    living = asyncio.create_task(answering.live())
    try:
        yield answering
    finally:
        living.cancel()
        (died,) = await asyncio.gather(living, return_exceptions=True)
        await answering.end()
        if isinstance(died, Exception):
            raise died


def _aborting(answering: Answering) -> App:
    """Return an application for uvicorn that closes the connection where ours hangs up."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # a task of ours, so that it can be ended; uvicorn's would be left behind
        task = answering.begin(scope, receive, send)
        try:
            await asyncio.shield(task)
        except HangUp:
            # uvicorn has no word for it: `send` is a method of what owns the connection
            send.__self__.transport.abort()  # type: ignore[attr-defined]
            await _gone(receive)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise

    return app


def _listen(url: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with its protocol named, or asyncio leaves Nagle's delays in: 40 ms for each answer
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"{url}: cannot serve there: {error.strerror or error}") from error
    return listening


def _scope(request: httpx.Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 50000),
        "server": (request.url.host, request.url.port),
    }


async def _whole(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


async def _gone(receive: Receive) -> None:
    """Wait until whoever asked has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _happen(faulty: Faulty) -> None:
    assert faulty.event is not None
    faulty.event()
