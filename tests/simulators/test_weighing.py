"""Simulated balances behave as the manuals say, and stand whatever they hear."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.ezo import SimulatedEzo
from sdl.simulators.mtsics import SimulatedMTSICS
from sdl.simulators.parts.seen import Immersed, Pan
from sdl.simulators.sartorius import SimulatedSartorius
from sdl.testing import StillWorld

WORDS = ["S", "SI", "SIR", "SC", "Z", "T", "TA", "D", "WS", "M21", "C3", "@", "PWR", "I4", "\x1b"]
WORDS += ["P", "x1_", "R", "RT", "Cal", "mid", "C", "*OK", "O", "K", "I2C", "Sleep", "Factory", "?"]
WORDS += [" ", ",", "1", "-0.5", "1e9", "nan", '"', "\\", "g", "\r", "\n", "\r\n", "\xb2", "\x00"]


class Host:
    """Asks, and hears what is said."""

    def __init__(self, cable: Cable) -> None:
        self._cable, self.heard = cable, bytearray()
        cable.to_host = self.heard.extend

    async def ask(self, request: bytes, seconds: float = 0.5) -> bytes:
        self.heard.clear()
        self._cable.from_host(request)
        await asyncio.sleep(seconds)
        return bytes(self.heard)


def with_a(make: Callable[[], Any], story: Callable[[Host, Any], Awaitable[None]]) -> None:
    async def session() -> None:
        device = make()
        cable = Cable([device])
        host = Host(cable)
        await cable.plug_in()
        try:
            await asyncio.sleep(0.5)
            await story(host, device)
        finally:
            await cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def pan() -> Pan:
    return Pan(StillWorld(), lambda: 50.0)


def mettler(**options: Any) -> SimulatedMTSICS:
    return SimulatedMTSICS(pan(), rng=np.random.default_rng(1), noise=False, **options)


def sartorius(**options: Any) -> SimulatedSartorius:
    return SimulatedSartorius(pan(), rng=np.random.default_rng(1), noise=False, **options)


def ezo() -> SimulatedEzo:
    liquid = Immersed(StillWorld(), lambda: 7.0, lambda: 25.0)
    return SimulatedEzo(liquid, rng=np.random.default_rng(1), noise=False, continuous=0)


def test_a_weight_that_never_settles_is_given_up_and_nothing_else_is_done_meanwhile() -> None:
    async def story(host: Host, balance: SimulatedMTSICS) -> None:
        balance.cell._load.restless = True  # type: ignore[attr-defined]
        assert await host.ask(b"S\r\n") == b""
        assert await host.ask(b"T\r\n") == b"T I\r\n"
        assert await host.ask(b"DW\r\n", 45.0) == b"DW I\r\nS I\r\n"

    with_a(mettler, story)


def test_cancel_ends_what_waits() -> None:
    async def story(host: Host, balance: SimulatedMTSICS) -> None:
        balance.cell._load.restless = True  # type: ignore[attr-defined]
        await host.ask(b"Z\r\n")
        assert await host.ask(b"@\r\n", 60.0) == b'I4 A "B021002593"\r\n'

    with_a(mettler, story)


def test_weights_are_repeated_until_one_is_asked_for() -> None:
    async def story(host: Host, balance: SimulatedMTSICS) -> None:
        assert (await host.ask(b"SIR\r\n", 1.05)).count(b"S S    50.0000 g\r\n") == 11
        assert await host.ask(b"SI\r\n", 5.0) == b"S S    50.0000 g\r\n"

    with_a(mettler, story)


def test_adjusting_takes_its_time_and_is_told_at_both_ends() -> None:
    async def story(host: Host, balance: SimulatedMTSICS) -> None:
        assert await host.ask(b"C3\r\n", 1.0) == b"C3 B\r\n"
        assert await host.ask(b"SI\r\n", 1.0) == b"S I\r\n"
        assert await host.ask(b"", 70.0) == b"C3 I\r\n"  # something lies on the pan

    with_a(mettler, story)


def test_a_sartorius_may_print_only_what_is_stable() -> None:
    async def story(host: Host, balance: SimulatedSartorius) -> None:
        balance.cell._load.restless = True  # type: ignore[attr-defined]
        assert await host.ask(b"\x1bP\r\n", 5.0) == b""
        balance.cell._load.restless = False  # type: ignore[attr-defined]
        assert await host.ask(b"", 3.0) == b"N     +  50.0000 g  \r\n"

    with_a(lambda: sartorius(waits=True), story)


def test_a_circuit_on_i2c_or_at_another_speed_is_silent_unless_it_is_locked() -> None:
    async def story(host: Host, probe: SimulatedEzo) -> None:
        assert await host.ask(b"Plock,1\r") == b"*OK\r"
        assert await host.ask(b"I2C,99\r") == b"*ER\r"
        await host.ask(b"Plock,0\r")
        await host.ask(b"I2C,99\r")
        assert await host.ask(b"i\r", 5.0) == b""

    with_a(ezo, story)


def test_a_sleeping_circuit_wakes_and_loses_the_command() -> None:
    async def story(host: Host, probe: SimulatedEzo) -> None:
        assert await host.ask(b"Sleep\r") == b"*OK\r*SL\r"
        assert await host.ask(b"i\r") == b"*WA\r"
        assert await host.ask(b"i\r") == b"?i,pH,2.16\r*OK\r"

    with_a(ezo, story)


def test_the_middle_point_clears_the_others() -> None:
    async def story(host: Host, probe: SimulatedEzo) -> None:
        for point in (b"Cal,mid,7.00\r", b"Cal,low,4.00\r", b"Cal,mid,7.00\r"):
            assert await host.ask(point, 2.0) == b"*OK\r"
        assert await host.ask(b"Cal,?\r") == b"?Cal,1\r*OK\r"

    with_a(ezo, story)


@pytest.mark.parametrize("make", [mettler, sartorius, ezo])
def test_it_stands_whatever_it_hears(make: Callable[[], Any]) -> None:
    async def story(host: Host, device: Any) -> None:
        rng = np.random.default_rng(7)
        for _ in range(3000):
            await host.ask("".join(rng.choice(WORDS, rng.integers(1, 8))).encode("latin-1"), 0.01)

    with_a(make, story)
