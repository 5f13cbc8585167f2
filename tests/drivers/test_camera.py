"""The camera driver: pictures, colours, the live view, and what is no camera."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from ophyd_async.core import NotConnectedError

from sdl.clock import new_loop
from sdl.drivers.camera import Camera
from sdl.endpoints.zmq import memory_wire, serve
from sdl.errors import ConfigError, GarbledError, StaleError
from sdl.simulators.camera import SimulatedCamera
from sdl.simulators.parts.view import Scene
from sdl.testing import StillWorld
from sdl.wires.zmq import ZmqWire, wire

URL = "zmq+tcp://10.0.0.9:5555"
DISC = (28, 20, 36, 28)


def on_bench(
    story: Callable[[ZmqWire, Scene, SimulatedCamera], Awaitable[None]], **options: Any
) -> None:
    async def main() -> None:
        scene = Scene(StillWorld(), colour=(0.8, 0.4, 0.2))
        camera = SimulatedCamera(scene, rng=np.random.default_rng(1), **options)
        async with memory_wire(URL, [camera]) as link:
            await story(link, scene, camera)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


async def connected(link: ZmqWire, **options: Any) -> Camera:
    camera = Camera(link, name="eye", **options)
    await camera.connect()
    return camera


@pytest.mark.parametrize(("bits", "dtype"), [(8, "|u1"), (16, "<u2")])
def test_a_picture_has_the_cameras_own_numbers_and_says_what_they_are(
    bits: int, dtype: str
) -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        camera = await connected(link)
        await camera.trigger()
        picture = (await camera.read())["eye-image"]["value"]
        assert (picture.dtype.str, picture.shape) == (dtype, (48, 64, 3))
        key = (await camera.describe())["eye-image"]
        assert (key.get("dtype_numpy"), key["shape"]) == (dtype, [48, 64, 3])
        assert key.get("units") == "counts"
        assert picture[24, 32] == pytest.approx(
            0.6 * (2**bits - 1) * np.array([0.8, 0.4, 0.2]), abs=0.5
        )

    on_bench(story, bits=bits, noise=False)


def test_the_colour_is_that_of_the_region_and_of_the_exposure() -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        camera = await connected(link, region=DISC)
        await camera.trigger()
        assert await camera.green.get_value() == pytest.approx(0.6 * 0.4, abs=2e-3)
        await camera.exposure.set(0.005)
        with pytest.raises(StaleError):  # it was not taken with this
            await camera.green.get_value()
        await camera.gain.set(6.0)
        await camera.trigger()
        assert await camera.green.get_value() == pytest.approx(0.3 * 0.4 * 1.9953, abs=2e-3)

    on_bench(story, bits=16, noise=False)


def test_what_is_too_bright_is_counted() -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        camera = await connected(link, exposure=0.02)
        await camera.trigger()
        white = 48 * 64 - int(scene._in_disc.sum())
        assert await camera.saturated.get_value() == 3 * white

    on_bench(story, noise=False)


def test_a_grey_camera_has_one_channel_and_is_not_taken_for_another() -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        camera = await connected(link, channels="grey", region=DISC)
        await camera.trigger()
        luminance = 0.2126 * 0.8 + 0.7152 * 0.4 + 0.0722 * 0.2
        assert await camera.grey.get_value() == pytest.approx(0.6 * luminance, abs=4e-3)
        with pytest.raises((GarbledError, NotConnectedError), match="channels=rgb"):
            await connected(link)

    on_bench(story, channels="grey", noise=False)


def test_a_region_must_lie_in_the_picture() -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        with pytest.raises(ConfigError, match="left < right"):
            Camera(link, region=(5, 0, 5, 9))
        with pytest.raises((ConfigError, NotConnectedError), match="region"):
            await connected(link, region=(0, 0, 65, 9))

    on_bench(story)


def test_lost_frames_of_the_live_view_are_told_and_pictures_are_not_lost() -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        camera = await connected(link, live=True)
        publish = simulator._publish
        for n in range(6):
            simulator._publish = (lambda *_: None) if n in (2, 3) else publish
            await camera.trigger()
            await asyncio.sleep(0)
        assert await camera.lost.get_value() == 2
        assert np.array_equal(await camera.live.get_value(), await camera.image.get_value())

    on_bench(story)


def test_a_restarted_service_counts_anew_and_nothing_was_lost() -> None:
    async def story(link: ZmqWire, scene: Scene, simulator: SimulatedCamera) -> None:
        camera = await connected(link, live=True)
        for _ in range(3):
            await camera.trigger()
        simulator.begin("power cycle")
        for _ in range(3):
            await camera.trigger()
        await asyncio.sleep(0)
        assert await camera.lost.get_value() == 0

    on_bench(story)


def test_over_real_sockets_the_live_view_comes_as_well() -> None:
    async def main() -> None:
        simulator = SimulatedCamera(Scene(StillWorld()), rng=np.random.default_rng(1))
        async with serve(URL, [simulator]) as url:
            link = wire(url)
            camera = await connected(link, live=True)
            async with asyncio.timeout(5):
                while camera._live.newest is None:  # a SUB that has just connected hears late
                    await camera.trigger()
                    await asyncio.sleep(0.02)
            assert (await camera.live.get_value()).shape == (48, 64, 3)
            await link.close()

    asyncio.run(main())
