"""What is special about source-measure units: limits, outputs, one reading for all, lost power."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl import endpoints
from sdl.clock import new_loop
from sdl.drivers.keithley import Keithley2400, Keithley2450
from sdl.drivers.keithley.scpi import NUMBER, parse, parse_error
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.simulators.keithley import Simulated2400, Simulated2450
from sdl.simulators.parts.load import Diode, Load
from sdl.testing import StillWorld
from sdl.wires import StreamWire

BOTH = pytest.mark.parametrize("model", ["2400", "2450"])
KINDS: dict[str, tuple[Any, Any]] = {
    "2400": (Keithley2400, Simulated2400),
    "2450": (Keithley2450, Simulated2450),
}
Story = Callable[[Any, Any, Any], Awaitable[None]]


def with_a_meter(
    model: str, story: Story, *, load: Callable[[StillWorld], Load] = Load, **options: Any
) -> None:
    async def run() -> None:
        kind, simulated = KINDS[model]
        part = load(StillWorld())
        simulator = simulated(part, rng=np.random.default_rng(1), noise=False)
        async with endpoints.memory_wire(kind.delivered, [simulator]) as wire:
            meter = kind(wire, **{"limit": 0.01, **options}, name="meter")
            await meter.connect()
            await story(meter, part, simulator)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


@BOTH
def test_a_limit_holds_and_is_told(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.output.set(True)
        await meter.set(0.5)
        assert not await meter.in_compliance.get_value()
        await meter.set(20.0)  # 20 mA through 1 kohm
        assert part.amps == pytest.approx(0.01)
        assert await meter.in_compliance.get_value()
        assert await meter.voltage.get_value() == pytest.approx(10.0)

    with_a_meter(model, story)


@BOTH
def test_a_current_is_sourced_through_a_diode(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.set(1e-3)
        await meter.output.set(True)
        assert await meter.current.get_value() == pytest.approx(1e-3, rel=1e-5)
        assert await meter.voltage.get_value() == pytest.approx(part.volts, rel=1e-5)
        assert 0.5 < part.volts < 0.7

    with_a_meter(model, story, load=Diode, source="current", limit=2.0)


@BOTH
def test_nothing_but_output_switches_the_output(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.set(0.5)
        assert not part.driven
        assert math.isnan(await meter.voltage.get_value())
        await meter.output.set(True)
        await meter.set(0.7)
        await meter.connect(force_reconnect=True)
        assert part.volts == pytest.approx(0.7)  # another process finds it as it was
        await meter.stop(success=True)
        assert part.driven
        await meter.make_safe()
        assert not part.driven

    with_a_meter(model, story)


@BOTH
def test_all_that_is_read_at_one_moment_is_one_reading(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.output.set(True)
        await meter.set(0.5)
        before = len(_asked(meter, b":READ?"))
        reading = await meter.read()
        assert len(_asked(meter, b":READ?")) == before + 1
        assert reading["meter-resistance"]["value"] == pytest.approx(1000.0)
        assert meter._next is None

    with_a_meter(model, story)


@BOTH
def test_more_power_than_it_has_is_refused_before_anything_is_sent(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        before = len(meter.wire.log)
        with pytest.raises(RefusedError, match=r"above 21 V at most 0\.105 A"):
            await meter.set(50.0)
        assert len(meter.wire.log) == before

    with_a_meter(model, story, limit=0.2)


@BOTH
def test_lost_power_is_told_once_and_then_it_is_set_up_again(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.output.set(True)
        simulator.begin("power cycle")
        simulator.end("power cycle")
        with pytest.raises(FaultError, match="lost its power"):
            await meter.voltage.get_value()
        assert math.isnan(await meter.voltage.get_value())
        await meter.output.set(True)
        assert simulator.memory["limit VOLT"] == pytest.approx(5.0)
        assert simulator.source == "CURR"

    with_a_meter(model, story, source="current", limit=5.0)


@BOTH
def test_an_output_that_is_blocked_is_refused_with_the_reason(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        simulator.begin("stuck")
        with pytest.raises(RefusedError, match="blocked by"):
            await meter.output.set(True)

    with_a_meter(model, story)


@BOTH
def test_an_overflow_is_no_reading(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.set(0.5)
        await meter.output.set(True)
        simulator.begin("saturation", 10)
        with pytest.raises(FaultError, match="overflow: the"):
            await meter.current.get_value()

    with_a_meter(model, story)


@BOTH
def test_an_output_that_sources_the_other_quantity_is_left_alone(model: str) -> None:
    async def story(meter: Any, part: Load, simulator: Any) -> None:
        await meter.output.set(True)
        other = KINDS[model][0](meter.wire, source="current", limit=1.0, name="other")
        with pytest.raises(RefusedError, match="switch it off first"):
            await other.connect()
        assert part.driven

    with_a_meter(model, story)


def test_a_2450_that_speaks_tsp_is_a_mistake() -> None:
    async def run() -> None:
        simulator = Simulated2450(Load(StillWorld()), rng=np.random.default_rng(1))
        simulator.tree._commands = [
            each for each in simulator.tree._commands if "LANG" not in each.pattern.pattern
        ]
        async with endpoints.memory_wire(Keithley2450.delivered, [simulator]) as wire:
            assert isinstance(wire, StreamWire)
            with pytest.raises(ConfigError, match=r"\*LANG SCPI"):
                await Keithley2450(wire, limit=0.01, name="meter").connect()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    "options", [{"limit": 0.0}, {"limit": 2.0}, {"limit": 0.1, "source": "power"}, {"most": 300.0}]
)
@BOTH
def test_impossible_options_say_what_is_allowed(model: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed is"):
        KINDS[model][0](None, **{"limit": 0.1, **options})


@given(st.binary(max_size=40))
def test_no_bytes_are_taken_for_a_reply_that_they_are_not(data: bytes) -> None:
    text = data.decode("latin-1")
    for read in (lambda: parse(text, 17, NUMBER), lambda: parse_error(text)):
        with pytest.raises(GarbledError):
            read()


@given(st.integers(0, 16), st.integers(0, 255))
def test_a_byte_that_is_lost_or_damaged_is_seen(at: int, byte: int) -> None:
    reply = b"17;0;1.50;1.50"
    at %= len(reply)
    damaged = reply[:at] + bytes([byte]) + reply[at + 1 :]
    lost = reply[:at] + reply[at + 1 :]
    for data in (damaged, lost):
        try:
            events, answer = parse(data.decode("latin-1"), 17, NUMBER)
        except GarbledError:
            continue
        assert answer == "1.50"  # at most the events are others
        assert data == reply or events != 0


def _asked(meter: Any, what: bytes) -> list[bytes]:
    return [entry.data for entry in meter.wire.log if what in entry.data]


@BOTH
def test_a_line_on_which_nobody_speaks_scpi_says_what_to_look_at(model: str) -> None:
    async def run() -> None:
        kind = KINDS[model][0]
        async with endpoints.memory_wire(kind.delivered, []) as wire:
            with pytest.raises(NoReplyError, match=r"baud rate and terminator.*`tags: false`"):
                await kind(wire, limit=0.01, name="meter").connect()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
