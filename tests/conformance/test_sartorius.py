"""The SBI balance does what every driver must do, with lines of 22 characters and of 16."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sdl.drivers.sartorius import Sartorius
from sdl.simulators.parts.seen import Pan
from sdl.simulators.sartorius import SimulatedSartorius
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


@dataclass
class Bench:
    """A balance with something on its pan."""

    grams: float = 52.19
    restless: bool = False
    simulator: SimulatedSartorius | None = None

    @property
    def net(self) -> float:
        assert self.simulator is not None
        return self.grams - self.simulator.cell.zero_point - self.simulator.cell.tare

    def load(self, n: int) -> None:
        self.grams = 20.0 + 13.7 * n


def rig(characters: Literal[16, 22]) -> Rig:
    bench = Bench()
    pan = Pan(StillWorld(), lambda: bench.grams, lambda: bench.restless)
    bench.simulator = SimulatedSartorius(
        pan, rng=np.random.default_rng(1), characters=characters, decimals=2, noise=False
    )
    return Rig(bench.simulator, bench)


class TestSartorius(Conformance):
    subject = Subject(
        driver=lambda wire: Sartorius(wire, name="balance"),
        rig=lambda: rig(22),
        url=Sartorius.delivered,
        transcript=TRANSCRIPTS / "sartorius.yaml",
        identity=r"MSE224S-000-DU, serial number 0037402012, software 00-37-09",
        truths={"weight": Truth(lambda bench: bench.net, 0.005, "g")},
        change=lambda bench, n: bench.load(n),
        settings=[
            Setting(
                "very stable",
                lambda bench: bench.simulator.filter == "K",
                "ambient",
                refused=("calm",),
            )
        ],
    )


class TestShortLines(Conformance):
    subject = Subject(
        driver=lambda wire: Sartorius(wire, name="balance"),
        rig=lambda: rig(16),
        url=Sartorius.delivered,
        transcript=TRANSCRIPTS / "sartorius_short.yaml",
        identity=r"MSE224S.*",
        truths={"weight": Truth(lambda bench: bench.net, 0.005, "g")},
        change=lambda bench, n: bench.load(n),
    )
