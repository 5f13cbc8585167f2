"""What is special about the simulated Grbl: its motion, its buffer, its real-time bytes."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.grbl import SimulatedGrbl
from sdl.simulators.parts.gantry import Gantry
from sdl.testing import StillWorld

Ask = Callable[..., Awaitable[str]]


@asynccontextmanager
async def grbl(**options: Any) -> AsyncIterator[tuple[SimulatedGrbl, Gantry, Ask]]:
    gantry = Gantry(StillWorld(), position=(-100.0, -80.0, -20.0))
    simulator = SimulatedGrbl(gantry, rng=np.random.default_rng(1), **options)
    simulator.at((-100.0, -80.0, -20.0))
    heard = bytearray()
    cable = Cable([simulator])
    cable.to_host = heard.extend
    await cable.plug_in()
    await asyncio.sleep(0.1)

    async def ask(text: str, seconds: float = 0.05) -> str:
        heard.clear()
        cable.from_host(text.encode("latin-1"))
        await asyncio.sleep(seconds)
        return heard.decode("latin-1")

    try:
        yield simulator, gantry, ask
    finally:
        await cable.pull_out()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story())


def test_a_move_takes_as_long_as_its_feed_and_acceleration_say() -> None:
    async def story() -> None:
        async with grbl() as (simulator, gantry, ask):
            assert await ask("G1 X-60 F1200\n", 0.006) == "ok\r\n"
            began, speed, ramp = monotonic(), 20.0, 20.0 / 200.0
            await asyncio.sleep(ramp / 2)
            assert gantry.speed == pytest.approx(speed / 2, rel=0.15)
            while simulator.state != "Idle":
                await asyncio.sleep(0.001)
            expected = 40.0 / speed + ramp
            assert monotonic() - began == pytest.approx(expected, abs=0.02)
            assert gantry.position[0] == pytest.approx(-60.0)

    run(story)


def test_rapids_go_as_fast_as_the_slowest_axis_lets_them() -> None:
    async def story() -> None:
        async with grbl() as (_, gantry, ask):
            await ask("G0 X-50 Z-10\n", 0.7)
            per_z = 10.0 / math.hypot(50.0, 10.0)  # 1000 mm/min of Z, 3000 of X
            assert gantry.speed * 60 == pytest.approx(min(1000 / per_z, 3000 * 51 / 50), rel=0.01)

    run(story)


def test_a_hold_in_the_middle_goes_on_to_the_same_end() -> None:
    async def story() -> None:
        async with grbl() as (_, gantry, ask):
            await ask("G1 X-50 F600\n", 1.0)
            assert "<Hold:1|" in await ask("!?", 0.01)
            await asyncio.sleep(1.0)
            stood = gantry.position
            assert "<Hold:0|" in await ask("?")
            await asyncio.sleep(100.0)
            assert gantry.position == stood
            await ask("~", 10.0)
            assert gantry.position[0] == pytest.approx(-50.0)

    run(story)


def test_a_report_is_given_in_the_middle_of_a_line() -> None:
    async def story() -> None:
        async with grbl() as (_, _, ask):
            said = await ask("$?G\n")
            assert said.startswith("<Idle|MPos:-100.000,")
            assert "[GC:G0 G54" in said

    run(story)


def test_what_does_not_fit_its_buffer_is_lost() -> None:
    async def story() -> None:
        async with grbl() as (_, _, ask):
            await ask("G4 P5\n", 0.05)  # it waits, and the lines behind it
            said = await ask("G1 X-90 F1000\n" * 20, 20.0)
            assert 9 <= said.count("ok") <= 10  # 127 bytes of 280
            assert (await ask("X" * 100 + "\n")) == "error:11\r\n"

    run(story)


def test_a_jog_does_not_change_the_modes_and_is_over_when_it_is_cancelled() -> None:
    async def story() -> None:
        async with grbl() as (simulator, gantry, ask):
            modes = await ask("$G\n")
            assert await ask("$J=G91G20X1F10\n$J=G91X10F100\n", 0.5) == "ok\r\nok\r\n"
            assert await ask("$G\n") == modes
            assert await ask("G0 X-5\n") == "error:9\r\n"
            await ask("\x85", 1.0)
            assert (simulator.state, gantry.speed) == ("Idle", 0.0)
            assert -98.5 < gantry.position[0] < -95.0  # 10 inches a minute, for half a second

    run(story)


def test_work_coordinates_are_those_of_the_machine_less_their_offset() -> None:
    async def story() -> None:
        async with grbl(settings={10: 0}) as (_, gantry, ask):
            await ask("G92 X0 Y0\n")
            assert "WPos:0.000,0.000,-20.000" in await ask("?")
            await ask("G0 X5\n", 5.0)
            assert gantry.position[0] == pytest.approx(-95.0)
            assert "[G92:-100.000,-80.000,0.000]" in await ask("$#\n")

    run(story)


def test_whatever_it_hears_it_lives_on() -> None:
    async def story() -> None:
        rng = np.random.default_rng(2)
        words = ["G0", "G1", "G91", "G92", "X-5", "Y1e9", "$$", "$J=", "$H", "?", "!", "~", "\n"]
        words += [
            "\x18",
            "\x84",
            "\x85",
            "\x91",
            "G10L2P9",
            "$22=0",
            "$C",
            "$SLP",
            "$RST=*",
            "(",
            ";",
        ]
        words += [
            "M3S9",
            "G4P0.1",
            "F100",
            "$N0=",
            "$I=a",
            "$X",
            "\r",
            "G28",
            "G43.1Z1",
            "T999",
            "N-1",
        ]
        async with grbl() as (_, _, ask):
            for _ in range(800):
                picked = [words[at] for at in rng.integers(0, len(words), size=6)]
                picked.append(rng.bytes(3).decode("latin-1"))
                await ask("".join(picked) + "\n", 0.02)
            await ask("\n\x18", 1.0)
            assert "Grbl 1.1h" in await ask("\x18", 1.0)
            assert (await ask("?")).startswith("<")

    run(story)
