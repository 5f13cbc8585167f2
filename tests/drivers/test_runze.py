"""What is special about the Runze drivers; the rest is in tests/conformance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.drivers.runze import RunzePump, RunzeValve
from sdl.drivers.runze.packets import parse, request
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.pty import memory_wire
from sdl.errors import FaultError, GarbledError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Verdict
from sdl.simulators.parts.selector import Selector
from sdl.simulators.parts.syringe import PumpHead
from sdl.simulators.runze import SimulatedRunzePump, SimulatedRunzeValve
from sdl.testing import StillWorld


def run(story: Awaitable[Any]) -> None:
    async def whole() -> None:
        await story

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def with_pump(
    story: Callable[[RunzePump, PumpHead, SimulatedRunzePump], Awaitable[Any]],
    kind: type[SimulatedRunzePump] = SimulatedRunzePump,
) -> None:
    async def whole() -> None:
        head = PumpHead(StillWorld(), capacity_mL=5.0, filled_mL=2.5)
        simulator = kind(head, rng=np.random.default_rng(1))
        async with memory_wire(RunzePump.delivered, [simulator]) as wire:
            pump = RunzePump(wire, syringe=5.0, name="pump")
            await pump.connect()
            await story(pump, head, simulator)

    run(whole())


class ThroughFirst(SimulatedRunzePump):
    """A pump that answers a move when it is through, as flowchem has met one."""

    async def respond(self, request: bytes) -> None:
        if request[2] not in (0x42, 0x43):
            await super().respond(request)
            return
        self._judged(request)
        while self._running():
            await asyncio.sleep(0.1)
        await self.say(bytes.fromhex("CC 00 00 00 00 DD A9 01"))


def test_a_pump_that_answers_when_it_is_through_doses_once() -> None:
    async def story(pump: RunzePump, head: PumpHead, simulator: SimulatedRunzePump) -> None:
        await pump.set(2.0)
        assert head.syringe == pytest.approx(0.5)

    with_pump(story, ThroughFirst)


def test_more_than_is_in_the_syringe_is_refused_and_not_begun() -> None:
    async def story(pump: RunzePump, head: PumpHead, simulator: SimulatedRunzePump) -> None:
        with pytest.raises(RefusedError, match=r"holds 2\.5 of 5 mL"):
            await pump.set(3.0)
        assert head.syringe == 2.5

    with_pump(story)


def test_a_dose_that_was_stopped_is_an_error_and_its_rest_is_known() -> None:
    async def story(pump: RunzePump, head: PumpHead, simulator: SimulatedRunzePump) -> None:
        mark = await pump.mark("set", 2.0)
        dose = asyncio.ensure_future(_ended(pump.set(2.0)))
        await asyncio.sleep(1.0)
        await pump.halt()
        with pytest.raises(InstrumentError, match="stopped"):
            await dose
        finding = await pump.reconcile("set", 2.0, mark)
        assert finding.verdict is Verdict.PARTLY
        assert finding.rest == pytest.approx(2.0 - (2.5 - head.syringe), abs=0.001)

    with_pump(story)


def test_reconciling_tells_done_from_not_done_and_does_not_believe_a_zero() -> None:
    async def story(pump: RunzePump, head: PumpHead, simulator: SimulatedRunzePump) -> None:
        mark = await pump.mark("set", -1.0)
        assert (await pump.reconcile("set", -1.0, mark)).verdict is Verdict.NOT_DONE
        await pump.set(-1.0)
        assert (await pump.reconcile("set", -1.0, mark)).verdict is Verdict.DONE
        assert (await pump.reconcile("set", 1.0, mark)).verdict is Verdict.UNKNOWN
        mark = await pump.mark("set", 3.5)
        await pump.set(3.5)
        assert (await pump.reconcile("set", 3.5, mark)).verdict is Verdict.UNKNOWN

    with_pump(story)


def test_a_plunger_that_is_stuck_is_a_fault() -> None:
    async def story(pump: RunzePump, head: PumpHead, simulator: SimulatedRunzePump) -> None:
        simulator.begin("stuck")
        with pytest.raises(FaultError, match="the motor has stalled"):
            await pump.set(1.0)
        assert head.syringe == 2.5

    with_pump(story)


def test_its_own_valve_is_what_was_set_last() -> None:
    async def story(pump: RunzePump, head: PumpHead, simulator: SimulatedRunzePump) -> None:
        assert await pump.port.get_value() == 0
        await pump.port.set(4)
        assert (await pump.port.get_value(), simulator.open_to) == (4, 4)

    with_pump(story)


def test_valves_share_a_wire_and_a_third_is_missing() -> None:
    async def whole() -> None:
        parts = [Selector(StillWorld(), ports=6) for _ in range(2)]
        simulators = [
            SimulatedRunzeValve(part, rng=np.random.default_rng(n), address=n)
            for n, part in enumerate(parts, 1)
        ]
        async with memory_wire(RunzeValve.delivered, simulators) as wire:
            first, second, missing = (RunzeValve(wire, address=n, name=f"{n}") for n in (1, 2, 3))
            await asyncio.gather(_ended(first.set(2)), _ended(second.set(5)))
            assert [part.open for part in parts] == [2, 5]
            with pytest.raises(NoReplyError):
                await missing.identify()
            assert await first.port.get_value() == 2

    run(whole())


def test_a_valve_between_two_ports_says_so_and_can_be_turned() -> None:
    async def whole() -> None:
        part = Selector(StillWorld(), ports=6)
        part.turn(3, 1.0)
        part.stop()
        simulator = SimulatedRunzeValve(part, rng=np.random.default_rng(1))
        async with memory_wire(RunzeValve.delivered, [simulator]) as wire:
            valve = RunzeValve(wire, name="valve")
            await valve.connect()
            assert await valve.port.get_value() == 0
            await valve.set(3)
            assert part.open == 3

    run(whole())


def test_what_the_factory_sets_is_changed_only_when_it_is_confirmed() -> None:
    async def whole() -> None:
        part = Selector(StillWorld(), ports=6)
        simulator = SimulatedRunzeValve(part, rng=np.random.default_rng(1))
        async with memory_wire(RunzeValve.delivered, [simulator]) as wire:
            valve = RunzeValve(wire, name="valve")
            for confirm, value in (("yes", 5), ("address of 0", 200)):
                with pytest.raises(RefusedError, match="confirm='address of 0'"):
                    await valve.factory("address", value, confirm=confirm)
            assert len(wire.log) == 0
            await valve.factory("address", 5, confirm="address of 0")
            assert "address 5" in await RunzeValve(wire, address=5, name="valve").identify()

    run(whole())


def test_what_is_no_reply_is_not_taken_for_one() -> None:
    good = bytes.fromhex("CC 00 00 03 00 DD AC 01")
    assert parse(good).value == 3
    wrong = [good[:-1], good[1:], b"\xcd" + good[1:], request(0, 0x3E), good[:3] + good[4:] + b"\0"]
    wrong.append(good[:3] + b"\x04" + good[4:])  # only its sum is wrong
    for packet in wrong:
        with pytest.raises(GarbledError):
            parse(packet)


async def _ended(status: Any) -> None:
    await status


class Reticent(SimulatedRunzeValve):
    """Knows neither its version nor its address, as software that plays one may."""

    async def respond(self, request: bytes) -> None:
        if request[2:3] not in (b"\x20", b"\x3f"):
            await super().respond(request)
            return
        unknown = bytes([0xCC, request[1], 0x02, 0, 0, 0xDD])
        await self.say(unknown + (sum(unknown) & 0xFFFF).to_bytes(2, "little"))


def test_a_valve_that_does_not_know_the_question_for_its_address_is_found_again_all_the_same() -> (
    None
):
    async def story() -> None:
        simulator = Reticent(Selector(StillWorld(), ports=6), rng=np.random.default_rng(1))
        line = Faulty(simulator)
        async with memory_wire(RunzeValve.delivered, [line]) as wire:
            valve = RunzeValve(wire, name="valve")
            await valve.connect()
            assert await valve.identify() == "Runze SV-06, address 0"
            line.plan(Fault("lost reply"))
            await valve.set(4)
            assert await valve.port.get_value() == 4

    run(story())
