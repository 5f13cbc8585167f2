"""The Eurotherm driver with its simulator on virtual time, and what goes wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.protocols import Locatable, Movable, Readable, Stoppable
from bluesky.utils import FailedStatus

from sdl.clock import VirtualLoop, monotonic, new_loop
from sdl.drivers.eurotherm3216 import Eurotherm3216
from sdl.endpoints.line import Cable
from sdl.endpoints.memory import memory
from sdl.endpoints.modbus import Kind, ModbusRefusal, memory_wire
from sdl.errors import (
    ConfigError,
    FaultError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    cause_of,
)
from sdl.instrument import Effect, effect_of
from sdl.simulators.eurotherm3216 import SimulatedEurotherm3216
from sdl.simulators.world import HeatedBlock, World
from sdl.wires.modbus import ModbusWire

URL = "modbus+rtu:///dev/ttyUSB1?baudrate=9600"


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=asyncio.get_running_loop().time)
        self.block = HeatedBlock(self, temperature=22.0)
        self.parts = {"block": self.block}

    def step(self, t: float, dt: float) -> None:
        self.block.step(dt, 22.0)


class Rig:
    """A driver joined to its simulator, with faults on the way."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self.block = bench.block
        self.simulator = SimulatedEurotherm3216(bench.block, rng=bench.rng("heater"), **options)
        self.unit = self.simulator.unit
        self.writes: list[tuple[int, int]] = []
        self.lose_replies_to_writes = self.dead = False

    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        if self.dead:
            await asyncio.sleep(1e6)
        return await self.simulator.read(kind, address, count)

    async def write(self, kind: Kind, address: int, values: list[int]) -> None:
        self.writes.append((address, values[0]))
        await self.simulator.write(kind, address, values)
        if self.lose_replies_to_writes:
            await asyncio.sleep(3.0)

    async def register(self, address: int, value: int) -> None:
        """Set it at the front panel."""
        await self.simulator.write("holding", address, [value])


@asynccontextmanager
async def rig(*, simulated: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Any]:
    instrument = Rig(Bench(), **(simulated or {}))
    async with memory_wire(URL, [instrument]) as wire:
        driver = Eurotherm3216(wire, name="heater", **options)
        await driver.connect()
        yield driver, instrument


def virtual(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(main)


# With its simulator


def test_it_is_what_plans_ask_for() -> None:
    async def main() -> None:
        async with rig() as (heater, _):
            protocols = (Movable, Readable, Locatable, Stoppable)
            assert all(isinstance(heater, protocol) for protocol in protocols)
            assert effect_of(heater) is Effect.ABSOLUTE
            described = await heater.describe()
            assert described["heater-temperature"]["units"] == "degC"
            assert described["heater-output"]["units"] == "%"
            assert heater.hints == {"fields": ["heater-temperature"]}
            assert "unit 1: normal mode" in await heater.identify()

    virtual(main())


def test_set_is_done_when_the_temperature_has_settled() -> None:
    async def main() -> None:
        async with rig(tolerance=0.5, settle=30.0) as (heater, instrument):
            status = heater.set(80.0)
            seen: list[tuple[float, float]] = []
            status.watch(lambda **update: seen.append((update["current"], monotonic())))
            await status
            near = [at for value, at in seen if abs(value - 80.0) > 0.5]
            assert 60.0 < monotonic() < 600.0
            assert seen[-1][1] - near[-1] >= 30.0
            assert instrument.block.temperature == pytest.approx(80.0, abs=0.5)
            assert instrument.writes == [(2, 800)]
            assert (await heater.locate())["setpoint"] == 80.0

    virtual(main())


def test_a_setpoint_it_has_already_does_not_wear_its_memory() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            for _ in range(3):
                await heater.set(60.0)
            assert instrument.simulator.eeprom_writes == {2: 1}

    virtual(main())


@pytest.mark.parametrize("value", [19.9, 150.1, float("nan"), float("inf")])
def test_a_temperature_beyond_the_limits_is_not_sent(value: float) -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            with pytest.raises(RefusedError, match=r"heater: .*nothing was sent"):
                await heater.set(value)
            with pytest.raises(RefusedError):
                await heater.check_value(value)
            assert not instrument.writes

    virtual(main())


def test_what_the_instrument_refuses_is_refused_with_its_reason() -> None:
    async def main() -> None:
        async with rig(simulated={"span": (0.0, 100.0)}) as (heater, _):
            with pytest.raises(RefusedError, match=r"set 120 degC: .*register 2 <- 1200: .*value"):
                await heater.set(120.0)

    virtual(main())


FAULTS = {
    "sensor break": lambda r: setattr(r.simulator, "sensor_broken", True),
    "manual mode": lambda r: r.register(273, 1),
    "standby mode": lambda r: r.register(199, 1),
    "alarm 1": lambda r: r.register(13, 200),
}


@pytest.mark.parametrize("when", [-1.0, 20.0])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_keeps_it_from_controlling_is_a_fault_by_name(fault: str, when: float) -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):

            async def strike() -> None:
                await asyncio.sleep(max(when, 0.0))
                if (pending := FAULTS[fault](instrument)) is not None:
                    await pending

            striking = asyncio.create_task(strike())
            if when < 0:
                await asyncio.sleep(2.0)
            with pytest.raises(FaultError, match=f"heater: status: .*{fault}"):
                await heater.set(80.0)
            await striking
            assert monotonic() < 25.0

    virtual(main())


def test_a_status_bit_can_be_declared_harmless() -> None:
    async def main() -> None:
        async with rig(ignored_status=[0]) as (heater, instrument):
            await instrument.register(13, 200)
            await heater.set(40.0)
            assert "alarm 1" in await heater.status.get_value()

    virtual(main())


def test_a_heater_that_does_not_get_there_is_a_fault_in_time() -> None:
    async def main() -> None:
        async with rig(timeout=300.0) as (heater, instrument):
            instrument.block.attach_controller(None)
            with pytest.raises(FaultError, match=r"not settled: at 22.* after 300 s"):
                await heater.set(80.0)
            assert monotonic() == pytest.approx(300.0, abs=3.0)

    virtual(main())


def test_a_setpoint_changed_by_somebody_else_ends_the_wait() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            status = heater.set(80.0)
            await asyncio.sleep(10.0)
            await instrument.register(2, 300)
            with pytest.raises(FaultError, match="somebody changed the setpoint to 30 degC"):
                await status

    virtual(main())


def test_a_write_whose_reply_is_lost_is_read_back_and_not_sent_again() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            instrument.lose_replies_to_writes = True
            await heater.set(80.0)
            assert instrument.writes == [(2, 800)]

    virtual(main())


def test_silence_in_the_middle_is_no_reply() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            status = heater.set(80.0)
            await asyncio.sleep(10.0)
            instrument.dead = True
            with pytest.raises(NoReplyError, match=r"heater: .*unit 1, holding register"):
                await status
            with pytest.raises(NoReplyError):
                await heater.make_safe()

    virtual(main())


def test_halt_asks_for_no_more_heat_and_ends_the_wait() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            status = heater.set(80.0)
            await asyncio.sleep(40.0)
            await heater.stop(success=False)
            reached = instrument.block.temperature
            with pytest.raises(InstrumentError, match="set 80 degC: stopped at"):
                await status
            assert (await heater.locate())["setpoint"] == pytest.approx(reached, abs=1.0)
            assert 22.0 < reached < 75.0

    virtual(main())


def test_halt_leaves_a_heater_that_is_there_or_cooling_alone() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            await heater.set(80.0)
            await heater.halt()
            status = heater.set(40.0)
            await asyncio.sleep(10.0)
            await heater.halt()
            with pytest.raises(InstrumentError):
                await status
            assert instrument.writes == [(2, 800), (2, 400)]

    virtual(main())


def test_another_set_ends_the_first() -> None:
    async def main() -> None:
        async with rig() as (heater, _):
            first = heater.set(80.0)
            await asyncio.sleep(10.0)
            second = heater.set(50.0)
            with pytest.raises(InstrumentError, match="set 80 degC: stopped"):
                await first
            await second
            assert (await heater.locate())["readback"] == pytest.approx(50.0, abs=0.6)

    virtual(main())


def test_the_end_of_a_plan_leaves_it_hot_and_make_safe_does_not() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            await heater.set(80.0)
            await heater.stop(success=True)
            assert (await heater.locate())["setpoint"] == 80.0
            await instrument.register(3, 300)
            await instrument.register(273, 1)  # by hand, at 30 %
            await heater.make_safe()
            await asyncio.sleep(3.0)
            assert instrument.block.power == 0.0
            assert (await heater.locate())["setpoint"] == 20.0

    virtual(main())


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05, 0.07, 0.09, 0.11, 0.13])
@pytest.mark.parametrize("order", [("halt", "make_safe"), ("make_safe", "halt")])
def test_making_safe_wins_over_a_halt_at_the_same_moment(
    delay: float, order: tuple[str, str]
) -> None:
    async def main() -> None:
        async with rig() as (heater, _):
            status = heater.set(80.0)
            await asyncio.sleep(20.0)
            first = asyncio.create_task(getattr(heater, order[0])())
            await asyncio.sleep(delay)
            await getattr(heater, order[1])()
            await first
            with pytest.raises(InstrumentError, match="set 80 degC: stopped"):
                await status
            assert (await heater.locate())["setpoint"] == 20.0

    virtual(main())


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05])
def test_a_set_that_is_stopped_before_it_was_sent_is_not_sent(delay: float) -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            status = heater.set(80.0)
            await asyncio.sleep(delay)
            await heater.make_safe()
            with pytest.raises(InstrumentError, match="set 80 degC: stopped"):
                await status
            assert (2, 800) not in instrument.writes

    virtual(main())


def test_it_takes_back_control_from_a_remote_setpoint() -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            await instrument.register(26, 1000)
            await instrument.register(276, 1)
            await heater.set(50.0)
            assert instrument.block.temperature == pytest.approx(50.0, abs=1.0)

    virtual(main())


@pytest.mark.parametrize("decimals", [0, 2])
def test_decimals_that_do_not_fit_are_found_before_anything_is_heated(decimals: int) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="heater: decimals do not fit"):
            async with rig(decimals=decimals):
                pass

    virtual(main())


def test_an_instrument_without_floats_is_used_as_declared() -> None:
    class NoFloats(Rig):
        async def read(self, kind: Kind, address: int, count: int) -> list[int]:
            if address >= 0x8000:
                raise ModbusRefusal(2)
            return await super().read(kind, address, count)

    async def main() -> None:
        async with memory_wire(URL, [NoFloats(Bench())]) as wire:
            heater = Eurotherm3216(wire, name="heater")
            await heater.connect()
            assert await heater.temperature.get_value() == pytest.approx(22.0, abs=0.5)

    virtual(main())


@pytest.mark.parametrize(
    "options",
    [
        {"unit": 0},
        {"unit": 248},
        {"decimals": 3},
        {"tolerance": 0.0},
        {"settle": -1.0},
        {"safe_temperature": 200.0},
        {"decimals": 2, "max_temperature": 400.0},
    ],
)
def test_impossible_options_are_a_mistake(options: dict[str, Any]) -> None:
    async def main() -> None:
        wire = ModbusWire(URL, memory(Cable([])), "rtu")
        with pytest.raises(ConfigError, match="eurotherm3216: "):
            Eurotherm3216(wire, **options)

    virtual(main())


def test_in_mock_mode_nothing_reaches_the_wire() -> None:
    async def main() -> None:
        wire = ModbusWire(URL, memory(Cable([])), "rtu")
        heater = Eurotherm3216(wire, name="heater")
        await heater.connect(mock=True)
        await heater.set(80.0)
        await heater.halt()
        await heater.make_safe()
        assert not len(wire.log)

    virtual(main())


# In a RunEngine


@pytest.fixture
def engine() -> Iterator[tuple[RunEngine, VirtualLoop]]:
    loop = VirtualLoop()
    yield RunEngine(loop=loop, context_managers=[], call_returns_result=True), loop
    loop.call_soon_threadsafe(loop.stop)
    deadline = time.monotonic() + 5
    while loop.is_running() and time.monotonic() < deadline:
        time.sleep(0.001)
    loop.close()


def test_a_plan_heats_to_80_degrees_in_virtual_minutes(
    engine: tuple[RunEngine, VirtualLoop],
) -> None:
    run, loop = engine
    opened = rig()

    def outside(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    heater, instrument = outside(opened.__aenter__())
    events: list[dict[str, Any]] = []

    def plan() -> Any:
        yield from bps.mv(heater, 80.0)
        yield from bp.count([heater], num=3, delay=10.0)

    run(plan(), {"event": lambda _, event: events.append(event["data"])})
    assert 120 < loop.time() < 900
    assert [event["heater-temperature"] for event in events] == pytest.approx([80.0] * 3, abs=0.6)
    assert all(event["heater-setpoint"] == 80.0 for event in events)
    assert instrument.writes == [(2, 800)]  # and the end of the plan wrote nothing

    instrument.simulator.sensor_broken = True
    with pytest.raises(FailedStatus) as failure:
        run(bps.mv(heater, 90.0))
    assert isinstance(cause_of(failure.value), FaultError)
    outside(opened.__aexit__(None, None, None))


@pytest.mark.parametrize(("made_safe", "longest"), [(False, 13.0), (True, 400.0)])
def test_after_a_restart_the_same_setpoint_is_soon_reached_also_if_it_was_cooled_meanwhile(
    made_safe: bool, longest: float
) -> None:
    async def main() -> None:
        async with rig() as (heater, instrument):
            await heater.set(60.0)
            if made_safe:
                await heater.make_safe()
                await asyncio.sleep(120)
                assert instrument.block.temperature < 50
            again = Eurotherm3216(heater.wire, name="heater")
            await again.connect()
            began, writes = monotonic(), len(instrument.writes)
            await again.set(60.0)
            assert monotonic() - began <= longest
            assert instrument.block.temperature == pytest.approx(60.0, abs=1.0)
            assert len(instrument.writes) - writes == made_safe  # the EEPROM

    virtual(main())
