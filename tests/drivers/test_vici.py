"""What is special about the VICI driver; the rest is in tests/conformance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from ophyd_async.core import NotConnectedError

from sdl.clock import new_loop
from sdl.drivers.vici import Vici, parse_port
from sdl.endpoints.pty import memory_wire
from sdl.errors import ConfigError, FaultError, GarbledError
from sdl.simulators.parts.selector import Selector
from sdl.simulators.vici import SimulatedVici
from sdl.testing import StillWorld
from sdl.wires import StreamWire

Story = Callable[[Vici, Selector, SimulatedVici], Awaitable[Any]]


def with_valve(story: Story, *, set_to: int = 8, **options: Any) -> list[bytes]:
    """Run a story on virtual time; return what was sent after connecting."""
    sent: list[bytes] = []

    async def run() -> None:
        part = Selector(StillWorld(), ports=8)
        simulator = SimulatedVici(part, rng=np.random.default_rng(1), ports=set_to)
        async with memory_wire(Vici.delivered, [simulator]) as wire:
            valve = Vici(wire, ports=8, name="valve", **options)
            await valve.connect()
            before = len(wire.log)
            await story(valve, part, simulator)
            sent.extend(e.data for e in list(wire.log)[before:] if e.direction == "sent")

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
    return sent


def test_a_valve_that_does_not_turn_is_told_twice_and_is_a_fault() -> None:
    async def story(valve: Vici, part: Selector, simulator: SimulatedVici) -> None:
        simulator.begin("stuck")
        with pytest.raises(FaultError, match="GO5: it stands at 1 after 6 s"):
            await valve.set(5)

    assert with_valve(story).count(b"GO5\r") == 2


def test_it_goes_round_the_way_it_is_told() -> None:
    async def story(valve: Vici, part: Selector, simulator: SimulatedVici) -> None:
        await valve.set(8)
        assert part.open == 8
        assert await valve.cycles.get_value() == 7
        await valve.set(8)

    sent = with_valve(story, direction="clockwise")
    assert [each for each in sent if each.startswith((b"GO", b"CW"))] == [b"CW8\r"]


def test_two_orders_at_once_are_carried_out_one_after_the_other() -> None:
    async def story(valve: Vici, part: Selector, simulator: SimulatedVici) -> None:
        await asyncio.gather(valve.set(5), valve.set(2))
        assert part.open == 2

    with_valve(story)


def test_an_actuator_that_is_set_to_another_valve_is_not_used() -> None:
    async def story(valve: Vici, part: Selector, simulator: SimulatedVici) -> None:
        pytest.fail("it was connected")

    with pytest.raises(ConfigError, match=r"ports=8, but .* set to 10 positions"):
        with_valve(story, set_to=10)


@pytest.mark.parametrize(
    "reply", [b"CP4\r", b"CP004\r", b"CP00\r", b"CP09\r", b"CP0\xb4\r", b"CP04", b"NP04\r", b"\r"]
)
def test_what_is_no_position_is_not_taken_for_one(reply: bytes) -> None:
    with pytest.raises(GarbledError):
        parse_port(reply, 8)


@pytest.mark.parametrize(
    "wrong", [{"ports": 1}, {"address": "//"}, {"safe_port": 9, "ports": 8}, {"turn": 0}]
)
def test_what_cannot_be_is_a_configuration_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        Vici(None, **wrong)  # type: ignore[arg-type]


def test_an_actuator_that_has_only_long_replies_is_understood() -> None:
    async def story(valve: Vici, part: Selector, simulator: SimulatedVici) -> None:
        assert isinstance(valve.wire, StreamWire)
        await valve.wire.send(b"LG1\r")
        await valve.set(5)
        assert await valve.port.get_value() == part.port == 5

    with_valve(story)
    assert parse_port(b"Position is  = 10\r", 10) == 10
    with pytest.raises(GarbledError):
        parse_port(b"Position is  = 04\r", 10)
    with pytest.raises(GarbledError):
        parse_port(b"CP4\r", 10)


def test_an_actuator_that_does_not_count_is_connected_without_its_cycles() -> None:
    class Uncounting(SimulatedVici):
        async def respond(self, request: bytes) -> None:
            if request == b"CNT\r":
                await self.say(b"= Bad command\r")
            else:
                await super().respond(request)

    async def run() -> None:
        simulator = Uncounting(Selector(StillWorld(), ports=8), rng=np.random.default_rng(1))
        async with memory_wire(Vici.delivered, [simulator]) as wire:
            with pytest.raises(NotConnectedError, match="counts: false"):
                await Vici(wire, ports=8, name="valve").connect()
            await Vici(wire, ports=8, counts=False, name="valve").connect()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
