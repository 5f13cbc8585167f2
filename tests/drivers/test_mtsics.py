"""What is special about balances that speak MT-SICS."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sdl.clock import monotonic, new_loop
from sdl.drivers.mtsics import MTSICS, parse_weight
from sdl.endpoints.pty import memory_wire
from sdl.errors import ConfigError, FaultError, GarbledError, InstrumentError, RefusedError
from sdl.simulators.mtsics import SimulatedMTSICS
from sdl.simulators.parts.seen import Pan
from sdl.testing import StillWorld


@dataclass
class Bench:
    balance: MTSICS
    simulator: SimulatedMTSICS
    pan: Pan
    wire: Any


def weighing(
    story: Callable[[Bench], Awaitable[None]], grams: float = 50.0, **options: Any
) -> None:
    async def session() -> None:
        pan = Pan(StillWorld(), lambda: grams)
        simulator = SimulatedMTSICS(pan, rng=np.random.default_rng(1), noise=False, **options)
        async with memory_wire(MTSICS.delivered, [simulator]) as wire:
            balance = MTSICS(wire, stability_timeout=5.0, name="balance")
            await story(Bench(balance, simulator, pan, wire))

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def test_a_trigger_waits_until_the_weight_is_stable() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        bench.pan.restless = True
        asyncio.get_running_loop().call_later(2.0, setattr, bench.pan, "restless", False)
        began = monotonic()
        await bench.balance.trigger()
        assert 3.0 <= monotonic() - began <= 3.6  # and a second until it has settled

    weighing(story)


def test_a_weight_that_never_settles_is_a_fault_in_time() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        bench.pan.restless = True
        with pytest.raises(FaultError, match="not stable in 5 s, the last was 50 g"):
            await bench.balance.trigger()

    weighing(story)


def test_a_stop_ends_the_waiting() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        bench.pan.restless = True
        waiting = asyncio.ensure_future(bench.balance.weigh())
        await asyncio.sleep(1.0)
        await bench.balance.stop(success=False)
        with pytest.raises(InstrumentError, match="stopped"):
            await waiting

    weighing(story)


def test_it_is_adjusted_in_two_stages_and_weighs_again() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        began = monotonic()
        await bench.balance.adjust.trigger()
        assert monotonic() - began > 59
        assert bench.simulator.adjustments == 1
        assert await bench.balance.weigh() == 0.0

    weighing(story, grams=0.0)


def test_an_adjustment_with_something_on_the_pan_is_a_fault() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        with pytest.raises(FaultError, match="broken off"):
            await bench.balance.adjust.trigger()

    weighing(story)


def test_a_tare_that_was_lost_with_the_power_is_told_once() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        await bench.balance.tare.trigger()
        assert await bench.balance.weight.get_value() == 0.0
        bench.simulator.begin("power cycle")
        await asyncio.sleep(1.0)
        with pytest.raises(FaultError, match="the tare of 50 g"):
            await bench.balance.weight.get_value()
        assert await bench.balance.weight.get_value() == 50.0

    weighing(story)


def test_a_balance_that_was_left_repeating_weights_is_interrupted() -> None:
    async def story(bench: Bench) -> None:
        await bench.wire.send(b"UPD 50\r\n")
        await asyncio.sleep(1.0)
        await bench.wire.send(b"SIR\r\n")  # one of them is on the line when it connects
        await asyncio.sleep(1.02)
        await bench.balance.connect()
        assert await bench.balance.weight.get_value() == 50.0

    weighing(story)


def test_one_that_weighs_in_milligrams_is_set_to_grams() -> None:
    async def story(bench: Bench) -> None:
        await bench.wire.send(b"M21 0 3\r\n")
        await asyncio.sleep(1.0)
        await bench.balance.connect()
        assert await bench.balance.weight.get_value() == 50.0

    weighing(story)


def test_milligrams_that_lost_a_letter_are_not_taken_for_grams() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        bench.simulator._unit = 3
        bench.simulator._value = lambda grams: f"{1e3 * grams:10.1f} g"  # type: ignore[method-assign]
        with pytest.raises(GarbledError, match="1 decimals instead of 4"):
            await bench.balance.weight.get_value()

    weighing(story)


def test_a_busy_balance_refuses_a_reading_and_a_trigger_waits_for_it() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        bench.simulator.begin("busy")
        with pytest.raises(RefusedError, match="busy"):
            await bench.balance.weight.get_value()
        asyncio.get_running_loop().call_later(2.0, bench.simulator.end, "busy")
        await bench.balance.trigger()

    weighing(story)


def test_what_cannot_be_shown_is_refused() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        with pytest.raises(RefusedError, match="printable"):
            await bench.balance.display.set("two\r\nT")

    weighing(story)


def test_impossible_options_are_told() -> None:
    with pytest.raises(ConfigError, match="capacity=-1"):
        MTSICS(None, capacity=-1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="stability_timeout=0"):
        MTSICS(MagicWire(), stability_timeout=0)  # type: ignore[arg-type]


class MagicWire:
    url = "none"


@pytest.mark.parametrize(
    "reply",
    [
        b"S S    100.00 g\r\n",  # a character is missing
        b"S S      100.00 g\r\n",
        b"S S     1 0.00 g\r\n",
        b"S S     100.00\r\n",
        b"S S    +100.00 g\r\n",
        b"S S     100.0\xb0 g\r\n",
        b"",
    ],
)
def test_what_is_no_weight_is_not_taken_for_one(reply: bytes) -> None:
    with pytest.raises(GarbledError):
        parse_weight(reply)


def test_outside_of_the_fine_range_the_last_character_is_a_space() -> None:
    weight, unit = parse_weight(b"S S  100.0000  g\r\n")  # p. 13
    assert (weight.grams, weight.decimals, unit) == (100.0, 4, "g")


class LevelZero(SimulatedMTSICS):
    """Knows nothing but the commands of level 0, and T."""

    async def respond(self, request: bytes) -> None:
        if request.split()[:1] and request.split()[0] in (b"TA", b"TAC", b"M21", b"I5"):
            await self.say(b"ES\r\n")
        else:
            await super().respond(request)


def weighing_at_level_zero(story: Callable[[Bench], Awaitable[None]]) -> None:
    async def session() -> None:
        pan = Pan(StillWorld(), lambda: 50.0)
        simulator = LevelZero(pan, rng=np.random.default_rng(1), noise=False)
        async with memory_wire(MTSICS.delivered, [simulator]) as wire:
            await story(Bench(MTSICS(wire, name="balance"), simulator, pan, wire))

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def test_a_balance_that_cannot_tell_its_tare_weighs_and_is_tared() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        await bench.balance.tare.trigger()
        assert await bench.balance.weight.get_value() == 0.0
        assert math.isnan(await bench.balance.tare_weight.get_value())

    weighing_at_level_zero(story)


def test_a_tare_that_went_with_the_power_is_told_by_a_balance_that_cannot_be_asked_for_it() -> None:
    async def story(bench: Bench) -> None:
        await bench.balance.connect()
        await bench.balance.tare.trigger()
        bench.simulator.begin("power cycle")
        await asyncio.sleep(10.0)
        with pytest.raises(FaultError, match="the tare of 50 g; tare it again"):
            await bench.balance.weight.get_value()
        assert await bench.balance.weight.get_value() == 50.0

    weighing_at_level_zero(story)


def test_blanks_behind_the_unit_are_no_harm() -> None:
    assert parse_weight(b"S S     100.00 g  \r\n")[0].grams == 100.0
    with pytest.raises(GarbledError):
        parse_weight(b"S S    100.00 g\r\n")
