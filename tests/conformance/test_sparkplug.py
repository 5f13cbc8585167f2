"""A device of a Sparkplug edge node, and the node itself, do what every driver must do."""

from typing import Any, ClassVar

import numpy as np

from sdl.drivers.sparkplug import Sparkplug
from sdl.simulators.sparkplug import SimulatedSparkplug
from sdl.testing import Conformance, Rig, Setting, Subject, Truth

METRICS: dict[str, Any] = {
    "temperature": {
        "metric": "Reactor/Temperature",
        "units": "degC",
        "low": 0.0,
        "high": 200.0,
    },
    "level": {"metric": "Reactor/Level", "units": "%", "type": "int"},
    "mode": {"type": "str"},
    "valve": {"type": "bool", "writable": True},
    "setpoint": {"units": "degC", "writable": True, "low": 0.0, "high": 150.0},
}


class Reactor:
    temperature, level, mode, valve, setpoint = 20.0, -3, "manual", False, 25.0

    def change(self, n: int) -> None:
        self.temperature, self.level = 20.25 + n, n - 3
        self.mode, self.valve = f"recipe {n}", n % 2 == 1


class Plant:
    def __init__(self, device: str) -> None:
        self.device = device

    def driver(self, wire: Any) -> Sparkplug:
        return Sparkplug(
            wire,
            group="plant",
            node="gateway",
            device=self.device,
            metrics=METRICS,
            safe={"valve": False},
            max_age=20.0,
            name="reactor",
        )

    def rig(self) -> Rig:
        reactor = Reactor()
        node = SimulatedSparkplug(
            reactor,
            rng=np.random.default_rng(1),
            group="plant",
            node="gateway",
            device=self.device,
            metrics=METRICS,
            datatypes={"temperature": "Float", "level": "Int8"},
        )
        return Rig(node, reactor)

    def subject(self) -> Subject:
        return Subject(
            driver=self.driver,
            rig=self.rig,
            url=Sparkplug.delivered,
            identity=rf"Sparkplug plant/gateway{'/' * bool(self.device)}{self.device} sdl SIM-1",
            truths={
                "temperature": Truth(lambda it: it.temperature, within=1e-4, units="degC"),
                "level": Truth(lambda it: it.level, units="%"),
                "mode": Truth(lambda it: it.mode),
                "valve": Truth(lambda it: it.valve),
                "online": Truth(lambda it: True),
            },
            change=Reactor.change,
            settings=[
                Setting(
                    80.1,
                    took=lambda it: it.setpoint == 80.1,
                    signal="setpoint",
                    refused=(-1.0, 151.0, float("nan")),
                ),
                Setting(True, took=lambda it: it.valve, signal="valve"),
            ],
            safe=lambda it: not it.valve,
        )


class TestSparkplugDevice(Conformance):
    subject: ClassVar[Subject] = Plant("reactor").subject()


class TestSparkplugNode(Conformance):
    subject: ClassVar[Subject] = Plant("").subject()
