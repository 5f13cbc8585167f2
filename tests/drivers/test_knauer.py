"""The Knauer driver: what the conformance kit does not know of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.drivers.knauer import Knauer, parse, refusal
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.tcp import memory_wire
from sdl.errors import ConfigError, FaultError, GarbledError, RefusedError
from sdl.instrument import Doser
from sdl.simulators.knauer import SimulatedKnauer
from sdl.simulators.parts.flow_pump import FlowPump
from sdl.testing import StillWorld


@asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[tuple[Knauer, FlowPump, SimulatedKnauer]]:
    part = FlowPump(StillWorld(), resistance=20.0)
    simulator = SimulatedKnauer(part, rng=np.random.default_rng(1), noise=False)
    async with memory_wire(Knauer.delivered, [simulator]) as wire:
        yield Knauer(wire, name="pump", **options), part, simulator


@asynccontextmanager
async def faulty(**options: Any) -> AsyncIterator[tuple[Knauer, Faulty]]:
    part = FlowPump(StillWorld())
    line = Faulty(SimulatedKnauer(part, rng=np.random.default_rng(1), **options))
    async with memory_wire(Knauer.delivered, [line]) as wire:
        yield Knauer(wire, name="pump"), line


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def test_it_flows_until_it_is_stopped() -> None:
    async def story() -> None:
        async with bench() as (pump, part, _):
            await pump.connect()
            await pump.set(1.5)
            began = part.total()
            await asyncio.sleep(120.0)
            assert part.total() - began == pytest.approx(3.0)
            await pump.stop()
            assert part.rate == 0

    run(story)


def test_nobody_takes_it_for_a_doser_of_volumes() -> None:
    async def story() -> None:
        async with bench() as (pump, _, _):
            assert not isinstance(pump, Doser)

    run(story)


def test_its_limits_are_told_to_the_pump_which_keeps_them() -> None:
    async def story() -> None:
        async with bench(max_pressure=50) as (pump, part, simulator):
            await pump.connect()
            assert simulator.settings["PMAX10"] == 50
            await pump.set(2.0)
            await asyncio.sleep(1.0)
            assert await pump.errors.get_value() == "0,0,0,0,0"
            part.blocked = True
            await asyncio.sleep(2.0)
            assert part.rate == 0
            assert await pump.errors.get_value() == "4,0,0,0,0"

    run(story)


def test_a_pump_that_reports_an_error_when_it_starts_is_a_fault_and_stopped() -> None:
    async def story() -> None:
        async with bench(max_pressure=50) as (pump, part, _):
            await pump.connect()
            with pytest.raises(FaultError, match="errors 0,0,0,0,0 -> 4,0,0,0,0"):
                await pump.set(5.0)  # 100 bar
            assert part.rate == 0

    run(story)


def test_another_pump_head_is_said_on_connecting() -> None:
    async def story() -> None:
        async with bench(head=50) as (pump, _, _):
            with pytest.raises(ConfigError, match="its head is 10 mL/min, not 50"):
                await pump.connect()

    run(story)


def test_a_person_at_the_front_panel_is_a_refusal() -> None:
    async def story() -> None:
        async with bench() as (pump, part, simulator):
            await pump.connect()
            simulator.begin("local mode")
            with pytest.raises(RefusedError, match="front panel"):
                await pump.set(1.0)
            assert part.rate == 0

    run(story)


def test_a_digit_that_is_lost_does_not_make_another_flow() -> None:
    async def story() -> None:
        for at in (1, 2):
            for where in (0.5, 0.6, 0.7, 0.8):
                async with faulty(flow=0.125) as (pump, line):
                    line.plan(Fault("dropped byte", at, where=where))
                    assert await pump.flow.get_value() == 0.125

    run(story)


@given(st.binary(max_size=30))
def test_no_garbage_is_a_value(data: bytes) -> None:
    reply = data + b"\r"
    try:
        value = parse("FLOW", reply)
    except GarbledError:
        assert refusal(reply) is None or reply.strip(b"\r\n").startswith(b"ERROR:")
    else:
        assert reply.strip(b"\r\n") == f"FLOW:{value}".encode()
