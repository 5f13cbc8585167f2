"""Other people's drivers work with our IKA plate, over real ports."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.endpoints import pty, tcp
from sdl.simulators.ika import SimulatedIka
from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.world import World
from tests.peers.environment import environment

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals"),
]
SERIAL = "serial:///dev/ttyUSB0?baudrate=9600&bytesize=7&parity=E"


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=asyncio.get_running_loop().time)
        self.plate = HotPlate(self)
        self.parts = {"plate": self.plate}

    def step(self, t: float, dt: float) -> None:
        self.plate.step(dt, 22.0)


def with_a_plate(
    story: Callable[[str, HotPlate], Awaitable[None]], *, over_tcp: bool = False
) -> None:
    async def session() -> None:
        part = Bench().plate
        plate = SimulatedIka(
            part,
            rng=np.random.default_rng(1),
            model="RET control-visc" if over_tcp else "RCT digital",
            probe=True,
            noise=False,
        )
        serving = tcp.serve("tcp://any:1", [plate]) if over_tcp else pty.serve(SERIAL, [plate])
        async with serving as url:
            parts = urlsplit(url)
            await story(parts.netloc if over_tcp else parts.path, part)

    asyncio.run(session())


def test_ika_2_heats_stirs_and_arms_the_watchdog() -> None:
    ika = environment("ika")

    async def story(port: str, part: HotPlate) -> None:
        said = (await ika.run("their_ika.py", port)).splitlines()
        assert said[:5] == [
            "target 45.0",
            "safety 360.0",
            "viscosity 0.0",
            "wd temperature 30.0",
            "wd speed 100.0",
        ]
        assert said[5:8] == ["wd echo b'60.0'", "stir 300.0 300.0", "warmer True"]
        assert part.aimed == 45.0
        assert part.stirring == 0

    with_a_plate(story)


def test_ika_control_reads_all_of_a_plate_with_two_probes() -> None:
    ika_control = environment("ika_control")

    async def story(address: str, part: HotPlate) -> None:
        said = (await ika_control.run("their_ika_control.py", address)).splitlines()
        info, on, off = map(json.loads, said)
        assert info["device_type"] == "RET control-visc"
        assert info["temp_limit"] == 360.0
        assert on["speed"] == {"setpoint": 300, "actual": 300, "active": True}
        assert on["process_temp"]["setpoint"] == 45.0
        assert on["process_temp"]["active"] is True
        assert on["surface_temp"]["actual"] > 22.0
        assert on["fluid_temp"]["actual"] == pytest.approx(22.0, abs=1.0)
        assert off["process_temp"]["active"] is False

    with_a_plate(story, over_tcp=True)


def test_matterlab_hotplates_heats_stirs_and_stands_by() -> None:
    matterlab = environment("matterlab_hotplates")

    async def story(port: str, part: HotPlate) -> None:
        said = (await matterlab.run("their_matterlab_hotplates.py", port)).splitlines()
        assert said == ["temp 22.0", "rpm 300"]
        assert (part.aimed, part.stirring) == (0.0, 0.0)

    with_a_plate(story)
