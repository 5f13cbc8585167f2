"""The Keithley 2400 and 2450 do what every driver must do."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdl.drivers.keithley import Keithley2400, Keithley2450
from sdl.simulators.keithley import Simulated2400, Simulated2450
from sdl.simulators.parts.load import Load
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


@dataclass(frozen=True)
class Measured(Truth):
    """Where the output is off nothing is measured."""

    def holds(self, reading: Any, part: Load) -> bool:
        return super().holds(reading, part) if part.driven else math.isnan(reading)


def rig(kind: type[Simulated2400] | type[Simulated2450]) -> Rig:
    load = Load(StillWorld())
    simulator = kind(load, rng=np.random.default_rng(1), noise=False)
    simulator.obey(":SOUR:VOLT 2")
    return Rig(simulator, load)


def change(load: Load, n: int) -> None:
    load.resistance = 500.0 * (n % 7 + 1)


async def prepare(meter: Keithley2400 | Keithley2450) -> None:
    await meter.output.set(True)


TRUTHS = {
    "voltage": Measured(lambda load: load.volts, 1e-5, "V"),
    "current": Measured(lambda load: load.amps, 1e-8, "A"),
    "resistance": Measured(lambda load: load.resistance, 0.01, "ohm"),
    "in_compliance": Truth(lambda load: load.limited),
    "output": Truth(lambda load: load.driven),
}


def set_to(load: Load, volts: float) -> bool:
    return not load.driven or abs(load.volts - volts) < 1e-6


SETTINGS = [
    Setting(1.5, took=lambda load: set_to(load, 1.5), refused=(211.0, -500.0, math.nan)),
    Setting(False, took=lambda load: not load.driven, signal="output"),
    Setting(0.002, took=lambda load: True, signal="limit", refused=(0.0, 2.0)),
    Setting(0.1, took=lambda load: True, signal="nplc", refused=(0.0, 11.0)),
    Setting(0.01, took=lambda load: True, signal="measuring_range", refused=(2.0, -1.0)),
    Setting("front", took=lambda load: True, signal="terminals", refused=("top",)),
]


class TestKeithley2400(Conformance):
    subject = Subject(
        driver=lambda wire: Keithley2400(wire, limit=0.1, name="meter"),
        rig=lambda: rig(Simulated2400),
        url=Keithley2400.delivered,
        identity=r"KEITHLEY INSTRUMENTS INC\.,MODEL 2400,.*",
        truths=TRUTHS,
        change=change,
        settings=SETTINGS,
        prepare=prepare,
        safe=lambda load: not load.driven,
        transcript=TRANSCRIPTS / "keithley2400.yaml",
    )


class TestKeithley2450(Conformance):
    subject = Subject(
        driver=lambda wire: Keithley2450(wire, limit=0.1, name="meter"),
        rig=lambda: rig(Simulated2450),
        url=Keithley2450.delivered,
        identity=r"KEITHLEY INSTRUMENTS,MODEL 2450,.*",
        truths=TRUTHS,
        change=change,
        settings=SETTINGS,
        prepare=prepare,
        safe=lambda load: not load.driven,
        transcript=TRANSCRIPTS / "keithley2450.yaml",
    )
