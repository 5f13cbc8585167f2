"""The Tasmota driver against its simulator, and against what the documentation says boards send."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ophyd_async.core import NotConnectedError

from sdl import clock
from sdl.drivers.tasmota import TasmotaSensor
from sdl.endpoints.mqtt import powered
from sdl.endpoints.mqtt_memory import MemoryBroker, MemorySession
from sdl.errors import NoReplyError, StaleError
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.wires.mqtt import MqttWire

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "tasmota.yaml"
GOLDEN = yaml.safe_load(TRANSCRIPT.read_text())
GOOD = b'{"Time":"1970-01-01T00:00:00","SHT3X":{"Temperature":23.4,"Humidity":41.0},"TempUnit":"C"}'


class Air:
    temperature = 23.4
    humidity = 41.0


class Bench:
    """A broker, a wire and a driver; a board is a simulator, or us speaking for one."""

    def __init__(self, broker: MemoryBroker, wire: MqttWire, sensor: TasmotaSensor) -> None:
        self.broker, self.wire, self.sensor = broker, wire, sensor
        self.questions: list[str] = []
        self.answer: bytes | None = GOOD

    async def speak(self) -> MemorySession:
        """Be a board that answers `Status 10` with `answer`."""
        session = await self.broker.connect()
        await session.subscribe("cmnd/bench/#")
        self._task = asyncio.create_task(self._reply(session))
        return session

    async def _reply(self, session: MemorySession) -> None:
        while True:
            message = await session.receive()
            self.questions.append(f"{message.topic} {message.payload.decode()}")
            if message.payload == b"10" and self.answer is not None:
                reply = b'{"StatusSNS":' + self.answer + b"}"
                await session.publish("stat/bench/STATUS10", reply)

    async def read(self) -> tuple[float, float]:
        reading = await self.sensor.read()
        values = [reading[name]["value"] for name in ("sensor-temperature", "sensor-humidity")]
        return values[0], values[1]


def run(
    test: Callable[[Bench], Awaitable[None]],
    *simulators: SimulatedTasmota,
    **options: Any,
) -> None:
    async def whole() -> None:
        broker = MemoryBroker()
        wire = MqttWire("mqtt://broker", broker.connect, timeout=1.0)
        sensor = TasmotaSensor(wire, topic="bench", name="sensor", **options)
        async with powered(simulators, broker.connect, wire.url):
            await test(Bench(broker, wire, sensor))
            await wire.close()

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(whole())


def board(**options: Any) -> SimulatedTasmota:
    return SimulatedTasmota(Air(), rng=np.random.default_rng(1), topic="bench", **options)


def test_a_value_is_there_as_soon_as_it_is_connected():
    async def test(bench: Bench) -> None:
        await bench.sensor.connect()
        assert clock.monotonic() < 1
        assert await bench.read() == pytest.approx((23.4, 41.0), abs=0.3)
        description = await bench.sensor.describe()
        assert description["sensor-temperature"].get("units") == "degC"
        assert description["sensor-humidity"].get("units") == "%"
        assert "tele/bench/SENSOR" in description["sensor-humidity"]["source"]
        assert await bench.sensor.online.get_value() is True

    run(test, board())


def test_connecting_asks_once_for_both_quantities():
    async def test(bench: Bench) -> None:
        await bench.speak()
        session = await bench.broker.connect()
        await session.publish("tele/bench/LWT", b"Online", retain=True)
        await bench.sensor.connect()
        assert bench.questions == ["cmnd/bench/Status 10"]

    run(test)


def test_it_follows_the_air_for_a_week_without_being_asked():
    async def test(bench: Bench) -> None:
        await bench.sensor.connect()
        ages = []
        for _ in range(7 * 24):
            await asyncio.sleep(3600)
            reading = (await bench.sensor.read())["sensor-temperature"]
            ages.append(clock.now() - reading["timestamp"])
        assert max(ages) <= 301

    run(test, board())


@pytest.mark.parametrize("case", GOLDEN["values"], ids=lambda case: case["tag"])
def test_what_boards_send_is_read_right(case: dict[str, Any]):
    async def test(bench: Bench) -> None:
        session = await bench.speak()
        await bench.sensor.connect()
        await session.publish(case["topic"], case["payload"].encode())
        await asyncio.sleep(0.1)
        assert await bench.read() == pytest.approx((case["temperature"], case["humidity"]))

    run(test)


@pytest.mark.parametrize("case", GOLDEN["no_values"], ids=lambda case: case["tag"])
def test_what_is_no_value_never_becomes_one_and_stands_in_the_health(case: dict[str, Any]):
    async def test(bench: Bench) -> None:
        session = await bench.speak()
        bench.answer = None
        await bench.sensor._listen()
        await session.publish("tele/bench/SENSOR", case["payload"].encode())
        await asyncio.sleep(0.1)
        assert bench.wire.health.failures == 1
        assert "tele/bench/SENSOR" in (bench.wire.health.last_error or "")
        with pytest.raises(StaleError, match="bench did not answer Status 10 in 1 s"):
            await bench.read()

    run(test)


def test_a_sensor_that_says_it_has_no_value_takes_the_old_one_away():
    simulator = board(tele_period=10)

    async def test(bench: Bench) -> None:
        await bench.sensor.connect()
        simulator.unplugged = True
        await asyncio.sleep(11)
        with pytest.raises(StaleError, match=r"missing or no number.*null"):
            await bench.read()
        simulator.unplugged = False
        await asyncio.sleep(11)
        assert await bench.read() == pytest.approx((23.4, 41.0), abs=0.3)

    run(test, simulator)


def test_a_garbled_message_leaves_the_value_that_is_there():
    async def test(bench: Bench) -> None:
        session = await bench.speak()
        await bench.sensor.connect()
        await session.publish("tele/bench/SENSOR", b'{"SHT3X":{"Temp')
        await asyncio.sleep(0.1)
        assert await bench.read() == (23.4, 41.0)
        assert bench.wire.health.failures == 1

    run(test)


def test_a_retained_message_of_unknown_age_is_no_value():
    async def test(bench: Bench) -> None:
        session = await bench.speak()
        bench.answer = None
        await session.publish("tele/bench/SENSOR", GOOD, retain=True)
        await session.publish("stat/bench/STATUS10", b'{"StatusSNS":' + GOOD + b"}", retain=True)
        with pytest.raises(NotConnectedError, match="did not answer Status 10"):
            await bench.sensor.connect(timeout=3)

    run(test)


def test_too_old_a_value_is_asked_for_again_and_only_then_an_error():
    async def test(bench: Bench) -> None:
        await bench.speak()
        await bench.sensor.connect()
        await asyncio.sleep(100)
        await bench.read()
        assert len(bench.questions) == 1  # young enough
        await asyncio.sleep(600)
        await bench.read()
        assert len(bench.questions) == 2
        bench.answer = None
        await asyncio.sleep(700)
        start = clock.monotonic()
        with pytest.raises(StaleError, match=r"701\.0 s old; at most 650 s.*did not answer"):
            await bench.sensor.temperature.get_value()
        assert clock.monotonic() - start == pytest.approx(1.0)

    run(test)


def test_when_the_power_of_the_board_fails_readings_are_stale_at_once():
    simulator = board()

    async def test(bench: Bench) -> None:
        session = await bench.broker.connect(simulator.will)
        living = asyncio.create_task(simulator.serve(session))
        await asyncio.sleep(0.1)
        await bench.sensor.connect()
        living.cancel()
        await session.drop()
        await asyncio.sleep(0.1)
        start = clock.monotonic()
        with pytest.raises(StaleError, match="offline"):
            await bench.read()
        assert clock.monotonic() == start
        assert await bench.sensor.online.get_value() is False

    run(test)


def test_it_asks_of_its_own_when_the_board_is_back():
    async def test(bench: Bench) -> None:
        session = await bench.speak()
        await bench.sensor.connect()
        await session.publish("tele/bench/LWT", b"Offline", retain=True)
        await asyncio.sleep(10)
        await session.publish("tele/bench/LWT", b"Online", retain=True)
        await asyncio.sleep(0.1)
        assert len(bench.questions) == 2
        bench.answer = None
        assert await bench.read() == (23.4, 41.0)

    run(test)


def test_while_the_broker_is_away_readings_are_stale_and_afterwards_they_are_back():
    async def test(bench: Bench) -> None:
        await bench.sensor.connect()
        bench.broker.stop()
        await asyncio.sleep(0.1)
        for signal in (bench.sensor.temperature, bench.sensor.online):
            with pytest.raises(StaleError):
                await signal.get_value()
        await asyncio.sleep(60)
        bench.broker.start()
        await asyncio.sleep(15)
        assert await bench.read() == pytest.approx((23.4, 41.0), abs=0.3)
        assert await bench.sensor.online.get_value() is True

    run(test, board())


def test_a_subscriber_sees_that_its_value_is_none_any_more():
    async def test(bench: Bench) -> None:
        await bench.speak()
        await bench.sensor.connect()
        severities: list[int] = []
        bench.sensor.temperature.subscribe_reading(
            lambda reading: severities.append(
                reading["sensor-temperature"].get("alarm_severity", 0)
            )
        )
        bench.broker.stop()
        await asyncio.sleep(0.1)
        assert severities == [0, 3]

    run(test)


def test_nobody_there_is_said_with_topic_and_question():
    async def test(bench: Bench) -> None:
        with pytest.raises(NotConnectedError, match="bench did not answer Status 10 in 1 s"):
            await bench.sensor.connect(timeout=5)
        with pytest.raises(NoReplyError, match="bench did not answer Status 2 in 1 s"):
            await bench.sensor.identify()

    run(test)


def test_it_says_which_firmware_it_has():
    async def test(bench: Bench) -> None:
        assert await bench.sensor.identify() == "Tasmota 15.1.0(release-sensors)"

    run(test, board())


def test_two_boards_on_one_wire_do_not_hear_each_other():
    class Warm(Air):
        temperature = 30.0

    async def test(bench: Bench) -> None:
        other = TasmotaSensor(bench.wire, topic="attic", name="attic")
        await asyncio.gather(bench.sensor.connect(), other.connect())
        assert await bench.sensor.temperature.get_value() == pytest.approx(23.4, abs=0.2)
        assert await other.temperature.get_value() == pytest.approx(30.0, abs=0.2)

    attic = SimulatedTasmota(Warm(), rng=np.random.default_rng(2), topic="attic")
    run(test, board(), attic)


def test_in_mock_mode_nothing_is_said_to_anybody():
    async def test(bench: Bench) -> None:
        await bench.sensor.connect(mock=True)
        await bench.sensor.read()
        assert not bench.wire.health.connected
        assert bench.wire.health.exchanges == 0

    run(test)


def test_what_the_simulator_says_and_the_golden_payloads_have_one_form():
    golden = json.loads(GOLDEN["values"][0]["payload"])

    async def test(bench: Bench) -> None:
        heard: list[bytes] = []
        await bench.wire.subscribe("stat/bench/STATUS10", lambda _t, p, _r: heard.append(p))
        await bench.sensor.connect()
        said = json.loads(heard[0])
        assert _form(said) == _form(golden)

    run(test, board())


def _form(value: Any) -> Any:
    return {k: _form(v) for k, v in value.items()} if isinstance(value, dict) else type(value)
