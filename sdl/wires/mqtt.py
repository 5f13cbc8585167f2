"""MQTT 3.1.1: a session with a broker that is kept up, and what is subscribed on it.

    mqtt://[user:password@]host[:1883][?client_id=bench&keepalive=60]

Unlike a wire that is asked, this one is spoken to: a task of its own hears what arrives, opens the
connection again when it is lost (nobody has to ask) and subscribes everything anew.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from sdl import clock
from sdl.errors import ConfigError, NoReplyError, RefusedError, explain
from sdl.wires.mqtt_session import BrokerAddress, Connector, Message, QoS, Session, Will
from sdl.wires.urls import without_password
from sdl.wires.wire import FIRST_BACKOFF, Wire

Hearer = Callable[[str, bytes, bool], None]  # (topic, payload, retained)

FIRST = asyncio.FIRST_COMPLETED
LONGEST_LOGGED = 4096  # bytes of one message that the log keeps


def wire(url: str, *, timeout: float = 1.0, will: Will | None = None) -> "MqttWire":
    """Return a wire to a broker; it connects when it is first used.

    :param timeout: s in which the broker must have acknowledged.
    :param will: what the broker is to publish when we are gone.
    :raises ConfigError: the URL is wrong.
    """
    return MqttWire(url, BrokerAddress.of(url, timeout=timeout), timeout=timeout, will=will)


class MqttWire(Wire):
    """Publish, one at a time; hear what is subscribed, whatever happens to the connection."""

    def __init__(
        self, url: str, connect: Connector, *, timeout: float = 1.0, will: Will | None = None
    ) -> None:
        """Describe a wire; nothing is opened yet. Parameters: see `wire`."""
        super().__init__(without_password(url), timeout=timeout)
        self._connect, self.will = connect, will
        """What the broker publishes when we are gone; a new one counts from the next connection."""
        self._session: Session | None = None
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self._hearers: dict[str, list[Hearer]] = {}
        self._losers: list[Callable[[], None]] = []
        self._up, self._down = False, asyncio.Event()

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Have `callback()` called each time the connection is lost or closed.

        What has arrived before is old news from then on, since nobody can tell what was missed.
        """
        self._losers.append(callback)

    async def subscribe(self, topic_filter: str, hearer: Hearer) -> None:
        """Have `hearer(topic, payload, retained)` called in the loop for each message that matches.

        It stays subscribed when the connection comes back. The broker sends what it has retained,
        marked as such, each time it is asked or comes back. What a hearer raises stands in
        `health`. Where two filters of one wire cover a topic, some brokers send its messages twice.

        :raises NoReplyError: the broker did not confirm; nothing is subscribed.
        :raises RefusedError: it does not allow that.
        :raises ConfigError: that is no topic filter.
        """
        _check_filter(topic_filter)

        async def exchange() -> None:
            before = list(self._hearers.get(topic_filter, ()))
            # first the hearer, since retained messages may come before the confirmation
            self._hearers[topic_filter] = before if hearer in before else [*before, hearer]
            try:
                await self._confirmed(self._open_session.subscribe(topic_filter), topic_filter)
            except BaseException as error:
                self._hearers[topic_filter] = before
                if not before:
                    del self._hearers[topic_filter]
                if isinstance(error, PermissionError):
                    raise RefusedError(self.url, str(error)) from error
                raise

        await self._transact(exchange)

    async def publish(
        self, topic: str, payload: bytes | str, *, qos: QoS = 1, retain: bool = False
    ) -> None:
        """Publish and wait for the broker's acknowledgement; never sent twice by itself.

        :raises NoReplyError: it did not come in time; the message may have been delivered or not.
        :raises ConfigError: that is no topic; nothing was sent.
        """
        await self._transact(self._publishing(topic, payload, qos, retain))

    def post(self, topic: str, payload: bytes | str, *, qos: QoS = 1, retain: bool = False) -> None:
        """Publish without waiting, for hearers. What goes wrong stands in `health`."""
        task = asyncio.create_task(self._transact(self._publishing(topic, payload, qos, retain)))
        self._posts.add(task)
        task.add_done_callback(self._posted)

    def _posted(self, task: "asyncio.Task[None]") -> None:
        self._posts.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it; the health has it

    async def close(self) -> None:
        """Close the connection and stop keeping it up; the next use opens it again."""
        keeper, self._keeper = self._keeper, None
        owned = {*self._posts, *([keeper] if keeper else [])}
        for task in owned:  # they would open the connection again
            task.cancel()
        if owned:
            await asyncio.wait(owned)
        await super().close()
        self._down.clear()

    @property
    def _open_session(self) -> Session:
        if self._session is None:
            raise ConnectionError("not open")
        return self._session

    def _publishing(
        self, topic: str, payload: bytes | str, qos: QoS, retain: bool
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        _check_topic(topic)
        data = payload.encode() if isinstance(payload, str) else payload

        async def exchange() -> None:
            self.log.sent(_logged(topic, data))
            sending = self._open_session.publish(topic, data, qos=qos, retain=retain)
            await self._confirmed(sending, topic)

        return exchange

    async def _confirmed(self, ask: Coroutine[Any, Any, None], what: str) -> None:
        """Wait for the broker's confirmation; end early if the connection is lost meanwhile.

        A broker that is silent for so long is as good as lost: the connection is opened anew, which
        finds a half-open one long before the keep-alive does.
        """
        asking, reader = asyncio.create_task(ask), self._reader
        assert reader is not None
        try:
            await asyncio.wait(
                {asking, reader}, timeout=self.timeout, return_when="FIRST_COMPLETED"
            )
            if asking.done():
                return asking.result()
        finally:
            asking.cancel()
        if reader.done():
            raise ConnectionError(f"lost before {what} was acknowledged")
        await self._shut()
        raise NoReplyError(self.url, f"{what}: not acknowledged in {self.timeout:g} s")

    async def _transact(self, exchange: Callable[[], Any]) -> Any:
        self._keep_up()
        return await super()._transact(exchange)

    def _keep_up(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._stay_connected())

    async def _stay_connected(self) -> None:
        while True:
            await self._down.wait()
            self._down.clear()
            while not self.health.connected:
                await asyncio.sleep(max(self._not_before - clock.monotonic(), FIRST_BACKOFF))
                with contextlib.suppress(NoReplyError):
                    await self.connect()

    async def _open(self) -> None:
        await self._close()  # what is left of a connection that was lost
        session = self._session = await self._connect(self.will)
        self._up, self._reader = True, asyncio.create_task(self._hear(session))
        try:
            for topic_filter in list(self._hearers):
                await session.subscribe(topic_filter)
            if self._reader.done():
                raise ConnectionError("lost as soon as it was there")
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        session, reader = self._session, self._reader
        self._session = self._reader = None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})
        if session is not None:
            await session.close()
        self._say_lost()

    async def _hear(self, session: Session) -> None:
        try:
            while True:
                self._deliver(await session.receive())
        except OSError as error:
            self.health.connected = False  # whoever needs it next opens it again, at the latest
            self._failed(error)
            self._say_lost()

    def _deliver(self, message: Message) -> None:
        self.log.received(_logged(message.topic, message.payload))
        self.health.last_reply = clock.now()
        for topic_filter, hearers in list(self._hearers.items()):
            if matches(topic_filter, message.topic):
                for hearer in hearers:
                    self._call(hearer, message.topic, message.payload, message.retained)

    def _say_lost(self) -> None:
        if self._up:
            self._up = False
            self._down.set()
            for callback in self._losers:
                self._call(callback)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - one driver's mistake must not deafen the others
            self.health.failures += 1
            self.health.last_error = explain(error)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter, with `+` for one level and `#` for the rest, covers a topic (MQTT 4.7)."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False  # the broker's own topics have to be asked for by name
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for i, want in enumerate(wanted):
        if want == "#":
            return True
        if i >= len(levels) or want not in ("+", levels[i]):
            return False
    return len(wanted) == len(levels)


def _check_topic(topic: str) -> None:
    if not topic or any(c in topic for c in "+#\0"):
        raise ConfigError(f"{topic!r} is no MQTT topic: not empty, without + and #; bench/SENSOR")


def _check_filter(topic_filter: str) -> None:
    levels = topic_filter.split("/")
    partly = any(c in level and level != c for level in levels for c in "+#")
    if not topic_filter or "\0" in topic_filter or partly or "#" in levels[:-1]:
        rule = "+ stands for one whole level, # for all that follow"
        raise ConfigError(f"{topic_filter!r} is no MQTT topic filter: {rule}; tele/+/SENSOR")


def _logged(topic: str, payload: bytes) -> bytes:
    return topic.encode() + b" " + payload[:LONGEST_LOGGED]
