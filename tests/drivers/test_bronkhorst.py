"""What is special about the driver of Bronkhorst controllers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.drivers.bronkhorst.driver import FLOW, GAS, MODE, Bronkhorst
from sdl.drivers.bronkhorst.packets import (
    pack,
    parse_message,
    parse_status,
    parse_values,
    reading,
    whole,
)
from sdl.endpoints import memory_wire
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.errors import ConfigError, FaultError, GarbledError, RefusedError
from sdl.simulators.bronkhorst import SimulatedBronkhorst
from sdl.simulators.parts.gas_line import GasLine
from sdl.testing import StillWorld
from sdl.wires import StreamWire


class Bench:
    """Controllers on one line."""

    def __init__(self, wire: Any, parts: list[GasLine], simulators: list[Any]) -> None:
        self.wire, self.parts, self.simulators = wire, parts, simulators
        self.part, self.simulator = parts[0], simulators[0]

    async def bronkhorst(self, **options: Any) -> Bronkhorst:
        mfc = Bronkhorst(self.wire, **{"name": "argon", **options})
        await mfc.connect()
        return mfc

    @property
    def sent(self) -> list[bytes]:
        return [entry.data for entry in self.wire.log if entry.direction == "sent"]


@asynccontextmanager
async def bench(*nodes: int, lag: float = 0.3, **options: Any) -> AsyncIterator[Bench]:
    parts = [GasLine(StillWorld(), lag=lag, supply=20000.0) for _ in nodes or (3,)]
    options = {"noise": False, **options}
    simulators = [
        SimulatedBronkhorst(part, rng=np.random.default_rng(1), node=node, **options)
        for part, node in zip(parts, nodes or (3,), strict=True)
    ]
    async with memory_wire(Bronkhorst.delivered, simulators) as wire:
        yield Bench(wire, parts, simulators)


def on_virtual_time(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await story()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_no_answer_with_a_damaged_or_missing_byte_is_another_reading() -> None:
    twice = [FLOW, FLOW, MODE, MODE, GAS, GAS]
    data = bytes.fromhex(
        "02 a1 c0 43 7a 00 00 41 43 7a 00 00 01 82 00 83 00 e4 0a".replace(" ", "")
    )
    data += b"N2        " + b"\x65\x0a" + b"N2        "
    right = parse_values(data, twice)
    assert right == [250.0, 250.0, 0, 0, "N2", "N2"]
    frame = pack(7, 3, data)
    damaged = [frame[:at] + frame[at + 1 :] for at in range(len(frame))]
    damaged += [
        frame[:at] + bytes([frame[at] ^ 1 << bit]) + frame[at + 1 :]
        for at in range(len(frame))
        for bit in range(8)
    ]
    for each in damaged:
        try:
            if whole(each) is None:
                continue
            message = parse_message(each)
            values = parse_values(message.data, twice)
        except GarbledError:
            continue
        agree = values[::2] == values[1::2]
        assert not agree or values == right or (message.sequence, message.node) != (7, 3), each


@given(st.binary(max_size=60))
def test_whatever_it_is_told_is_garbled_or_understood(data: bytes) -> None:
    for parse in (
        lambda: whole(data),
        lambda: parse_message(b"\x10\x02" + data + b"\x10\x03"),
        lambda: parse_values(data, [FLOW, GAS, MODE]),
        lambda: parse_status(data),
    ):
        try:
            parse()
        except GarbledError:
            continue


class SaysOldThings:
    """An instrument that, when told to, answers once with what it said the last time."""

    def __init__(self, device: SimulatedBronkhorst) -> None:
        self._device, self._last, self.again = device, b"", False

    async def serve(self, line: Any) -> None:
        self._line = line
        await self._device.serve(self)

    async def read(self) -> bytes:
        return await self._line.read()

    async def write(self, data: bytes) -> None:
        data, self._last = (self._last if self.again else data), data
        self.again = False
        await self._line.write(data)

    def hang_up(self, seconds: float = 0.0) -> None:
        self._line.hang_up(seconds)


def test_what_was_said_before_is_never_taken_for_a_new_reading() -> None:
    async def story() -> None:
        part = GasLine(StillWorld())
        simulator = SimulatedBronkhorst(part, rng=np.random.default_rng(1), noise=False)
        device = SaysOldThings(simulator)
        async with memory_wire(Bronkhorst.delivered, [device]) as wire:
            mfc = await Bench(wire, [part], [simulator]).bronkhorst()
            for flow in (100.0, 200.0, 300.0):
                part.place(flow)
                assert await mfc.flow.get_value() == pytest.approx(flow)
                device.again = True

    on_virtual_time(story)


def test_a_request_has_the_bytes_of_the_manual() -> None:
    assert reading([FLOW]).hex(" ") == "04 21 40 21 40"
    assert pack(0x10, 3, b"\x04\x10").hex(" ") == "10 02 10 10 03 02 04 10 10 10 03"


def test_all_that_is_read_at_once_comes_in_one_message() -> None:
    async def story() -> None:
        async with bench() as it:
            mfc = await it.bronkhorst(counter=True, thermometer=True)
            before = len(it.sent)
            assert len(await mfc.read()) == 9
            assert len(it.sent) - before == 1

    on_virtual_time(story)


def test_a_controller_that_follows_its_analog_input_refuses_and_is_made_safe_by_its_valve() -> None:
    async def story() -> None:
        async with bench() as it:
            mfc = await it.bronkhorst()
            it.simulator.begin("local mode")
            with pytest.raises(RefusedError, match="its mode is 'analog input'"):
                await mfc.set(50.0)
            await mfc.make_safe()
            assert await mfc.mode.get_value() == "valve closed"
            assert it.part.valve == "closed"
            await mfc.mode.set("bus")
            await mfc.set(50.0)
            assert it.part.flow == pytest.approx(50.0, abs=5)

    on_virtual_time(story)


def test_a_process_that_is_claimed_and_a_hardware_fault_are_told_in_the_makers_words() -> None:
    async def story() -> None:
        async with bench() as it:
            mfc = await it.bronkhorst()
            it.simulator.begin("busy")
            with pytest.raises(RefusedError, match="claimed by somebody"):
                await mfc.set(50.0)
            it.simulator.end("busy")
            it.simulator.hardware_fault = True
            with pytest.raises(FaultError, match="alarm: hardware fault"):
                await mfc.flow.get_value()
            assert await mfc.alarm.get_value() == "hardware fault"

    on_virtual_time(story)


def test_units_and_standards_are_converted() -> None:
    async def story() -> None:
        async with bench(unit="mls/min") as it:
            mfc = await it.bronkhorst(standard=0.0, full_scale=500.0 * 273.15 / 293.15)
            await mfc.set(200.0)
            assert it.part.setpoint == pytest.approx(200.0, abs=1e-3)
        async with bench(unit="ln/min", full_scale=5000.0) as it:
            mfc = await it.bronkhorst(full_scale=5000.0)
            await mfc.set(2500.0)
            assert it.part.setpoint == pytest.approx(2500.0, abs=1e-2)

    on_virtual_time(story)


def test_it_does_not_connect_to_another_instrument_than_was_described() -> None:
    async def story() -> None:
        async with bench() as it:
            with pytest.raises(
                ConfigError, match="full_scale is 100 sccm, the instrument says 500"
            ):
                await it.bronkhorst(full_scale=100.0)
            with pytest.raises(ConfigError, match="node 2: allowed is 3 to 120, or 128"):
                await it.bronkhorst(node=2)

    on_virtual_time(story)


def test_two_share_a_line_and_are_not_mixed_up() -> None:
    async def story() -> None:
        async with bench(4, 5) as it:
            first, second = await it.bronkhorst(node=4), await it.bronkhorst(node=5, name="b")
            await asyncio.gather(first.set(100.0), second.set(300.0))
            assert it.parts[0].setpoint == pytest.approx(100.0)
            assert it.parts[1].setpoint == pytest.approx(300.0)

    on_virtual_time(story)


def test_numbers_that_always_differ_are_taken_if_they_agree_roughly() -> None:
    async def story() -> None:
        async with bench(noise=True) as it:
            mfc = await it.bronkhorst()
            it.part.place(250.0)
            assert await mfc.flow.get_value() == pytest.approx(250.0, abs=2.0)

    on_virtual_time(story)


def test_the_counter_counts_and_begins_again() -> None:
    async def story() -> None:
        async with bench() as it:
            mfc = await it.bronkhorst(counter=True)
            await mfc.set(120.0)
            await asyncio.sleep(60.0)
            assert await mfc.total.get_value() > 120.0
            await mfc.reset_total()
            assert await mfc.total.get_value() < 1.0

    on_virtual_time(story)


def test_one_that_does_not_tell_its_node_is_found_again_by_the_number_of_its_refusal() -> None:
    class Reticent(SimulatedBronkhorst):
        async def respond(self, request: bytes) -> None:
            if request[5:].startswith(bytes([4, 0, 0, 0, 1])):
                refusal = b"\x03\x03\x00\x04\x02\x10\x03"
                await self.say(b"\x10\x02" + request[2:3] + refusal)
            else:
                await super().respond(request)

    async def run() -> None:
        part = GasLine(StillWorld())
        line = Faulty(Reticent(part, rng=np.random.default_rng(1), noise=False))
        async with memory_wire(Bronkhorst.delivered, [line]) as wire:
            assert isinstance(wire, StreamWire)
            mfc = Bronkhorst(wire, name="argon")
            await mfc.connect()
            line.plan(Fault("lost reply"))
            await mfc.setpoint.set(100.0)
            assert part.setpoint == pytest.approx(100.0, abs=0.1)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
