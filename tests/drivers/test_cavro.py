"""The Cavro driver: each dose once, the right port, and the truth about a dose after a mishap."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.drivers.cavro.driver import Cavro, Model
from sdl.drivers.cavro.packets import Protocol, parse, reply_frame, request
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.pty import memory_wire
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    SdlError,
)
from sdl.instrument import Doser, Verdict
from sdl.simulators.cavro import SimulatedCavro
from sdl.simulators.parts.syringe_module import SyringeModule
from sdl.testing import StillWorld
from sdl.wires import StreamWire

URL = "serial:///dev/ttyUSB0?baudrate=9600"
MISHAPS = ("lost request", "lost reply", "late reply", "stale reply", "double reply", "power cycle")


@dataclass
class Bench:
    wire: StreamWire
    part: SyringeModule
    simulator: SimulatedCavro
    line: Faulty
    pump: Cavro

    def sent(self) -> list[bytes]:
        return [entry.data for entry in self.wire.log if entry.direction == "sent"]

    @property
    def given(self) -> float:
        dispensed, drawn = self.part.totals(self.part._world.now)
        return dispensed - drawn


@asynccontextmanager
async def bench(
    *,
    initialized: bool = True,
    protocol: Protocol = "oem",
    ports: int | None = None,
    model: Model = "xlp6000",
    **options: Any,
) -> AsyncIterator[Bench]:
    port = 1 if ports else "output"
    part = SyringeModule(StillWorld(), capacity_mL=1.0, filled_mL=0.5, port=port)
    simulator = SimulatedCavro(
        part, rng=np.random.default_rng(1), ports=ports, model=model, initialized=initialized
    )
    line = Faulty(simulator)
    async with memory_wire(URL, [line], timeout=0.5) as wire:
        pump = Cavro(
            wire, capacity=1.0, protocol=protocol, ports=ports, model=model, name="pump", **options
        )
        await pump.connect()
        await pump.rate.set(6.0)
        yield Bench(wire, part, simulator, line, pump)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def test_it_is_a_doser() -> None:
    async def story() -> None:
        async with bench() as b:
            assert isinstance(b.pump, Doser)

    run(story)


@pytest.mark.parametrize("mishap", ["lost request", "lost reply"])
def test_a_dose_that_was_not_acknowledged_is_repeated_with_its_number_and_given_once(
    mishap: str,
) -> None:
    async def story() -> None:
        async with bench() as b:
            before = len(b.sent())
            await b.pump.set(0.1)
            at = next(n for n, data in enumerate(b.sent()[before:], 1) if b"D600R" in data)
            b.line.plan(Fault(mishap, at))
            before = len(b.sent())
            await b.pump.set(0.1)
            dose = [data for data in b.sent()[before:] if b"D600R" in data]
            first, again = dose
            assert again[2] == first[2] | 0x08
            sent = b.sent()
            assert sent.index(again) == sent.index(first) + 1, "a question came between"
            assert b.given == pytest.approx(0.2)

    run(story)


def test_in_dt_a_dose_is_a_position_that_cannot_be_gone_to_twice() -> None:
    async def story() -> None:
        for at in range(1, 30):
            async with bench(protocol="dt") as b:
                b.line.plan(Fault("lost request", at))
                await b.pump.set(0.1)
                assert b"/1A2400R\r" in b.sent()
                assert b.given == pytest.approx(0.1)

    run(story)


def test_the_liquid_goes_from_the_inlet_to_the_outlet() -> None:
    async def story() -> None:
        async with bench(ports=6, inlet=2, outlet=5) as b:
            await b.pump.set(-0.3)
            await b.pump.set(0.2)
            assert b.part.drawn(2) == pytest.approx(0.3)
            assert b.part.dispensed(5) == pytest.approx(0.2)
            assert await b.pump.volume.get_value() == pytest.approx(0.6)

    run(story)


def test_a_pump_that_just_got_power_says_so_and_moves_when_it_was_initialized() -> None:
    async def story() -> None:
        async with bench(initialized=False) as b:
            assert math.isnan(b.pump.volume._connector.backend.newest["value"])  # type: ignore[attr-defined]
            assert not await b.pump.initialized.get_value()
            with pytest.raises(FaultError, match="not initialized"):
                await b.pump.volume.get_value()
            with pytest.raises(RefusedError, match="not initialized"):
                await b.pump.set(0.1)
            await b.pump.initialized.set(True)
            assert b.part.dispensed("output") == pytest.approx(0.5)
            await b.pump.set(-0.25)
            assert await b.pump.volume.get_value() == pytest.approx(0.25)

    run(story)


def test_what_the_syringe_does_not_hold_is_refused() -> None:
    async def story() -> None:
        async with bench() as b:
            with pytest.raises(RefusedError, match=r"it holds 0\.5 of 1 mL"):
                await b.pump.set(0.6)
            with pytest.raises(RefusedError, match=r"it holds 0\.5 of 1 mL"):
                await b.pump.set(-0.6)
            assert b.given == 0

    run(story)


def test_a_valve_in_bypass_lets_nothing_move() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.pump.valve.set("bypass")  # type: ignore[arg-type]
            with pytest.raises(RefusedError, match="bypass"):
                await b.pump.set(0.1)

    run(story)


def test_a_blocked_plunger_is_a_fault_that_needs_a_person() -> None:
    async def story() -> None:
        async with bench() as b:
            dose = b.pump.set(0.3)
            await asyncio.sleep(1.0)
            b.part.blocked = True
            with pytest.raises(FaultError, match="plunger overload"):
                await dose
            b.part.blocked = False
            with pytest.raises(RefusedError, match="not initialized"):
                await b.pump.set(0.1)

    run(story)


def test_a_stop_ends_a_dose_and_tells_how_far_it_came() -> None:
    async def story() -> None:
        async with bench() as b:
            mark = await b.pump.mark("set", 0.3)
            dose = b.pump.set(0.3)
            await asyncio.sleep(1.5)
            await b.pump.halt()
            assert not b.part.running
            with pytest.raises(InstrumentError, match="told to stop"):
                await dose
            finding = await b.pump.reconcile("set", 0.3, mark)
            assert finding.verdict is Verdict.PARTLY
            assert finding.rest + b.given == pytest.approx(0.3, abs=2e-4)

    run(story)


def test_while_it_is_at_work_nothing_else_is_begun() -> None:
    async def story() -> None:
        async with bench() as b:
            dose = b.pump.set(0.3)
            await asyncio.sleep(0.5)
            for begun in (b.pump.set(0.1), b.pump.valve.set("input")):  # type: ignore[arg-type]
                with pytest.raises(RefusedError, match="at work"):
                    await begun
            await b.pump.rate.set(12.0)  # the speed may change on the way
            await dose
            assert b.given == pytest.approx(0.3)

    run(story)


def test_two_pumps_on_one_wire_are_not_taken_for_each_other() -> None:
    async def story() -> None:
        world = StillWorld()
        parts = [
            SyringeModule(world, capacity_mL=1.0, filled_mL=x, port="output") for x in (0.3, 0.8)
        ]
        rng = np.random.default_rng(1)
        pumps = [
            SimulatedCavro(part, rng=rng, address=n, initialized=True)
            for n, part in enumerate(parts)
        ]
        async with memory_wire(URL, pumps) as wire:
            one, two = (Cavro(wire, capacity=1.0, address=n, name=f"p{n}") for n in (0, 1))
            await asyncio.gather(one.connect(), two.connect())
            await asyncio.gather(one.set(0.1), two.set(0.2))
            volumes = await asyncio.gather(one.volume.get_value(), two.volume.get_value())
            assert volumes == pytest.approx([0.2, 0.6])

    run(story)


@pytest.mark.parametrize("protocol", ["oem", "dt"])
@pytest.mark.parametrize("mishap", MISHAPS)
def test_what_became_of_a_dose_is_never_told_wrong(protocol: Protocol, mishap: str) -> None:
    """The mishap happens at every exchange; then the process is another."""

    async def tried(at: int, cut: bool) -> Verdict:
        async with bench(protocol=protocol) as b:
            mark = await b.pump.mark("set", 0.3)
            faults = [Fault(mishap, at, seconds=0.7)]
            b.line.plan(*faults, *([Fault("cut", at + 1, seconds=30.0)] if cut else []))
            try:
                await b.pump.set(0.3)
                ended = True
            except SdlError:
                ended = False
            b.line.clear()
            later = Cavro(b.wire, capacity=1.0, protocol=protocol, name="later")
            while True:
                try:
                    found = await later.reconcile("set", 0.3, mark)
                    break
                except NoReplyError:
                    await asyncio.sleep(5.0)
            given = b.given
            assert -1e-9 <= given <= 0.3 + 1e-4
            if found.verdict is Verdict.DONE or ended:
                assert given == pytest.approx(0.3, abs=2e-4)
            if found.verdict is Verdict.NOT_DONE:
                assert given == pytest.approx(0.0, abs=1e-9)
            if found.verdict is Verdict.PARTLY:
                assert found.rest + given == pytest.approx(0.3, abs=2e-4)
            return found.verdict

    async def story() -> None:
        verdicts = {await tried(at, cut) for at in range(1, 24) for cut in (False, True)}
        assert (Verdict.UNKNOWN if mishap == "power cycle" else Verdict.DONE) in verdicts

    run(story)


def test_a_power_cycle_and_another_initialization_do_not_look_like_a_dose() -> None:
    async def story() -> None:
        async with bench() as b:
            mark = await b.pump.mark("set", 0.5)  # all that is in it: initializing looks the same
            b.simulator.power_cycle()
            later = Cavro(b.wire, capacity=1.0, name="later")
            await later.initialize()
            finding = await later.reconcile("set", 0.5, mark)
            assert finding.verdict is Verdict.UNKNOWN
            await later.rate.set(6.0)  # now even the speed is the same
            finding = await later.reconcile("set", 0.5, mark)
            assert finding.verdict is Verdict.UNKNOWN
            assert "initialized since" in finding.evidence

    run(story)


def test_a_pump_that_does_not_say_that_its_power_was_lost_is_known_by_its_speed() -> None:
    async def story() -> None:
        async with bench(model="sy01b", protocol="dt") as b:  # which counts no moves
            mark = await b.pump.mark("set", 0.5)
            b.simulator.power_cycle()
            b.simulator.state.initialized = True  # as if Q told no error 7; it stands at 0
            finding = await b.pump.reconcile("set", 0.5, mark)
            assert finding.verdict is Verdict.UNKNOWN

    run(story)


@pytest.mark.parametrize("protocol", ["oem", "dt"])
def test_a_reply_that_comes_twice_is_not_taken_for_the_next(protocol: Protocol) -> None:
    """On a slow line the second copy comes when the next question is out already."""

    async def story() -> None:
        for at in range(1, 12):
            async with bench(protocol=protocol) as b:
                b.line.plan(Fault("pacing", 1, seconds=600.0), Fault("double reply", at))
                for _ in range(3):
                    assert await b.pump.volume.get_value() == pytest.approx(0.5)
                    assert await b.pump.rate.get_value() == pytest.approx(6.0)
                    assert await b.pump.moves.get_value() == 0

    run(story)


@pytest.mark.parametrize(
    "wrong",
    [
        {"capacity": 0.0},
        {"address": 15},
        {"ports": 1},
        {"ports": 6, "outlet": 7},
        {"outlet": 3},
        {"model": "x"},
        {"protocol": "can"},
        {"max_rate": 0.0},
    ],
)
def test_what_is_impossible_is_said_when_it_is_described(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"allowed|must be"):
        Cavro(StreamWire("memory", None), **{"capacity": 1.0, **wrong})  # type: ignore[arg-type]


def test_the_checksum_is_the_manuals() -> None:
    # "/1ZR" in OEM: XOR of 02 31 31 5A 52 03
    assert request("oem", 0, "ZR") == b"\x0211ZR\x03\x09"


@given(st.binary(max_size=40), st.sampled_from(["oem", "dt"]))
def test_no_garbage_is_a_reply(data: bytes, protocol: Protocol) -> None:
    try:
        length = reply_frame(protocol)(data)
        if length is not None:
            reply = parse(protocol, data[:length])
            assert 0 <= reply.error <= 15
    except GarbledError:
        pass


@given(
    st.integers(0, 15).map(lambda error: 0x60 | error),
    st.from_regex(r"[0-9]{1,5}", fullmatch=True),
    st.data(),
)
def test_no_damaged_oem_reply_is_believed(status: int, text: str, data: st.DataObject) -> None:
    block = bytes([2, 0x30, status]) + text.encode() + b"\x03"
    xor = 0
    for byte in block:
        xor ^= byte
    whole = block + bytes([xor])
    assert parse("oem", whole).data == text
    at = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (
        whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :],
        whole[:at] + whole[at + 1 :],
    ):
        with pytest.raises(GarbledError):
            parse("oem", damaged)
