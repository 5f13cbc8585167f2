"""The detector driver does what every driver must do, and acquires the truth or nothing."""

import numpy as np

from sdl.drivers.spectrometer import Spectrometer
from sdl.errors import SdlError
from sdl.simulators.spectrometer import BRIGHTEST, STRAY, SimulatedSpectrometer, _lamp
from sdl.testing import Conformance, Rig, Setting, Subject, Truth
from sdl.testing.conformance import UNTRUE, Tried, _faults


class Bench:
    """A cuvette, and the detector before it, which somebody else may configure as well."""

    axis, axis_name, axis_units = np.arange(400.0, 600.0, 2.0), "wavelength", "nm"
    quantity = "transmittance"
    transmittance = 1.0
    detector: SimulatedSpectrometer

    def sample(self, integration_s: float) -> np.ndarray:
        return np.full(100, self.transmittance)

    def change(self, n: int) -> None:
        self.detector.configure(integration_time=0.01 * (n + 1), averages=n + 1)


def rig() -> Rig:
    bench = Bench()
    bench.detector = SimulatedSpectrometer(bench, rng=np.random.default_rng(1))
    return Rig(bench.detector, bench)


class TestSpectrometer(Conformance):
    subject = Subject(
        driver=lambda wire: Spectrometer(wire, integration_time=0.05, averages=2, name="uv"),
        rig=rig,
        url=Spectrometer.delivered,
        identity=r"SDL-UV16, serial SIM0001, firmware 1\.0",
        truths={
            "integration_time": Truth(
                lambda bench: bench.detector.configuration["integration_time"], units="s"
            ),
            "averages": Truth(lambda bench: bench.detector.configuration["averages"]),
            "saturated": Truth(lambda bench: 0),
        },
        change=Bench.change,
        settings=[
            Setting(
                0.25,
                took=lambda bench: bench.detector.configuration["integration_time"] == 0.25,
                signal="integration_time",
                refused=(0.0, 61.0, float("nan")),
            ),
            Setting(
                5,
                took=lambda bench: bench.detector.configuration["averages"] == 5,
                signal="averages",
                refused=(0, 1001),
            ),
        ],
        prepare=lambda driver: driver.trigger(),
        safe=lambda bench: not bench.detector._busy,
    )

    def test_what_is_acquired_is_what_there_is_or_an_error(self, kind: str) -> None:
        async def story(bench: Tried) -> None:
            for n in range(1, 4):
                try:
                    await acquires(bench, n, judged=kind not in UNTRUE)
                except SdlError:
                    continue
            bench.line.clear()
            await acquires(bench, 4)

        for fault in _faults(kind, self.subject.timeout):
            self._run(story, fault)


async def acquires(bench: Tried, n: int, *, judged: bool = True) -> None:
    """Acquire a spectrum through something else; it must be that of it."""
    bench.part.transmittance = 0.9 / n
    await bench.in_time(bench.driver.trigger(), "a trigger")
    mean = float(np.mean(await bench.driver.intensity.get_value()))
    lamp = BRIGHTEST * 0.05 * _lamp(Bench.axis).mean() * (1 + STRAY)
    assert not judged or abs(mean / lamp - 0.9 / n) < 0.01
