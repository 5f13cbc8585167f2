"""A detector service over 0MQ: the service's side of docs/reference/detector-protocol.md.

What is the same for every detector stands here: messages, ids, the order of replies, heartbeats.
What a command does is the simulator's, a `FrameDevice`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakValueDictionary

import zmq
import zmq.asyncio

from sdl.endpoints.faulty import Faulty, FaultyTalk
from sdl.errors import ConfigError
from sdl.wires.urls import WireUrl, parse
from sdl.wires.zmq import OPTIONS, ZmqWire

Header = dict[str, Any]
Publish = Callable[[str, Header, list[bytes]], None]
Reply = Callable[[list[bytes]], Awaitable[None]]
Subscriber = Callable[[list[bytes]], None]

PROTOCOL = 1
OUT_OF_TURN = frozenset({"hello", "status", "abort"})
HEARTBEAT = 1.0  # s between publications of the status
MOST_BYTES = 64 * 2**20  # of a message
LONGEST_ID = 64  # bytes


class FrameDevice(Protocol):
    """A simulated detector service."""

    async def start(self, publish: Publish) -> None:
        """Begin a new session: nothing of an earlier one is known.

        :param publish: takes topic, header and raw frames; never waits.
        """
        ...

    async def stop(self) -> None:
        """End what is under way."""
        ...

    async def request(self, header: Header, frames: list[bytes]) -> tuple[Header, list[bytes]]:
        """Answer one request, refusals included. It is called again while earlier calls wait."""
        ...


class Service:
    """Answers the messages of many clients for one device, and publishes what it has to say."""

    def __init__(self, device: FrameDevice | Faulty, *, stream: int) -> None:
        """:param stream: port of the PUB socket, which `hello` tells."""
        self._talk = FaultyTalk(device) if isinstance(device, Faulty) else None
        self._device: FrameDevice = device.device if isinstance(device, Faulty) else device
        self._stream = stream
        self._turns: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._beating, self._beats = False, 0
        self.subscribers: list[Subscriber] = []

    async def start(self) -> None:
        await self._device.start(self._publish)

    async def stop(self) -> None:
        """End everything, and raise what the device died of, if it did."""
        if self._talk is not None:
            self._talk.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._device.stop()
        if self._failure is not None:
            raise self._failure

    def hear(self, client: object, message: Sequence[bytes], reply: Reply) -> None:
        """Take a message; `reply` is called with the answer when there is one."""
        if self._talk is not None:
            if not self._talk.is_heard() or self._talk.is_reset():
                return
            reply = _faulty(self._talk, reply)
        if message and self._failure is None:  # without an id nobody could tell whose reply it is
            self._own(self._answer(client, message[0], message[1:], reply))

    def beat(self) -> None:
        """Publish the status every second from now on."""
        if not self._beating:
            self._beating = True
            self._own(self._heartbeat())

    def _own(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _answer(
        self, client: object, ident: bytes, rest: Sequence[bytes], reply: Reply
    ) -> None:
        header, problem = _understood(ident, rest)
        if problem is not None:
            await reply([ident, _encoded(problem)])
            return
        if header["command"] in OUT_OF_TURN:
            answer, frames = await self._device.request(header, list(rest[1:]))
        else:
            turn = self._turns.setdefault(client, asyncio.Lock())
            async with turn:  # a lock is fair: the order of arrival is the order of answers
                answer, frames = await self._device.request(header, list(rest[1:]))
        if header["command"] == "hello" and answer.get("status") == "ok":
            answer = {**answer, "stream": self._stream}
        await reply([ident, _encoded(answer), *frames])

    async def _heartbeat(self) -> None:
        while True:
            status, _ = await self._device.request({"protocol": PROTOCOL, "command": "status"}, [])
            self._beats += 1
            self._publish("status", {**status, "seq": self._beats}, [])
            await asyncio.sleep(HEARTBEAT)

    def _publish(self, topic: str, header: Header, frames: list[bytes]) -> None:
        for subscriber in tuple(self.subscribers):
            subscriber([topic.encode(), _encoded(header), *frames])


def _faulty(talk: FaultyTalk, reply: Reply) -> Reply:
    async def say(parts: list[bytes]) -> None:
        await talk.say(lambda: reply(parts))

    return say


@asynccontextmanager
async def serve(url: str, devices: Sequence[FrameDevice | Faulty]) -> AsyncIterator[str]:
    """Serve one device on loopback; the URL at which it is found is yielded.

    :param url: as the lab file says; its port is kept if its host is this machine (127.0.0.1 or
        localhost), else a free one is taken.
    :raises ConfigError: the URL is wrong, or its port is taken.
    """
    where, device = parse(url, "zmq+tcp", allowed_options=OPTIONS), _only(devices, url)
    with (
        zmq.asyncio.Context() as context,
        context.socket(zmq.ROUTER) as router,
        zmq.Context.shadow(context).socket(zmq.PUB) as publisher,
    ):
        router.linger = publisher.linger = 0
        router.maxmsgsize = MOST_BYTES
        port = _bind(router, where)
        service = Service(device, stream=publisher.bind_to_random_port("tcp://127.0.0.1"))
        # never waits: a PUB drops what nobody can take
        service.subscribers.append(lambda message: publisher.send_multipart(message))
        listening = asyncio.create_task(_listen(router, service))
        try:
            await service.start()
            service.beat()
            yield f"zmq+tcp://127.0.0.1:{port}"
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            await service.stop()


@asynccontextmanager
async def memory_wire(
    url: str, devices: Sequence[FrameDevice | Faulty], *, timeout: float = 1.0
) -> AsyncIterator[ZmqWire]:
    """Yield a wire to one device without a socket: the same messages, on any loop's clock.

    :raises ConfigError: the URL is wrong.
    """
    parse(url, "zmq+tcp", allowed_options=OPTIONS)
    service = Service(_only(devices, url), stream=0)
    await service.start()
    wire = ZmqWire(url, lambda: MemoryLink(service), timeout=timeout)
    try:
        yield wire
    finally:
        await wire.close()
        await service.stop()


class MemoryLink:
    """A client's link to a service in the same loop."""

    def __init__(self, service: Service) -> None:
        self._service, self._closed = service, False
        self._inbox: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self._heard: Subscriber | None = None
        self._topics: set[bytes] = set()
        self._loop = asyncio.get_running_loop()

    async def send(self, parts: Sequence[bytes]) -> None:
        self._loop.call_soon(self._service.hear, self, list(parts), self._reply)

    async def receive(self) -> list[bytes]:
        return await self._inbox.get()

    def listen(self, port: int, topic: str, heard: Subscriber) -> None:
        if self._heard is None:
            self._heard = heard
            self._service.beat()  # only now: on a virtual clock a heartbeat costs real time
            self._service.subscribers.append(self._published)
        self._topics.add(topic.encode())

    async def close(self) -> None:
        self._closed = True
        if self._heard is not None:
            self._service.subscribers.remove(self._published)

    async def _reply(self, message: list[bytes]) -> None:
        if not self._closed:
            self._inbox.put_nowait(message)

    def _published(self, message: list[bytes]) -> None:
        if self._heard is not None and message[0] in self._topics:
            self._heard(message)


async def _listen(router: zmq.asyncio.Socket, service: Service) -> None:
    while True:
        client, *message = await router.recv_multipart()

        async def reply(answer: list[bytes], client: bytes = client) -> None:
            await router.send_multipart([client, *answer])

        service.hear(client, message, reply)


def _understood(ident: bytes, rest: Sequence[bytes]) -> tuple[Header, Header | None]:
    """Return the header, or what is wrong with the message as a reply."""
    if not 1 <= len(ident) <= LONGEST_ID:
        return {}, _refusal("malformed", f"a request id has 1 to {LONGEST_ID} bytes")
    if not rest:
        return {}, _refusal("malformed", "a request is an id and a header; the header is missing")
    try:
        header = json.loads(rest[0].decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return {}, _refusal("malformed", f"the header is not JSON: {error}")
    if not isinstance(header, dict):
        return {}, _refusal("malformed", "the header is not a JSON object")
    if header.get("protocol") != PROTOCOL:
        wrong = f"this service speaks protocol {PROTOCOL}, not {header.get('protocol')!r}"
        return {}, _refusal("protocol", wrong)
    if not isinstance(header.get("command"), str):
        return {}, _refusal("malformed", "command is missing or not a text")
    if len(rest) > 1:
        return {}, _refusal("malformed", "no request carries a raw frame")
    return header, None


def _refusal(code: str, message: str) -> Header:
    return {
        "protocol": PROTOCOL,
        "status": "error",
        "error": {"code": code, "message": message[:500]},
    }


def _encoded(header: Header) -> bytes:
    return json.dumps(header, allow_nan=False).encode()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _only(devices: Sequence[FrameDevice | Faulty], url: str) -> FrameDevice | Faulty:
    if len(devices) != 1:
        raise ConfigError(f"{url!r}: a detector service is one instrument, not {len(devices)}")
    return devices[0]


def _bind(router: zmq.asyncio.Socket, where: WireUrl) -> int:
    if where.host not in ("127.0.0.1", "localhost"):
        return router.bind_to_random_port("tcp://127.0.0.1")
    try:
        router.bind(f"tcp://127.0.0.1:{where.port}")
    except zmq.ZMQError as error:
        raise ConfigError(f"cannot serve at 127.0.0.1:{where.port}: {error}") from error
    return where.port
