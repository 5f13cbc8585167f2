"""Simulated valves and stages move in time, and survive whatever is sent to them."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.parts.carriage import Carriage
from sdl.simulators.parts.selector import Selector
from sdl.simulators.parts.syringe import PumpHead
from sdl.simulators.runze import SimulatedRunzePump, SimulatedRunzeValve
from sdl.simulators.vici import SimulatedVici
from sdl.simulators.zaber import SimulatedZaber
from sdl.testing import StillWorld

WORDS = {
    "vici": ["GO", "CP", "CW", "CC", "HM", "NP", "AM", "ID", "IFM", "LG", "DT", "TT", "LRN", "VR"],
    "zaber": ["/", "1 ", "0 ", "get ", "set ", "pos", "move ", "abs ", "rel ", "vel ", "home"],
    "runze": ["\xcc\x00", "\x44", "\x42", "\x66", "\xdd", "\xff\xee\xbb\xaa", "\xa9\x01"],
}


def on_virtual_time(story: Awaitable[Any]) -> None:
    async def run() -> None:
        await story

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def made(kind: str) -> Any:
    world, rng = StillWorld(), np.random.default_rng(1)
    match kind:
        case "vici":
            return SimulatedVici(Selector(world, ports=8), rng=rng)
        case "vici injection":
            return SimulatedVici(Selector(world, ports=2), rng=rng)
        case "runze valve":
            return SimulatedRunzeValve(Selector(world, ports=6), rng=rng)
        case "runze pump":
            return SimulatedRunzePump(PumpHead(world, capacity_mL=5.0, filled_mL=2.0), rng=rng)
        case _:
            return SimulatedZaber(Carriage(world, travel_mm=50.8), rng=rng)


@pytest.mark.parametrize("kind", ["vici", "vici injection", "runze valve", "runze pump", "zaber"])
def test_whatever_is_sent_to_it_it_lives(kind: str) -> None:
    """What went wrong in a simulator is raised when the cable is pulled out."""

    async def story() -> None:
        rng = np.random.default_rng(7)
        simulator = made(kind)
        words = [word.encode("latin-1") for word in WORDS[kind.split()[0]]]
        cable = Cable([simulator])
        cable.to_host = lambda _: None
        await cable.plug_in()
        for _ in range(3000):
            pieces = [words[n] for n in rng.integers(0, len(words), rng.integers(1, 4))]
            end = [b"\r", b"\n", b"\r\n", b"", b"*\r"][rng.integers(0, 5)]
            cable.from_host(b"".join(pieces) + rng.bytes(int(rng.integers(0, 4))) + end)
            await asyncio.sleep(0.05)
        await cable.pull_out()

    on_virtual_time(story())


def test_a_selector_is_open_to_nothing_while_it_turns() -> None:
    async def story() -> None:
        part = Selector(StillWorld(), ports=8)
        told: list[dict[str, Any]] = []
        part.tell_actions(told.append)
        part.turn(5, 2.0)
        await asyncio.sleep(1.0)
        assert (part.port, part.open, part.moving) == (1, None, True)
        await asyncio.sleep(1.0)
        assert (part.port, part.open, part.moving) == (5, 5, False)
        part.turn(2, 2.0)
        await asyncio.sleep(1.0)
        part.stop()
        await asyncio.sleep(5.0)
        assert (part.port, part.open) == (5, None)
        assert [each["action"] for each in told] == ["turn", "turn", "stopped"]

    on_virtual_time(story())


def test_a_carriage_is_where_its_speed_has_brought_it() -> None:
    async def story() -> None:
        part = Carriage(StillWorld(), travel_mm=50.0, position_mm=10.0)
        assert part.move(30.0, 4.0)
        await asyncio.sleep(2.5)
        assert part.position == pytest.approx(20.0)
        assert part.time_left == pytest.approx(2.5)
        part.move(90.0, 10.0)
        await asyncio.sleep(10.0)
        assert (part.position, part.moving) == (50.0, False)
        part.blocked = True
        assert not part.move(0.0, 10.0)

    on_virtual_time(story())
