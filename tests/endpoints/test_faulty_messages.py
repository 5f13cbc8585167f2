"""Faults of instruments that speak in messages: MQTT and 0MQ."""

import asyncio

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.endpoints import memory_wire
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.wires.mqtt import MqttWire


class Air:
    temperature = 20.0
    humidity = 40.0


def heard(fault: Fault | None, seconds: float = 40.0) -> list[float]:
    """When telemetry came from a board that sends some every 10 s from the fifth on, in s."""
    times: list[float] = []

    async def story() -> None:
        board = SimulatedTasmota(Air(), rng=np.random.default_rng(1), topic="b", tele_period=10)
        faulty = Faulty(board)
        loop = asyncio.get_running_loop()
        async with memory_wire("mqtt://broker", [faulty]) as wire:
            assert isinstance(wire, MqttWire)
            began = loop.time()

            def note(*_: object) -> None:
                times.append(round(loop.time() - began, 1))

            await wire.subscribe("tele/b/SENSOR", note)
            faulty.plan(*([] if fault is None else [fault]))
            await asyncio.sleep(seconds)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story())
    return times


EXPECTED = {
    "lost reply": [15.0, 25.0, 35.0],
    "late reply": [15.0, 17.0, 25.0, 35.0],
    "double reply": [5.0, 5.0, 15.0, 25.0, 35.0],
    "cut": [25.0, 35.0],
    "silence": [25.0, 35.0],
}


def test_without_faults_all_comes() -> None:
    assert heard(None) == [5.0, 15.0, 25.0, 35.0]


@pytest.mark.parametrize("kind", EXPECTED)
def test_messages_are_lost_late_or_doubled_as_planned(kind: str) -> None:
    # the board says STATE and SENSOR each time; the second message is the first SENSOR
    assert heard(Fault(kind, at=2, seconds=12.0)) == EXPECTED[kind]
