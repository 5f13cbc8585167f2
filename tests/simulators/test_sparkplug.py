"""The simulated Sparkplug node: Google's bytes, its order, its deaths; without our driver."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl import clock
from sdl.endpoints.mqtt import powered
from sdl.endpoints.mqtt_memory import MemoryBroker
from sdl.simulators.sparkplug import SimulatedSparkplug
from sdl.simulators.sparkplug.codec import DATATYPES, decode, encode, value_of, with_value

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "sparkplug.yaml"
GOLDEN = yaml.safe_load(TRANSCRIPT.read_text())
NAMES = {code: name for name, (code, _, _) in DATATYPES.items()}


class Tank:
    level, valve = 5, False


METRICS: Any = {"level": {"type": "int"}, "valve": {"type": "bool", "writable": True}}


def test_googles_bytes_are_read_and_written() -> None:
    golden = GOLDEN["payloads"][0]
    data = bytes.fromhex(golden["hex"])
    found = decode(data)
    assert encode(found) == data
    values = {each["name"]: value_of(each, NAMES[each["datatype"]]) for each in found["metrics"]}
    assert values.pop("raw") == b"\x00\xff"
    assert values == {name: value for name, (_, value) in golden["values"].items()}
    for (code, value), metric in zip(golden["values"].values(), found["metrics"], strict=False):
        assert with_value(metric, value, NAMES[code]) == metric


@given(st.binary(max_size=60))
@settings(max_examples=500, deadline=None)
def test_what_is_no_payload_is_an_error_of_its_kind(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(data)


def test_it_lives_as_the_specification_says() -> None:
    async def main() -> None:
        broker, tank = MemoryBroker(), Tank()
        node = SimulatedSparkplug(
            tank, rng=np.random.default_rng(1), group="g", node="n", device="d", metrics=METRICS
        )
        host = await broker.connect()
        await host.subscribe("spBv1.0/#")
        said: list[tuple[str, dict[str, Any]]] = []

        async def listen() -> None:
            while True:
                message = await host.receive()
                if "CMD" not in message.topic:
                    said.append((message.topic.split("/")[2], decode(message.payload)))

        task = asyncio.create_task(listen())
        async with powered([node], broker.connect, "mqtt://broker"):
            tank.level = 6
            await asyncio.sleep(1.5)
            command = {"metrics": [{"alias": 1, "boolean_value": 1}, {"alias": 0, "int_value": 9}]}
            await host.publish("spBv1.0/g/DCMD/n/d", encode(command))
            await host.publish("spBv1.0/g/DCMD/n/d", b"\xff\xff")  # is passed over
            await asyncio.sleep(1.5)
            assert (tank.valve, tank.level) == (True, 6)  # a level cannot be written
            rebirth = {"metrics": [{"name": "Node Control/Rebirth", "boolean_value": 1}]}
            await host.publish("spBv1.0/g/NCMD/n", encode(rebirth))
            await asyncio.sleep(1.5)
            node.begin("power cycle")
            await asyncio.sleep(2)
        task.cancel()
        kinds = ["NBIRTH", "DBIRTH", "DDATA", "DDATA", "NBIRTH", "DBIRTH", "NDEATH", "NBIRTH"]
        assert [kind for kind, _ in said[:8]] == kinds
        assert [payload.get("seq") for _, payload in said[:8]] == [0, 1, 2, 3, 0, 1, None, 0]
        metrics = [metric for _, payload in said for metric in payload["metrics"]]
        bd_seqs = [each["long_value"] for each in metrics if each.get("name") == "bdSeq"]
        assert bd_seqs[:4] == [0, 0, 0, 1]
        assert said[2][1]["metrics"][0].keys() == {"alias", "timestamp", "int_value"}

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(main())


@pytest.mark.parametrize("aliases", [True, False])
def test_data_carry_aliases_or_names(aliases: bool) -> None:
    async def main() -> None:
        rng = np.random.default_rng(1)
        node = SimulatedSparkplug(
            Tank(), rng=rng, group="g", node="n", metrics=METRICS, aliases=aliases
        )
        node._birth()
        assert ("name" in node._metric("level")) is not aliases

    asyncio.run(main())
