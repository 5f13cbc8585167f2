"""Mosquitto's clients as a person uses them: for our plugs and sensors, and in their place."""

import asyncio
import json
from pathlib import Path

import numpy as np

from sdl.drivers.tasmota import TasmotaSwitch
from sdl.drivers.zigbee2mqtt import ZigbeePlug
from sdl.endpoints.mqtt import serve
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.simulators.zigbee2mqtt import SimulatedZigbee2Mqtt
from sdl.testing import StillWorld
from sdl.wires.mqtt import wire
from tests.peers.test_mosquitto import Mosquitto, heard, publish, pytestmark, run, until

__all__ = ["pytestmark"]

BASE = "zigbee2mqtt"
DEVICES = [
    {
        "ieee_address": "0x00158d00018255df",
        "friendly_name": "my_plug",
        "definition": {
            "model": "ZNCZ02LM",
            "vendor": "Xiaomi",
            "exposes": [
                {
                    "type": "switch",
                    "features": [
                        {
                            "type": "binary",
                            "property": "state",
                            "access": 7,
                            "value_on": "ON",
                            "value_off": "OFF",
                        }
                    ],
                }
            ],
        },
    }
]


def test_mosquitto_switches_our_plugs_and_hears_what_they_say(tmp_path: Path) -> None:
    async def story(broker: Mosquitto) -> None:
        rng, outlets = np.random.default_rng(1), [Outlet(StillWorld()) for _ in range(2)]
        boards = [
            SimulatedTasmota(outlets[0], rng=rng, topic="plug"),
            SimulatedZigbee2Mqtt(outlets[1], rng=rng, friendly_name="heater"),
        ]
        async with serve(broker.url, boards) as url:
            async with heard(url, "stat/plug/RESULT") as answer:
                await publish(url, "cmnd/plug/Power", "ON")
                assert await answer() == ['stat/plug/RESULT 0 {"POWER":"ON"}']
            async with heard(url, f"{BASE}/heater") as answer:
                await publish(url, f"{BASE}/heater/set", '{"state": "ON"}')
                topic, retained, state = (await answer())[0].split(" ", 2)
                assert (topic, retained) == (f"{BASE}/heater", "0")
                assert json.loads(state)["state"] == "ON"
        assert [outlet.on for outlet in outlets] == [True, True]

    run(tmp_path, story)


def test_mosquitto_in_the_place_of_plugs_is_switched_and_believed(tmp_path: Path) -> None:
    async def story(broker: Mosquitto) -> None:
        url = broker.url
        await publish(url, f"{BASE}/bridge/state", '{"state":"online"}', "-r")
        await publish(url, f"{BASE}/bridge/devices", json.dumps(DEVICES), "-r")
        mqtt = wire(url, timeout=3.0)
        zigbee = ZigbeePlug(mqtt, friendly_name="my_plug", name="zigbee")
        tasmota = TasmotaSwitch(mqtt, topic="plug", name="tasmota")
        cases = [
            (zigbee, f"{BASE}/my_plug/set", '{"state": "%s"}', f"{BASE}/my_plug"),
            (tasmota, "cmnd/plug/Power1", "%s", "stat/plug/RESULT"),
        ]
        for plug, asked, question, said in cases:
            answer = '{"state":"%s"}' if plug is zigbee else '{"POWER":"%s"}'
            async with heard(url, asked) as request:
                setting = asyncio.create_task(_set(plug, on=True))
                assert await request() == [f"{asked} 0 {question % 'ON'}"]
            await publish(url, said, answer % "ON")
            await setting
            await publish(url, said, answer % "OFF")  # somebody's finger
            await until(lambda plug=plug: plug.on.get_value(), False)
        await mqtt.close()

    run(tmp_path, story)


async def _set(plug: ZigbeePlug | TasmotaSwitch, *, on: bool) -> None:
    await plug.set(on)
