"""Simulated gas controllers against their manuals, and the gas line against a closed form."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.alicat import SimulatedAlicat
from sdl.simulators.bronkhorst import SimulatedBronkhorst
from sdl.simulators.parts.gas_line import GasLine
from sdl.testing import StillWorld


class Host:
    """Writes bytes to an instrument and takes what has come back."""

    def __init__(
        self, kind: Callable[..., Any], part: GasLine | None = None, **options: Any
    ) -> None:
        self.part = part or GasLine(StillWorld(), lag=0.01)
        options = {"noise": False, **options}
        self.instrument = kind(self.part, rng=np.random.default_rng(1), **options)
        self.cable = Cable([self.instrument])
        self._heard = bytearray()
        self.cable.to_host = self._heard.extend

    async def ask(self, data: bytes, wait: float = 0.02) -> bytes:
        self.cable.from_host(data)
        await asyncio.sleep(wait)
        said = bytes(self._heard)
        self._heard.clear()
        return said

    async def __aenter__(self) -> "Host":
        await self.cable.plug_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cable.pull_out()


def on_virtual_time(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await story()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_flow_and_volume_follow_the_closed_form_of_a_first_order_lag() -> None:
    async def story() -> None:
        line = GasLine(StillWorld(), lag=2.0, supply=1000.0)
        line.setpoint = 300.0
        await asyncio.sleep(3.0)
        assert line.flow == pytest.approx(300.0 * (1 - math.exp(-1.5)))
        gone = 300.0 * (3.0 - 2.0 * (1 - math.exp(-1.5))) / 60.0
        assert line.volume == pytest.approx(gone)
        line.valve = "closed"
        await asyncio.sleep(2.0)
        assert line.flow == pytest.approx(300.0 * (1 - math.exp(-1.5)) * math.exp(-1.0))
        line.valve, line.setpoint, line.supply = "control", 5000.0, 50.0
        await asyncio.sleep(60.0)
        assert line.flow == pytest.approx(50.0)
        assert line.pressure == pytest.approx(101.325 + 0.02 * 50.0)

    on_virtual_time(story)


def test_what_the_valve_aims_at_is_told() -> None:
    async def story() -> None:
        line, told = GasLine(StillWorld()), []
        line.tell_actions(told.append)
        line.setpoint = 100.0
        line.setpoint = 100.0
        line.valve = "closed"
        assert [each["action"] for each in told] == ["aim", "aim"]
        assert told[-1] == {"t": 0.0, "action": "aim", "flow": 100.0, "valve": "closed"}

    on_virtual_time(story)


def test_an_alicat_takes_whole_numbers_of_64000_and_cuts_setpoints_to_its_range() -> None:
    async def story() -> None:
        async with Host(SimulatedAlicat) as host:
            assert b" +250.00 " in await host.ask(b"A32000\r")
            assert b" +500.00 " in await host.ask(b"AS 700\r")
            assert b" +000.00 " in await host.ask(b"as-5\r")

    on_virtual_time(story)


def test_an_alicat_streams_without_its_letter_until_it_is_told_one() -> None:
    async def story() -> None:
        async with Host(SimulatedAlicat) as host:
            await host.ask(b"ANCS 100\r")
            streamed = await host.ask(b"A@ @\r", 1.05)
            assert 9 <= streamed.count(b"\r") <= 11
            assert streamed.startswith(b" +014.70 ")
            await host.ask(b"@@ B\r", 0.2)
            assert await host.ask(b"A\r", 0.2) == b""
            assert (await host.ask(b"B\r")).startswith(b"B +014.70 ")

    on_virtual_time(story)


def test_an_alicat_that_lost_its_power_has_lost_setpoint_hold_and_total() -> None:
    async def story() -> None:
        async with Host(SimulatedAlicat, totalizer=True) as host:
            await host.ask(b"AS 300\r", 60.0)
            await host.ask(b"AHP\r")
            host.instrument.begin("power cycle")
            assert await host.ask(b"A\r") == b""  # it starts
            await asyncio.sleep(1.0)
            said = await host.ask(b"A\r")
            assert said.endswith(b" +000.00 +000000.05     N2\r"), said  # what flowed on for 10 ms

    on_virtual_time(story)


def test_a_bronkhorst_answers_the_chain_of_the_manual_as_the_manual_says() -> None:
    # 9.17.027, p. 24
    ask = b":1A0304F1EC7163006D71660001AE0120CF014DF0017F077101710A\r\n"
    answer = (
        b":370302F1EC004D3632313233343541006D00555345525441470001AE1CD8CF3F800000F007"
        b"6D6C6E2F6D696E710A4E322020202020202020\r\n"
    )

    async def story() -> None:
        part = GasLine(StillWorld())
        part.place(7384 / 32000)
        async with Host(SimulatedBronkhorst, part, full_scale=1.0) as host:
            said = await host.ask(ask)
            assert said[3:] == answer[3:]
            assert (
                int(said[1:3], 16) == (len(said) - 5) // 2
            )  # the manual counts 55 where 56 follow

    on_virtual_time(story)


def test_a_bronkhorst_says_what_was_wrong_with_a_message() -> None:
    async def story() -> None:
        async with Host(SimulatedBronkhorst) as host:
            wrong = {
                b":06030401200108\r\n": 5,  # measure as a character
                b":0603047F217F21\r\n": 3,
                b":06030401380138\r\n": 4,
                b":06030101200FA0\r\n": 13,
                b":0603010121FFFF\r\n": 6,
                b":020305\r\n": 2,
            }
            for message, status in wrong.items():
                said = await host.ask(message)
                assert said[:7] == b":040300", (message, said)
                assert int(said[7:9], 16) == status, (message, said)

    on_virtual_time(story)


PIECES = st.one_of(
    st.binary(max_size=40),
    st.from_regex(rb"A(S|LS|G|GS|DV|FPF|SR|TB 1|GM X 236|W|R|@|HP|T)? ?[0-9. =+-]{0,12}\r"),
    st.from_regex(rb":[0-9A-F]{0,40}\r\n"),
    st.binary(max_size=30).map(lambda data: b"\x10\x02" + data + b"\x10\x03"),
    st.binary(max_size=30).map(
        lambda d: (
            b"\x10\x02\x01\x80" + bytes([len(d)]) + d.replace(b"\x10", b"\x10\x10") + b"\x10\x03"
        )
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=12))
def test_nothing_that_is_said_makes_them_crash_or_deaf(pieces: list[bytes]) -> None:
    async def story() -> None:
        async with Host(SimulatedAlicat, totalizer=True) as host:
            for piece in pieces:
                await host.ask(piece)
            await host.ask(b"\r@@ A\r" + b"\r", 2.0)
            await host.ask(b"*@ A\r", 2.0)
            assert (await host.ask(b"A\r", 0.045)).startswith(b"A +")
        async with Host(SimulatedBronkhorst) as host:
            for piece in pieces:
                await host.ask(piece)
            await host.ask(b"\r\n\x10\x03", 1.0)
            assert await host.ask(b"\x10\x02\x05\x80\x05\x04\x00\x01\x00\x01\x10\x03") != b""

    on_virtual_time(story)


def test_a_line_that_never_ended_does_not_swallow_the_next_message() -> None:
    ask, answered = (
        bytes.fromhex("10020180050401210121 1003"),
        bytes.fromhex("10020103050201210000 1003"),
    )

    async def story() -> None:
        async with Host(SimulatedBronkhorst) as host:
            for lost in (b":0680", b":06800401210121\n", b":\r", b"\x10\x02\x01\x80"):
                await host.ask(lost)
                assert (await host.ask(ask)).endswith(answered)
            assert await host.ask(b":0680:06800401210121\r\n") == b":06030201210000\r\n"

    on_virtual_time(story)
