"""The simulated camera's physics, without our driver."""

import asyncio
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.simulators.camera import BRIGHT, FULL_WELL, READ_NOISE, SimulatedCamera
from sdl.simulators.parts.view import Scene
from sdl.testing import StillWorld


def picture(*, trouble: tuple[str, float] | None = None, **options: Any) -> np.ndarray:
    """One exposure of 0.01 s of a grey card of half the light of white."""

    async def main() -> np.ndarray:
        card = Scene(StillWorld(), light=0.5, colour=(1.0, 1.0, 1.0))
        camera = SimulatedCamera(card, rng=np.random.default_rng(3), bits=16, **options)
        await camera.start(lambda *_: None)
        if trouble is not None:
            camera.begin(*trouble)
        data, _ = await camera.expose({"exposure": 0.01, "gain": 0.0})
        return data / 65535

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(main())


def test_noise_is_that_of_counted_light_and_of_reading() -> None:
    electrons = 0.5 * BRIGHT * 0.01
    noise = picture().std() * FULL_WELL
    assert noise == pytest.approx(np.sqrt(electrons + READ_NOISE**2), rel=0.03)
    assert picture().mean() * FULL_WELL == pytest.approx(electrons, rel=1e-3)


def test_without_noise_each_element_is_the_same() -> None:
    assert np.ptp(picture(noise=False)) == 0


@pytest.mark.parametrize(
    ("trouble", "mean", "spread"),
    [(("saturation", 10.0), 0.1, 0.0), (("drift", 5.0), 0.315, 0.0), (("noise", 2.0), 0.3, 0.02)],
)
def test_faults_of_its_sensor_have_their_size(
    trouble: tuple[str, float], mean: float, spread: float
) -> None:
    found = picture(noise=False, trouble=trouble)
    assert found.mean() == pytest.approx(mean, abs=1e-3)
    assert found.std() == pytest.approx(spread, rel=0.05, abs=1e-6)
