"""The simulated Zigbee2MQTT against its documentation, without our driver."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl import clock
from sdl.endpoints.mqtt import powered
from sdl.endpoints.mqtt_memory import MemoryBroker, MemorySession
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.parts.room import Room
from sdl.simulators.zigbee2mqtt import SimulatedZigbee2Mqtt
from sdl.testing import StillWorld


class Ears:
    """All that is said on the broker."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session
        self.heard: list[tuple[str, Any]] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        await self._session.subscribe("zigbee2mqtt/#")
        while True:
            message = await self._session.receive()
            topic = message.topic.removeprefix("zigbee2mqtt/")
            if not topic.startswith(("it/set", "it/get", "bridge/request")):
                self.heard.append((topic, json.loads(message.payload)))

    async def tell(self, topic: str, payload: str) -> list[tuple[str, Any]]:
        """Say something; return what is said within a second."""
        self.heard.clear()
        await self._session.publish(f"zigbee2mqtt/{topic}", payload.encode())
        await asyncio.sleep(1)
        return list(self.heard)


def run(part: Any, story: Callable[[Ears, SimulatedZigbee2Mqtt], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = MemoryBroker()
        simulator = SimulatedZigbee2Mqtt(
            part(StillWorld()), rng=np.random.default_rng(1), friendly_name="it", noise=False
        )
        ears = Ears(await broker.connect())
        async with powered([simulator], broker.connect, "mqtt://broker"):
            await asyncio.sleep(0.1)
            await story(ears, simulator)
        ears.task.cancel()

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    ("topic", "payload", "state"),
    [
        ("it/set", '{"state":"ON"}', "ON"),
        ("it/set", '{"state":"toggle"}', "ON"),
        ("it/set", "on", "ON"),
        ("it/set/state", "ON", "ON"),
        ("it/get", '{"state":""}', "OFF"),
        ("it/get/state", "", "OFF"),
    ],
)
def test_a_plug_is_set_and_read_in_every_documented_way(
    topic: str, payload: str, state: str
) -> None:
    async def story(ears: Ears, simulator: SimulatedZigbee2Mqtt) -> None:
        said = await ears.tell(topic, payload)
        assert said[0][0] == "it"
        assert said[0][1]["state"] == state

    run(Outlet, story)


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        ("it/set", "{", "Invalid message"),
        ("it/set", '{"power":5}', "No converter available for 'power'"),
        ("it/get", '{"colour":""}', "No converter available for 'colour'"),
        ("it/set", '{"state":"UP"}', "failed: 'UP'"),
    ],
)
def test_what_cannot_be_done_is_logged_and_not_done(topic: str, payload: str, said: str) -> None:
    async def story(ears: Ears, simulator: SimulatedZigbee2Mqtt) -> None:
        ((where, message),) = await ears.tell(topic, payload)
        assert where == "bridge/logging"
        assert message["level"] == "error"
        assert said in message["message"]

    run(Outlet, story)


def test_a_sensor_reports_what_has_changed_and_cannot_be_read() -> None:
    async def story(ears: Ears, simulator: SimulatedZigbee2Mqtt) -> None:
        await asyncio.sleep(11)
        assert await ears.tell("it/get", '{"temperature":""}') != []
        ears.heard.clear()
        await asyncio.sleep(600)
        assert ears.heard == []
        simulator._part.temperature += 0.05  # less than it reports
        await asyncio.sleep(20)
        assert ears.heard == []
        simulator._part.temperature += 1
        await asyncio.sleep(10)
        ((topic, state),) = ears.heard
        assert topic == "it"
        assert state["temperature"] == pytest.approx(23.05)
        assert state["pressure"] == pytest.approx(1013.2, abs=0.1)

    run(Room, story)


def test_a_device_without_power_is_offline_until_it_is_back() -> None:
    async def story(ears: Ears, simulator: SimulatedZigbee2Mqtt) -> None:
        ears.heard.clear()
        simulator.begin("power cycle")
        await asyncio.sleep(5)
        words = [said["state"] for topic, said in ears.heard if topic == "it/availability"]
        assert words == ["offline", "online"]

    run(Outlet, story)


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_nothing_that_is_said_to_it_ends_it(topic: str, payload: str) -> None:
    async def story(ears: Ears, simulator: SimulatedZigbee2Mqtt) -> None:
        for where in (f"it/set/{topic}", f"it/get{topic}", f"bridge/request/{topic}", "it/set"):
            await ears.tell(where, payload)
        await ears.tell("bridge/devices", "[{}]")
        assert (await ears.tell("it/get", '{"state":""}'))[-1][0] == "it"

    run(Outlet, story)
