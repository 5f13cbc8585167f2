"""The EmStat does what every driver must do."""

from pathlib import Path

import numpy as np

from sdl.drivers.emstat import EmStat
from sdl.simulators.emstat import SimulatedEmStat
from sdl.simulators.parts.electrochemical import RandlesCell
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

LSV = "lsv begin=0 end=0.1 step=0.01 rate=1"


def rig() -> Rig:
    cell = RandlesCell(StillWorld())
    return Rig(SimulatedEmStat(cell, rng=np.random.default_rng(1), noise=False), cell)


def change(cell: RandlesCell, n: int) -> None:
    cell.polarisation, cell.equilibrium = 0.0, 0.1 * (n % 7)


async def prepare(stat: EmStat) -> None:
    await stat.trigger()


class TestEmStat(Conformance):
    subject = Subject(
        driver=lambda wire: EmStat(wire, method=LSV, name="stat"),
        rig=rig,
        url=EmStat.delivered,
        identity=r"PalmSens espico, firmware 1600 \(.*\)",
        truths={"open_circuit": Truth(lambda cell: cell.open_circuit, 1e-4, "V")},
        change=change,
        settings=[
            Setting(
                "cv begin=0 vertex1=0.1 vertex2=-0.1",
                took=lambda cell: True,
                signal="method",
                refused=("cv begin=0", "sleep", "lsv begin=0 end=9", "ca potential=0 duration=x"),
            ),
        ],
        prepare=prepare,
        safe=lambda cell: not cell.is_on,
        transcript=Path(__file__).parents[1] / "transcripts" / "emstat.yaml",
    )
