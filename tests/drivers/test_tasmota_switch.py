"""The Tasmota switch against its simulator, and against what the documentation says boards send."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdl import clock
from sdl.drivers.tasmota.switch import TasmotaSwitch, parse_power
from sdl.endpoints.mqtt import powered
from sdl.endpoints.mqtt_memory import MemoryBroker
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.testing import StillWorld
from sdl.wires.mqtt import MqttWire

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "tasmota.yaml"
GOLDEN = yaml.safe_load(TRANSCRIPT.read_text())
Story = Callable[[TasmotaSwitch, Outlet, SimulatedTasmota, MemoryBroker], Awaitable[None]]


def on_bench(story: Story, *, board: bool = True, **options: Any) -> None:
    async def whole() -> None:
        broker = MemoryBroker()
        wire = MqttWire("mqtt://broker", broker.connect, timeout=1.0)
        outlet = Outlet(StillWorld())
        simulator = SimulatedTasmota(outlet, rng=np.random.default_rng(1), topic="bench")
        switch = TasmotaSwitch(wire, topic="bench", name="plug", **options)
        async with powered([simulator] if board else [], broker.connect, wire.url):
            await story(switch, outlet, simulator, broker)
            await wire.close()

    with asyncio.Runner(loop_factory=lambda: clock.new_loop("virtual")) as runner:
        runner.run(whole())


@pytest.mark.parametrize("case", GOLDEN["powers"], ids=lambda case: case["tag"])
def test_what_boards_say_of_a_relay_is_read_right(case: dict[str, Any]) -> None:
    assert parse_power(case["topic"], case["payload"].encode(), case["relay"]) is case["closed"]


@pytest.mark.parametrize("case", GOLDEN["no_powers"], ids=lambda case: case["tag"])
def test_what_is_no_state_is_garbled(case: dict[str, Any]) -> None:
    with pytest.raises(GarbledError):
        parse_power(case["topic"], case["payload"].encode(), 1)


def test_what_somebody_does_at_the_board_is_known_at_once() -> None:
    async def story(switch: TasmotaSwitch, outlet: Outlet, board: Any, broker: Any) -> None:
        await switch.connect()
        board.press()
        await asyncio.sleep(0.1)
        assert outlet.on
        assert await switch.on.get_value() is True

    on_bench(story)


def test_a_board_that_says_the_opposite_is_a_fault_and_one_that_is_gone_no_reply() -> None:
    async def story(switch: TasmotaSwitch, outlet: Outlet, board: Any, broker: Any) -> None:
        session = await broker.connect()
        await session.subscribe("cmnd/bench/#")

        async def contrary() -> None:
            while True:
                await session.receive()
                await session.publish("stat/bench/RESULT", b'{"POWER":"OFF"}')

        task = asyncio.create_task(contrary())
        with pytest.raises(FaultError, match="plug: switch on: the board says that it is not"):
            await switch.set(True)
        task.cancel()
        with pytest.raises(NoReplyError, match="plug: switch on: no answer in 1 s, twice"):
            await switch.set(True)
        await session.publish("tele/bench/LWT", b"Offline", retain=True)
        await asyncio.sleep(0.1)
        sent = len(switch.wire.log)
        with pytest.raises(NoReplyError, match="offline"):
            await switch.set(True)
        assert len(switch.wire.log) == sent

    on_bench(story, board=False)


@pytest.mark.parametrize(("safe", "was", "then"), [("off", 1, 0), ("on", 0, 1), ("keep", 1, 1)])
def test_what_is_safe_is_the_labs_to_say(safe: str, was: int, then: int) -> None:
    async def story(switch: TasmotaSwitch, outlet: Outlet, board: Any, broker: Any) -> None:
        await switch.connect()
        await switch.set(bool(was))
        await switch.make_safe()
        assert outlet.on is bool(then)

    on_bench(story, safe=safe)


def test_options_that_no_board_has_are_refused() -> None:
    wire = MqttWire("mqtt://broker", MemoryBroker().connect)
    with pytest.raises(ConfigError, match="1 to 32"):
        TasmotaSwitch(wire, topic="bench", relay=0)
    with pytest.raises(ConfigError, match="off, on, keep"):
        TasmotaSwitch(wire, topic="bench", safe="hot")  # type: ignore[arg-type]


def test_a_power_cut_leaves_relays_as_power_on_state_says() -> None:
    async def story(switch: TasmotaSwitch, outlet: Outlet, board: Any, broker: Any) -> None:
        board._power_on_state = 0
        await switch.connect()
        await switch.set(True)
        board.begin("power cycle")
        assert not outlet.on
        await asyncio.sleep(5)
        assert await switch.on.get_value() is False

    on_bench(story)
