"""Alicat controllers of flow and of pressure do what every driver must do."""

from pathlib import Path

import numpy as np

from sdl.drivers.alicat import Alicat
from sdl.simulators.alicat import SimulatedAlicat
from sdl.simulators.parts.gas_line import GasLine
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
STANDARD = 298.15 / 273.15  # mL at 25 degC for each at 0 degC
VALVES = ("control", "held", "closed")
GASES = ("N2", "Ar", "He")


def flow_rig() -> Rig:
    part = GasLine(StillWorld(), lag=1e-6)
    rng = np.random.default_rng(1)
    return Rig(SimulatedAlicat(part, rng=rng, noise=False), part)


def change_flow(part: GasLine, n: int) -> None:
    part.place((40.0 + 100.0 * n % 300) / STANDARD)
    part.temperature, part.gas = 20.0 + n % 7, GASES[n % 3]
    part.valve = ("control", "held")[n % 2]


def volumetric(part: GasLine) -> float:
    return part.flow * (273.15 + part.temperature) / 273.15 * 101.325 / part.pressure


class TestAlicatFlow(Conformance):
    subject = Subject(
        driver=lambda wire: Alicat(wire, name="nitrogen"),
        rig=flow_rig,
        url=Alicat.delivered,
        identity=r"MC-500SCCM-D 10v20\.0-R24 \(serial number \d+\)",
        truths={
            "flow": Truth(lambda part: part.flow * STANDARD, 0.005, "sccm"),
            "setpoint": Truth(lambda part: part.setpoint * STANDARD, 0.005, "sccm"),
            "pressure": Truth(lambda part: part.pressure / 100, 0.0004, "bar"),
            "temperature": Truth(lambda part: part.temperature, 0.005, "degC"),
            "volumetric": Truth(volumetric, 0.005, "mL/min"),
            "gas": Truth(lambda part: part.gas),
            "valve": Truth(lambda part: "control" if part.valve == "control" else "held"),
        },
        change=change_flow,
        settings=[
            Setting(
                123.4,
                took=lambda part: (
                    abs(part.setpoint * STANDARD - 123.4) < 1e-6
                    and abs(part.flow * STANDARD - 123.4) < 5
                ),
                refused=(-1.0, 501.0, float("nan")),
            ),
            Setting(
                50.0,
                took=lambda part: abs(part.setpoint * STANDARD - 50.0) < 1e-6,
                signal="setpoint",
                refused=(-1.0, 501.0, float("inf")),
            ),
            Setting("closed", lambda part: part.valve == "closed", "valve", refused=("open", "")),
            Setting("Ar", lambda part: part.gas == "Ar", "gas", refused=("phlogiston",)),
        ],
        safe=lambda part: part.setpoint == 0 and part.valve == "control" and part.flow < 5,
        transcript=TRANSCRIPTS / "alicat.yaml",
    )


def pressure_rig() -> Rig:
    part = GasLine(StillWorld(), resistance=0.2, lag=1e-6)
    rng = np.random.default_rng(1)
    simulator = SimulatedAlicat(part, rng=rng, controls="pressure", full_scale=5.0, noise=False)
    return Rig(simulator, part)


def aimed(part: GasLine) -> float:
    return part.pressure_setpoint / 100 if part.setpoint else 0.0


class TestAlicatPressure(Conformance):
    subject = Subject(
        driver=lambda wire: Alicat(wire, controls="pressure", full_scale=5.0, name="head"),
        rig=pressure_rig,
        url=Alicat.delivered,
        identity=r"PC-5BARA-D 10v20\.0-R24 \(serial number \d+\)",
        truths={
            "pressure": Truth(lambda part: part.pressure / 100, 0.0004, "bar"),
            "setpoint": Truth(aimed, 0.0004, "bar"),
        },
        change=lambda part, n: part.place(300.0 + 100.0 * (n % 5)),
        settings=[
            Setting(
                2.5,
                took=lambda part: abs(part.pressure / 100 - 2.5) < 0.05,
                refused=(-1.0, 5.1, float("nan")),
            )
        ],
        safe=lambda part: part.setpoint == 0 and part.valve == "control",
        transcript=TRANSCRIPTS / "alicat_pressure.yaml",
    )
