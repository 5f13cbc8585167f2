"""The simulated circulator: what the manuals say of it, beyond the transcript."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl import clock
from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.julabo import SimulatedJulabo
from sdl.simulators.parts.bath import Bath
from sdl.simulators.world import World


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=clock.monotonic)
        self.bath = Bath(self)
        self.parts = {"bath": self.bath}

    def step(self, t: float, dt: float) -> None:
        self.bath.step(dt, 22.0)


class Host:
    """What sits at the other end of the cable."""

    def __init__(self, simulator: SimulatedJulabo) -> None:
        self.simulator, self.heard = simulator, b""
        self.cable = Cable([simulator])
        self.cable.to_host = self._hear

    def _hear(self, data: bytes) -> None:
        self.heard += data

    async def ask(self, said: str, wait: float = 0.3) -> str:
        """Say it; return what is answered, the end cut off."""
        self.heard = b""
        self.cable.from_host(f"{said}\r".encode("latin-1"))
        await asyncio.sleep(wait)
        return self.heard.decode().removesuffix("\r\n")


def with_a_bath(story: Callable[[Host, Bath], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        part = Bench().bath
        rng = np.random.default_rng(1)
        host = Host(SimulatedJulabo(part, rng=rng, noise=False, **options))
        await host.cable.plug_in()
        try:
            await story(host, part)
        finally:
            await host.cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_what_comes_within_250_ms_after_a_setting_is_not_heard() -> None:
    async def story(host: Host, part: Bath) -> None:
        await host.ask("out_sp_00 30", wait=0.2)
        assert await host.ask("in_sp_00") == ""
        assert await host.ask("in_sp_00") == "30.00"

    with_a_bath(story)


def test_over_usb_what_comes_within_10_ms_after_an_answer_is_not_heard() -> None:
    async def story(host: Host, part: Bath) -> None:
        answered = asyncio.Event()
        host.cable.to_host = lambda data: answered.set()
        host.cable.from_host(b"in_sp_00\r")
        await answered.wait()
        await asyncio.sleep(0.005)
        host.cable.to_host = host._hear
        assert await host.ask("in_sp_00") == ""
        assert await host.ask("in_sp_00") == "20.00"

    with_a_bath(story, usb=True)


def test_in_manual_operation_nothing_is_obeyed() -> None:
    async def story(host: Host, part: Bath) -> None:
        assert await host.ask("out_mode_05 1") == ""
        assert await host.ask("status") == "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE"
        assert await host.ask("status") == "00 MANUAL STOP"
        assert part.stage == 0

    with_a_bath(story, remote=False)


def test_it_tempers_a_vessel_of_a_litre() -> None:
    async def story(host: Host, part: Bath) -> None:
        await host.ask("out_sp_00 60")
        await host.ask("out_mode_05 1")
        hottest = 0.0
        for _ in range(3600):
            await asyncio.sleep(1)
            hottest = max(hottest, part.temperature)
        assert part.temperature == pytest.approx(60, abs=0.1)
        assert part.vessel == pytest.approx(60, abs=0.5)
        assert hottest < 61.5

    with_a_bath(story)


def test_its_protection_switches_it_off_and_it_says_so() -> None:
    async def story(host: Host, part: Bath) -> None:
        await host.ask("out_sp_00 60")
        await host.ask("out_mode_05 1")
        await asyncio.sleep(1800)
        assert (await host.ask("status")).startswith("-14 ")
        assert (part.stage, part.power) == (0, 0.0)
        await host.ask("out_mode_05 1")
        assert (await host.ask("status")).startswith("-09 ")

    with_a_bath(story, excess_temperature=50.0)


def test_with_its_power_it_loses_what_is_not_kept() -> None:
    async def story(host: Host, part: Bath) -> None:
        for said in ("out_sp_00 30", "out_par_06 9.5", "out_mode_05 1"):
            await host.ask(said)
        host.simulator.begin("power cycle")
        assert await host.ask("status") == ""
        await asyncio.sleep(2)
        assert await host.ask("status") == "02 REMOTE STOP"
        assert (await host.ask("in_sp_00"), await host.ask("in_par_06")) == ("30.00", "2.5")
        assert part.stage == 0

    with_a_bath(story)


def test_a_corio_cd_knows_ten_commands() -> None:
    async def story(host: Host, part: Bath) -> None:
        assert await host.ask("in_pv_00") == "22.00"
        assert await host.ask("in_sp_03") == ""
        assert await host.ask("status") == "-08 INVALID COMMAND"

    with_a_bath(story, full=False)


def test_whatever_is_sent_it_lives_and_answers_what_it_knows() -> None:
    async def story(host: Host, part: Bath) -> None:
        rng = np.random.default_rng(7)
        known = "in_pv_00 version in_sp_07 out_sp_00 55.5 out_mode_05 1 status out_par_06 3 "
        for _ in range(2000):
            at = int(rng.integers(len(known)))
            piece = list(known[at : at + int(rng.integers(1, 25))])
            piece[int(rng.integers(len(piece)))] = chr(int(rng.integers(256)))
            await host.ask("".join(piece))
        await host.ask("")
        await host.ask("out_mode_05 0")
        assert (await host.ask("version")).startswith("JULABO")

    with_a_bath(story)
