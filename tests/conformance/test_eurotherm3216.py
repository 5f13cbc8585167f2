"""The Eurotherm 3216 passes the conformance tests, on its serial line and behind a gateway."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdl.drivers.eurotherm3216 import Eurotherm3216
from sdl.simulators.eurotherm3216 import SimulatedEurotherm3216
from sdl.testing import Conformance, Rig, Setting, Subject, Truth

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
WARMING, COOLING = 1.5, 0.005  # K/s at full power; per s and K above the air


class Heater:
    """A block in air that is as warm as it was when it was put there."""

    def __init__(self) -> None:
        self._temperature = self._air = 22.0
        self.power, self._seconds = 0.0, 0
        self._control: Callable[[float, float], float] | None = None
        self._began = asyncio.get_running_loop().time()

    def attach_controller(self, control: Callable[[float, float], float]) -> None:
        self._control = control

    @property
    def temperature(self) -> float:
        now = int(asyncio.get_running_loop().time() - self._began + 1e-9)
        while self._seconds < now:
            self._seconds += 1
            self.scan()
            loss = COOLING * (self._temperature - self._air)
            self._temperature += WARMING * self.power - loss
        return self._temperature

    def put(self, temperature: float) -> None:
        self._temperature = self._air = temperature
        self.scan()

    def scan(self) -> None:
        """Let the controller look at it, and act, once."""
        if self._control is not None:
            self.power = self._control(1.0, self._temperature)


class Bench:
    """A heater and its controller."""

    def __init__(self) -> None:
        self.heater = Heater()
        self.controller = SimulatedEurotherm3216(
            self.heater, rng=np.random.default_rng(1), noise=0.0
        )

    @property
    def temperature(self) -> float:
        return self.heater.temperature

    @temperature.setter
    def temperature(self, celsius: float) -> None:
        self.heater.put(celsius)

    @property
    def setpoint(self) -> float:
        _ = self.heater.temperature
        return self.controller._working

    @setpoint.setter
    def setpoint(self, celsius: float) -> None:
        self.controller._setpoints[0] = celsius
        self.heater.scan()

    @property
    def manual_output(self) -> float:
        """%; None in automatic mode."""
        return self.controller._manual_output

    @manual_output.setter
    def manual_output(self, percent: float | None) -> None:
        self.controller._manual = int(percent is not None)
        self.controller._manual_output = percent or 0.0
        self.heater.scan()

    @property
    def sensor_broken(self) -> bool:
        return self.controller.sensor_broken

    @sensor_broken.setter
    def sensor_broken(self, broken: bool) -> None:
        self.controller.sensor_broken = broken
        self.heater.scan()

    @property
    def output(self) -> float:
        """%, as the controller wants it."""
        _ = self.heater.temperature
        return self.controller._output

    def is_held_at(self, celsius: float) -> bool:
        """Whether the controller has it there, as far as its sensor can tell."""
        aimed = self.controller._setpoints[0] == celsius
        return aimed and abs(self.controller._pv - celsius) < 1.0

    @property
    def is_safe(self) -> bool:
        return self.controller._setpoints[0] == 20.0 and not self.controller._manual

    @property
    def mode(self) -> str:
        return "manual mode" if self.controller._manual else "ok"

    def change(self, n: int) -> None:
        """Another temperature and setpoint, in automatic and in manual mode by turns."""
        self.setpoint, self.temperature = 20.0 + n, 40.0 + 7 * n
        self.manual_output = 0.5 * n if n % 2 else None


def rig() -> Rig:
    bench = Bench()
    return Rig(bench.controller, bench)


def subject(url: str, transcript: str) -> Subject:
    return Subject(
        driver=lambda wire: Eurotherm3216(wire, settle=0.0, timeout=900.0, name="heater"),
        rig=rig,
        url=url,
        transcript=TRANSCRIPTS / transcript,
        identity="unit 1: normal mode, communications module type 1",
        truths={
            "temperature": Truth(lambda bench: bench.temperature, within=0.3, units="degC"),
            "setpoint": Truth(lambda bench: bench.setpoint, within=0.05, units="degC"),
            "output": Truth(lambda bench: bench.output, within=0.05, units="%"),
            "status": Truth(lambda bench: bench.mode),
        },
        change=lambda bench, n: bench.change(n),
        settings=[
            Setting(
                80.0,
                took=lambda bench: bench.is_held_at(80.0),
                refused=(19.0, 151.0, float("nan")),
            )
        ],
        safe=lambda bench: bench.is_safe,
        patience=1200.0,
    )


class TestEurotherm3216(Conformance):
    subject = subject(Eurotherm3216.delivered, "eurotherm3216.yaml")


class TestEurotherm3216BehindAGateway(Conformance):
    subject = subject("modbus+tcp://192.168.0.11:502", "eurotherm3216_tcp.yaml")
