"""Sensors and plugs behind Zigbee2MQTT do what every driver must do."""

import asyncio

import numpy as np

from sdl.drivers.zigbee2mqtt import ZigbeePlug, ZigbeeSensor
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.parts.room import Room
from sdl.simulators.zigbee2mqtt import SimulatedZigbee2Mqtt
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth


class Air(Room):
    def change(self, n: int) -> None:
        self.temperature, self.humidity = 18.0 + 1.5 * n, 35.0 + 2.5 * n
        self.pressure = 1.0 + 0.002 * n


def sensor() -> Rig:
    air = Air(StillWorld())
    bridge = SimulatedZigbee2Mqtt(
        air, rng=np.random.default_rng(1), friendly_name="shelf", report_every=40.0, noise=False
    )
    return Rig(bridge, air)


class TestZigbeeSensor(Conformance):
    subject = Subject(
        driver=lambda wire: ZigbeeSensor(
            wire,
            friendly_name="shelf",
            exposes=("temperature", "humidity", "pressure"),
            max_age=90.0,
            name="air",
        ),
        rig=sensor,
        url=ZigbeeSensor.delivered,
        identity="Aqara WSDCGQ11LM, 0x[0-9a-f]{16}",
        truths={
            "temperature": Truth(lambda air: air.temperature, within=0.005, units="degC"),
            "humidity": Truth(lambda air: air.humidity, within=0.005, units="%"),
            "pressure": Truth(lambda air: air.pressure, within=5e-5, units="bar"),
            "online": Truth(lambda air: True),
        },
        change=Air.change,
        prepare=lambda driver: asyncio.sleep(15.0),  # until it has reported: it sleeps
    )


class Plug(Outlet):
    """What is on the plug, which somebody's finger may switch as well."""

    bridge: SimulatedZigbee2Mqtt

    def change(self, n: int) -> None:
        self.voltage = 225.0 + 3 * (n % 4)
        if self.on is not bool(n % 2):
            self.bridge.press()


def plug() -> Rig:
    part = Plug(StillWorld(), watts=1000.0)
    part.bridge = SimulatedZigbee2Mqtt(
        part, rng=np.random.default_rng(1), friendly_name="heater", report_every=40.0, noise=False
    )
    return Rig(part.bridge, part)


class TestZigbeePlug(Conformance):
    subject = Subject(
        driver=lambda wire: ZigbeePlug(
            wire,
            friendly_name="heater",
            exposes=("power", "voltage", "current", "energy"),
            max_age=30.0,
            name="plug",
        ),
        rig=plug,
        url=ZigbeePlug.delivered,
        identity="TuYa TS011F_plug_1, 0x[0-9a-f]{16}",
        truths={
            "on": Truth(lambda plug: plug.on),
            "power": Truth(lambda plug: plug.power, within=0.05, units="W"),
            "voltage": Truth(lambda plug: plug.voltage, within=0.5, units="V"),
            "current": Truth(lambda plug: plug.current, within=0.005, units="A"),
            "energy": Truth(lambda plug: plug.energy, within=0.02, units="kWh"),
            "online": Truth(lambda plug: True),
        },
        change=Plug.change,
        settings=[
            Setting(True, took=lambda plug: plug.on),
            Setting(True, took=lambda plug: plug.on, signal="on"),
        ],
        safe=lambda plug: not plug.on,
    )
