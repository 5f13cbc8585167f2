"""The simulated Cavro pump against the manual's rules, block by block."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.cavro import SimulatedCavro
from sdl.simulators.parts.syringe_module import SyringeModule
from sdl.testing import StillWorld


class Host:
    """Writes to pumps in DT, or in bytes, and takes what has come back."""

    def __init__(self, *, switches: tuple[int, ...] = (0,), **options: Any) -> None:
        port = 1 if options.get("ports") else "input"
        self.parts = [
            SyringeModule(StillWorld(), capacity_mL=1.0, filled_mL=0.5, port=port) for _ in switches
        ]
        self.pumps = [
            SimulatedCavro(part, rng=np.random.default_rng(1), address=switch, **options)
            for part, switch in zip(self.parts, switches, strict=True)
        ]
        self.part, self.pump = self.parts[0], self.pumps[0]
        self.cable, self._heard = Cable(self.pumps), bytearray()
        self.cable.to_host = self._heard.extend

    async def bytes(self, data: bytes, wait: float = 0.02) -> bytes:
        self.cable.from_host(data)
        await asyncio.sleep(wait)
        said = bytes(self._heard)
        self._heard.clear()
        return said

    async def ask(self, command: str, address: str = "1") -> str:
        """Return status and data of the answer; empty for silence."""
        said = await self.bytes(f"/{address}{command}\r".encode())
        if not said:
            return ""
        assert said.startswith(b"/0"), said
        assert said.endswith(b"\x03\r\n"), said
        return said[2:-3].decode()

    async def ready(self, address: str = "1") -> str:
        """Wait until a pump is ready; return what it says then."""
        while (said := await self.ask("Q", address))[0] < "`":
            await asyncio.sleep(0.1)
        return said


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


def test_it_must_be_initialized_and_then_stands_at_0_with_the_valve_at_the_input() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("Q") == "g"  # ready, error 7
        assert await host.ask("A100R") == "g"
        assert await host.ask("ZR") == "@"
        assert await host.ready() == "`"
        assert (await host.ask("?"), await host.ask("?6"), await host.ask("?15")) == (
            ("`0", "`i", "`1")
        )
        assert host.part.dispensed("output") == pytest.approx(0.5)

    run(story)


def test_a_stroke_takes_pulses_over_speed() -> None:
    async def story(host: Host) -> None:
        began = asyncio.get_running_loop().time()
        await host.ask("V1000A6000R")
        await host.ready()
        assert asyncio.get_running_loop().time() - began == pytest.approx(3.0, abs=0.2)

    run(story, initialized=True)


def test_a_program_repeats_what_stands_in_its_loops() -> None:
    async def story(host: Host) -> None:
        await host.ask("A0gP50gP100D100G10G5R")  # the manual's table 3-7
        await host.ready()
        assert await host.ask("?") == "`250"
        assert await host.ask("?16") == "`106"

    run(story, initialized=True)


def test_a_string_waits_in_the_buffer_until_it_is_run_and_can_be_repeated() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("P100") == "`"
        assert await host.ask("F") == "`1"
        await host.ask("R")
        await host.ready()
        assert (await host.ask("?"), await host.ask("?10")) == ("`3100", "`0")
        await host.ask("XR")
        await host.ready()
        assert await host.ask("?") == "`3200"

    run(story, initialized=True)


def test_it_stays_with_the_protocol_that_it_heard_first_until_its_power_is_cut() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("?") == "`3000"
        oem = b"\x0211?\x03" + bytes([0x02 ^ 0x31 ^ 0x31 ^ 0x3F ^ 0x03])
        assert await host.bytes(oem) == b""
        host.pump.power_cycle()
        assert (await host.bytes(oem))[:3] == b"\x020`"
        assert await host.ask("?") == ""

    run(story, initialized=True)


def test_a_group_obeys_and_does_not_answer() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("ZR", address="_") == ""
        await asyncio.sleep(15.0)
        assert await host.ask("A600R", address="A") == ""  # switches 0 and 1
        await asyncio.sleep(5.0)
        assert [await host.ask("?", address) for address in "123"] == ["`600", "`600", "`0"]

    run(story, switches=(0, 1, 2))


def test_the_speed_may_change_on_the_way() -> None:
    async def story(host: Host) -> None:
        await host.ask("V60A0R")  # 50 s for 3000 steps
        await asyncio.sleep(10.0)
        assert await host.ask("V600R") == "@"
        await asyncio.sleep(4.2)
        assert await host.ask("Q") == "`"
        assert host.part.volume == 0

    run(story, initialized=True)


def test_terminating_lets_a_valve_come_to_its_port() -> None:
    async def story(host: Host) -> None:
        await host.ask("OP600R")
        await host.ask("T")
        assert await host.ready() == "`"
        assert (await host.ask("?6"), await host.ask("?")) == ("`o", "`3000")

    run(story, initialized=True)


def test_an_overload_is_told_once_and_ends_with_an_initialization() -> None:
    async def story(host: Host) -> None:
        host.part.blocked = True
        await host.ask("A0R")
        assert await host.ready() == "i"  # error 9
        assert await host.ask("Q") == "g"  # not initialized
        assert await host.ask("A100R") == "g"
        host.part.blocked = False
        await host.ask("ZR")
        assert await host.ready() == "`"

    run(story, initialized=True)


def test_the_clone_counts_finer_and_begins_its_answers_with_a_synchronization_byte() -> None:
    async def story(host: Host) -> None:
        assert await host.bytes(b"/1?\r") == b"\xff/0`6000\x03\r\n"
        assert await host.bytes(b"/1N1R\r") == b"\xff/0`\x03\r\n"
        assert await host.bytes(b"/1?\r") == b"\xff/0`48000\x03\r\n"

    run(story, initialized=True, model="sy01b")


@pytest.mark.parametrize("said", ["<\xb2", "<16", "?99", "A\xb9R", "Q1", "g", "GR", "A-5R"])
def test_what_it_does_not_understand_is_an_error(said: str) -> None:
    async def story(host: Host) -> None:
        at_once = await host.bytes(f"/1{said}\r".encode("latin-1"))
        later = await host.ask("Q")
        assert ord(at_once[2:3]) & 0x0F or ord(later[0]) & 0x0F
        assert await host.ask("?") == "`3000"

    run(story, initialized=True)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.text("ZYWNVvcLKkSJAPDapdIOBEMHgGXRTwz?QF&#*<!0123456789,-", max_size=24).map(
                lambda text: f"/1{text}\r".encode()
            ),
        ),
        max_size=12,
    )
)
def test_no_garbage_stops_it(requests: list[bytes]) -> None:
    async def story(host: Host) -> None:
        await host.ask("Q")
        for request in requests:
            await host.bytes(request, wait=0.5)
        await host.bytes(b"\r", wait=0.1)
        await host.ask("T")
        await asyncio.sleep(0.5)
        assert await host.ask("&")

    run(story, initialized=True)
