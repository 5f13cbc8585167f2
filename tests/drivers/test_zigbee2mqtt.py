"""The Zigbee drivers against what the documentation says, and through their simulator."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdl import clock
from sdl.drivers.zigbee2mqtt import ZigbeePlug, ZigbeeSensor, messages
from sdl.endpoints.mqtt import powered
from sdl.endpoints.mqtt_memory import MemoryBroker, MemorySession
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, StaleError
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.parts.room import Room
from sdl.simulators.zigbee2mqtt import SimulatedZigbee2Mqtt
from sdl.testing import StillWorld
from sdl.wires.mqtt import MqttWire

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "zigbee2mqtt.yaml"
GOLDEN = yaml.safe_load(TRANSCRIPT.read_text(encoding="utf-8"))
DEVICES = GOLDEN["devices"]["payload"].encode()
BASE = "zigbee2mqtt"


def on_broker(story: Callable[[MemoryBroker, MqttWire], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = MemoryBroker()
        wire = MqttWire("mqtt://broker", broker.connect, timeout=1.0)
        await story(broker, wire)
        await wire.close()

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(main())


async def bridge(broker: MemoryBroker) -> MemorySession:
    """Be a bridge that has said what it says at its start."""
    session = await broker.connect()
    await session.publish(f"{BASE}/bridge/state", b'{"state":"online"}', retain=True)
    await session.publish(f"{BASE}/bridge/devices", DEVICES, retain=True)
    return session


@pytest.mark.parametrize("case", GOLDEN["online"], ids=lambda case: case["payload"])
def test_availability_is_understood_in_both_its_forms(case: dict[str, Any]) -> None:
    assert messages.parse_online("t", case["payload"].encode()) is case["is"]


@pytest.mark.parametrize("case", GOLDEN["no_online"], ids=lambda case: case["tag"])
def test_what_is_no_availability_is_garbled(case: dict[str, Any]) -> None:
    with pytest.raises(GarbledError):
        messages.parse_online("t", case["payload"].encode())


@pytest.mark.parametrize("case", GOLDEN["values"], ids=lambda case: case["tag"])
def test_states_are_read_in_our_units(case: dict[str, Any]) -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        session = await bridge(broker)
        sensor = ZigbeeSensor(wire, friendly_name="my_sensor", exposes=list(case["is"]), name="s")
        await sensor.connect()
        await session.publish(f"{BASE}/my_sensor", case["payload"].encode())
        await asyncio.sleep(0.1)
        for name, value in case["is"].items():
            assert await getattr(sensor, name).get_value() == pytest.approx(value)

    on_broker(story)


@pytest.mark.parametrize("case", GOLDEN["no_values"], ids=lambda case: case["tag"])
def test_what_is_no_value_never_becomes_one_and_stands_in_the_health(case: dict[str, Any]) -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        session = await bridge(broker)
        sensor = ZigbeeSensor(wire, friendly_name="my_sensor", name="s")
        await sensor.connect()
        await session.publish(f"{BASE}/my_sensor", case["payload"].encode())
        await asyncio.sleep(0.1)
        assert wire.health.failures == 1
        with pytest.raises(StaleError, match="reports when it likes"):
            await sensor.temperature.get_value()

    on_broker(story)


def test_what_the_device_does_not_have_is_said_with_what_it_has() -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        await bridge(broker)
        cases = {
            "my_plug": (ConfigError, "exposes state, power, energy, linkquality, and no temp"),
            "my_puzzle": (NoReplyError, "bridge/devices does not know it in 1 s"),
            "nobody": (NoReplyError, "bridge/devices does not know it in 1 s"),
        }
        for name, (error, said) in cases.items():
            with pytest.raises(error, match=said):
                await ZigbeeSensor(wire, friendly_name=name, name="s").connect()

    on_broker(story)


def test_options_that_make_no_sense_are_refused() -> None:
    wire = MqttWire("mqtt://broker", MemoryBroker().connect)
    with pytest.raises(ConfigError, match=r"exposes=\['heat'\]; known are temperature"):
        ZigbeeSensor(wire, friendly_name="x", exposes=["heat"])
    with pytest.raises(ConfigError, match="friendly_name='#'"):
        ZigbeeSensor(wire, friendly_name="#")
    with pytest.raises(ConfigError, match="allowed are off, on, keep"):
        ZigbeePlug(wire, friendly_name="x", safe="hot")  # type: ignore[arg-type]


def test_a_retained_state_and_one_of_a_device_long_unseen_are_no_values() -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        session = await bridge(broker)
        await session.publish(f"{BASE}/my_sensor", b'{"temperature":20}', retain=True)
        sensor = ZigbeeSensor(wire, friendly_name="my_sensor", max_age=600.0, name="s")
        await sensor.connect()
        await asyncio.sleep(2000)  # since 2000-01-01
        for seen in ("2000-01-01T00:00:00Z", 946684800000):
            state = json.dumps({"temperature": 21, "last_seen": seen})
            await session.publish(f"{BASE}/my_sensor", state.encode())
            await asyncio.sleep(0.1)
            with pytest.raises(StaleError):
                await sensor.temperature.get_value()
        state = '{"temperature":22,"last_seen":"2000-01-01T00:30:00Z"}'
        await session.publish(f"{BASE}/my_sensor", state.encode())
        await asyncio.sleep(0.1)
        assert await sensor.temperature.get_value() == 22.0

    on_broker(story)


@pytest.mark.parametrize("topic", ["my_sensor/availability", "bridge/state"])
def test_when_it_or_its_bridge_is_gone_its_values_are(topic: str) -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        session = await bridge(broker)
        sensor = ZigbeeSensor(wire, friendly_name="my_sensor", name="s")
        await sensor.connect()
        await session.publish(f"{BASE}/my_sensor", b'{"temperature":20,"humidity":40}')
        await session.publish(f"{BASE}/{topic}", b'{"state":"offline"}', retain=True)
        await asyncio.sleep(0.1)
        assert await sensor.online.get_value() is False
        with pytest.raises(StaleError):
            await sensor.temperature.get_value()

    on_broker(story)


def with_plug(
    story: Callable[[ZigbeePlug, Outlet, SimulatedZigbee2Mqtt], Awaitable[None]], **options: Any
) -> None:
    async def whole(broker: MemoryBroker, wire: MqttWire) -> None:
        outlet = Outlet(StillWorld(), watts=1000.0)
        rng = np.random.default_rng(1)
        simulator = SimulatedZigbee2Mqtt(outlet, rng=rng, friendly_name="heater")
        plug = ZigbeePlug(wire, friendly_name="heater", exposes=["power"], name="plug", **options)
        async with powered([simulator], broker.connect, wire.url):
            await plug.connect()
            await story(plug, outlet, simulator)

    on_broker(whole)


def test_a_plug_that_does_not_acknowledge_is_an_error_with_the_bridges_reason() -> None:
    async def story(plug: ZigbeePlug, outlet: Outlet, simulator: SimulatedZigbee2Mqtt) -> None:
        simulator.begin("busy")
        with pytest.raises(NoReplyError, match=r"switch on: .*'heater' failed: .*no response"):
            await plug.set(True)
        assert not outlet.on
        simulator.end("busy")
        await plug.set(True)
        assert outlet.on
        await asyncio.sleep(15)
        assert await plug.power.get_value() == pytest.approx(1000, abs=1)

    with_plug(story)


def test_a_state_that_stays_as_it_was_is_a_fault() -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        session = await bridge(broker)
        await session.subscribe(f"{BASE}/my_plug/+")

        async def stubborn() -> None:
            while True:
                await session.receive()
                await session.publish(f"{BASE}/my_plug", b'{"state":"OFF"}')

        task = asyncio.create_task(stubborn())
        plug = ZigbeePlug(wire, friendly_name="my_plug", name="plug")
        await plug.connect()
        with pytest.raises(FaultError, match="switch on: my_plug is said to be as it was"):
            await plug.set(True)
        task.cancel()

    on_broker(story)


@pytest.mark.parametrize(("safe", "was", "then"), [("off", 1, 0), ("on", 0, 1), ("keep", 1, 1)])
def test_what_is_safe_is_the_labs_to_say(safe: str, was: int, then: int) -> None:
    async def story(plug: ZigbeePlug, outlet: Outlet, simulator: SimulatedZigbee2Mqtt) -> None:
        await plug.set(bool(was))
        await plug.make_safe()
        assert outlet.on is bool(then)

    with_plug(story, safe=safe)


def test_several_devices_are_one_bridge() -> None:
    async def story(broker: MemoryBroker, wire: MqttWire) -> None:
        parts = {"heater": Outlet(StillWorld()), "air": Room(StillWorld())}
        devices = [
            SimulatedZigbee2Mqtt(part, rng=np.random.default_rng(n), friendly_name=name)
            for n, (name, part) in enumerate(parts.items())
        ]
        async with powered(devices, broker.connect, wire.url):
            plug = ZigbeePlug(wire, friendly_name="heater", name="plug")
            sensor = ZigbeeSensor(wire, friendly_name="air", name="air")
            await asyncio.gather(plug.connect(), sensor.connect())
            (said,) = broker.retained(f"{BASE}/bridge/devices")
            names = [each["friendly_name"] for each in json.loads(said.payload)]
            assert sorted(names) == ["Coordinator", "air", "heater"]

    on_broker(story)
