"""What is special about EZO circuits: numbers that nothing protects, and what a power cut takes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.drivers.ezo import Ezo, parse_reading
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.pty import memory_wire
from sdl.errors import ConfigError, FaultError, GarbledError, RefusedError
from sdl.simulators.ezo import Measures, SimulatedEzo
from sdl.simulators.parts.seen import Immersed
from sdl.testing import StillWorld


@dataclass
class Bench:
    probe: Ezo
    simulator: SimulatedEzo
    line: Faulty
    wire: Any


def measuring(
    story: Callable[[Bench], Awaitable[None]],
    value: float = 7.316,
    measures: Measures = "pH",
    driven_as: Measures | None = None,
    **options: Any,
) -> None:
    async def session() -> None:
        liquid = Immersed(StillWorld(), lambda: value, lambda: 40.0)
        rng = np.random.default_rng(1)
        simulator = SimulatedEzo(liquid, rng=rng, measures=measures, noise=False, **options)
        line = Faulty(simulator)
        async with memory_wire(Ezo.delivered, [line]) as wire:
            probe = Ezo(wire, measures=driven_as or measures, name="probe")
            await story(Bench(probe, simulator, line, wire))

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def test_connecting_ends_the_readings_that_nobody_asked_for() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(3.3)
        await bench.probe.connect()
        assert bench.simulator.continuous == 0

    measuring(story)


def test_readings_that_somebody_switched_on_again_are_ended_again() -> None:
    async def story(bench: Bench) -> None:
        await bench.probe.connect()
        bench.simulator._continuous(["1"])
        await bench.probe.compensation.set(40.0)
        assert await bench.probe.value.get_value() == pytest.approx(7.316)

    measuring(story)


def test_a_compensation_that_was_lost_with_the_power_is_sent_again() -> None:
    async def story(bench: Bench) -> None:
        await bench.probe.connect()
        await bench.probe.compensation.set(40.0)
        bench.simulator.begin("power cycle")
        await asyncio.sleep(1.0)
        assert bench.simulator.compensation == 25.0
        assert await bench.probe.value.get_value() == pytest.approx(4.0)  # 4.147 at 25 degC

    measuring(story, value=4.0)


def test_a_digit_that_is_lost_in_front_is_never_believed() -> None:
    async def story(bench: Bench) -> None:
        await bench.probe.connect()
        for at in (1, 2, 3):
            bench.line.plan(Fault("dropped byte", at, where=0.0))
            assert await bench.probe.value.get_value() == pytest.approx(12_880.0)

    measuring(story, value=12_880.0, measures="EC")


def test_it_is_calibrated_and_the_points_are_counted() -> None:
    async def story(bench: Bench) -> None:
        await bench.probe.connect()
        await bench.probe.compensation.set(40.0)
        assert await bench.probe.calibrate("mid", 7.0) == 1
        assert await bench.probe.value.get_value() == pytest.approx(7.0)
        assert await bench.probe.calibrate("low", 4.0) == 2
        await bench.probe.clear_calibration()
        assert await bench.probe.value.get_value() == pytest.approx(7.316)

    measuring(story)


@pytest.mark.parametrize(("point", "value"), [("middle", 7.0), ("mid", None), ("mid", 70.0)])
def test_a_calibration_that_cannot_be_is_refused_before_anything_is_sent(
    point: str, value: float | None
) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(RefusedError):
            await bench.probe.calibrate(point, value)
        assert len(bench.wire.log) == 0

    measuring(story)


def test_another_circuit_than_was_expected_is_told() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(ConfigError, match="it measures EC, not pH"):
            await bench.probe.connect()

    measuring(story, measures="EC", driven_as="pH")


def test_a_thermometer_without_a_probe_is_a_fault() -> None:
    async def story(bench: Bench) -> None:
        bench.simulator._reading = lambda: "-1023.000"  # type: ignore[method-assign]
        await bench.probe._be_quiet()
        with pytest.raises(FaultError, match="no probe"):
            await bench.probe.value.get_value()

    measuring(story, value=25.0, measures="RTD")


@pytest.mark.parametrize(
    ("reply", "measures"),
    [
        (b"7.31\r*OK\r", "pH"),
        (b"7316\r*OK\r", "pH"),
        (b"15.000\r*OK\r", "pH"),
        (b"*OK\r", "pH"),
        (b"7.316\r7.317\r*OK\r", "pH"),
        (b"14.1\r*OK\r", "EC"),
        (b"413.55\r*OK\r", "EC"),
        (b"8.3\r*OK\r", "DO"),
        (b"no output\r*OK\r", "DO"),
    ],
)
def test_what_is_no_reading_is_not_taken_for_one(reply: bytes, measures: str) -> None:
    with pytest.raises(GarbledError):
        parse_reading(reply, measures)
