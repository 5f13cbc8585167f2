"""The Runze valve and the Runze pump pass the conformance tests."""

from pathlib import Path
from typing import Any

import numpy as np

from sdl.drivers.runze import RunzePump, RunzeValve
from sdl.simulators.parts.selector import Selector
from sdl.simulators.parts.syringe import PumpHead
from sdl.simulators.runze import SimulatedRunzePump, SimulatedRunzeValve
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


def valve() -> Rig:
    part = Selector(StillWorld(), ports=6)
    return Rig(SimulatedRunzeValve(part, rng=np.random.default_rng(1)), part)


def pump() -> Rig:
    part = PumpHead(StillWorld(), capacity_mL=5.0, filled_mL=2.5)
    simulator = SimulatedRunzePump(part, rng=np.random.default_rng(1))
    part.simulator = simulator  # type: ignore[attr-defined]  (only it knows of its own valve)
    return Rig(simulator, part)


def filled(part: Any, n: int) -> None:
    """Bring the plunger to a level, as if by hand."""
    part._level, part._limit, part._going = 0.4 * (n % 8 + 1), 0.0, False


class TestRunzeValve(Conformance):
    subject = Subject(
        driver=lambda wire: RunzeValve(wire, ports=6, name="valve"),
        rig=valve,
        url=RunzeValve.delivered,
        transcript=TRANSCRIPTS / "runze_valve.yaml",
        identity=r"Runze SV-06, firmware 1\.9, address 0",
        truths={"port": Truth(lambda part: part.open or 0)},
        change=lambda part, n: part.place(n % 6 + 1),
        settings=[Setting(4, took=lambda part: part.open == 4, refused=(0, 7, 2.5))],
        safe=lambda part: part.open is not None,
    )


class TestRunzePump(Conformance):
    subject = Subject(
        driver=lambda wire: RunzePump(wire, syringe=5.0, home=True, name="pump"),
        rig=pump,
        url=RunzePump.delivered,
        transcript=TRANSCRIPTS / "runze_pump.yaml",
        identity=r"Runze smart SY-01, firmware 2\.3, address 0",
        truths={"volume": Truth(lambda part: part.syringe, within=0.001, units="mL")},
        change=filled,
        settings=[
            Setting(1.0, took=lambda part: abs(part.syringe - 1.5) < 1e-3, refused=(0.001, 6.0)),
            Setting(-1.0, took=lambda part: abs(part.syringe - 3.5) < 1e-3),
            Setting(
                4, signal="port", took=lambda part: part.simulator.open_to == 4, refused=(0, 7)
            ),
        ],
        dosed=lambda part: part.totals(part._world.now)[0] - part.totals(part._world.now)[1],
        safe=lambda part: not part.running,
    )
