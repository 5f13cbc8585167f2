"""What is special about balances that speak SBI: hardly anything is acknowledged."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.drivers.sartorius import Sartorius, parse_line
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.pty import memory_wire
from sdl.errors import FaultError, GarbledError, RefusedError
from sdl.simulators.parts.seen import Pan
from sdl.simulators.sartorius import SimulatedSartorius
from sdl.testing import StillWorld
from sdl.wires import StreamWire


def weighing(
    story: Callable[[Sartorius, SimulatedSartorius, Faulty], Awaitable[None]],
    grams: float = 50.0,
    legacy: bool = False,
    **options: Any,
) -> None:
    async def session() -> None:
        pan = Pan(StillWorld(), lambda: grams)
        rng = np.random.default_rng(1)
        simulator = SimulatedSartorius(pan, rng=rng, noise=False, legacy=legacy, **options)
        line = Faulty(simulator)
        async with memory_wire(Sartorius.delivered, [line]) as wire:
            balance = Sartorius(wire, legacy=legacy, name="balance")
            await balance.connect()
            await story(balance, simulator, line)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def test_a_tare_is_read_back() -> None:
    async def story(balance: Sartorius, simulator: SimulatedSartorius, line: Faulty) -> None:
        await balance.tare.trigger()
        assert simulator.cell.tare == 50.0
        assert await balance.weight.get_value() == 0.0

    weighing(story)


def test_a_tare_that_was_not_heard_is_pressed_again() -> None:
    async def story(balance: Sartorius, simulator: SimulatedSartorius, line: Faulty) -> None:
        line.plan(Fault("lost request", 1))
        await balance.tare.trigger()
        assert line.happened
        assert simulator.cell.tare == 50.0

    weighing(story)


def test_a_zero_that_is_not_taken_is_a_fault() -> None:
    async def story(balance: Sartorius, simulator: SimulatedSartorius, line: Faulty) -> None:
        with pytest.raises(FaultError, match="zero: it still says 50 g"):
            await balance.zero.trigger()

    weighing(story)


def test_an_older_one_has_only_the_tare_key() -> None:
    async def story(balance: Sartorius, simulator: SimulatedSartorius, line: Faulty) -> None:
        with pytest.raises(RefusedError, match="no such key"):
            await balance.zero.trigger()
        await balance.tare.trigger()
        assert await balance.weigh() == 0.0

    weighing(story, legacy=True)


def test_an_adjustment_is_watched_until_it_weighs_again() -> None:
    async def story(balance: Sartorius, simulator: SimulatedSartorius, line: Faulty) -> None:
        await balance.adjust.trigger()
        assert simulator.adjustments == 1
        assert await balance.weigh() == 50.0

    weighing(story)


def test_a_reading_that_settles_has_no_unit_and_is_believed_by_its_decimals() -> None:
    weight, unit = parse_line(b"N     +  50.0000    \r\n") or (None, "")
    assert weight is not None
    assert (weight.grams, weight.stable, unit) == (50.0, False, "")


@pytest.mark.parametrize(
    "reply",
    [
        b"N     + 123.4567 g  \r\n"[1:],
        b"N     +   12 .567 g  \r\n",
        b"G#    + 123.4567 g  \r\n",
        b"N     + 123.456[7]g \r\n",
        b"N     +          g  \r\n",
        b"N     * 123.4567 g  \r\n",
        b"",
    ],
)
def test_what_is_no_net_weight_is_not_taken_for_one(reply: bytes) -> None:
    with pytest.raises(GarbledError):
        parse_line(reply)


def test_a_long_line_that_has_lost_its_head_is_no_short_one() -> None:
    """Found by fuzzing: the last 16 of 22 characters look like a whole line of another setting."""
    balance = Sartorius(StreamWire("tcp://none", _nobody), name="balance")
    long = b"N     +    123.4 g  \r\n"
    assert len(long) == 22
    assert balance._is_whole(long[6:])  # a balance that prints short lines
    balance._long = True
    assert balance._is_whole(long)
    assert not balance._is_whole(long[6:])


async def _nobody(protocol: object) -> Any:
    raise ConnectionRefusedError


def test_a_balance_that_does_not_tell_its_software_is_identified_without() -> None:
    class Reticent(SimulatedSartorius):
        async def respond(self, request: bytes) -> None:
            if not request.startswith(b"\x1bx3_"):
                await super().respond(request)

    async def session() -> None:
        pan = Pan(StillWorld(), lambda: 50.0)
        simulator = Reticent(pan, rng=np.random.default_rng(1), noise=False)
        async with memory_wire(Sartorius.delivered, [simulator]) as wire:
            balance = Sartorius(wire, name="balance")
            await balance.connect()
            assert re.fullmatch(r"MSE.*, serial number \d+", await balance.identify())
            assert await balance.weight.get_value() == 50.0

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())
