"""The VICI actuator passes the conformance tests, with eight positions and with two."""

from pathlib import Path

import numpy as np

from sdl.drivers.vici import Vici
from sdl.simulators.parts.selector import Selector
from sdl.simulators.vici import SimulatedVici
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


def rig(ports: int) -> Rig:
    part = Selector(StillWorld(), ports=ports)
    return Rig(SimulatedVici(part, rng=np.random.default_rng(1), ports=ports), part)


class TestVici(Conformance):
    subject = Subject(
        driver=lambda wire: Vici(wire, ports=8, name="valve"),
        rig=lambda: rig(8),
        url=Vici.delivered,
        transcript=TRANSCRIPTS / "vici.yaml",
        identity=r"EUT.*",
        truths={"port": Truth(lambda part: part.port)},
        change=lambda part, n: part.place(n % 8 + 1),
        settings=[Setting(5, took=lambda part: part.open == 5, refused=(0, 9, 2.5))],
        safe=lambda part: part.open is not None,
    )


class TestInjectionValve(Conformance):
    subject = Subject(
        driver=lambda wire: Vici(wire, ports=2, safe_port=1, name="valve"),
        rig=lambda: rig(2),
        url=Vici.delivered,
        transcript=TRANSCRIPTS / "vici_injection.yaml",
        identity=r"EUT.*",
        truths={"port": Truth(lambda part: part.port)},
        change=lambda part, n: part.place(n % 2 + 1),
        settings=[Setting(2, took=lambda part: part.open == 2, refused=(0, 3))],
        safe=lambda part: part.open == 1,
    )
