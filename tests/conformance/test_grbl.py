"""A gantry on Grbl, whatever goes wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdl.drivers.grbl import Grbl
from sdl.simulators.grbl import SimulatedGrbl
from sdl.simulators.parts.gantry import Gantry
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "grbl.yaml"


@dataclass
class Machine:
    """The carriage and its controller: steppers do not notice what else moves them."""

    carriage: Gantry
    controller: SimulatedGrbl

    @property
    def at(self) -> tuple[float, float, float]:
        return self.controller.position

    @at.setter
    def at(self, position: tuple[float, float, float]) -> None:
        """It has been homed, and gone there."""
        x, y, z = position
        self.carriage.place((x, y, z))
        self.controller.at((x, y, z))


def rig() -> Rig:
    carriage = Gantry(StillWorld())
    machine = Machine(carriage, SimulatedGrbl(carriage, rng=np.random.default_rng(1)))
    machine.at = (-100.0, -80.0, -20.0)
    return Rig(machine.controller, machine)


def jogged(machine: Machine, n: int) -> None:
    machine.at = (-10.0 * (n % 9) - 5.0, -8.5 * (n % 7) - 1.0, -3.25 * (n % 5) - 2.0)


class TestGrbl(Conformance):
    subject = Subject(
        driver=lambda wire: Grbl(wire, feed=2000.0, name="gantry"),
        rig=rig,
        url=Grbl.delivered,
        transcript=TRANSCRIPT,
        identity=r"Grbl 1\.1h\.20190830",
        truths={
            "x": Truth(lambda machine: machine.at[0], within=0.001, units="mm"),
            "y": Truth(lambda machine: machine.at[1], within=0.001, units="mm"),
            "z": Truth(lambda machine: machine.at[2], within=0.001, units="mm"),
            "state": Truth(lambda machine: machine.controller.state_shown),
            "speed": Truth(lambda machine: machine.carriage.speed * 60, within=0.5, units="mm/min"),
            "pins": Truth(lambda machine: machine.controller.pins),
            "spindle": Truth(lambda machine: machine.controller.spindle, within=0.5, units="rpm"),
            "coolant": Truth(lambda machine: machine.controller.coolant),
        },
        change=jogged,
        settings=[
            Setting(
                (-40.0, -30.0, -10.0),
                took=lambda machine: np.allclose(machine.carriage.position, (-40, -30, -10)),
                refused=((1.0, 0.0, 0.0), (-301.0, 0.0, 0.0), (0.0, 0.0), "xyz", (0, 0, np.nan)),
            ),
            Setting(
                300.0,
                took=lambda machine: machine.controller.spindle == 300.0,
                signal="spindle",
                refused=(-1.0, 1001.0),
            ),
            Setting(True, took=lambda machine: machine.controller.coolant, signal="coolant"),
        ],
        safe=lambda machine: machine.carriage.speed == 0 and machine.controller.spindle == 0,
    )
