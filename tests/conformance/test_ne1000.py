"""The NE-1000 does what every driver must do, in both of its modes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdl.drivers.ne1000 import NE1000
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.parts.syringe import PumpHead
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
PROMPTS = {"I": "infusing", "W": "withdrawing", "S": "stopped", "P": "paused"}
PER_MINUTE = {"MM": 1.0, "MH": 1 / 60, "UM": 1e-3, "UH": 1e-3 / 60}  # mL


@dataclass
class Bench:
    """A syringe on its pump."""

    head: PumpHead
    pump: SimulatedNE1000

    @property
    def given(self) -> float:
        """mL in all, drawn ones negative."""
        infused, drawn = self.head.totals(self.head._world.now)
        return infused - drawn

    @property
    def rate(self) -> float:
        phase = self.pump.memory.phases[1]
        return float(phase.rate) * PER_MINUTE[phase.rate_unit]

    def counted(self, which: str) -> float:
        return self.pump._program.counter(which)

    def change(self, n: int) -> None:
        """Let it have pumped, at another rate than before."""
        self.pump.memory.phases[1].rate = f"{n}.{n:03d}"[:5]  # four digits
        self.pump.memory.phases[1].rate_unit = "MM"
        self.pump._program.counted |= {"INF": 1.1 * n, "WDR": 0.123 * n}


def rig() -> Rig:
    head = PumpHead(StillWorld(), capacity_mL=20.0, filled_mL=10.0)
    pump = SimulatedNE1000(head, rng=np.random.default_rng(1))
    return Rig(pump, Bench(head, pump))


async def prepare(pump: NE1000) -> None:
    await pump.rate.set(5.0)


def subject(mode: Literal["basic", "safe"], transcript: str, **options: Any) -> Subject:
    return Subject(
        driver=lambda wire: NE1000(wire, diameter=26.59, mode=mode, name="pump", **options),
        rig=rig,
        url=NE1000.delivered,
        transcript=TRANSCRIPTS / transcript,
        identity=r"NE1000V3\.923",
        truths={
            "dispensed": Truth(lambda bench: bench.counted("INF"), within=0.001, units="mL"),
            "withdrawn": Truth(lambda bench: bench.counted("WDR"), within=0.001, units="mL"),
            "rate": Truth(lambda bench: bench.rate, within=0.0005, units="mL/min"),
            "status": Truth(lambda bench: PROMPTS[bench.pump._program.prompt]),
            "diameter": Truth(lambda bench: bench.pump.memory.diameter, units="mm"),
        },
        change=lambda bench, n: bench.change(n),
        settings=[
            Setting(0.5, took=lambda bench: not bench.head.running, refused=(float("nan"), 1e6)),
            Setting(-0.3, took=lambda bench: not bench.head.running, refused=(0.0,)),
            Setting(
                2.5,
                took=lambda bench: abs(bench.rate - 2.5) < 1e-9,
                signal="rate",
                refused=(0.0, 100.0),
            ),
        ],
        prepare=prepare,
        dosed=lambda bench: bench.given,
        safe=lambda bench: not bench.head.running,
    )


class TestNE1000(Conformance):
    subject = subject("basic", "ne1000.yaml")


class TestNE1000InSafeMode(Conformance):
    subject = subject("safe", "ne1000_safe.yaml", watchdog=30)
