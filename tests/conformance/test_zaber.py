"""The Zaber stage passes the conformance tests."""

from pathlib import Path

import numpy as np

from sdl.drivers.zaber import Zaber
from sdl.simulators.parts.carriage import Carriage
from sdl.simulators.zaber import SimulatedZaber
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

MICROSTEP = 0.000047625  # mm


def rig() -> Rig:
    part = Carriage(StillWorld(), travel_mm=50.8)
    simulator = SimulatedZaber(
        part, rng=np.random.default_rng(1), microstep=MICROSTEP, homed=True, checksum=True
    )
    part.simulator = simulator  # type: ignore[attr-defined]  (what its settings are)
    return Rig(simulator, part)


class TestZaber(Conformance):
    subject = Subject(
        driver=lambda wire: Zaber(wire, microstep=MICROSTEP, home=True, name="stage"),
        rig=rig,
        url=Zaber.delivered,
        transcript=Path(__file__).parents[1] / "transcripts" / "zaber.yaml",
        identity=r"Zaber device 50081, firmware 7\.38, serial 46657",
        truths={"position": Truth(lambda part: part.position, within=MICROSTEP, units="mm")},
        change=lambda part, n: part.place(4.0 * (n % 12) + 1.0),
        settings=[
            Setting(
                12.5,
                took=lambda part: abs(part.position - 12.5) < 0.001 and not part.moving,
                refused=(-0.1, 51.0, float("nan")),
            ),
            Setting(
                2.0,
                signal="speed",
                took=lambda part: part.simulator._settings["maxspeed"] == "68804",
                refused=(0.0, -1.0),
            ),
        ],
        safe=lambda part: not part.moving,
    )
