"""The simulated Tasmota board against Tasmota's documentation, without our driver."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdl import clock
from sdl.endpoints.mqtt import memory_wire
from sdl.simulators.tasmota import SimulatedTasmota, dew_point
from sdl.wires.mqtt import MqttWire

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "tasmota.yaml"
GOLDEN = yaml.safe_load(TRANSCRIPT.read_text())


class Air:
    temperature = 23.4
    humidity = 41.0


class Ears:
    """All that is said on a broker, with the time of it."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str, bytes]] = []

    def __call__(self, topic: str, payload: bytes, retained: bool) -> None:
        self.heard.append((clock.monotonic(), topic, payload))

    def on(self, topic: str) -> list[Any]:
        return [_read(payload) for _, t, payload in self.heard if t == topic]

    def times(self, topic: str) -> list[float]:
        return [when for when, t, _ in self.heard if t == topic]


def _read(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def board(**options: Any) -> SimulatedTasmota:
    return SimulatedTasmota(Air(), rng=np.random.default_rng(1), topic="bench", **options)


def run(
    test: Callable[[MqttWire, Ears], Awaitable[None]], simulator: SimulatedTasmota | None = None
) -> None:
    async def whole() -> None:
        async with memory_wire("mqtt://broker", [simulator or board()], timeout=1.0) as wire:
            ears = Ears()
            await wire.subscribe("#", ears)
            await test(wire, ears)

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(whole())


async def told(wire: MqttWire, command: str, argument: str = "") -> None:
    await wire.publish(f"cmnd/bench/{command}", argument)
    await asyncio.sleep(0.1)


def test_it_speaks_five_seconds_after_the_start_and_then_each_tele_period():
    async def test(wire: MqttWire, ears: Ears) -> None:
        await asyncio.sleep(1000)
        assert ears.times("tele/bench/SENSOR") == pytest.approx([5, 305, 605, 905])
        assert ears.times("tele/bench/STATE") == pytest.approx([5, 305, 605, 905])

    run(test)


def test_what_it_measures_is_the_air_with_noise_at_the_resolution_it_shows():
    async def test(wire: MqttWire, ears: Ears) -> None:
        await asyncio.sleep(20_000)
        said = [message["SHT3X"] for message in ears.on("tele/bench/SENSOR")]
        temperatures = np.array([values["Temperature"] for values in said])
        assert np.allclose(temperatures, Air.temperature, atol=0.11)
        assert np.allclose([values["Humidity"] for values in said], Air.humidity, atol=0.31)
        assert np.allclose(temperatures * 10, np.round(temperatures * 10))
        assert len({values["Humidity"] for values in said}) > 1

    run(test)


def test_its_message_has_the_form_of_the_documentation():
    async def test(wire: MqttWire, ears: Ears) -> None:
        await asyncio.sleep(400)
        message = ears.on("tele/bench/SENSOR")[1]
        assert list(message) == ["Time", "SHT3X", "TempUnit"]
        assert list(message["SHT3X"]) == ["Temperature", "Humidity", "DewPoint"]
        assert message["Time"] == "2000-01-01T00:05:05"
        assert message["TempUnit"] == "C"

    run(test)


@pytest.mark.parametrize(
    "case", GOLDEN["commands"], ids=lambda c: f"{c['command']} {c['argument']}"
)
def test_it_answers_a_command_as_the_documentation_says(case: dict[str, Any]):
    async def test(wire: MqttWire, ears: Ears) -> None:
        ears.heard.clear()
        await told(wire, case["command"], case["argument"])
        answers = {t: json.loads(p) for _, t, p in ears.heard if t.startswith("stat/")}
        assert set(answers) == set(case["answers"])
        for topic, key in case["answers"].items():
            assert key in answers[topic]

    run(test)


def test_an_unknown_command_is_said_to_be_one():
    async def test(wire: MqttWire, ears: Ears) -> None:
        await told(wire, "Frobnicate", "1")
        assert ears.on("stat/bench/RESULT") == [{"Command": "Unknown"}]

    run(test)


@pytest.mark.parametrize(
    ("argument", "period"),
    [("60", 60), ("0", 0), ("1", 300), ("2", 10), ("3600", 3600), ("3601", 100), ("x", 100)],
)
def test_tele_period_takes_what_the_documentation_allows(argument: str, period: int):
    async def test(wire: MqttWire, ears: Ears) -> None:
        await told(wire, "TelePeriod", argument)
        assert ears.on("stat/bench/RESULT") == [{"TelePeriod": period}]

    run(test, board(tele_period=100))


def test_a_new_tele_period_holds_from_then_on_and_none_is_silence():
    async def test(wire: MqttWire, ears: Ears) -> None:
        await asyncio.sleep(10)
        ears.heard.clear()
        await told(wire, "teleperiod", "10")
        start = clock.monotonic()
        await asyncio.sleep(35)
        later = [when - start for when in ears.times("tele/bench/SENSOR")]
        assert later == pytest.approx([1, 11, 21, 31], abs=0.2)
        await told(wire, "TELEPERIOD", "0")
        ears.heard.clear()
        await asyncio.sleep(4000)
        assert ears.on("tele/bench/SENSOR") == []

    run(test)


def test_power_is_switched_asked_and_toggled():
    async def test(wire: MqttWire, ears: Ears) -> None:
        for argument in ("ON", "", "toggle", "nonsense", "1"):
            await told(wire, "Power", argument)
        states = [message["POWER"] for message in ears.on("stat/bench/RESULT")]
        assert states == ["ON", "ON", "OFF", "OFF", "ON"]
        assert ears.on("stat/bench/POWER")[-1] == b"ON"

    run(test)


def test_an_unplugged_sensor_is_null():
    simulator = board()
    simulator.unplugged = True

    async def test(wire: MqttWire, ears: Ears) -> None:
        await told(wire, "Status", "10")
        (message,) = ears.on("stat/bench/STATUS10")
        assert set(message["StatusSNS"]["SHT3X"].values()) == {None}

    run(test, simulator)


def test_it_speaks_fahrenheit_where_set_so():
    async def test(wire: MqttWire, ears: Ears) -> None:
        await told(wire, "Status", "10")
        sensors = ears.on("stat/bench/STATUS10")[0]["StatusSNS"]
        assert sensors["TempUnit"] == "F"
        assert sensors["SHT3X"]["Temperature"] == pytest.approx(74.1, abs=0.25)

    run(test, board(temp_unit="F"))


def test_the_broker_says_online_while_it_lives_and_offline_when_its_power_fails():
    async def test() -> None:
        async with memory_wire("mqtt://broker", [], timeout=1.0) as wire:
            broker = wire._connect.__self__  # type: ignore[attr-defined]
            ears, simulator = Ears(), board()
            session = await broker.connect(simulator.will)
            living = asyncio.create_task(simulator.serve(session))
            await asyncio.sleep(1)
            await wire.subscribe("tele/bench/LWT", ears)
            living.cancel()
            await session.drop()
            await asyncio.sleep(1)
            assert [payload for _, _, payload in ears.heard] == [b"Online", b"Offline"]

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(test())


@pytest.mark.parametrize(
    "case",
    [case for case in GOLDEN["values"] if case.get("dew_point") and '"C"' in case["payload"]],
    ids=lambda case: case["tag"],
)
def test_the_dew_point_is_that_of_real_boards(case: dict[str, float]):
    # they compute from the unrounded values, and show one decimal
    assert dew_point(case["temperature"], case["humidity"]) == pytest.approx(
        case["dew_point"], abs=0.1
    )
