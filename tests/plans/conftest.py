"""Thin instruments straight on a world's parts: no wire, no protocol, only the detector's noise."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.protocols import Reading
from bluesky.run_engine import RunEngineResult
from ophyd_async.core import AsyncStatus

from sdl.clock import VirtualLoop
from sdl.simulators.world import DetectorPart, HeatedBlock, PumpHead, World


class Rate:
    def __init__(self, name: str) -> None:
        self.name, self.parent, self.value = name, None, 1.0

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self.value = value


class SoftPump:
    """A `Doser` on a pump head."""

    def __init__(self, name: str, head: PumpHead) -> None:
        self.name, self.parent, self.head = name, None, head
        self.rate = Rate(f"{name}-rate")

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self.head.start(np.copysign(self.rate.value, value), abs(value))
        await asyncio.sleep(self.head.time_left)
        if self.head.stalled:
            raise RuntimeError(f"{self.name} stalled after {self.head.moved:.3f} of {value} mL")

    async def stop(self, success: bool = False) -> None:
        self.head.stop()


class SoftHeater:
    """A proportional-integral controller on a heated block."""

    def __init__(self, name: str, block: HeatedBlock) -> None:
        self.name, self.parent, self.block = name, None, block
        self.target, self.sum = 25.0, 0.0
        block.attach_controller(self.control)

    def control(self, dt: float, measured: float) -> float:
        error = self.target - measured
        power = 0.1 * error + self.sum
        if 0 < power < 1 or error * power < 0:
            self.sum = min(max(self.sum + 0.004 * error * dt, 0.0), 1.0)
        return power

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self.target, near = value, 0
        while near < 20:
            await asyncio.sleep(1.0)
            near = near + 1 if abs(self.block.temperature - value) < 0.3 else 0


class SoftDetector:
    """Counts with shot noise and a little stray light, or impedance with relative noise."""

    def __init__(self, name: str, part: DetectorPart, rng: np.random.Generator) -> None:
        self.name, self.parent, self.part, self.rng = name, None, part, rng
        self.signal = np.zeros(0)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        await asyncio.sleep(1.0)
        true = self.part.sample(1.0)
        if self.part.quantity == "impedance":
            size = np.hypot(*true)
            self.signal = true + 0.005 * size * self.rng.standard_normal(true.shape)
        else:
            self.signal = self.rng.poisson(50_000 * (true + 5e-4)).astype(float)

    async def read(self) -> dict[str, Reading[Any]]:
        now = time.time()
        return {
            f"{self.name}-intensity": {"value": self.signal, "timestamp": now},
            f"{self.name}-axis": {"value": self.part.axis, "timestamp": now},
        }

    async def describe(self) -> dict[str, Any]:
        return {
            f"{self.name}-{key}": {
                "source": "soft",
                "dtype": "array",
                "shape": list(np.shape(value)),
            }
            for key, value in (("intensity", self.signal), ("axis", self.part.axis))
        }


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def run(loop: VirtualLoop) -> Iterator[Callable[..., Any]]:
    """Run a plan on virtual time, return what it returns."""
    engine = RunEngine(loop=loop, context_managers=[], call_returns_result=True)

    def call(plan: Any, *subscribers: Callable[[str, Any], Any]) -> Any:
        result = engine(plan, list(subscribers))
        assert isinstance(result, RunEngineResult)
        return result.plan_result

    yield call
    loop.call_soon_threadsafe(loop.stop)
    deadline = time.monotonic() + 5
    while loop.is_running() and time.monotonic() < deadline:
        time.sleep(0.001)


@dataclass
class Bench:
    """A world with a thin instrument on each of its parts."""

    world: World
    pumps: dict[str, SoftPump]
    heater: SoftHeater
    detector: SoftDetector


@pytest.fixture
def bench(loop: VirtualLoop) -> Callable[..., Bench]:
    def build(world: type[World], heater: str, detector: str, seed: int = 1) -> Bench:
        w = world(seed=seed, clock=loop.time)
        pumps = {n: SoftPump(n, part) for n, part in w.parts.items() if isinstance(part, PumpHead)}
        block, part = w.parts[heater], w.parts[detector]
        assert isinstance(block, HeatedBlock)
        assert isinstance(part, DetectorPart)
        return Bench(
            w, pumps, SoftHeater(heater, block), SoftDetector(detector, part, w.rng("noise"))
        )

    return build
