"""The Knauer pump does what every driver must do."""

from pathlib import Path

import numpy as np

from sdl.drivers.knauer import Knauer
from sdl.simulators.knauer import SimulatedKnauer
from sdl.simulators.parts.flow_pump import FlowPump
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth


class Column(FlowPump):
    """A pump against a pressure that is set, and that knows its electronics."""

    pump: SimulatedKnauer
    bar = 30.0


def rig() -> Rig:
    part = Column(StillWorld(), pressure=lambda _: part.bar)
    part.pump = SimulatedKnauer(part, rng=np.random.default_rng(1), noise=False)
    return Rig(part.pump, part)


def change(part: Column, n: int) -> None:
    part.bar = 10.0 + 30.0 * (n % 7)


class TestKnauer(Conformance):
    subject = Subject(
        driver=lambda wire: Knauer(wire, max_pressure=300, name="pump"),
        rig=rig,
        url=Knauer.delivered,
        transcript=Path(__file__).parents[1] / "transcripts" / "knauer.yaml",
        identity=r"Azura Compact, 10 mL/min pump head",
        truths={
            "pressure": Truth(lambda part: part.bar, 0.5, "bar"),
            "flow": Truth(lambda part: part.pump.flow / 1000, 0, "mL/min"),
            "max_pressure": Truth(lambda part: part.pump.settings["PMAX10"], 0, "bar"),
            "motor_current": Truth(lambda part: part.pump._motor(), 0.5, "%"),
        },
        change=change,
        settings=[
            Setting(1.5, took=lambda part: part.rate == 1.5, refused=(-1.0, 10.5, 0.0001)),
            Setting(0.0, took=lambda part: part.rate == 0.0),
            Setting(
                2.25,
                took=lambda part: part.pump.flow == 2250 and part.rate == 0,
                signal="flow",
                refused=(11.0,),
            ),
            Setting(
                250,
                took=lambda part: part.pump.settings["PMAX10"] == 250,
                signal="max_pressure",
                refused=(401,),
            ),
        ],
        safe=lambda part: part.rate == 0,
    )
