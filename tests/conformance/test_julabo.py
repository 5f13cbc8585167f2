"""A JULABO circulator does what every driver must do."""

import asyncio
from pathlib import Path

import numpy as np

from sdl.drivers.julabo import Julabo
from sdl.simulators.julabo import SimulatedJulabo
from sdl.simulators.parts.bath import Bath
from sdl.simulators.physics.thermal import TwoNodes
from sdl.simulators.world import World
from sdl.testing import Conformance, Rig, Setting, Subject, Truth

KEEPS = TwoNodes(
    block_capacity=800.0, medium_capacity=50.0, coupling=0.0, loss=0.0, max_power=2000.0
)
"""The bath stays as warm as it is, but for heater and cooler."""


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=asyncio.get_running_loop().time)
        self.bath = Seen(self, model=KEEPS)
        self.parts = {"bath": self.bath}

    def step(self, t: float, dt: float) -> None:
        self.bath.step(dt, 22.0)


class Seen(Bath):
    """One whose instrument's settings can be looked at."""

    simulator: SimulatedJulabo

    def setting(self, which: str) -> float:
        return self.simulator._settings[which].value

    @property
    def state(self) -> str:
        """What its status should be."""
        control = "MANUAL" if "local mode" in self.simulator.troubles else "REMOTE"
        if self.simulator.alarm:
            return "-1501 TIMEOUT SERIAL INTERFACE"
        number = 2 * (control == "REMOTE") + (self.stage > 0)
        return f"0{number} {control} {'START' if self.stage else 'STOP'}"


def rig() -> Rig:
    part = Bench().bath
    part.simulator = SimulatedJulabo(
        part, rng=np.random.default_rng(1), external=True, noise=False, excess_temperature=199.0
    )
    return Rig(part.simulator, part)


def change(part: Seen, n: int) -> None:
    part.place((47.25 * n) % 230.0 - 61.5, 9.0 * n + 30.0)


def held(which: str, within: float = 0.0051, units: str = "") -> Truth:
    return Truth(lambda part: part.setting(which), within, units)


class TestJulabo(Conformance):
    subject = Subject(
        driver=lambda wire: Julabo(
            wire, max_temperature=195.0, settle=3.0, timeout=60.0, name="bath"
        ),
        rig=rig,
        url=Julabo.delivered,
        identity=r"JULABO MAGIO .*",
        truths={
            "temperature": Truth(lambda part: part.temperature, 0.0051, "degC"),
            "bath_temperature": Truth(lambda part: part.temperature, 0.0051, "degC"),
            "safety_sensor": Truth(lambda part: part.temperature, 0.0051, "degC"),
            "power": Truth(lambda part: 100 * part.power, 0.51, "%"),
            "setpoint": held("sp_00", units="degC"),
            "running": Truth(lambda part: part.stage > 0),
            "status": Truth(lambda part: part.state),
            "pump_stage": held("sp_07"),
            "excess_temperature": Truth(lambda part: 199.0, 0.0051, "degC"),
            "high_warning": held("sp_03", units="degC"),
            "low_warning": held("sp_04", units="degC"),
            "xp": held("par_06", 0.051),
            "tn": held("par_07", units="s"),
            "tv": held("par_08", units="s"),
            "external_control": held("mode_04"),
        },
        change=change,
        settings=[
            Setting(
                30.0,
                took=lambda part: part.aimed == 30.0 and abs(part.temperature - 30.0) < 0.3,
                refused=(-21.0, 196.0, float("nan")),
            ),
            Setting(True, took=lambda part: part.stage > 0, signal="running"),
            Setting(
                3, took=lambda part: part.setting("sp_07") == 3, signal="pump_stage", refused=(0, 5)
            ),
            Setting(150.0, took=lambda part: part.setting("sp_03") == 150.0, signal="high_warning"),
            Setting(45.0, took=lambda part: part.setting("par_07") == 45, signal="tn"),
        ],
        safe=lambda part: part.stage == 0 and part.power == 0,
        transcript=Path(__file__).parents[1] / "transcripts" / "julabo.yaml",
    )
