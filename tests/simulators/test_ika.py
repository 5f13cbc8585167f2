"""The simulated plate: what the manual says of it, beyond the transcript."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl import clock
from sdl.clock import new_loop
from sdl.simulators.ika import SimulatedIka
from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.world import World


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=clock.monotonic)
        self.plate = HotPlate(self)
        self.parts = {"plate": self.plate}

    def step(self, t: float, dt: float) -> None:
        self.plate.step(dt, 22.0)


def with_a_plate(
    story: Callable[[Callable[[str], str], SimulatedIka, HotPlate], Awaitable[None]],
    **options: Any,
) -> None:
    async def run() -> None:
        part = Bench().plate
        plate = SimulatedIka(part, rng=np.random.default_rng(1), noise=False, **options)
        await story(lambda said: plate.answer(f"{said} \r\n".encode()).decode(), plate, part)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_it_heats_without_running_far_over_and_cools_slowly() -> None:
    async def story(ask: Callable[[str], str], plate: SimulatedIka, part: HotPlate) -> None:
        ask("OUT_SP_1 100")
        ask("START_1")
        hottest = 0.0
        for _ in range(1800):
            await asyncio.sleep(1)
            hottest = max(hottest, part.temperature)
        assert part.temperature == pytest.approx(100, abs=0.5)
        assert hottest < 105
        ask("STOP_1")
        await asyncio.sleep(120)
        assert 60 < part.temperature < 99

    with_a_plate(story)


def test_watchdog_1_switches_off_until_the_power_is_cut() -> None:
    async def story(ask: Callable[[str], str], plate: SimulatedIka, part: HotPlate) -> None:
        for said in ("OUT_SP_1 100", "START_1", "OUT_SP_4 500", "START_4"):
            assert ask(said) == ""
        assert ask("OUT_WD1@20") == "20.0 \r\n"
        await asyncio.sleep(19)
        ask("OUT_WD1@20")
        await asyncio.sleep(19)
        assert ask("STATUS_1") == "11 1 \r\n"
        await asyncio.sleep(2)  # questions do not feed it
        assert (ask("STATUS_1"), ask("STATUS_4")) == ("12 1 \r\n", "12 4 \r\n")
        ask("START_1")
        assert ask("STATUS_1") == "12 1 \r\n"
        plate.begin("power cycle")
        ask("START_1")
        assert ask("STATUS_1") == "11 1 \r\n"

    with_a_plate(story)


def test_watchdog_2_goes_to_the_safe_values_until_it_is_told_that_all_is_well() -> None:
    async def story(ask: Callable[[str], str], plate: SimulatedIka, part: HotPlate) -> None:
        for said in ("OUT_SP_1 100", "START_1", "OUT_SP_4 500", "START_4"):
            ask(said)
        assert ask("OUT_SP_12@30") == "30.0 \r\n"
        assert ask("OUT_SP_42@100") == "100.0 \r\n"
        ask("OUT_WD2@20")
        await asyncio.sleep(21)
        assert (ask("IN_SP_1"), ask("IN_SP_4")) == ("30.0 1 \r\n", "100.0 4 \r\n")
        assert part.stirring == 100
        ask("OUT_SP_1 60")
        assert ask("IN_SP_1") == "30.0 1 \r\n"
        assert ask("OUT_WD2@0") == "0.0 \r\n"
        ask("OUT_SP_1 60")
        assert ask("IN_SP_1") == "60.0 1 \r\n"

    with_a_plate(story)


def test_the_motor_takes_its_time() -> None:
    async def story(ask: Callable[[str], str], plate: SimulatedIka, part: HotPlate) -> None:
        ask("OUT_SP_4 800")
        ask("START_4")
        await asyncio.sleep(1)
        assert ask("IN_PV_4") == "400.0 4 \r\n"
        await asyncio.sleep(1)
        assert ask("IN_PV_4") == "800.0 4 \r\n"

    with_a_plate(story)


def test_whatever_is_sent_it_lives_and_answers_what_it_knows() -> None:
    async def story(ask: Callable[[str], str], plate: SimulatedIka, part: HotPlate) -> None:
        rng = np.random.default_rng(7)
        known = b"IN_PV_1 IN_SP_3 OUT_SP_1 50 OUT_WD2@60 START_4 STATUS_1 OUT_SP_12@9 \r\n"
        for _ in range(5000):
            at = int(rng.integers(len(known)))
            piece = bytearray(known[at : at + int(rng.integers(1, 30))])
            piece[int(rng.integers(len(piece)))] = int(rng.integers(256))
            plate.answer(bytes(piece) + b"\r\n")
        plate.begin("power cycle")
        assert ask("IN_NAME") != ""
        assert ask("IN_SP_3") == "360.0 3 \r\n"

    with_a_plate(story)


def test_a_plate_that_was_off_for_long_is_not_heated_in_hindsight() -> None:
    async def story(ask: Callable[[str], str], plate: SimulatedIka, part: HotPlate) -> None:
        ask("OUT_SP_1 100")
        await asyncio.sleep(600)
        ask("START_1")
        assert part.temperature == pytest.approx(22.0)

    with_a_plate(story)
