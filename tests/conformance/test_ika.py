"""An IKA plate does what every driver must do."""

import asyncio
from pathlib import Path

import numpy as np

from sdl.drivers.ika import IkaPlate
from sdl.simulators.ika import SimulatedIka
from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.physics.thermal import TwoNodes
from sdl.simulators.world import World
from sdl.testing import Conformance, Rig, Setting, Subject, Truth

KEEPS = TwoNodes(block_capacity=100.0, medium_capacity=50.0, coupling=0.0, loss=0.0)
"""Plate and medium stay as they are, but for the heater."""


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=asyncio.get_running_loop().time)
        self.plate = HotPlate(self, model=KEEPS)
        self.parts = {"plate": self.plate}

    def step(self, t: float, dt: float) -> None:
        self.plate.step(dt, 22.0)


def rig() -> Rig:
    part = Bench().plate
    return Rig(SimulatedIka(part, rng=np.random.default_rng(1), noise=False), part)


def change(part: HotPlate, n: int) -> None:
    part.place(30.0 + 17.0 * n, 25.0 + 9.0 * n)
    part.viscosity = 11.0 * n


class TestIka(Conformance):
    subject = Subject(
        driver=lambda wire: IkaPlate(wire, settle=3.0, timeout=60.0, name="plate"),
        rig=rig,
        url=IkaPlate.delivered,
        identity="RCT digital",
        truths={
            "temperature": Truth(lambda part: part.temperature, 0.051, "degC"),
            "plate_temperature": Truth(lambda part: part.temperature, 0.051, "degC"),
            "setpoint": Truth(lambda part: part.aimed or 0.0, 0.051, "degC"),
            "measured_speed": Truth(lambda part: part.speed, 0.051, "rpm"),
            "viscosity": Truth(lambda part: 0.0, 0.051, "%"),
            "speed": Truth(lambda part: part.stirring, 0.51, "rpm"),
            "heating": Truth(lambda part: part.power > 0, units=""),
            "safety_temperature": Truth(lambda part: 360.0, 0.051, "degC"),
        },
        change=change,
        settings=[
            Setting(
                60.0,
                took=lambda part: part.aimed == 60.0 and abs(part.temperature - 60.0) < 1.1,
                refused=(-5.0, 311.0, float("nan")),
            ),
            Setting(
                700.0,
                took=lambda part: part.stirring == 700.0,
                signal="speed",
                refused=(-50.0, 20.0, 1501.0),
            ),
        ],
        safe=lambda part: part.power == 0 and part.stirring == 0 and part.aimed == 0,
        transcript=Path(__file__).parents[1] / "transcripts" / "ika.yaml",
    )
