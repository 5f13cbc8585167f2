"""The interlock's driver on its simulator: the heartbeat, trips, and the way back from them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pyModbusTCP.server import ModbusServer

from sdl.clock import new_loop
from sdl.drivers.plc_interlock import PlcInterlock
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.modbus import memory_wire
from sdl.errors import FaultError, NoReplyError, RefusedError
from sdl.simulators.parts.switches import Switches
from sdl.simulators.plc_interlock import SimulatedPlcInterlock
from sdl.testing import StillWorld
from sdl.wires.modbus import wire as modbus_wire


@dataclass
class Bench:
    switches: Switches
    plc: SimulatedPlcInterlock
    line: Faulty
    driver: PlcInterlock


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    switches = Switches(StillWorld())
    plc = SimulatedPlcInterlock(switches, rng=np.random.default_rng(1))
    line: Any = Faulty(plc)
    async with memory_wire(PlcInterlock.delivered, [line]) as wire:
        driver = PlcInterlock(wire, name="interlock")
        await driver.connect()
        yield Bench(switches, plc, line, driver)
        await driver.disarm_watchdog()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story())


def test_the_heart_beats_while_the_driver_lives() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.arm_watchdog(2.0)
            await b.driver.heaters.set(True)
            await asyncio.sleep(3600.0)
            assert b.switches.powered("heaters")

    run(story)


def test_without_a_heartbeat_the_power_is_cut_in_time_though_nobody_asks() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.arm_watchdog(2.0)
            await b.driver.heaters.set(True)
            b.line.plan(Fault("cut", 1, seconds=100.0))
            await asyncio.sleep(2.6)
            assert not b.switches.powered("heaters")
            b.line.clear()
            await asyncio.sleep(15.0)
            assert await b.driver.first_out.get_value() == "heartbeat lost"

    run(story)


def test_a_time_that_the_plc_does_not_know_is_refused_before_anything_is_sent() -> None:
    async def story() -> None:
        async with bench() as b:
            for seconds in (0.05, 61.0):
                with pytest.raises(RefusedError, match=r"0\.1 to 60 s"):
                    await b.driver.arm_watchdog(seconds)

    run(story)


def test_a_trip_is_latched_and_says_what_was_first() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.pumps.set(True)
            b.switches.open("door")
            assert not b.switches.powered("pumps")  # at once
            b.switches.open("leak")
            b.switches.close("door")
            assert await b.driver.tripped.get_value() == "door, leak"
            assert await b.driver.first_out.get_value() == "door"
            with pytest.raises(FaultError, match=r"tripped: door, leak \(first: door\)"):
                await b.driver.pumps.set(True)
            assert not b.switches.powered("pumps")

    run(story)


def test_it_is_reset_only_when_all_is_well_and_stays_off() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.gas.set(True)
            b.switches.hood_flow = 10.0
            with pytest.raises(RefusedError, match="reset: fume hood flow; nothing was sent"):
                await b.driver.reset()
            b.switches.hood_flow = 50.0
            assert await b.driver.tripped.get_value() == "fume hood flow"
            await b.driver.reset()
            assert await b.driver.tripped.get_value() == ""
            assert not b.switches.powered("gas_supply")
            await b.driver.gas.set(True)
            assert b.switches.powered("gas_supply")

    run(story)


def test_making_it_safe_switches_the_others_off_though_one_fails() -> None:
    async def story() -> None:
        async with bench() as b:
            for signal in (b.driver.heaters, b.driver.pumps, b.driver.gas):
                await signal.set(True)
            b.line.plan(*(Fault("lost request", at) for at in range(1, 5)))
            with pytest.raises(NoReplyError):
                await b.driver.make_safe()
            assert b.switches.powered("heaters")
            assert not b.switches.powered("pumps")
            assert not b.switches.powered("gas_supply")

    run(story)


def test_a_relay_that_does_not_open_is_a_fault() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.driver.heaters.set(True)
            b.plc.begin("stuck")
            with pytest.raises(FaultError, match="heaters False: it reads back otherwise"):
                await b.driver.make_safe()

    run(story)


def test_it_works_with_somebody_elses_modbus_server() -> None:
    async def story(server: ModbusServer) -> None:
        bank = server.data_bank
        bank.set_discrete_inputs(0, [True, True, True, True, True, False])
        bank.set_input_registers(0, [0, 47, 0, 12])
        bank.set_holding_registers(0, [0, 0, 3])
        wire = modbus_wire(f"modbus+tcp://127.0.0.1:{server.port}", timeout=5.0)
        driver = PlcInterlock(wire, name="interlock")
        await driver.connect()
        assert await driver.identify() == "PLC interlock, unit 1, firmware 3"
        assert await driver.hood_flow.get_value() == 47.0
        await driver.heaters.set(True)
        await driver.arm_watchdog(0.5)
        assert bank.get_coils(0) == [True]
        assert bank.get_holding_registers(0, 2) == [1, 500]
        await driver.make_safe()
        assert bank.get_coils(0) == [False]
        await wire.close()

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ModbusServer("127.0.0.1", port, no_block=True)
    server.start()
    try:
        asyncio.run(story(server))
    finally:
        server.stop()
