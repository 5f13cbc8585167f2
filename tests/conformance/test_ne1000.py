"""The NE-1000 does what every driver must do."""

import numpy as np

from sdl.drivers.ne1000 import NE1000
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.parts.syringe import PumpHead
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth


def rig() -> Rig:
    head = PumpHead(StillWorld(), capacity_mL=20.0, filled_mL=10.0)
    return Rig(SimulatedNE1000(head, rng=np.random.default_rng(1)), head)


def given(part: PumpHead) -> float:
    infused, drawn = part.totals(part._world.now)
    return infused - drawn


async def prepare(pump: NE1000) -> None:
    await pump.rate.set(5.0)


class TestNE1000(Conformance):
    subject = Subject(
        driver=lambda wire: NE1000(wire, diameter=20.0, name="pump"),
        rig=rig,
        url="serial:///dev/ttyUSB0?baudrate=19200",
        identity=r"NE1000V3\.923",
        truths={"dispensed": Truth(lambda part: part.totals(part._world.now)[0], 0.001, "mL")},
        settings=[
            Setting(0.5, took=lambda part: part.running is False, refused=(float("nan"), 1e6)),
        ],
        prepare=prepare,
        dosed=given,
        safe=lambda part: not part.running,
    )
