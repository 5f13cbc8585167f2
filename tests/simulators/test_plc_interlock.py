"""What the simulated interlock does on its own."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.endpoints.modbus import ModbusRefusal
from sdl.simulators.parts.switches import Switches
from sdl.simulators.plc_interlock import SimulatedPlcInterlock
from sdl.testing import StillWorld

RESET = 3


def run(story: Callable[[Switches, SimulatedPlcInterlock], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        switches = Switches(StillWorld())
        await story(switches, SimulatedPlcInterlock(switches, rng=np.random.default_rng(1)))

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def test_a_reset_while_an_input_is_not_healthy_changes_nothing() -> None:
    async def story(switches: Switches, plc: SimulatedPlcInterlock) -> None:
        switches.open("door")
        switches.open("leak")
        switches.close("door")
        await plc.write("coil", RESET, [1])
        assert (plc.trips, plc.first_out) == (0b10010, 2)
        switches.close("leak")
        await plc.write("coil", RESET, [1])
        assert (plc.trips, plc.first_out) == (0, 0)

    run(story)


def test_a_loss_of_power_switches_all_off_and_latches_nothing() -> None:
    async def story(switches: Switches, plc: SimulatedPlcInterlock) -> None:
        await plc.write("holding", 1, [5000])
        await plc.write("coil", 0, [1, 1, 1])
        await asyncio.sleep(7.0)
        plc.begin("power cycle")
        assert not any(map(switches.powered, ("heaters", "pumps", "gas_supply")))
        assert (await plc.read("input", 0, 4))[::3] == [0, 0]
        assert await plc.read("holding", 0, 2) == [0, 5000]

    run(story)


def test_whatever_is_asked_of_it_it_answers_or_refuses() -> None:
    async def story(switches: Switches, plc: SimulatedPlcInterlock) -> None:
        rng = np.random.default_rng(3)
        for _ in range(3000):
            kind: Any = ("coil", "discrete", "input", "holding")[rng.integers(4)]
            address, count = int(rng.choice([*range(8), 65535])), int(rng.integers(1, 9))
            written = [int(each) for each in rng.integers(0, 65536, count)]
            with contextlib.suppress(ModbusRefusal):
                assert len(await plc.read(kind, address, count)) == count
            with contextlib.suppress(ModbusRefusal):
                await plc.write(kind, address, written)
        with pytest.raises(ModbusRefusal):
            await plc.write("holding", 2, [1])

    run(story)
