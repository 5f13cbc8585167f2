"""The Sparkplug driver: payloads, order, deaths, writes, and what it says of itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd_async.core import NotConnectedError

from sdl import clock
from sdl.drivers.sparkplug import Sparkplug
from sdl.drivers.sparkplug.payload import (
    Metric,
    Raw,
    encode_command,
    parse_payload,
    parse_value,
)
from sdl.endpoints.mqtt import powered
from sdl.endpoints.mqtt_memory import MemoryBroker, MemorySession
from sdl.errors import ConfigError, GarbledError, NoReplyError, RefusedError, StaleError
from sdl.simulators.sparkplug import SimulatedSparkplug
from sdl.simulators.sparkplug.codec import encode, with_value
from sdl.wires.mqtt import MqttWire

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "sparkplug.yaml"
GOLDEN = yaml.safe_load(TRANSCRIPT.read_text())
METRICS: Any = {
    "level": {"type": "int", "units": "%"},
    "setpoint": {"writable": True, "units": "degC"},
    "start": {"type": "bool", "writable": True, "effect": "relative"},
}
LONG_AGO = 1_000_000


class Tank:
    level, setpoint, start = 5, 20.0, False


# Payloads


def test_googles_bytes_are_read_as_they_were_written() -> None:
    golden = GOLDEN["payloads"][0]
    payload = parse_payload("t", bytes.fromhex(golden["hex"]))
    assert (payload.timestamp, payload.seq) == (golden["timestamp"], golden["seq"])
    for name, (datatype, value) in golden["values"].items():
        metric = payload.value_of(name)
        assert metric is not None
        assert metric.datatype == datatype
        assert parse_value("t", metric, datatype) == value
    raw = payload.value_of("raw")
    assert raw is not None
    assert parse_value("t", raw, 17) == b"\x00\xff"


def test_aliases_nulls_and_history_are_read_as_google_wrote_them() -> None:
    golden = GOLDEN["payloads"][1]
    metrics = parse_payload("t", bytes.fromhex(golden["hex"])).metrics
    assert {each.alias: each.raw and each.raw.value for each in metrics} == golden["aliases"]
    null, historical, table = parse_payload(
        "t", bytes.fromhex(GOLDEN["payloads"][2]["hex"])
    ).metrics
    assert parse_value("t", null, 10) is None
    assert historical.is_historical
    assert table.raw is None


@pytest.mark.parametrize("case", GOLDEN["commands"], ids=lambda case: case["tag"])
def test_what_we_write_are_googles_bytes(case: dict[str, Any]) -> None:
    said = encode_command(
        1763760000000,
        case["value"],
        case["datatype"],
        name=case.get("name"),
        alias=case.get("alias"),
    )
    assert said.hex() == case["hex"]


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_a_damaged_payload_is_garbled_or_one_and_nothing_else(data: st.DataObject) -> None:
    golden = bytearray.fromhex(GOLDEN["payloads"][0]["hex"])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(golden) - 1))
        golden[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(golden)))
    try:
        payload = parse_payload("t", bytes(golden[:cut]))
        for metric in payload.metrics:
            parse_value("t", metric, metric.datatype or 0)
    except GarbledError:
        pass


@pytest.mark.parametrize(
    ("datatype", "raw", "value"),
    [
        (1, Raw(10, 251), -5),  # in its own 8 bits
        (1, Raw(10, 0xFFFFFFFB), -5),  # in 32, as Tahu for Java
        (1, Raw(10, 0x17F), None),
        (3, Raw(11, 2**64 - 5), -5),
        (7, Raw(11, 4_000_000_000), 4_000_000_000),  # Tahu for Java
        (7, Raw(11, 2**32), None),
        (9, Raw(13, 1.5), None),
        (11, Raw(10, 1), None),
        (12, Raw(16, b"x"), None),
    ],
)
def test_a_value_must_be_of_the_type_that_was_born(datatype: int, raw: Raw, value: object) -> None:
    if value is None:
        with pytest.raises(GarbledError):
            parse_value("t", Metric(name="x", raw=raw), datatype)
    else:
        assert parse_value("t", Metric(name="x", raw=raw), datatype) == value


# On a broker, with us as the node


class Node:
    """Says what it is told to, and hears what it is told."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session
        self.heard: list[str] = []
        self.answers = True
        self.bd_seq = self.seq = self.level = 0
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        await self._session.subscribe("spBv1.0/g/NCMD/n")
        while True:
            message = await self._session.receive()
            self.heard.append(message.topic)
            if self.answers:
                await self.be_born()

    async def be_born(self, *, bd_seq: int | None = None, **how: Any) -> None:
        self.bd_seq = self.bd_seq if bd_seq is None else bd_seq
        self.seq = 0
        metrics = [
            with_value({"name": "bdSeq", "datatype": 4}, self.bd_seq, "Int64"),
            with_value({"name": "level", "alias": 3, "datatype": 3}, self.level, "Int32"),
            with_value({"name": "setpoint", "alias": 4, "datatype": 10}, 20.0, "Double"),
            with_value({"name": "start", "alias": 5, "datatype": 11}, False, "Boolean"),
        ]
        await self.say("NBIRTH", metrics, **how)

    async def says_level(self, level: int, **how: Any) -> None:
        self.level = level
        await self.say("NDATA", [with_value({"alias": 3}, level, "Int32")], **how)

    async def die(self, bd_seq: int) -> None:
        metric = with_value({"name": "bdSeq", "datatype": 4}, bd_seq, "Int64")
        await self._session.publish("spBv1.0/g/NDEATH/n", encode({"metrics": [metric]}))

    async def say(
        self,
        kind: str,
        metrics: list[dict[str, Any]],
        *,
        at: float = 0.0,
        retain: bool = False,
        lost: bool = False,
        twice: bool = False,
    ) -> None:
        stamp = int(clock.now() * 1e3 + at * 1e3)
        payload = encode({"timestamp": stamp, "metrics": metrics, "seq": self.seq})
        self.seq = (self.seq + 1) % 256
        for _ in range(0 if lost else 2 if twice else 1):
            await self._session.publish(f"spBv1.0/g/{kind}/n", payload, retain=retain)
        await asyncio.sleep(0.01)


Story = Callable[[Sparkplug, Node, MemoryBroker], Awaitable[None]]


def with_node(story: Story, *, connected: bool = True, **options: Any) -> None:
    async def main() -> None:
        broker = MemoryBroker()
        wire = MqttWire("mqtt://broker", broker.connect, timeout=1.0)
        node = Node(await broker.connect())
        options.setdefault("metrics", METRICS)
        device = Sparkplug(wire, group="g", node="n", name="tank", **options)
        await asyncio.sleep(0.01)
        if connected:
            await device.connect()
        node.heard.clear()
        await story(device, node, broker)
        await wire.close()

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(main())


async def level(device: Any) -> int:
    return await device.level.get_value()


def test_data_by_alias_are_what_was_born_under_it() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        for n in range(600):  # the sequence number goes round twice
            await node.says_level(-n)
            assert await level(device) == -n
        assert node.heard == []

    with_node(story)


def test_a_message_that_was_missed_makes_all_stale_until_the_next_birth() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await asyncio.sleep(5)
        node.answers = False
        await node.says_level(7, lost=True)
        await node.say("NDATA", [with_value({"alias": 4}, 30.0, "Double")])
        with pytest.raises(StaleError, match="sequence number 2, not 1"):
            await level(device)
        assert await device.online.get_value() is False
        node.answers = True
        assert await level(device) == 7

    with_node(story)


def test_a_gap_is_asked_about_without_anybody_reading() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await asyncio.sleep(5)
        await node.says_level(7, lost=True)
        await node.says_level(8)
        await asyncio.sleep(0.1)
        assert node.heard == ["spBv1.0/g/NCMD/n"]
        assert await level(device) == 8

    with_node(story)


def test_what_comes_late_is_no_news_though_its_number_would_fit() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await asyncio.sleep(5)
        node.level = 9
        await node.be_born()
        node.answers = False
        await node.says_level(1, at=-3.0)  # held back somewhere since before that birth
        with pytest.raises(StaleError, match="a message of"):
            await level(device)

    with_node(story)


def test_a_birth_that_comes_late_is_no_news_either() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await node.says_level(9)
        node.answers = False
        node.level = 1
        await node.be_born(at=-3.0)
        with pytest.raises(StaleError, match="a birth of"):
            await level(device)

    with_node(story)


def test_a_message_that_comes_twice_is_taken_once() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await node.says_level(9, twice=True)
        await node.says_level(10)
        assert await level(device) == 10
        assert node.heard == []

    with_node(story)


def test_a_death_of_another_session_is_asked_about_and_one_of_this_is_believed() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await asyncio.sleep(5)
        await node.be_born(bd_seq=8)
        await node.die(7)
        await asyncio.sleep(0.1)
        assert await device.online.get_value() is True  # it was asked, and was born again
        assert len(node.heard) == 1
        node.answers = False
        await node.die(8)
        await asyncio.sleep(0.1)
        assert await device.online.get_value() is False
        with pytest.raises(StaleError, match="not born again in 1 s"):
            await level(device)

    with_node(story)


def test_silence_is_asked_about_after_max_age_and_a_message_proves_all_metrics() -> None:
    async def story(device: Any, node: Node, broker: MemoryBroker) -> None:
        for _ in range(5):
            await asyncio.sleep(8)
            await node.says_level(1)
            assert await device.setpoint.get_value() == 20.0
        assert node.heard == []
        await asyncio.sleep(11)
        assert await device.setpoint.get_value() == 20.0
        assert len(node.heard) == 1

    with_node(story, max_age=10.0)


def test_a_retained_birth_is_of_unknown_age_and_none() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        await node.be_born(retain=True)
        node.answers = False
        with pytest.raises(NotConnectedError):
            await device.connect(timeout=3)

    with_node(story, connected=False)


def test_a_name_that_was_not_born_is_said_with_those_that_were() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        with pytest.raises(NotConnectedError, match="it has: bdSeq, level, setpoint, start"):
            await device.connect(timeout=3)

    with_node(story, connected=False, metrics={"depth": {}})


def test_a_metric_of_another_type_has_no_value() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        with pytest.raises(NotConnectedError, match="no value of that type"):
            await device.connect(timeout=3)

    with_node(story, connected=False, metrics={"level": {"type": "bool"}})


def test_a_relative_write_is_sent_once_and_an_absolute_one_again() -> None:
    async def story(device: Any, node: Node, broker: MemoryBroker) -> None:
        def written() -> int:
            sent = [each.data for each in device.wire.log if each.direction == "sent"]
            return sum(b"Rebirth" not in data for data in sent)

        with pytest.raises(NoReplyError, match="write True to start: it says False"):
            await device.start.set(True)
        assert written() == 1
        with pytest.raises(NoReplyError, match=r"write 30\.0 to setpoint: it says 20\.0"):
            await device.setpoint.set(30.0)
        assert written() == 3

    with_node(story)


def test_what_the_metric_cannot_hold_is_refused_before_it_is_sent() -> None:
    async def story(device: Any, node: Node, broker: MemoryBroker) -> None:
        with pytest.raises(RefusedError, match="datatype 3; nothing was sent"):
            await device.level.set(2**40)
        assert node.heard == []

    with_node(story, metrics={"level": {"type": "int", "writable": True}})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics": {}}, "none; name those to read"),
        ({"metrics": {"set": {}, "stop": {}}}, "'stop' cannot be the name"),
        ({"metrics": {"a": {"metrik": "b"}}}, r"a\.metrik"),
        ({"metrics": {"a": {"metric": "b"}, "b": {}}}, "two signals"),
        ({"metrics": METRICS, "safe": {"level": 0}}, "no such signal that is writable"),
        ({"metrics": METRICS, "device": "a/b"}, r"device='a/b'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    wire = MqttWire("mqtt://broker", MemoryBroker().connect)
    with pytest.raises(ConfigError, match=said):
        Sparkplug(wire, group="g", node="n", **options)


# What the host says of itself


def test_a_node_that_waits_for_its_host_is_born_when_we_come_and_dies_when_we_go() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        tank = Tank()
        simulator = SimulatedSparkplug(
            tank,
            rng=np.random.default_rng(1),
            group="g",
            node="n",
            metrics=METRICS,
            primary_host="sdl",
        )
        wire = MqttWire("mqtt://broker", broker.connect, timeout=1.0)
        device: Any = Sparkplug(wire, group="g", node="n", metrics=METRICS, host_id="sdl")
        async with powered([simulator], broker.connect, wire.url):
            await asyncio.sleep(30)
            said: list[Any] = []
            ears = MqttWire("mqtt://broker", broker.connect)
            await ears.subscribe("spBv1.0/#", lambda *message: said.append(message))
            assert said == []
            await device.connect()
            assert await device.level.get_value() == 5
            states = [json.loads(p) for t, p, _ in said if t == "spBv1.0/STATE/sdl"]
            assert [state["online"] for state in states] == [True]
            assert wire._session is not None
            await wire._session.drop()  # our power fails
            await asyncio.sleep(0.5)
            states = [json.loads(p) for t, p, _ in said if t == "spBv1.0/STATE/sdl"]
            assert states[1] == {"online": False, "timestamp": states[0]["timestamp"]}
            assert "spBv1.0/g/NDEATH/n" in [topic for topic, _, _ in said]
            await ears.close()
        await wire.close()

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(main())


def test_when_the_connection_is_back_we_say_again_that_we_are_there() -> None:
    async def story(device: Sparkplug, node: Node, broker: MemoryBroker) -> None:
        broker.stop()
        await asyncio.sleep(5)
        broker.start()
        await asyncio.sleep(15)
        with pytest.raises(StaleError):  # the node's own session is gone
            await level(device)
        (state,) = broker.retained("spBv1.0/STATE/sdl")
        assert json.loads(state.payload)["online"] is True

    with_node(story, host_id="sdl")
