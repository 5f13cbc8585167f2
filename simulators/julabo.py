"""JULABO circulators (MAGIO, DYNEO, CORIO and their forerunners), simulated byte for byte.

Written from MAGIO MX, original operating manual, 11.1 (p. 91: status messages); LC 6,
p. 46 and Magnum 91, p. 66 (all `in_` commands); CORIO CD, p. 39; SC 2500w, p. 42 (times); PRESTO,
p. 101 (-13: the value is stored all the same). Guesses: a command that comes too early is not
heard; an alarm stands in `status` until it is over, the last refused command before it, once; after
power came back it stands still in remote control, with its setpoints, but with the control
parameters of its panel (as ISIS found them); it hears nothing while it starts.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from sdl import clock
from sdl.simulators.regulator import Regulator
from sdl.simulators.simulated import LineSimulator

AFTER_OUT, AFTER_IN = 0.25, 0.01  # s in which it does not hear the next command
STARTING = 2.0  # s after power came
THINKING = (0.003, 0.02)  # s from a command to its answer
RANGE = (-50.0, 200.0)  # degC that it can be set to
SENSOR = (-100.0, 400.0)  # degC
NOISE = 0.01  # degC
MESSAGES = {
    -1: "LOW LEVEL ALARM",
    -3: "EXCESS TEMPERATURE WARNING",
    -4: "LOW TEMPERATURE WARNING",
    -8: "INVALID COMMAND",
    -9: "COMMAND NOT ALLOWED IN CURRENT OPERATING MODE",
    -10: "VALUE TOO SMALL",
    -11: "VALUE TOO LARGE",
    -13: "VALUE EXCEEDS TEMPERATURE LIMITS",
    -14: "EXCESS TEMPERATURE PROTECTION ALARM",
    -1501: "TIMEOUT SERIAL INTERFACE",
}
WARNINGS = (-3, -4)  # it goes on
BASIC = ("pv_00", "pv_01", "pv_03", "pv_04", "sp_00", "mode_05")  # all that a CORIO CD knows


class Tempered(Protocol):
    """The part of a world that is tempered: `Bath`."""

    @property
    def temperature(self) -> float:
        """Of the bath, degC."""
        ...

    @property
    def vessel(self) -> float:
        """Where the external sensor is, degC."""
        ...

    @property
    def power(self) -> float:
        """1: heats with all it has; below 0: cools."""
        ...

    def attach_controller(self, control: Callable[[float, float, float], float]) -> None:
        """Call `control(dt in s, bath, vessel in degC)` in every step; it returns the power."""
        ...

    def aim(self, celsius: float) -> None:
        """Hear what the controller aims at."""
        ...

    def circulate(self, stage: int) -> None:
        """Let the pump run at a stage; 0: stop."""
        ...


@dataclass
class _Setting:
    value: float
    low: float
    high: float
    decimals: int = 2
    limited: bool = False
    """Whether the warning limits are looked at."""

    def __str__(self) -> str:
        return f"{self.value:.{self.decimals}f}"


def _settings(setpoint: float, high: float, low: float) -> dict[str, _Setting]:
    temperatures = {f"sp_0{n}": _Setting(setpoint, *RANGE, limited=True) for n in range(3)}
    return {
        **temperatures,
        "sp_03": _Setting(high, *RANGE),
        "sp_04": _Setting(low, *RANGE),
        "sp_06": _Setting(0, 0, 1, 0),  # degC
        "sp_07": _Setting(2, 1, 4, 0),
        "mode_01": _Setting(0, 0, 2, 0),
        "mode_02": _Setting(0, 0, 2, 0),
        "mode_03": _Setting(0, 0, 1, 0),
        "mode_04": _Setting(0, 0, 1, 0),
        "mode_05": _Setting(0, 0, 1, 0),
        "mode_08": _Setting(1, 0, 1, 0),
        "hil_00": _Setting(-100, -100, 0, 0),
        "hil_01": _Setting(100, 10, 100, 0),
    }


def _parameters() -> dict[str, _Setting]:
    return {
        "par_04": _Setting(1.0, 0.0, 5.0, 1),
        "par_06": _Setting(2.5, 0.1, 99.9, 1),
        "par_07": _Setting(120, 3, 9999, 0),
        "par_08": _Setting(20, 0, 999, 0),
        "par_09": _Setting(2.0, 0.1, 99.9, 1),
        "par_10": _Setting(2.0, 1.0, 99.9, 1),
        "par_11": _Setting(600, 3, 9999, 0),
        "par_12": _Setting(0, 0, 999, 0),
        "par_13": _Setting(200.0, *RANGE),
        "par_14": _Setting(-50.0, *RANGE),
        "par_15": _Setting(100, 0, 200, 0),
        "par_16": _Setting(100, 0, 200, 0),
    }


class SimulatedJulabo(LineSimulator):
    """A circulator that a person has switched to remote control, or not (`remote`)."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {
            *("stuck", "drift", "noise", "saturation"),
            *("power cycle", "local mode", "watchdog expiry"),
        }
    )
    terminator: ClassVar[bytes] = b"\r"

    def __init__(
        self,
        part: Tempered,
        *,
        rng: np.random.Generator,
        full: bool = True,
        external: bool = False,
        remote: bool = True,
        usb: bool = False,
        version: str = "JULABO MAGIO MS-1000F VERSION 1.1.2",
        setpoint: float = 20.0,
        high_warning: float = 180.0,
        low_warning: float = -40.0,
        excess_temperature: float = 190.0,
        noise: bool = True,
    ) -> None:
        """Describe a circulator that stands still.

        :param full: it knows all commands; a CORIO CD knows ten.
        :param external: an external Pt100 is plugged in.
        :param usb: the line takes no time: then it misses what comes less than 10 ms after an
            answer. On RS-232 nothing can: at 4800 baud five bytes take as long.
        :param excess_temperature: degC at which its protection switches it off, as it is screwed.
        """
        super().__init__(rng=rng)
        self._part, self._full, self._external, self._remote = part, full, external, remote
        self._after_in = AFTER_IN if usb else 0.0
        self._version, self._excess, self._noise = version, excess_temperature, noise
        self._settings = _settings(setpoint, high_warning, low_warning) | _parameters()
        self._refusal = 0
        self._deaf_until = float("-inf")
        self._bath, self._vessel = Regulator(2.5, 120.0, -1.0), Regulator(8.0, 600.0, -1.0)
        self.alarm = 0
        """Its number while there is one: -1 for too little liquid; 0: none."""
        part.attach_controller(self._control)
        part.aim(setpoint)

    def begin(self, fault: str, size: float = 1.0) -> None:
        self._catch_up()
        super().begin(fault, size)
        if fault == "power cycle":
            self._power_cycle()
        elif fault == "watchdog expiry":
            self.raise_alarm(-1501)

    def end(self, fault: str) -> None:
        self._catch_up()
        super().end(fault)
        if fault == "watchdog expiry" and self.alarm == -1501:
            self.alarm = 0

    def _catch_up(self) -> None:
        """Let the world, and with it the controller, do what was due before something changes."""
        _ = self._part.temperature

    def raise_alarm(self, number: int) -> None:
        """Have an alarm; it switches itself off."""
        self.alarm = number
        self._settings["mode_05"].value = 0
        self._apply()

    def _power_cycle(self) -> None:
        self.forget()
        self.alarm = self._refusal = 0
        self._settings |= _parameters()
        self._settings["mode_05"].value = 0
        self._deaf_until = clock.monotonic() + STARTING
        self._apply()

    async def respond(self, request: bytes) -> None:
        if clock.monotonic() < self._deaf_until:
            return
        text = request.decode("latin-1").strip().lower()
        if not text:
            return
        if reply := self._told(text):
            await asyncio.sleep(float(self.rng.uniform(*THINKING)))
            await self.say(reply.encode("ascii", "replace") + b"\r\n")
        # an alarm or a loss of power may have come meanwhile
        pause = self._after_in if reply else AFTER_OUT
        self._deaf_until = max(self._deaf_until, clock.monotonic() + pause)

    def _told(self, text: str) -> str:
        self._catch_up()
        if text == "version":
            return self._version
        if text == "status":
            return self._status()
        which = re.fullmatch(r"(?:in|out)_(\w+)\b.*", text, re.ASCII)
        if which is None or not (self._full or which[1] in BASIC):
            self._refusal = -8
            return ""
        question = re.fullmatch(r"in_(\w+)", text, re.ASCII)
        order = re.fullmatch(r"out_(\w+) +(-?\d{1,6}(?:\.\d{0,6})?)", text, re.ASCII)
        if question and (said := self._value(question[1])):
            return said
        if order and order[1] in self._settings:
            self._refusal = self._set(order[1], float(order[2]))
        else:
            self._refusal = -8
        return ""

    def _status(self) -> str:
        refusal, self._refusal = self._refusal, 0
        number = refusal or self.alarm or self._warning()
        if number:
            return f"{number:03d} {MESSAGES.get(number, 'ALARM')}"
        remote, running = self._is_remote, self._running
        state = f"{'REMOTE' if remote else 'MANUAL'} {'START' if running else 'STOP'}"
        return f"{2 * remote + running:02d} {state}"

    def _warning(self) -> int:
        if not (self._full and self._running):
            return 0
        bath = self._part.temperature
        if bath > self._settings["sp_03"].value:
            return WARNINGS[0]
        return WARNINGS[1] if bath < self._settings["sp_04"].value else 0

    # Values

    def _value(self, which: str) -> str:
        if which in self._settings:
            return str(self._settings[which])
        values: dict[str, Callable[[], str]] = {
            "pv_00": lambda: f"{self._working:.2f}",
            "pv_01": lambda: f"{100 * self._part.power:.0f}",
            "pv_03": lambda: f"{self._sensed(self._part.temperature):.2f}",
            "pv_04": lambda: f"{self._excess:.2f}",
            "sp_05": lambda: "0.00",
            "sp_08": lambda: "0",
            "par_00": lambda: "0.00",
            "par_01": lambda: "300",
            "par_02": lambda: "20",
            "par_03": lambda: "60",
            "par_05": lambda: "50",
        }
        if self._external:
            values["pv_02"] = lambda: f"{self._sensed(self._part.vessel):.2f}"
        return values[which]() if which in values else ""

    @property
    def _working(self) -> float:
        """What the sensor in the bath makes of it."""
        found = self.disturbed(self._part.temperature, low=SENSOR[0], high=SENSOR[1])
        return self._sensed(found)

    def _sensed(self, value: float) -> float:
        return value + (NOISE * float(self.rng.standard_normal()) if self._noise else 0.0)

    # Settings

    @property
    def _is_remote(self) -> bool:
        return self._remote and "local mode" not in self.troubles

    @property
    def _running(self) -> bool:
        return self._settings["mode_05"].value == 1

    def _set(self, which: str, value: float) -> int:
        """Set it; return the number of what is wrong, 0 for nothing."""
        setting = self._settings[which]
        if not self._is_remote or (which == "mode_05" and value == 1 and self.alarm):
            return -9
        if not setting.low <= value <= setting.high:
            return -10 if value < setting.low else -11
        if which == "mode_05" and value == 1 and not self._running:
            self._bath.reset()
            self._vessel.reset()
        setting.value = round(value, setting.decimals)
        self._apply()
        limits = self._settings["sp_04"].value, self._settings["sp_03"].value
        outside = self._full and setting.limited and not limits[0] <= setting.value <= limits[1]
        return -13 if outside else 0

    @property
    def _aim(self) -> float:
        return self._settings[f"sp_0{self._settings['mode_01'].value:.0f}"].value

    def _apply(self) -> None:
        """Do to the world what the settings say."""
        stage = int(self._settings["sp_07"].value)
        self._part.circulate(stage if self._running else 0)
        self._part.aim(self._aim)

    # What it does in every step of the world

    def _control(self, dt: float, bath: float, vessel: float) -> float:
        if bath > self._excess and not self.alarm:
            self.raise_alarm(-14)
        if not self._running or "stuck" in self.troubles:
            return 0.0
        aim = self._aim
        if self._settings["mode_04"].value and self._external:
            more = self._vessel.output(dt, aim - vessel)
            band = self._settings["par_15" if more > 0 else "par_16"].value
            low, high = self._settings["par_14"].value, self._settings["par_13"].value
            aim = min(max(aim + more * band, low), high)
        self._bath.band = self._settings["par_06"].value
        self._bath.integral_time = self._settings["par_07"].value
        power = self._bath.output(dt, aim - bath)
        least, most = self._settings["hil_00"].value / 100, self._settings["hil_01"].value / 100
        return min(max(power, least), most)
