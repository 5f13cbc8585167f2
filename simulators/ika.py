r"""IKA hotplate stirrers (RCT digital, C-MAG HS7, RET control-visc), simulated byte for byte.

Written from IKA Plate (RCT digital), operating instructions 11/2018, p. 30: command table,
format of lines, watchdogs. What no manual says is taken from what other people's drivers were seen
to rely on: `value channel` in replies, `STATUS_n`, a bare number as echo of `@` commands. Guesses:
what is out of range is ignored like what is unknown; while a watchdog's warning (2) or Er02 lasts,
setpoints stay where they are and nothing starts; an unplugged probe reads 0.0.
"""

import asyncio
import math
import re
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.regulator import Regulator
from sdl.simulators.simulated import LineSimulator

MODELS: dict[str, tuple[float, int]] = {
    "RCT digital": (310.0, 1500),
    "C-MAG HS7": (500.0, 1500),
    "RET control-visc": (340.0, 1700),
}
THINKING = (0.004, 0.02)  # s from a command to its answer
LONGEST_LINE = 80
BELOW_SAFETY = 50.0  # K that setpoints stay below the safety temperature
SENSOR = (0.0, 500.0)  # degC, range of the sensors
NOISE = 0.05, 0.5  # degC, rpm


class StirredPlate(Protocol):
    """The part of a world that is heated and stirred: `HotPlate`."""

    viscosity: float

    @property
    def power(self) -> float:
        """Of the heater, 0 to 1."""
        ...

    @power.setter
    def power(self, fraction: float) -> None: ...

    @property
    def temperature(self) -> float:
        """Of the plate, degC."""
        ...

    @property
    def medium(self) -> float:
        """Of what stands on it, degC."""
        ...

    @property
    def speed(self) -> float:
        """Rpm now."""
        ...

    def attach_controller(self, control: Callable[[float, float], float]) -> None:
        """Call `control(dt in s, plate in degC)` in every step; it returns the power, 0 to 1."""
        ...

    def aim(self, celsius: float) -> None:
        """Hear what the controller aims at."""
        ...

    def stir(self, rpm: float) -> None:
        """Turn at so many rpm."""
        ...


class SimulatedIka(LineSimulator):
    """A plate in mode A; its external probe, if `probe`, is in the medium and is regulated."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"stuck", "drift", "noise", "saturation", "power cycle", "watchdog expiry"}
    )
    terminator: ClassVar[bytes] = b"\n"

    def __init__(
        self,
        part: StirredPlate,
        *,
        rng: np.random.Generator,
        model: Literal["RCT digital", "C-MAG HS7", "RET control-visc"] = "RCT digital",
        probe: bool = False,
        status: bool = True,
        safety_temperature: float = 360.0,
        noise: bool = True,
    ) -> None:
        """Describe a plate that was just switched on.

        :param status: it knows `STATUS_n`, which is in no manual.
        :param safety_temperature: degC, as the screw on its front is set.
        """
        super().__init__(rng=rng)
        self._part, self._model, self._probe, self._knows_status = part, model, probe, status
        self._hottest, self._fastest = MODELS[model]
        self._safety, self._noise = safety_temperature, noise
        self._name, self._mode = model, "A"
        self._temperature, self._speed = 0.0, 0.0  # setpoints: degC, rpm
        self._heating = self._stirring = False
        self._outer, self._inner = Regulator(60.0, 600.0), Regulator(25.0, 120.0)
        self._safe_temperature, self._safe_speed = 0.0, 0.0
        self._watchdog, self._limit = 0, 0.0  # which, and s
        self._alarm: asyncio.TimerHandle | None = None
        self.error = 0
        """2 while its display shows Er02; only cutting the power ends that."""
        self.warning = False
        """Whether its display shows WD: watchdog 2 has changed the setpoints."""
        part.attach_controller(self._control)

    async def serve(self, line: Line) -> None:
        """Live on the line until cancelled."""
        try:
            await super().serve(line)
        finally:
            self._stop_timer()

    def begin(self, fault: str, size: float = 1.0) -> None:
        self._catch_up()
        super().begin(fault, size)
        if fault == "power cycle":
            self._power_cycle()
        elif fault == "watchdog expiry":
            self._expire(self._watchdog or 1)
        self._apply()

    def end(self, fault: str) -> None:
        self._catch_up()
        super().end(fault)
        self._apply()

    def _catch_up(self) -> None:
        """Let the world, and with it the controller, do what was due before something changes."""
        _ = self._part.temperature

    async def respond(self, request: bytes) -> None:
        reply = self.answer(request)
        if reply:
            await asyncio.sleep(float(self.rng.uniform(*THINKING)))
            await self.say(reply)

    def answer(self, request: bytes) -> bytes:
        """Act on a line; whatever is not understood has no effect and no answer."""
        self._catch_up()
        text = request.decode("latin-1").strip(" \r\n")
        if len(text) > LONGEST_LINE:
            return b""
        if text.startswith(("IN_", "STATUS_")):
            said = self._question(text)
        elif "@" in text or re.match(r"OUT_SP_[14]2 ", text):
            said = self._echoing(text)
        else:
            said = ""
            self._order(text)
        return f"{said} \r\n".encode("ascii", "replace") if said else b""

    # Questions

    def _question(self, text: str) -> str:
        if text in ("IN_NAME", "IN_TYPE"):
            return self._name if text == "IN_NAME" else self._model
        if text in ("IN_VERSION", "IN_SOFTWARE"):
            return "V1.2.007"
        values: dict[str, Callable[[], float]] = {
            "IN_PV_1": lambda: self._sensed(self._part.medium) if self._probe else 0.0,
            "IN_PV_2": lambda: self._sensed(self._part.temperature),
            "IN_PV_4": lambda: self._measured_speed,
            "IN_PV_5": lambda: self._part.viscosity if self._stirring else 0.0,
            "IN_SP_1": lambda: self._temperature,
            "IN_SP_3": lambda: self._safety,
            "IN_SP_4": lambda: self._speed,
        }
        if self._model == "RET control-visc":
            values["IN_PV_3"] = lambda: self._sensed(self._part.temperature)
            values["IN_PV_7"] = values["IN_PV_1"]
        if text in values:
            return f"{values[text]():.1f} {text.rpartition('_')[2]}"
        states = {"STATUS_1": self._heating, "STATUS_4": self._stirring}
        if text in states and self._knows_status:
            return f"{11 if states[text] else 12} {text[-1]}"
        return "-90 2" if text == "STATUS_2" and self._knows_status else ""

    def _sensed(self, value: float) -> float:
        if self._noise:
            value += NOISE[0] * float(self.rng.standard_normal())
        return self.disturbed(value, low=SENSOR[0], high=SENSOR[1])

    @property
    def _measured_speed(self) -> float:
        speed = self._part.speed
        if self._noise and speed > 0:
            speed += NOISE[1] * float(self.rng.standard_normal())
        return max(0.0, speed)

    # Orders

    def _order(self, text: str) -> None:
        setting = re.fullmatch(r"OUT_SP_([14]) +(\d{1,4}(?:\.\d{1,4})?)", text)
        switch = re.fullmatch(r"(START|STOP)_([14])", text)
        if setting:
            self._set(setting[1], float(setting[2]))
        elif switch:
            self._switch(switch[2], switch[1] == "START")
        elif text == "RESET":
            self._heating = self._stirring = False
        elif mode := re.fullmatch(r"SET_MODE_([ABD])", text):
            self._mode = mode[1]
        elif name := re.fullmatch(r"OUT_NAME +(\S.{0,9})", text):
            self._name = name[1]
        self._apply()

    def _set(self, which: str, value: float) -> None:
        if self.warning or self.error:
            return
        if which == "1" and value <= min(self._hottest, self._safety - BELOW_SAFETY):
            self._temperature = round(value, 1)
        elif which == "4" and (value == 0 or 50 <= value <= self._fastest):
            self._speed = float(round(value))

    def _switch(self, which: str, on: bool) -> None:
        if on and self.error:
            return
        if which == "4":
            self._stirring = on
            return
        if on and not self._heating:
            self._outer.reset()
            self._inner.reset()
        self._heating = on

    def _echoing(self, text: str) -> str:
        match = re.fullmatch(
            r"OUT_(?:SP_([14])2[@ ]|WD([12])@) *(\d{1,4}(?:\.\d{1,4})?)", text, re.ASCII
        )
        if match is None:
            return ""
        value = float(match[3])
        if match[1] == "1" and value <= self._hottest:
            self._safe_temperature = value
        elif match[1] == "4" and value <= self._fastest:
            self._safe_speed = value
        elif match[2] is None or not self._arm(int(match[2]), value):
            return ""
        return f"{value:.1f}"

    # Watchdogs: only the command itself feeds them

    def _arm(self, which: int, seconds: float) -> bool:
        if seconds == 0 and which == 2:
            self._watchdog, self.warning = 0, False
            self._stop_timer()
            return True
        if not 20 <= seconds <= 1500:
            return False
        self._watchdog, self._limit = which, seconds
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(seconds, self._expire, which)
        return True

    def _expire(self, which: int) -> None:
        self._catch_up()
        self._stop_timer()
        self._watchdog = 0
        if which == 1:
            self._heating = self._stirring = False
            self.error = 2
        else:
            self._temperature, self._speed = self._safe_temperature, self._safe_speed
            self.warning = True
        self._apply()

    def _stop_timer(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _power_cycle(self) -> None:
        """Lose the power for a moment; setpoints are kept, and in mode B what was on goes on."""
        self.forget()
        self._stop_timer()
        self._watchdog, self.error, self.warning = 0, 0, False
        if self._mode != "B":
            self._heating = self._stirring = False

    # What it does to the world

    def _apply(self) -> None:
        turns = self._stirring and "stuck" not in self.troubles
        self._part.stir(self._speed if turns else 0.0)
        self._part.aim(self._temperature)
        if not self._heating or "stuck" in self.troubles:
            self._part.power = 0.0  # at once, not with the world's next step

    def _control(self, dt: float, plate: float) -> float:
        if not self._heating or "stuck" in self.troubles or plate >= self._safety:
            return 0.0
        aim = self._temperature
        if self._probe:  # the plate may be hotter than the medium is to be, but not too hot
            more = 120.0 * self._outer.output(dt, aim - self._part.medium)
            aim = min(aim + more, self._safety - BELOW_SAFETY)
        return 0.0 if math.isnan(plate) else self._inner.output(dt, aim - plate)
