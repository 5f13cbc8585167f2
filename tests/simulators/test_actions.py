"""What the simulated world says that it did: the truth that the runtime's tests are held to."""

import asyncio
import contextlib
import json
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl import Lab
from sdl.clock import new_loop
from sdl.drivers.eurotherm3216 import Eurotherm3216
from sdl.drivers.ne1000 import NE1000
from sdl.endpoints import memory_wire
from sdl.errors import InstrumentError
from sdl.simulators.eurotherm3216 import SimulatedEurotherm3216
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.parts.syringe import PumpHead
from sdl.simulators.snar_flow import SnArFlow
from tests.simulating import simulating

LAB = """\
lab: bench
wires: {pump: "serial:///dev/pump?baudrate=19200"}
instruments:
  substrate_pump: {driver: ne1000, wire: pump, diameter: 26.59, twin: {part: substrate}}
world: {use: snar_flow}
"""
SIMULATE = """\
import sys
from argparse import Namespace
from pathlib import Path
from sdl.cli import simulate
here = Path(sys.argv[1])
simulate.run(Namespace(lab=here / "lab.yaml", write=here / "simulated.yaml", seed=None, speed=1.0,
                       actions=here / "actions.jsonl"))
"""


class Story:
    """A world that is listened to, with a pump on its substrate."""

    def __init__(self) -> None:
        self.world = SnArFlow(seed=1, clock=asyncio.get_running_loop().time)
        self.told: list[dict[str, Any]] = []
        self.world.tell_actions(self.told.append)
        self.head: PumpHead = self.world.parts["substrate"]
        self.simulator = SimulatedNE1000(self.head, rng=np.random.default_rng(1))

    def actions(self, *kinds: str) -> list[dict[str, Any]]:
        return [a for a in self.told if a["action"] in kinds]

    @asynccontextmanager
    async def pump(self) -> AsyncIterator[NE1000]:
        async with memory_wire("serial:///dev/pump?baudrate=19200", [self.simulator]) as wire:
            driver = NE1000(wire, diameter=26.59, name="pump")  # type: ignore[arg-type]
            await driver.connect()
            await driver.rate.set(6.0)
            yield driver

    def check_sums(self) -> None:
        """What the parts say that they moved is what they have moved."""
        moved = [a["moved"] for a in self.actions("moved")]
        flowed = [a["flowed"] for a in self.actions("moved")]
        infused, drawn = self.head.totals(self.world.now)
        assert sum(f for f in flowed if f > 0) == pytest.approx(infused)
        assert -sum(f for f in flowed if f < 0) == pytest.approx(drawn)
        assert 2.0 - sum(moved) == pytest.approx(self.head.syringe)  # 2 mL are in it at first


def told(story: Callable[[Story], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Story())

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_a_dose_is_told_when_it_begins_and_when_it_is_over_with_what_was_moved() -> None:
    async def story(s: Story) -> None:
        async with s.pump() as pump:
            await pump.set(-3.0)
            await pump.set(0.5)
            first, _, second, end = s.actions("move", "moved")
            assert (first["part"], first["rate"], first["wanted"]) == ("substrate", -6.0, -3.0)
            assert (second["wanted"], second["from"]) == (0.5, pytest.approx(5.0))
            assert end["moved"] == pytest.approx(0.5)
            assert end["flowed"] == pytest.approx(0.5 * s.head.scale)
            assert (end["why"], end["number"], end["to"]) == ("done", 2, pytest.approx(4.5))
            assert end["t"] - second["t"] == pytest.approx(5.0, abs=1e-3)
            s.check_sums()
        json.dumps(s.told)

    told(story)


@pytest.mark.parametrize(
    ("disturb", "why"),
    [
        (lambda s: s.simulator.press_start_stop(), "stopped"),
        (lambda s: s.simulator.power_cycle(), "power lost"),
        (lambda s: setattr(s.head, "blocked", True), "stalled"),
    ],
)
def test_a_dose_that_was_broken_off_says_why_and_how_far_it_came(disturb: Any, why: str) -> None:
    async def story(s: Story) -> None:
        async with s.pump() as pump:
            status = pump.set(1.0)
            await asyncio.sleep(4)
            disturb(s)
            with contextlib.suppress(InstrumentError):
                await status
            (end,) = s.actions("moved")
            assert end["why"] == why
            assert 0.3 < end["moved"] < 0.5
            assert len(s.actions("blocked")) == (why == "stalled")
            assert len(s.actions("power")) == 1 + (why == "power lost")
            s.check_sums()

    told(story)


def test_a_rate_changed_in_the_middle_is_two_moves_and_the_sum_is_right() -> None:
    async def story(s: Story) -> None:
        async with s.pump() as pump:
            status = pump.set(1.0)
            await asyncio.sleep(4)
            await pump.rate.set(12.0)
            await status
            assert [a["rate"] for a in s.actions("move")] == [6.0, 12.0]
            assert sum(a["moved"] for a in s.actions("moved")) == pytest.approx(1.0)
            s.check_sums()

    told(story)


def test_the_end_is_told_when_it_comes_though_nobody_asks() -> None:
    async def story(s: Story) -> None:
        async with s.pump() as pump:
            await pump.set(1.0)
            s.told.clear()
            s.simulator.press_start_stop()  # the same again, by hand
            await asyncio.sleep(11)
            assert [a["why"] for a in s.told if a["action"] == "moved"] == ["done"]

    told(story)


def test_a_heater_tells_each_new_setpoint_and_a_detector_each_exposure() -> None:
    async def story(s: Story) -> None:
        block = s.world.parts["reactor"]
        simulator = SimulatedEurotherm3216(block, rng=np.random.default_rng(1))
        async with memory_wire("modbus+rtu:///dev/heater", [simulator]) as wire:
            heater = Eurotherm3216(wire, name="heater")  # type: ignore[arg-type]
            await heater.connect()
            await heater.set(60.0)
            await heater.make_safe()
            await asyncio.sleep(60)
            await heater.read()
        assert [a["celsius"] for a in s.actions("setpoint")] == [20.0, 60.0, 20.0]
        assert [a["action"] for a in s.actions("heating", "not heating")][-1] == "not heating"
        s.world.parts["outlet"].sample(0.25)
        (exposure,) = s.actions("exposure")
        assert (exposure["part"], exposure["seconds"]) == ("outlet", 0.25)

    told(story)


def simulated(folder: Path) -> contextlib.AbstractContextManager[None]:
    (folder / "lab.yaml").write_text(LAB)
    return simulating([sys.executable, "-c", SIMULATE, str(folder)])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no PTY")
def test_sdl_simulate_appends_each_action_to_a_file_at_once(tmp_path: Path) -> None:
    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / "actions.jsonl").read_text().splitlines()]

    async def dose() -> None:
        async with Lab.load(tmp_path / "simulated.yaml").open() as bench:
            pump = bench.find("substrate_pump")
            await pump.rate.set(20.0)
            await pump.set(0.1)

    (tmp_path / "actions.jsonl").write_text('{"t": 0, "action": "earlier"}\n')
    with simulated(tmp_path):
        asyncio.run(dose())
        asyncio.run(dose())  # another process: the simulator has lived on
        heard = lines()
    assert heard[0]["action"] == "earlier"
    ends = [a for a in heard if a["action"] == "moved"]
    assert [a["instrument"] for a in ends] == ["substrate_pump"] * 2
    assert math.fsum(a["moved"] for a in ends) == pytest.approx(0.2)
