"""The MQTT wire, on a broker in memory and virtual time, and on sockets that misbehave."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from sdl import clock
from sdl.endpoints.mqtt_memory import MemoryBroker
from sdl.errors import ConfigError, NoReplyError, RefusedError
from sdl.wires.mqtt import MqttWire, matches, wire
from sdl.wires.mqtt_session import BrokerAddress, Message, QoS, Will
from sdl.wires.urls import open_wire

Heard = list[tuple[str, bytes, bool]]


class MutedSession:
    """A session whose broker has stopped acknowledging."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = asyncio.Event()

    async def subscribe(self, topic_filter: str) -> None:
        if topic_filter.startswith("secret"):
            raise PermissionError(f"not {topic_filter}")

    async def publish(
        self, topic: str, payload: bytes, *, qos: QoS = 1, retain: bool = False
    ) -> None:
        self.asked.append(topic)
        await asyncio.Event().wait()

    async def receive(self) -> Message:
        await self.closed.wait()
        raise ConnectionResetError

    async def close(self) -> None:
        self.closed.set()

    async def drop(self) -> None:
        await self.close()


class MutedBroker:
    def __init__(self) -> None:
        self.sessions: list[MutedSession] = []

    async def __call__(self, will: Will | None = None) -> MutedSession:
        self.sessions.append(MutedSession())
        return self.sessions[-1]


def run(test: Callable[[], Awaitable[None]], speed: clock.Speed = "virtual") -> None:
    async def whole() -> None:
        await test()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"

    with asyncio.Runner(loop_factory=lambda: clock.new_loop(speed)) as runner:
        runner.run(whole())


def listen(heard: Heard) -> Callable[[str, bytes, bool], None]:
    return lambda topic, payload, retained: heard.append((topic, payload, retained))


@pytest.mark.parametrize(
    ("topic_filter", "topic", "covered"),
    [
        ("tele/bench/SENSOR", "tele/bench/SENSOR", True),
        ("tele/bench/SENSOR", "tele/bench/sensor", False),
        ("tele/+/SENSOR", "tele/bench/SENSOR", True),
        ("tele/+/SENSOR", "tele/a/b/SENSOR", False),
        ("tele/#", "tele", True),
        ("tele/#", "tele/a/b", True),
        ("tele/+", "tele", False),
        ("+/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "a/b", True),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
    ],
)
def test_a_filter_covers_what_the_standard_says(topic_filter: str, topic: str, covered: bool):
    assert matches(topic_filter, topic) is covered


def test_what_the_broker_had_retained_is_marked_and_what_comes_live_is_not():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        mqtt = MqttWire("mqtt://broker", broker.connect)
        await mqtt.publish("a/b", "old", retain=True)
        await mqtt.subscribe("a/+", listen(heard))
        await mqtt.publish("a/b", b"new", retain=True)
        await asyncio.sleep(0.1)
        assert heard == [("a/b", b"old", True), ("a/b", b"new", False)]
        assert [entry.direction for entry in mqtt.log] == ["sent", "received", "sent", "received"]
        await mqtt.close()

    run(test)


def test_a_lost_connection_comes_back_unasked_with_all_that_was_subscribed():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        mqtt = MqttWire("mqtt://broker", broker.connect)
        await mqtt.subscribe("a", listen(heard))
        await mqtt.subscribe("b", listen(heard))
        broker.stop()
        await asyncio.sleep(100)
        assert not mqtt.health.connected
        broker.start()
        await asyncio.sleep(11)  # the longest back-off is 10 s
        assert mqtt.health.connected
        assert mqtt.health.connections == 2
        other = await broker.connect()
        await other.publish("a", b"1")
        await other.publish("b", b"2")
        await asyncio.sleep(0.1)
        assert heard == [("a", b"1", False), ("b", b"2", False)]
        await mqtt.close()

    run(test)


def test_attempts_to_come_back_are_ever_further_apart_but_never_more_than_ten_seconds():
    async def test() -> None:
        broker, attempts = MemoryBroker(), []

        async def connect(will: Will | None = None):
            attempts.append(clock.monotonic())
            return await broker.connect(will)

        mqtt = MqttWire("mqtt://broker", connect)
        await mqtt.connect()
        broker.stop()
        await asyncio.sleep(60)
        gaps = [b - a for a, b in pairwise(attempts[1:])]
        assert gaps[0] < 0.5
        assert max(gaps) == pytest.approx(10, abs=0.2)
        assert len(gaps) < 15
        await mqtt.close()

    run(test)


def test_whoever_wants_to_know_is_told_once_of_each_loss_and_of_closing():
    async def test() -> None:
        broker, losses = MemoryBroker(), []
        mqtt = MqttWire("mqtt://broker", broker.connect)
        mqtt.on_lost(lambda: losses.append(clock.monotonic()))
        await mqtt.connect()
        broker.stop()
        await asyncio.sleep(5)
        assert len(losses) == 1
        broker.start()
        await asyncio.sleep(11)
        await mqtt.close()
        await mqtt.close()
        assert len(losses) == 2

    run(test)


def test_a_hearer_that_raises_stands_in_the_health_and_deafens_nobody():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        mqtt = MqttWire("mqtt://broker", broker.connect)

        def broken(topic: str, payload: bytes, retained: bool) -> None:
            raise KeyError("my mistake")

        await mqtt.subscribe("a", broken)
        await mqtt.subscribe("#", listen(heard))
        for _ in range(2):
            await mqtt.publish("a", "x")
        await asyncio.sleep(0.1)
        assert len(heard) == 2
        assert mqtt.health.failures == 2
        assert "KeyError: 'my mistake'" in (mqtt.health.last_error or "")
        await mqtt.close()

    run(test)


def test_subscribing_twice_hears_each_message_once():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        mqtt, hearer = MqttWire("mqtt://broker", broker.connect), listen(heard)
        await mqtt.subscribe("a", hearer)
        await mqtt.subscribe("a", hearer)
        await mqtt.publish("a", "x")
        await asyncio.sleep(0.1)
        assert len(heard) == 1
        await mqtt.close()

    run(test)


def test_a_publish_that_is_not_acknowledged_is_no_reply_and_the_connection_is_opened_anew():
    async def test() -> None:
        broker = MutedBroker()
        mqtt = MqttWire("mqtt://broker", broker, timeout=2.0)
        start = clock.monotonic()
        with pytest.raises(NoReplyError, match="a/b: not acknowledged in 2 s"):
            await mqtt.publish("a/b", "x")
        assert clock.monotonic() - start == pytest.approx(2.0)
        await asyncio.sleep(1)
        assert [session.asked for session in broker.sessions] == [["a/b"], []]  # never sent again
        await mqtt.close()

    run(test)


def test_a_publish_fails_at_once_when_the_connection_is_lost_meanwhile():
    async def test() -> None:
        broker = MutedBroker()
        mqtt = MqttWire("mqtt://broker", broker, timeout=5.0)
        publishing = asyncio.create_task(mqtt.publish("a", "x"))
        await asyncio.sleep(0.1)
        broker.sessions[0].closed.set()
        with pytest.raises(NoReplyError, match="lost before a was acknowledged"):
            await publishing
        assert clock.monotonic() < 0.2
        await mqtt.close()

    run(test)


def test_one_publish_at_a_time_and_a_cancelled_caller_leaves_the_wire_in_order():
    async def test() -> None:
        broker = MutedBroker()
        mqtt = MqttWire("mqtt://broker", broker, timeout=2.0)
        first = asyncio.create_task(mqtt.publish("first", "x"))
        second = asyncio.create_task(mqtt.publish("second", "x"))
        await asyncio.sleep(0.5)
        assert broker.sessions[0].asked == ["first"]
        first.cancel()
        await asyncio.sleep(0.5)
        assert broker.sessions[0].asked == ["first"]  # its exchange goes on to its end
        with pytest.raises(NoReplyError):
            await second
        assert broker.sessions[1].asked == ["second"]
        await mqtt.close()

    run(test)


def test_a_subscription_that_is_refused_says_so_and_is_not_tried_again_for_ever():
    async def test() -> None:
        broker = MutedBroker()
        mqtt = MqttWire("mqtt://broker", broker)
        with pytest.raises(RefusedError, match="secret/plans"):
            await mqtt.subscribe("secret/plans", listen([]))
        await mqtt.close()
        await mqtt.connect()  # would fail if it subscribed that again
        await mqtt.close()

    run(test)


def test_a_subscription_that_failed_is_not_kept():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        mqtt = MqttWire("mqtt://broker", broker.connect)
        broker.stop()
        with pytest.raises(NoReplyError, match="the broker is stopped"):
            await mqtt.subscribe("a", listen(heard))
        broker.start()
        await mqtt.publish("a", "x")
        await asyncio.sleep(0.1)
        assert heard == []
        await mqtt.close()

    run(test)


def test_a_closed_wire_stays_closed_until_it_is_used():
    async def test() -> None:
        broker = MemoryBroker()
        mqtt = MqttWire("mqtt://broker", broker.connect)
        mqtt.post("a", "x")
        await mqtt.close()
        await asyncio.sleep(30)
        assert not mqtt.health.connected
        await mqtt.publish("a", "y")
        assert mqtt.health.connected
        await mqtt.close()

    run(test)


def test_what_is_posted_from_a_hearer_is_published():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        mqtt = MqttWire("mqtt://broker", broker.connect)
        await mqtt.subscribe("ping", lambda *_: mqtt.post("pong", "!"))
        await mqtt.subscribe("pong", listen(heard))
        await mqtt.publish("ping", "?")
        await asyncio.sleep(0.1)
        assert heard == [("pong", b"!", False)]
        await mqtt.close()

    run(test)


def test_the_will_is_published_when_a_wire_is_gone_but_not_when_it_says_goodbye():
    async def test() -> None:
        broker, heard = MemoryBroker(), Heard()
        will = Will("lab/state", b"gone", retain=True)
        mqtt = MqttWire("mqtt://broker", broker.connect, will=will)
        other = MqttWire("mqtt://broker", broker.connect)
        await other.subscribe("lab/#", listen(heard))
        await mqtt.connect()
        await mqtt.close()
        await asyncio.sleep(0.1)
        assert heard == []
        session = await broker.connect(will)
        await session.drop()
        await asyncio.sleep(0.1)
        assert heard == [("lab/state", b"gone", False)]
        await other.close()

    run(test)


def test_a_broker_in_memory_gives_a_message_once_however_many_filters_cover_it():
    async def test() -> None:
        broker = MemoryBroker()
        session = await broker.connect()
        await session.subscribe("a/#")
        await session.subscribe("a/b")
        await session.publish("a/b", b"1")
        await session.publish("a/b", b"2")
        assert [(await session.receive()).payload for _ in range(2)] == [b"1", b"2"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await session.receive()

    run(test)


def test_an_empty_retained_message_clears_what_was_retained():
    async def test() -> None:
        broker = MemoryBroker()
        session = await broker.connect()
        await session.publish("a", b"1", retain=True)
        await session.publish("a", b"", retain=True)
        assert broker.retained("a") == []

    run(test)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b"])
def test_nothing_is_published_on_what_is_no_topic(topic: str):
    async def test() -> None:
        mqtt = MqttWire("mqtt://broker", MemoryBroker().connect)
        with pytest.raises(ConfigError, match="no MQTT topic"):
            await mqtt.publish(topic, "x")
        assert not mqtt.health.connected

    run(test)


@pytest.mark.parametrize("topic_filter", ["", "a/b+", "a/#/b", "#a"])
def test_nothing_is_subscribed_that_is_no_filter(topic_filter: str):
    async def test() -> None:
        mqtt = MqttWire("mqtt://broker", MemoryBroker().connect)
        with pytest.raises(ConfigError, match="no MQTT topic filter"):
            await mqtt.subscribe(topic_filter, listen([]))

    run(test)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://", "no host"),
        ("mqtt://broker:99999", "port '99999'"),
        ("mqtt://broker/topic", "'/topic'"),
        ("mqtt://broker?keepalive=0", "keepalive"),
        ("mqtt://broker?client_id=", "client_id must be a name"),
        ("mqtt://broker?qos=1", "unknown option 'qos'"),
        ("http://broker", "mqtt://"),
    ],
)
def test_a_wrong_url_gets_one_clear_message(url: str, said: str):
    with pytest.raises(ConfigError) as caught:
        wire(url)
    assert said in str(caught.value)
    assert "for example" in str(caught.value)


def test_a_url_says_who_we_are_and_its_password_is_shown_nowhere():
    url = "mqtt://lab:geh%40im@broker?client_id=bench&keepalive=30"
    address = BrokerAddress.of(url)
    assert (address.host, address.port, address.user) == ("broker", 1883, "lab")
    assert (address.password, address.client_id, address.keepalive) == ("geh@im", "bench", 30)
    opened = open_wire(url)
    assert isinstance(opened, MqttWire)
    assert "geh" not in repr(opened) + opened.url + repr(address)


def test_a_port_that_takes_connections_and_never_speaks_is_given_up_in_time():
    async def test() -> None:
        gone = asyncio.Event()

        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(100):
                pass
            writer.close()
            gone.set()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        mqtt = wire(f"mqtt://127.0.0.1:{port}", timeout=0.2)
        with pytest.raises(NoReplyError, match="cannot connect"):
            await mqtt.connect()
        async with asyncio.timeout(1):
            await gone.wait()  # our socket is closed, not left to its keep-alive
        await mqtt.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)

    run(test, 1.0)


def test_nobody_at_the_port_is_no_reply():
    async def test() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        mqtt = wire(f"mqtt://127.0.0.1:{port}")
        with pytest.raises(NoReplyError, match="refused"):
            await mqtt.connect()
        await mqtt.close()

    run(test, 1.0)
