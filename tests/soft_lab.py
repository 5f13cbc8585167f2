"""A lab folder without wires, for tests of the loop: one bath that takes time, one plan.

The plan fails above 85 degC, and writes each trial that it runs to `ran.log`.
"""

from pathlib import Path

from sdl import Campaign, Lab

BATH = """
import asyncio

from ophyd_async.core import AsyncStatus, StandardReadable, StandardReadableFormat
from ophyd_async.core import soft_signal_r_and_setter


class bath(StandardReadable):
    def __init__(self, step: float = 5.0, name: str = "") -> None:
        self.step = step
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.temperature, self._set = soft_signal_r_and_setter(float, 20.0)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        while abs((now := await self.temperature.get_value()) - value) > 0.5:
            await asyncio.sleep(self.step)
            self._set(now + 0.3 * (value - now))
"""

PLAN = """
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable


def heat(bath: Movable, *, temperature: float, hold: float, pause: float = 0.0):
    with (Path(__file__).parent.parent / "ran.log").open("a") as log:
        log.write(f"{temperature} {hold}\\n")
    found = {}

    @bpp.run_decorator()
    def inner():
        yield from bps.mv(bath, temperature)
        yield from bps.sleep(60 * hold + pause)
        readings = yield from bps.trigger_and_read([bath])
        found["temperature"] = readings["bath-temperature"]["value"]

    yield from inner()
    if temperature > 85:
        raise RuntimeError("boiled over")
    return {"y": -((found["temperature"] - 60) ** 2) - (hold - 3) ** 2}
"""

LAB = """\
lab: soft
instruments:
  bath: {driver: bath, twin: {device: itself}}
"""

CAMPAIGN = """\
campaign: heating
plan: heat
instruments: {bath: bath}
fixed: {pause: 0.0}
parameters:
  temperature: {low: 30, high: 85, units: degC}
  hold: {low: 1, high: 5, units: min}
objectives:
  y: {direction: maximize}
optimizer: {use: sobol}
budget: {trials: 6}
seed: 1
"""


def write(folder: Path, campaign: str = CAMPAIGN, lab: str = LAB, plan: str = PLAN) -> Path:
    """Write the lab folder and return the path of its campaign file."""
    for room, name, text in (("drivers", "bath", BATH), ("plans", "heat", plan)):
        (folder / room).mkdir(parents=True, exist_ok=True)
        (folder / room / f"{name}.py").write_text(text)
    (folder / "lab.yaml").write_text(lab)
    (folder / "campaign.yaml").write_text(campaign)
    return folder / "campaign.yaml"


def load(folder: Path, **texts: str) -> tuple[Campaign, Lab]:
    """Write the folder; return the campaign and the twin of the lab."""
    path = write(folder, **texts)
    return Campaign.load(path), Lab.load(folder / "lab.yaml").twin()


def ran(folder: Path) -> list[str]:
    """The parameters of the trials whose plan was entered, in order."""
    log = folder / "ran.log"
    return log.read_text().splitlines() if log.exists() else []
