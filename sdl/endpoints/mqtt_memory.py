"""An MQTT broker in memory: for twins and tests, deterministic and on any clock."""

import asyncio

from sdl.wires.mqtt import matches
from sdl.wires.mqtt_session import Message, QoS, Will

LOST = "the broker closed the connection"


class MemoryBroker:
    """Passes messages on at once and in order, each once to every session that subscribed to it.

    Knows topic filters, retained messages and wills. QoS makes no difference: nothing is ever lost
    on the way, and what a session had not taken when it was lost is gone.
    """

    def __init__(self) -> None:
        self._sessions: list[MemorySession] = []
        self._retained: dict[str, bytes] = {}
        self._running = True

    async def connect(self, will: Will | None = None) -> "MemorySession":
        """:raises ConnectionRefusedError: the broker is stopped."""
        if not self._running:
            raise ConnectionRefusedError("connection refused: the broker is stopped")
        session = MemorySession(self, will)
        self._sessions.append(session)
        return session

    def stop(self) -> None:
        """End as if killed: all sessions are lost, no will is published, nothing is kept."""
        self._running = False
        for session in list(self._sessions):
            self.forget(session)
        self._retained.clear()

    def start(self) -> None:
        self._running = True

    def pass_on(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain and payload:
            self._retained[topic] = payload
        elif retain:
            self._retained.pop(topic, None)  # an empty one clears what is kept
        for session in list(self._sessions):
            session.offer(Message(topic, payload))

    def retained(self, topic_filter: str) -> list[Message]:
        kept = self._retained.items()
        return [Message(topic, data, True) for topic, data in kept if matches(topic_filter, topic)]

    def forget(self, session: "MemorySession") -> bool:
        """End a session; return whether there was one."""
        if session not in self._sessions:
            return False
        self._sessions.remove(session)
        session.end()
        return True


class MemorySession:
    """One client of a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, will: Will | None) -> None:
        self._broker, self._will = broker, will
        self._filters: list[str] = []
        self._arrived: asyncio.Queue[Message | None] = asyncio.Queue()  # None: lost
        self._lost = False

    async def subscribe(self, topic_filter: str) -> None:
        self._check()
        if topic_filter not in self._filters:
            self._filters.append(topic_filter)
        for message in self._broker.retained(topic_filter):
            self._arrived.put_nowait(message)

    async def publish(
        self, topic: str, payload: bytes, *, qos: QoS = 1, retain: bool = False
    ) -> None:
        self._check()
        self._broker.pass_on(topic, payload, retain)

    async def receive(self) -> Message:
        if self._lost and self._arrived.empty():
            raise ConnectionResetError(LOST)
        message = await self._arrived.get()
        if message is None:
            raise ConnectionResetError(LOST)
        return message

    async def close(self) -> None:
        self._broker.forget(self)

    async def drop(self) -> None:
        if self._broker.forget(self) and self._will is not None:
            self._broker.pass_on(self._will.topic, self._will.payload, self._will.retain)

    def offer(self, message: Message) -> None:
        if any(matches(topic_filter, message.topic) for topic_filter in self._filters):
            self._arrived.put_nowait(message)

    def end(self) -> None:
        self._lost = True
        self._arrived.put_nowait(None)

    def _check(self) -> None:
        if self._lost:
            raise ConnectionResetError(LOST)
