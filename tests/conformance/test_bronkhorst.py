"""A Bronkhorst controller does what every driver must do."""

from pathlib import Path

import numpy as np

from sdl.drivers.bronkhorst import Bronkhorst
from sdl.simulators.bronkhorst import SimulatedBronkhorst
from sdl.simulators.parts.gas_line import GasLine
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth


def rig() -> Rig:
    part = GasLine(StillWorld(), lag=1e-6)
    return Rig(SimulatedBronkhorst(part, rng=np.random.default_rng(1), noise=False), part)


def change(part: GasLine, n: int) -> None:
    part.place(40.0 + 100.0 * n % 300)
    part.temperature, part.gas = 20.0 + n % 7, ("N2", "Ar", "He")[n % 3]


class TestBronkhorst(Conformance):
    subject = Subject(
        driver=lambda wire: Bronkhorst(wire, thermometer=True, name="argon"),
        rig=rig,
        url=Bronkhorst.delivered,
        identity=r"F-201CV-500-RAD-33-V V1\.12 \(serial number M6212345A\)",
        truths={
            "flow": Truth(lambda part: part.flow, 1e-3, "sccm"),
            "setpoint": Truth(lambda part: part.setpoint, 1e-3, "sccm"),
            "temperature": Truth(lambda part: part.temperature, 1e-3, "degC"),
            "valve": Truth(lambda part: 100 * part.flow / part.supply, 1e-3, "%"),
            "gas": Truth(lambda part: part.gas),
        },
        change=change,
        settings=[
            Setting(
                123.4,
                took=lambda part: abs(part.setpoint - 123.4) < 1e-3 and abs(part.flow - 123.4) < 5,
                refused=(-1.0, 501.0, float("nan")),
            ),
            Setting(
                50.0,
                took=lambda part: abs(part.setpoint - 50.0) < 1e-3,
                signal="setpoint",
                refused=(-1.0, 501.0, float("inf")),
            ),
            Setting("valve closed", lambda part: part.valve == "closed", "mode", refused=("", "x")),
            Setting(1, lambda part: True, "fluid", refused=(-1, 8)),
        ],
        safe=lambda part: part.setpoint == 0 and part.flow < 5,
        transcript=Path(__file__).parents[1] / "transcripts" / "bronkhorst.yaml",
    )
