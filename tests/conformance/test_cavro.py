"""The Cavro pump does what every driver must do, in both of its protocols."""

from pathlib import Path
from typing import Any

import numpy as np

from sdl.drivers.cavro import Cavro
from sdl.simulators.cavro import SimulatedCavro
from sdl.simulators.parts.syringe_module import SyringeModule
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


class Module(SyringeModule):
    """One that knows its electronics, which alone know the speed."""

    pump: SimulatedCavro


def rig(**options: Any) -> Rig:
    port = 2 if options.get("ports") else "output"
    part = Module(StillWorld(), capacity_mL=1.0, filled_mL=0.5, port=port)
    part.pump = SimulatedCavro(part, rng=np.random.default_rng(1), initialized=True, **options)
    return Rig(part.pump, part)


def given(part: SyringeModule) -> float:
    """mL that were dispensed, less what was drawn; what initializing pushes out is no dose."""
    dispensed, drawn = part.totals(part._world.now)
    return dispensed - drawn


async def prepare(pump: Cavro) -> None:
    await pump.rate.set(6.0)


def change(part: SyringeModule, n: int) -> None:
    part.volume = (n % 7 + 1) * 0.1
    part.port = ("input", "output", "extra")[n % 3]


class TestOem(Conformance):
    subject = Subject(
        driver=lambda wire: Cavro(wire, capacity=1.0, initialize=True, name="pump"),
        rig=rig,
        url=Cavro.delivered,
        transcript=TRANSCRIPTS / "cavro_oem.yaml",
        identity=r"XLP6000 .*",
        truths={
            "volume": Truth(lambda part: part.volume, 1e-3, "mL"),
            "valve": Truth(lambda part: part.port),
        },
        change=change,
        settings=[
            Setting(0.25, took=lambda part: not part.running, refused=(1.2, 0.0, float("nan"))),
            Setting(-0.3, took=lambda part: not part.running),
            Setting(
                "input", took=lambda part: part.port == "input", signal="valve", refused=("x",)
            ),
        ],
        prepare=prepare,
        dosed=given,
        safe=lambda part: not part.running,
    )


class TestDt(Conformance):
    subject = Subject(
        driver=lambda wire: Cavro(
            wire,
            capacity=1.0,
            model="xcalibur",
            fine=True,
            protocol="dt",
            ports=6,
            inlet=1,
            outlet=3,
            initialize=True,
            name="pump",
        ),
        rig=lambda: rig(model="xcalibur", ports=6),
        url=Cavro.delivered,
        transcript=TRANSCRIPTS / "cavro_dt.yaml",
        identity=r"XCalibur .*",
        truths={
            "volume": Truth(lambda part: part.volume, 1e-3, "mL"),
            "valve": Truth(lambda part: part.port),
            "rate": Truth(lambda part: part.pump.state.V / 100, 1e-6, "mL/min"),
        },
        change=lambda part, n: setattr(part, "volume", (n % 7 + 1) * 0.1),
        settings=[
            Setting(0.25, took=lambda part: part.port == 3, refused=(-1.2,)),
            Setting(-0.3, took=lambda part: part.port == 1),
            Setting(5, took=lambda part: part.port == 5, signal="valve", refused=(0, 7)),
        ],
        prepare=prepare,
        dosed=given,
        safe=lambda part: not part.running,
    )
