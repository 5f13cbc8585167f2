"""A robot arm behind its Dashboard Server, whatever goes wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdl.drivers.ur_dashboard import UrDashboard
from sdl.simulators.parts.robot_arm import RobotArm
from sdl.simulators.ur_dashboard import SimulatedUrDashboard
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "ur_dashboard.yaml"
PROGRAMS = {"pick.urp": 6.0, "place.urp": 4000.0, "racks/park.urp": 4000.0}


@dataclass
class Cell:
    """An arm and its controller."""

    arm: RobotArm
    controller: SimulatedUrDashboard

    @property
    def loaded(self) -> str:
        return f"/programs/{self.controller.program}" if self.controller.program else ""

    @loaded.setter
    def loaded(self, program: str) -> None:
        self.controller.program = program

    @property
    def playing(self) -> bool:
        return self.arm.playing

    @playing.setter
    def playing(self, on: bool) -> None:
        self.arm.start(self.controller.program)

    @property
    def remote(self) -> bool:
        return self.controller.remote

    @remote.setter
    def remote(self, on: bool) -> None:
        self.controller.remote = on

    @property
    def stopped(self) -> str:
        return self.controller.safety

    @stopped.setter
    def stopped(self, why: str) -> None:
        self.controller.protective_stop()

    def become(self, n: int) -> None:
        """Stand still with one program, or play the other."""
        self.controller.safety = "NORMAL"
        self.arm.stop()
        self.controller.program = "place.urp" if n % 2 else "racks/park.urp"
        if n % 2:
            self.arm.start("place.urp")
        elif n % 4:
            self.controller.protective_stop()
        self.controller.remote = bool(n % 3)


def rig() -> Rig:
    arm = RobotArm(StillWorld(), programs=PROGRAMS)
    controller = SimulatedUrDashboard(arm, rng=np.random.default_rng(1), powered=True)
    return Rig(controller, Cell(arm, controller))


class TestUrDashboard(Conformance):
    subject = Subject(
        driver=lambda wire: UrDashboard(wire, name="arm"),
        rig=rig,
        url=UrDashboard.delivered,
        transcript=TRANSCRIPT,
        identity=r"UR5 20195500001, PolyScope 5\.12\.0\.1101319",
        truths={
            "program_state": Truth(lambda cell: cell.controller.program_state),
            "program": Truth(lambda cell: cell.loaded),
            "running": Truth(lambda cell: cell.arm.playing),
            "robot_mode": Truth(lambda cell: cell.controller.mode),
            "safety": Truth(lambda cell: cell.controller.safety),
            "remote": Truth(lambda cell: cell.remote),
            "power": Truth(lambda cell: cell.controller.mode == "RUNNING"),
        },
        change=lambda cell, n: cell.become(n),
        settings=[
            Setting(
                "pick.urp",
                took=lambda cell: "pick.urp" in cell.arm.done,
                refused=("pick", "", "a\nb.urp", 3.0),
            ),
            Setting(False, took=lambda cell: cell.controller.mode == "POWER_OFF", signal="power"),
        ],
        safe=lambda cell: not cell.arm.playing,
    )
