"""EZO circuits do what every driver must do."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdl.drivers.ezo import Ezo
from sdl.simulators.ezo import Measures, SimulatedEzo
from sdl.simulators.parts.seen import Immersed
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


@dataclass
class Beaker:
    """A liquid with a probe in it."""

    value: float
    simulator: SimulatedEzo | None = None

    @property
    def compensation(self) -> float:
        assert self.simulator is not None
        return self.simulator.compensation

    @property
    def temperature(self) -> float:
        return self.compensation  # so that the compensation is right whatever it is

    @property
    def continuous(self) -> int:
        assert self.simulator is not None
        return self.simulator.continuous

    @continuous.setter
    def continuous(self, seconds: int) -> None:
        assert self.simulator is not None
        self.simulator.continuous = seconds

    def fill(self, value: float) -> None:
        self.value = value


def rig(measures: Measures, value: float) -> Rig:
    beaker = Beaker(value)
    liquid = Immersed(StillWorld(), lambda: beaker.value, lambda: beaker.temperature)
    beaker.simulator = SimulatedEzo(
        liquid, rng=np.random.default_rng(1), measures=measures, noise=False
    )
    return Rig(beaker.simulator, beaker)


def subject(measures: Measures, values: tuple[float, ...], within: float, units: str) -> Subject:
    truths = {"value": Truth(lambda beaker: beaker.value, within, units)}
    settings = []
    if measures in ("pH", "DO"):
        truths["compensation"] = Truth(lambda beaker: beaker.compensation, 0.01, "degC")
        settings = [
            Setting(31.5, lambda beaker: beaker.compensation == 31.5, "compensation", (-200.0,))
        ]
    return Subject(
        driver=lambda wire: Ezo(wire, measures=measures, name="probe"),
        rig=lambda: rig(measures, values[0]),
        url=Ezo.delivered,
        transcript=TRANSCRIPTS / f"ezo_{measures.lower()}.yaml",
        identity=rf"EZO {measures.replace('DO', 'D.O.')}, firmware 2\.16",
        truths=truths,
        change=lambda beaker, n: beaker.fill(values[n % len(values)]),
        settings=settings,
    )


class TestPH(Conformance):
    subject = subject("pH", (12.345, 2.345, 10.0, 7.316), 0.001, "")


class TestEC(Conformance):
    subject = subject("EC", (1413.0, 12_880.0, 84.01, 413.5), 5.0, "uS/cm")


class TestDO(Conformance):
    subject = subject("DO", (8.3, 18.3, 0.12), 0.01, "mg/L")


class TestRTD(Conformance):
    subject = subject("RTD", (25.104, -5.2, 125.104), 0.001, "degC")
