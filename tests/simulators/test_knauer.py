"""The simulated Knauer pump by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.knauer import SimulatedKnauer
from sdl.simulators.parts.flow_pump import FlowPump
from sdl.testing import StillWorld


class Host:
    def __init__(self, **options: Any) -> None:
        self.part = FlowPump(StillWorld(), resistance=10.0)
        self.pump = SimulatedKnauer(self.part, rng=np.random.default_rng(1), noise=False, **options)
        self.cable, self._heard = Cable([self.pump]), bytearray()
        self.cable.to_host = self._heard.extend

    async def ask(self, request: str) -> str:
        self.cable.from_host(request.encode("latin-1") + b"\n\r")
        await asyncio.sleep(0.02)
        said = self._heard.decode("latin-1")
        self._heard.clear()
        return said.removesuffix("\n\r")


def run(story: Callable[[Host], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        host = Host(**options)
        await host.cable.plug_in()
        try:
            await story(host)
        finally:
            await host.cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def test_it_flows_against_the_resistance_of_the_line() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("FLOW:4000") == "FLOW:OK"
        assert host.part.flow == 0
        assert await host.ask("ON") == "ON:OK"
        assert await host.ask("PRESSURE?") == "PRESSURE:40"
        await asyncio.sleep(60.0)
        assert host.part.total() == pytest.approx(4.0, abs=0.01)
        assert await host.ask("IMOTOR?") == "IMOTOR:20"

    run(story)


def test_it_stops_outside_of_its_pressure_limits() -> None:
    async def story(host: Host) -> None:
        for setting in ("PMAX10:30", "PMIN10:5", "FLOW:2000", "ON"):
            assert (await host.ask(setting)).endswith(":OK")
        await asyncio.sleep(20.0)
        assert host.part.rate == 2
        await host.ask("FLOW:100")  # 1 bar: it runs dry
        await asyncio.sleep(1.0)
        assert host.part.rate == 0
        assert await host.ask("ERRORS?") == "ERRORS:5,0,0,0,0"

    run(story)


def test_when_the_power_comes_it_flows_only_if_it_was_told_so() -> None:
    async def story(host: Host) -> None:
        await host.ask("FLOW:1000")
        await host.ask("ON")
        host.pump.begin("power cycle")
        assert host.part.rate == 0
        await host.ask("STARTMODE:1")
        host.pump.begin("power cycle")
        assert host.part.rate == 1

    run(story)


def test_it_does_not_start_while_its_contact_is_open() -> None:
    async def story(host: Host) -> None:
        await host.ask("STARTLEVEL:0")
        assert await host.ask("ON") == "ERROR:2"

    run(story, start_in=False)


@pytest.mark.parametrize("said", ["", "FLOW", "FLOW:x", "FLOW:-1", "flow?", "\xff", "ON:2", "?"])
def test_what_it_does_not_know_it_says(said: str) -> None:
    async def story(host: Host) -> None:
        assert await host.ask(said) in ("", "ERROR:1")
        assert await host.ask("HEADTYPE?") == "HEADTYPE:10"

    run(story)


def test_either_end_of_line_ends_a_request() -> None:
    async def story(host: Host) -> None:
        for end in ("\n", "\r", "\r\n"):
            host.cable.from_host(f"FLOW?{end}".encode())
            await asyncio.sleep(0.02)
            assert bytes(host._heard) == b"FLOW:0\n\r"
            host._heard.clear()

    run(story)


def test_a_smaller_head_cannot_be_left_with_a_larger_flow() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("FLOW:50000") == "FLOW:OK"
        assert await host.ask("HEADTYPE:10") == "HEADTYPE:OK"
        assert await host.ask("FLOW?") == "FLOW:10000"

    run(story, head=50)
