"""Tasmota's sensor and switch do what every driver must do."""

import numpy as np

from sdl.drivers.tasmota import TasmotaSensor, TasmotaSwitch
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

FIRMWARE = r"Tasmota 15\.1\.0\(release-sensors\)"


class Air:
    temperature = 20.0
    humidity = 40.0

    def change(self, n: int) -> None:
        self.temperature, self.humidity = 18.0 + 1.5 * n, 35.0 + 2.5 * n


def sensor() -> Rig:
    air = Air()
    board = SimulatedTasmota(
        air, rng=np.random.default_rng(1), topic="bench", tele_period=60, noise=False
    )
    return Rig(board, air)


class TestTasmotaSensor(Conformance):
    subject = Subject(
        driver=lambda wire: TasmotaSensor(wire, topic="bench", max_age=30.0, name="air"),
        rig=sensor,
        url=TasmotaSensor.delivered,
        identity=FIRMWARE,
        truths={
            "temperature": Truth(lambda air: air.temperature, within=0.05, units="degC"),
            "humidity": Truth(lambda air: air.humidity, within=0.05, units="%"),
            "online": Truth(lambda air: True),
        },
        change=Air.change,
    )


class Plug(Outlet):
    """What is on the relay, which somebody's finger may switch as well."""

    board: SimulatedTasmota

    def change(self, n: int) -> None:
        if self.on is not bool(n % 2):
            self.board.press()


def switch() -> Rig:
    plug = Plug(StillWorld())
    plug.board = SimulatedTasmota(plug, rng=np.random.default_rng(1), topic="plug", relay=2)
    return Rig(plug.board, plug)


class TestTasmotaSwitch(Conformance):
    subject = Subject(
        driver=lambda wire: TasmotaSwitch(wire, topic="plug", relay=2, max_age=30.0, name="plug"),
        rig=switch,
        url=TasmotaSwitch.delivered,
        identity=FIRMWARE,
        truths={"on": Truth(lambda plug: plug.on), "online": Truth(lambda plug: True)},
        change=Plug.change,
        settings=[
            Setting(True, took=lambda plug: plug.on),
            Setting(True, took=lambda plug: plug.on, signal="on"),
        ],
        safe=lambda plug: not plug.on,
    )
