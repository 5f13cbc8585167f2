"""The MT-SICS balance does what every driver must do."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdl.drivers.mtsics import MTSICS
from sdl.simulators.mtsics import SimulatedMTSICS
from sdl.simulators.parts.seen import Pan
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "mtsics.yaml"


@dataclass
class Bench:
    """A balance with something on its pan."""

    grams: float = 52.19
    restless: bool = False
    simulator: SimulatedMTSICS | None = None

    @property
    def net(self) -> float:
        assert self.simulator is not None
        return self.grams - self.simulator.cell.zero_point - self.simulator.cell.tare

    @property
    def tare(self) -> float:
        assert self.simulator is not None
        return self.simulator.cell.tare

    @tare.setter
    def tare(self, grams: float) -> None:
        assert self.simulator is not None
        self.simulator.cell.tare = grams

    @property
    def broken(self) -> str:
        assert self.simulator is not None
        return self.simulator.broken

    @broken.setter
    def broken(self, code: str) -> None:
        assert self.simulator is not None
        self.simulator.broken = code

    def load(self, n: int) -> None:
        self.grams = 20.0 + 13.7 * n


def rig() -> Rig:
    bench = Bench()
    pan = Pan(StillWorld(), lambda: bench.grams, lambda: bench.restless)
    bench.simulator = SimulatedMTSICS(pan, rng=np.random.default_rng(1), decimals=2, noise=False)
    return Rig(bench.simulator, bench)


class TestMTSICS(Conformance):
    subject = Subject(
        driver=lambda wire: MTSICS(wire, draft_shield=True, name="balance"),
        rig=rig,
        url=MTSICS.delivered,
        transcript=TRANSCRIPT,
        identity=r"XS204 Excellence 220\.00 g, 1\.10 12\.28\.0\.493\.142, serial number B021002593",
        truths={
            "weight": Truth(lambda bench: bench.net, 0.005, "g"),
            "tare_weight": Truth(lambda bench: bench.tare, 0.005, "g"),
            "draft_shield": Truth(
                lambda bench: {"0": "closed", "1": "right open", "2": "left open"}[
                    bench.simulator._doors
                ]
            ),
        },
        change=lambda bench, n: bench.load(n),
        settings=[
            Setting(12.5, lambda bench: bench.tare == 12.5, "tare_weight", refused=(-1.0, 221.0)),
            Setting(
                "right open",
                lambda bench: bench.simulator._doors == "1",
                "draft_shield",
                refused=("ajar",),
            ),
            Setting("HELLO", lambda bench: bench.simulator.display == "HELLO", "display"),
        ],
    )
