"""The instrument's side of MQTT: simulators as clients of a broker, real or in memory.

A simulator of an MQTT instrument is any object with a `will` and `async def serve(session)`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

from sdl.endpoints.faulty import Faulty, FaultyTalk
from sdl.endpoints.mqtt_memory import MemoryBroker
from sdl.errors import ConfigError, NoReplyError
from sdl.wires.mqtt import MqttWire
from sdl.wires.mqtt_session import BrokerAddress, Connector, Message, QoS, Session, Will

LOOPBACK = ("127.0.0.1", "localhost", "::1")
RETRY = 1.0  # s until a simulator that lost its broker tries again
SHUTDOWN = 2.0  # s in which the embedded broker lets its clients go
STARTUP = 10.0  # s in which all simulators must listen


class MqttDevice(Protocol):
    """A simulated instrument on a broker."""

    @property
    def will(self) -> Will | None:
        """What the broker says when its power fails."""
        ...

    async def serve(self, session: Session) -> None:
        """Live on the session until cancelled or, with its ConnectionError, the broker is gone.

        Called again, on a new session, when the broker is back. A device counts as ready when it
        first waits in `session.receive`.
        """
        ...


@contextlib.asynccontextmanager
async def serve(url: str, devices: Sequence[MqttDevice | Faulty]) -> AsyncIterator[str]:
    """Serve simulators on a broker of this machine; yield the URL at which anybody can connect.

    A broker that listens where a loopback URL leads is used; else one is started (amqtt), at that
    port, or for any other host at a free one.

    :raises ConfigError: the URL is wrong, or something that is no broker of ours has that port.
    :raises NoReplyError: the simulators could not connect in time.
    """
    address = BrokerAddress.of(url)
    # a client id in the URL is the driver's: a second client with it would throw it out
    address = replace(address, host="127.0.0.1", client_id=None)
    port = address.port if urlsplit(url).hostname in LOOPBACK else 0
    async with contextlib.AsyncExitStack() as stack:
        if not (port and await _listens(address)):
            port = await stack.enter_async_context(_embedded_broker(port))
        here = _moved(url, port)
        connect = replace(address, port=port)
        await stack.enter_async_context(powered(devices, connect, here))
        yield here


@contextlib.asynccontextmanager
async def memory_wire(
    url: str, devices: Sequence[MqttDevice | Faulty], *, timeout: float = 1.0
) -> AsyncIterator[MqttWire]:
    """Join simulators to a wire through a broker in memory: no socket, no thread.

    :raises ConfigError: the URL is wrong.
    """
    BrokerAddress.of(url)
    broker = MemoryBroker()
    wire = MqttWire(url, broker.connect, timeout=timeout)
    async with powered(devices, broker.connect, wire.url):
        try:
            yield wire
        finally:
            await wire.close()


@contextlib.asynccontextmanager
async def powered(
    devices: Sequence[MqttDevice | Faulty], connect: Connector, url: str
) -> AsyncIterator[None]:
    """Run simulators until the block ends, then cut their power and raise what one died of."""
    listening = [asyncio.Event() for _ in devices]
    tasks = [
        asyncio.create_task(_live(device, connect, event))
        for device, event in zip(devices, listening, strict=True)
    ]
    try:
        await _until_all(listening, tasks, url)
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


async def _until_all(
    listening: list[asyncio.Event], tasks: "list[asyncio.Task[None]]", url: str
) -> None:
    async def all_listen() -> None:
        for event in listening:
            await event.wait()

    ready = asyncio.create_task(all_listen())
    await asyncio.wait({ready, *tasks}, timeout=STARTUP, return_when=asyncio.FIRST_COMPLETED)
    found = ready.done()
    ready.cancel()
    for task in tasks:
        if task.done():
            task.result()
            return
    if not found:
        raise NoReplyError(url, f"the simulators could not connect in {STARTUP:g} s")


async def _live(device: MqttDevice | Faulty, connect: Connector, listening: asyncio.Event) -> None:
    while True:
        try:
            session = await connect(_will(device))
        except OSError:
            await asyncio.sleep(RETRY)
            continue
        talk = FaultyTalk(device) if isinstance(device, Faulty) else None
        served = device.device if isinstance(device, Faulty) else device
        try:
            await served.serve(_Announcing(session, listening, talk))
            return
        except* ConnectionError:
            pass  # the broker is gone: try again, as a real one does
        finally:
            if talk is not None:
                talk.close()
            await session.drop()
        await asyncio.sleep(RETRY)


def _will(device: MqttDevice | Faulty) -> Will | None:
    return device.device.will if isinstance(device, Faulty) else device.will


class _Announcing:
    """A session that tells when it is first listened to, with the faults of its instrument."""

    def __init__(
        self, session: Session, listening: asyncio.Event, talk: FaultyTalk | None = None
    ) -> None:
        self._session, self._listening, self._talk = session, listening, talk
        self.subscribe, self.close, self.drop = session.subscribe, session.close, session.drop

    async def publish(
        self, topic: str, payload: bytes, *, qos: QoS = 1, retain: bool = False
    ) -> None:
        async def send() -> None:
            await self._session.publish(topic, payload, qos=qos, retain=retain)

        await (send() if self._talk is None else self._talk.say(send))

    async def receive(self) -> Message:
        self._listening.set()
        while True:
            message = await self._session.receive()
            if self._talk is None:
                return message
            heard = self._talk.is_heard()
            if self._talk.is_reset():
                raise ConnectionResetError("reset by the broker")
            if heard:
                return message


@contextlib.asynccontextmanager
async def _embedded_broker(port: int) -> AsyncIterator[int]:
    """Run a broker on the running loop; yield its port (`port`, or a free one for 0).

    The sockets are ours: amqtt leaves some open when a client is gone without a goodbye.
    """
    from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # only for those who serve
    from amqtt.broker import Broker

    anyone = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": {"type": "external"}}, "plugins": anyone})
    clients: set[asyncio.Task[None]] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        adapters = StreamReaderAdapter(reader), StreamWriterAdapter(writer)
        try:
            await broker.external_connected(*adapters, "default")
        finally:
            writer.close()
            clients.discard(task)

    try:
        server = await asyncio.start_server(attend, "127.0.0.1", port)
    except OSError as error:
        raise ConfigError(f"no broker can listen at 127.0.0.1:{port}: {error.strerror}") from error
    await broker.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await broker.shutdown()
        if clients:
            _, late = await asyncio.wait(set(clients), timeout=SHUTDOWN)
            for task in late:
                task.cancel()
        await server.wait_closed()


async def _listens(address: BrokerAddress) -> bool:
    try:
        session = await address()
    except OSError:
        return False
    await session.close()
    return True


def _moved(url: str, port: int) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()
