"""The camera driver does what every driver must do, and takes the right picture or none."""

import numpy as np
import pytest

from sdl.drivers.camera import Camera
from sdl.errors import SdlError
from sdl.simulators.camera import BRIGHT, FULL_WELL, SimulatedCamera
from sdl.simulators.parts.view import Scene
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth
from sdl.testing.conformance import UNTRUE, Tried, _faults

WHITE = BRIGHT * 0.01 / FULL_WELL  # of full scale, in 0.01 s at 0 dB


class Bench(Scene):
    """What is seen, and the camera before it, which somebody else may configure as well."""

    camera: SimulatedCamera

    def change(self, n: int) -> None:
        self.camera.configure(exposure=0.001 * (n + 1), gain=float(n))


def rig() -> Rig:
    bench = Bench(StillWorld())
    bench.camera = SimulatedCamera(bench, rng=np.random.default_rng(1), bits=16, noise=False)
    return Rig(bench.camera, bench)


class TestCamera(Conformance):
    subject = Subject(
        driver=lambda wire: Camera(wire, region=(28, 20, 36, 28), name="eye"),
        rig=rig,
        url=Camera.delivered,
        identity=r"SDL-CAM16C, serial SIM0001, firmware 1\.0",
        truths={
            "exposure": Truth(lambda bench: bench.camera.configuration["exposure"], units="s"),
            "gain": Truth(lambda bench: bench.camera.configuration["gain"], units="dB"),
            "red": Truth(lambda bench: 0.5 * WHITE, within=1e-4),
            "saturated": Truth(lambda bench: 0),
        },
        change=Bench.change,
        settings=[
            Setting(
                0.02,
                took=lambda bench: bench.camera.configuration["exposure"] == 0.02,
                signal="exposure",
                refused=(0.0, 11.0, float("inf")),
            ),
            Setting(
                6.0,
                took=lambda bench: bench.camera.configuration["gain"] == 6.0,
                signal="gain",
                refused=(-1.0, 25.0),
            ),
        ],
        prepare=lambda driver: driver.trigger(),
        safe=lambda bench: not bench.camera._busy,
    )

    def test_a_picture_shows_what_there_is_or_is_an_error(self, kind: str) -> None:
        async def story(bench: Tried) -> None:
            for n in range(1, 4):
                try:
                    await takes_a_picture(bench, n, judged=kind not in UNTRUE)
                except SdlError:
                    continue
            bench.line.clear()
            await takes_a_picture(bench, 4)

        for fault in _faults(kind, self.subject.timeout):
            self._run(story, fault)


async def takes_a_picture(bench: Tried, n: int, *, judged: bool = True) -> None:
    bench.part.colour = colour = (0.2 * n, 1.0 - 0.2 * n, 0.1)
    await bench.in_time(bench.driver.trigger(), "a trigger")
    eye = bench.driver
    seen = [await each.get_value() for each in (eye.red, eye.green, eye.blue)]
    assert not judged or seen == pytest.approx([WHITE * part for part in colour], abs=1e-4)
