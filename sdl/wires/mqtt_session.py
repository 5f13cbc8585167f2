"""One session with an MQTT broker: what wires and simulators need of it, and the real one.

TCP_NODELAY is set: without it each acknowledgement waits 40 ms for the next packet.
"""

import asyncio
import contextlib
import math
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import aiomqtt

from sdl.wires.urls import parse, whole

QoS = Literal[0, 1, 2]

PORT = 1883
KEEPALIVE = 60  # s
NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retained: bool = False
    """Whether the broker kept it from before we subscribed: its age is unknown."""


@dataclass(frozen=True)
class Will:
    """What the broker publishes for a client that is gone without a goodbye."""

    topic: str
    payload: bytes
    retain: bool = True


class Session(Protocol):
    """One connection to a broker. Every method raises OSError once it is lost."""

    async def subscribe(self, topic_filter: str) -> None:
        """Return when the broker has confirmed.

        :raises PermissionError: it does not allow that.
        """
        ...

    async def publish(
        self, topic: str, payload: bytes, *, qos: QoS = 1, retain: bool = False
    ) -> None:
        """Return when the broker has acknowledged (at once for QoS 0)."""
        ...

    async def receive(self) -> Message:
        """Return the next message; waits for ever."""
        ...

    async def close(self) -> None:
        """Say goodbye: the will is not published. Never raises."""
        ...

    async def drop(self) -> None:
        """Be gone as if the power had failed: the broker publishes the will. Never raises."""
        ...


class Connector(Protocol):
    """Opens a session: with a real broker, or with one in memory. Raises OSError."""

    async def __call__(self, will: Will | None = None) -> Session: ...


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is and who we are to it; calling it opens a session."""

    host: str
    port: int = PORT
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str | None = None
    keepalive: int = KEEPALIVE
    timeout: float = 1.0

    @classmethod
    def of(cls, url: str, *, timeout: float = 1.0) -> "BrokerAddress":
        """:raises ConfigError: the URL is wrong."""
        parts = parse(
            url,
            "mqtt",
            allowed_options={"client_id": _client_id, "keepalive": whole(5, 65535)},
            default_port=PORT,
            login=True,
        )
        return cls(
            host=parts.host,
            port=parts.port,
            user=parts.user,
            password=parts.password,
            client_id=parts.option("client_id", None),
            keepalive=parts.option("keepalive", KEEPALIVE),
            timeout=timeout,
        )

    async def __call__(self, will: Will | None = None) -> "BrokerSession":
        last_words = will and aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain)
        client = aiomqtt.Client(
            self.host,
            self.port,
            username=self.user,
            password=self.password,
            identifier=self.client_id or f"sdl-{uuid.uuid4().hex[:12]}",
            keepalive=self.keepalive,
            timeout=self.timeout,
            will=last_words,
            socket_options=NODELAY,
        )
        await _enter(client, self.timeout)
        return BrokerSession(client)


class BrokerSession:
    """A session with a real broker over TCP."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client, self._messages = client, client.messages

    async def subscribe(self, topic_filter: str) -> None:
        with _os_error():
            codes = await self._client.subscribe(topic_filter, qos=1, timeout=math.inf)
        if any(getattr(code, "is_failure", False) for code in codes):
            raise PermissionError(f"the broker does not let us subscribe to {topic_filter}")

    async def publish(
        self, topic: str, payload: bytes, *, qos: QoS = 1, retain: bool = False
    ) -> None:
        with _os_error():
            await self._client.publish(topic, payload, qos, retain, timeout=math.inf)

    async def receive(self) -> Message:
        with _os_error():
            message = await anext(self._messages)
        payload = message.payload if isinstance(message.payload, bytes) else b""
        return Message(str(message.topic), payload, bool(message.retain))

    async def close(self) -> None:
        try:
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError:  # the goodbye could not even be sent
            self._cut()
        else:
            await self._until_lost()

    async def drop(self) -> None:
        self._cut()
        await self.close()

    def _cut(self) -> None:
        connection = _paho(self._client).socket()
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    async def _until_lost(self) -> None:
        """Take what has arrived and the error at its end, which asyncio would complain about."""
        with contextlib.suppress(aiomqtt.MqttError):
            while True:
                await anext(self._messages)


def _client_id(text: str) -> str:
    if not text:
        raise ValueError("a name")
    return text


@contextlib.contextmanager
def _os_error() -> Iterator[None]:
    try:
        yield
    except aiomqtt.MqttError as error:
        raise ConnectionError(str(error)) from error


async def _enter(client: aiomqtt.Client, timeout: float) -> None:
    """Connect, and leave no socket behind if that fails or is cancelled, which aiomqtt does.

    It connects in a thread that cannot be cancelled, so a cancelled caller waits for its end.
    """
    _paho(client).connect_timeout = timeout
    opening = asyncio.create_task(client.__aenter__())
    try:
        with _os_error():
            await asyncio.shield(opening)
    except BaseException:
        if not opening.done():
            await asyncio.wait({opening}, timeout=2 * timeout)
            opening.cancel()
        if opening.done() and not opening.cancelled():
            opening.exception()
        _paho(client).disconnect()
        raise


def _paho(client: aiomqtt.Client) -> Any:
    """The paho client under an aiomqtt client, which has no public way to close a socket."""
    return client._client  # noqa: SLF001
