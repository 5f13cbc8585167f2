"""A lab without wires for tests of the guard: an oven that takes time, a pump, a hood, a sampler.

`run` opens it on virtual time and gives it to a test, with a guard and the values of its world.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl import Lab
from sdl.bench import Bench
from sdl.clock import new_loop
from sdl.instrument import Effect, effect_of_command
from sdl.safety.action import Action
from sdl.safety.guard import Guard

DEVICES = """
import asyncio

from bluesky.protocols import Location
from ophyd_async.core import AsyncStatus, Device, SignalR, SignalRW, StandardReadable

from sdl.errors import NoReplyError
from sdl.instrument import Effect, PollBackend, PushBackend


class World:
    def __init__(self):
        self.values, self.silent, self.mute, self.slow = {}, set(), set(), set()


WORLD = World()


def polled(path, datatype, first, units=None, put=False, effect=Effect.ABSOLUTE):
    WORLD.values[path] = first

    async def get():
        if path in WORLD.slow:
            await asyncio.sleep(2)
        if path in WORLD.mute:
            await asyncio.sleep(3600)
        if path in WORLD.silent:
            raise NoReplyError(path, "nothing came back")
        return WORLD.values[path]

    async def tell(value):
        WORLD.values[path] = value

    backend = PollBackend(
        datatype, get, tell if put else None, source=path, units=units, effect=effect
    )
    return (SignalRW if put else SignalR)(backend, timeout=7200.0)


class oven(StandardReadable):
    def __init__(self, name: str = "") -> None:
        self.temperature = polled("oven.temperature", float, 20.0, "degC")
        self.setpoint = polled("oven.setpoint", float, 20.0, "degC")
        self.fan = polled("oven.fan", float, 0.0, "1/s", put=True)
        super().__init__(name=name)

    async def locate(self):
        return Location(
            setpoint=await self.setpoint.get_value(), readback=await self.temperature.get_value()
        )

    @AsyncStatus.wrap
    async def set(self, value):
        WORLD.values["oven.setpoint"] = value
        while abs(WORLD.values["oven.temperature"] - value) > 0.5:
            await asyncio.sleep(1)
            now = WORLD.values["oven.temperature"]
            WORLD.values["oven.temperature"] = now + min(max(value - now, -1), 1)


class pump(Device):
    effect = Effect.RELATIVE

    def __init__(self, name: str = "") -> None:
        self.rate = polled("pump.rate", float, 1.0, "mL/min", put=True)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value):
        await asyncio.sleep(1)

    @AsyncStatus.wrap
    async def kickoff(self):
        pass


class hood(Device):
    def __init__(self, name: str = "") -> None:
        self.flow = polled("hood.flow", float, 0.5, "m/s")
        self.closed = polled("hood.closed", bool, True)
        self.mode = polled("hood.mode", str, "auto")
        self.count = polled("hood.count", int, 3)
        self.pressure = SignalR(self.pushed(), timeout=60.0)
        super().__init__(name=name)

    def pushed(self):
        async def subscribe():
            self.backend.publish(1.0)

        self.backend = PushBackend(
            float, source="hood.pressure", max_age=3600.0, subscribe=subscribe, units="bar"
        )
        return self.backend


class sampler(Device):
    @AsyncStatus.wrap
    async def trigger(self):
        pass
"""

LAB = """\
lab: small
instruments:
  oven: {driver: "devices:oven", twin: {device: itself}}
  pump: {driver: "devices:pump", twin: {device: itself}}
  hood: {driver: "devices:hood", twin: {device: itself}}
  sampler: {driver: "devices:sampler", twin: {device: itself}}
"""

EVERYTHING = ("oven", "pump", "hood", "sampler", "stage")
"""What the tests hold; a stage some of them add."""


@dataclass
class Opened:
    """The lab, open on virtual time, behind a guard."""

    bench: Bench
    guard: Guard
    values: dict[str, Any]
    silent: set[str]
    mute: set[str]
    slow: set[str]
    left: dict[str, float]
    """What the journal says is left."""

    trips: list[str]

    def action(self, command: str, path: str, argument: Any = None) -> Action:
        effect = Effect.ABSOLUTE
        if path.partition(".")[0] in self.bench.instruments:
            effect = effect_of_command(self.bench.find(path), command)
        return Action(command, path, argument, effect, trial="heating/7", step=3)

    async def ask(self, command: str, path: str, argument: Any = None) -> Any:
        return await self.guard.check(self.action(command, path, argument), EVERYTHING)


def write(folder: Path, more: str = "", lab: str = LAB) -> Path:
    (folder / "drivers").mkdir(parents=True, exist_ok=True)
    (folder / "drivers" / "devices.py").write_text(DEVICES)
    (folder / "lab.yaml").write_text(lab + more)
    return folder / "lab.yaml"


def run(
    folder: Path,
    more: str,
    test: Callable[[Opened], Awaitable[None]],
    *,
    balances: Mapping[str, float] | None = None,
    start: bool = True,
    hours: float = 10.0,
) -> None:
    """Run a test on the lab with `more` in its file, on virtual time."""
    lab = Lab.load(write(folder, more)).twin()
    left = dict(balances or {})

    async def live() -> None:
        async with lab.open() as bench:
            world = sys.modules[type(bench.instruments["oven"]).__module__].WORLD
            trips: list[str] = []
            guard = Guard(
                lab.safety, lab.inventory, bench, balances=lambda: left, on_trip=trips.append
            )
            told = (world.values, world.silent, world.mute, world.slow)
            opened = Opened(bench, guard, *told, left, trips)
            try:
                if start:
                    await guard.start()
                async with asyncio.timeout(hours * 3600):
                    await test(opened)
            finally:
                await guard.shut_down()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(live())
