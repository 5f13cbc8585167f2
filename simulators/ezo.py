"""An Atlas Scientific EZO circuit (pH, EC, DO, RTD) in UART mode.

Written from the datasheets' UART chapters as shared facts 2.14 has them and LabMCP 0.1.2 cites them
(pH V 6.1, EC V 6.7, DO V 5.8, RTD V 3.7). Kept without power: continuous mode, response codes, LED,
name, calibration, protocol lock, outputs; lost: compensation, sleep. Guesses: how a calibration of
several points is interpolated, the temperature coefficient of a conductivity (1.9 %/K), the
salinity, density and saturation that are computed from the value, and that what is no command is
answered with `*ER`. That `RT` is acknowledged before its reading is ezo-driver's word.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.simulated import LineSimulator

Measures = Literal["pH", "EC", "DO", "RTD"]
LABELS = {"pH": "pH", "EC": "EC", "DO": "D.O.", "RTD": "RTD"}
SECONDS = {"pH": 0.9, "EC": 0.6, "DO": 0.6, "RTD": 0.6}  # of a reading, and of a calibration
RANGES = {"pH": (0.001, 14.0), "EC": (0.0, 500_000.0), "DO": (0.0, 100.0), "RTD": (-126.0, 1254.0)}
NOISE = {"pH": 0.002, "EC": 0.0, "DO": 0.01, "RTD": 0.002}
OUTPUTS = {"EC": ("EC", "TDS", "S", "SG"), "DO": ("mg", "%")}
POINTS = {"pH": ("mid", "low", "high"), "EC": ("dry", "low", "high"), "DO": (), "RTD": ()}
BAUDS = ("300", "1200", "2400", "9600", "19200", "38400", "57600", "115200")
ROOM = {"pH": 25.0, "EC": 25.0, "DO": 20.0}  # degC that is compensated for after power-up
SLOPE_OF_CONDUCTIVITY = 0.019  # per K
NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{0,6})?|-?\.\d{1,6}", re.ASCII)


class Liquid(Protocol):
    """The part of a world that a probe stands in."""

    @property
    def value(self) -> float:
        """True value of what the probe measures."""
        ...

    @property
    def temperature(self) -> float:
        """Of the liquid, degC."""
        ...


class WrongError(Exception):
    """It says `*ER`."""


class SimulatedEzo(LineSimulator):
    """One circuit with its probe, as delivered: it says a reading each second."""

    terminator = b"\r"
    faults: ClassVar[frozenset[str]] = frozenset({"drift", "noise", "saturation", "power cycle"})

    def __init__(
        self,
        part: Liquid,
        *,
        rng: np.random.Generator,
        measures: Measures = "pH",
        firmware: str = "2.16",
        probe_error: float = 0.0,
        continuous: int = 1,
        forgets_continuous: bool = False,
        noise: bool = True,
    ) -> None:
        """Describe a circuit.

        :param probe_error: how far its probe is off until it is calibrated.
        :param continuous: s between readings that nobody asked for; 0: none.
        :param forgets_continuous: whether it begins with them again after a loss of power.
        """
        super().__init__(rng=rng)
        self._part, self._measures, self._firmware = part, measures, firmware
        self._probe_error, self._noise = probe_error, noise
        self._delivered, self._forgets = continuous, forgets_continuous
        self.continuous = continuous
        self.is_on_uart = True
        """False when it was switched to I2C or to another baud rate"""
        self.points: dict[str, tuple[float, float]] = {}
        """of the calibration: what the probe gave, and what it was"""
        self._restart_code = "P"
        self._commands: dict[str, Callable[[list[str]], list[str]]] = {
            "i": lambda a: [f"?i,{LABELS[measures]},{firmware}"],
            "c": self._continuous,
            "*ok": lambda a: self._switch("*OK", a),
            "l": lambda a: self._switch("L", a),
            "plock": lambda a: self._switch("Plock", a),
            "name": self._name,
            "status": lambda a: [f"?Status,{self._restart_code},5.038"],
            "cal": self._calibrate,
            "find": lambda a: self._stop_talking(),
            "baud": lambda a: self._leave(a, BAUDS),
            "i2c": lambda a: self._leave(a, tuple(str(n) for n in range(1, 128))),
        }
        if measures in ROOM:
            self._commands["t"] = self._temperature
        if measures in OUTPUTS:
            self._commands["o"] = self._output
        self._commands |= {
            "pH": {"slope": self._slope, "phext": lambda a: self._switch("pHext", a)},
            "EC": {"k": lambda a: self._number("K", a, 0.01, 10.2), "tds": self._tds},
            "DO": {"s": self._salinity, "p": lambda a: self._number(",P", a, 0.0, 1000.0)},
            "RTD": {"s": self._scale},
        }[measures]
        self._factory()
        self._talking: asyncio.Task[None] | None = None

    def _factory(self) -> None:
        self._switches = {"*OK": 1, "L": 1, "Plock": 0, "pHext": 0}
        self._numbers = {"K": 1.0, ",P": 101.3, "TDS": 0.54}
        self._outputs = {"EC": ["EC"], "DO": ["mg"]}.get(self._measures, [])
        self._unit, self._called, self._salt = "c", "", "0.00,ppt"
        self.points.clear()
        self.continuous = self._delivered
        self._lose_power()

    def _lose_power(self) -> None:
        self.compensation = ROOM.get(self._measures, 25.0)
        self._is_asleep = False
        if self._forgets:
            self.continuous = self._delivered

    def begin(self, fault: str, size: float = 1.0) -> None:
        if fault == "power cycle":
            self.forget()
            self._lose_power()
            self._talk(self._restart())
            return
        super().begin(fault, size)

    async def serve(self, line: Line) -> None:
        self._line = line
        self._lose_power()
        try:
            await super().serve(line)
        finally:
            self._talk(None)

    async def powered(self) -> None:
        self._talk(self._restart())

    async def _restart(self) -> None:
        if not self.is_on_uart:
            return
        await self.say(b"*RS\r")
        await asyncio.sleep(0.1)
        await self.say(b"*RE\r")
        await self._say_readings()

    def _talk(self, work: Coroutine[Any, Any, None] | None) -> None:
        if self._talking is not None:
            self._talking.cancel()
        self._talking = None if work is None else asyncio.create_task(work)

    async def _say_readings(self) -> None:
        while self.continuous:
            await asyncio.sleep(self.continuous)
            await self.say(f"{self._reading()}\r".encode())

    # Requests

    async def respond(self, request: bytes) -> None:
        text = request[:-1].decode("latin-1").strip()
        if not self.is_on_uart:
            return
        if self._is_asleep:
            self._is_asleep = False
            await self.say(b"*WA\r")  # and the command is lost
            self._talk(self._say_readings())
            return
        name, *arguments = [each.strip() for each in text.split(",")]
        try:
            lines = await self._execute(name.lower(), arguments)
        except WrongError:
            lines = None
        if lines is None:
            await self.say(b"*ER\r" if self._switches["*OK"] else b"")
            return
        ok = ["*OK"] if self._switches["*OK"] else []
        first = name.lower() == "rt" or lines[-1:] in (["*SL"], ["*RE"])
        order = [*ok, *lines] if first else [*lines, *ok]
        await self.say("".join(f"{line}\r" for line in order).encode("latin-1"))

    async def _execute(self, name: str, arguments: list[str]) -> list[str]:
        if name == "r" and not arguments:
            await asyncio.sleep(SECONDS[self._measures])
            return [self._reading()]
        if name == "rt" and self._measures in ROOM:
            self._temperature(arguments)
            await asyncio.sleep(SECONDS[self._measures])
            return [self._reading()]
        if name == "sleep" and not arguments:
            self._talk(None)
            self._is_asleep = True
            return ["*SL"]
        if name == "factory" and not arguments:
            self._factory()
            self._talk(self._say_readings())
            return ["*RS", "*RE"]
        if name not in self._commands:
            raise WrongError
        if name == "cal" and arguments[:1] != ["?"]:
            await asyncio.sleep(SECONDS[self._measures])
        return self._commands[name](arguments)

    def _continuous(self, arguments: list[str]) -> list[str]:
        if arguments == ["?"]:
            return [f"?C,{self.continuous}"]
        self.continuous = int(_one_of(arguments, *(str(n) for n in range(100))))
        self._talk(self._say_readings())
        return []

    def _stop_talking(self) -> list[str]:
        self.continuous = 0
        self._talk(None)
        return []

    def _switch(self, name: str, arguments: list[str]) -> list[str]:
        if arguments == ["?"]:
            return [f"?{name},{self._switches[name]}"]
        self._switches[name] = int(_one_of(arguments, "0", "1"))
        return []

    def _name(self, arguments: list[str]) -> list[str]:
        if arguments == ["?"]:
            return [f"?Name,{self._called}"]
        if len(arguments) != 1 or len(arguments[0]) > 16:
            raise WrongError
        self._called = arguments[0]
        return []

    def _leave(self, arguments: list[str], allowed: tuple[str, ...]) -> list[str]:
        """Speak another protocol, or at another speed, from now on: the UART is silent."""
        if allowed is BAUDS and arguments == ["?"]:
            return ["?Baud,9600"]
        _one_of(arguments, *allowed)
        if self._switches["Plock"]:
            raise WrongError
        if not (allowed is BAUDS and arguments == ["9600"]):
            self.is_on_uart = False
            self._talk(None)
        return []

    def _temperature(self, arguments: list[str]) -> list[str]:
        if arguments == ["?"]:
            return [f"?T,{self.compensation:g}"]
        self.compensation = _number(arguments, -126.0, 1254.0)
        return []

    def _number(self, name: str, arguments: list[str], low: float, high: float) -> list[str]:
        if arguments == ["?"]:
            return [f"?{name},{self._numbers[name]:g}"]
        self._numbers[name] = _number(arguments, low, high)
        return []

    def _tds(self, arguments: list[str]) -> list[str]:
        return self._number("TDS", arguments, 0.01, 1.0)

    def _salinity(self, arguments: list[str]) -> list[str]:
        if arguments == ["?"]:
            return [f"?S,{self._salt}"]
        if len(arguments) == 2:
            _one_of(arguments[1:], "ppt", "us")
        unit = arguments[1] if len(arguments) == 2 else "us"
        self._salt = f"{_number(arguments[:1], 0.0, 100_000.0):.2f},{unit}"
        return []

    def _scale(self, arguments: list[str]) -> list[str]:
        if arguments == ["?"]:
            return [f"?S,{self._unit}"]
        self._unit = _one_of([each.lower() for each in arguments], "c", "k", "f")
        return []

    def _output(self, arguments: list[str]) -> list[str]:
        known = OUTPUTS[self._measures]
        if arguments == ["?"]:
            listed = reversed(known) if self._measures == "DO" else known
            return [",".join(["?", "O", *(each for each in listed if each in self._outputs)])]
        if len(arguments) != 2:
            raise WrongError
        output, on = _one_of(arguments[:1], *known), _one_of(arguments[1:], "0", "1")
        wanted = {*self._outputs, output} if on == "1" else {*self._outputs} - {output}
        self._outputs = [each for each in known if each in wanted]
        return []

    # Calibration

    def _calibrate(self, arguments: list[str]) -> list[str]:
        match arguments:
            case ["?"]:
                label = "CAL" if self._measures == "EC" else "Cal"
                return [f"?{label},{len(self.points)}"]
            case ["clear"]:
                self.points.clear()
            case [] if self._measures == "DO":
                self.points["atmospheric"] = self._raw, self._part.value
            case ["0"] if self._measures == "DO":
                self.points["zero"] = self._raw, 0.0
            case ["dry"] if self._measures == "EC":
                self.points.clear()
                self.points["dry"] = self._raw, 0.0
            case [point, value] if point in POINTS[self._measures] and point != "dry":
                if point == "mid":
                    self.points.clear()
                low, high = RANGES[self._measures]
                self.points[point] = self._raw, _number([value], low, high)
            case [value] if self._measures in ("EC", "RTD"):
                low, high = RANGES[self._measures]
                self.points["single"] = self._raw, _number([value], low, high)
            case _:
                raise WrongError
        return []

    def _slope(self, arguments: list[str]) -> list[str]:
        if arguments != ["?"]:
            raise WrongError
        return ["?Slope,99.7,100.3,-0.89" if len(self.points) > 1 else "?Slope,100.0,100.0,0.00"]

    # Readings

    @property
    def _raw(self) -> float:
        """What the probe gives, before it is corrected."""
        value = self._part.value
        if self._measures == "pH":  # the electrode's slope goes with the absolute temperature
            kelvin = self._part.temperature + 273.15
            value = 7 + (value - 7) * kelvin / (self.compensation + 273.15)
        elif self._measures == "EC":
            value /= 1 + SLOPE_OF_CONDUCTIVITY * (self.compensation - 25.0)
        return value + self._probe_error

    def _corrected(self, raw: float) -> float:
        points = sorted(set(self.points.values()))
        if not points:
            return raw
        if len(points) == 1 or points[0][0] == points[-1][0]:
            return raw - points[0][0] + points[0][1]
        at = min(max(1, sum(raw > point[0] for point in points)), len(points) - 1)
        (x0, y0), (x1, y1) = points[at - 1], points[at]
        return y0 if x0 == x1 else y0 + (raw - x0) * (y1 - y0) / (x1 - x0)

    def _reading(self) -> str:
        low, high = RANGES[self._measures]
        sigma = NOISE[self._measures] if self._noise else 0.0
        raw = self._corrected(self._raw) + sigma * float(self.rng.standard_normal())
        value = self.disturbed(raw, low=low, high=high)
        if self._measures == "pH":
            return f"{value:.3f}"
        if self._measures == "RTD":
            return f"{ {'c': value, 'k': value + 273.15, 'f': 1.8 * value + 32}[self._unit]:.3f}"
        if not self._outputs:
            return "no output"
        if self._measures == "DO":
            shown = {"mg": f"{value:.2f}", "%": f"{12.1 * value:.1f}"}
        else:
            salt = 0.00056 * value
            shown = {
                "EC": _four_digits(value),
                "TDS": f"{self._numbers['TDS'] * value:.0f}",
                "S": f"{min(salt, 42.0):.2f}",
                "SG": f"{min(1 + 0.00075 * salt, 1.3):.3f}",
            }
        return ",".join(shown[each] for each in self._outputs)


def _four_digits(value: float) -> str:
    for limit, decimals in ((99.995, 2), (999.95, 1), (9999.5, 0), (99_995, -1)):
        if value < limit:
            return f"{round(value, decimals):.{max(decimals, 0)}f}"
    return f"{round(value, -2):.0f}"


def _number(arguments: list[str], low: float, high: float) -> float:
    if len(arguments) != 1 or NUMBER.fullmatch(arguments[0]) is None:
        raise WrongError
    if not low <= float(arguments[0]) <= high:
        raise WrongError
    return float(arguments[0])


def _one_of(arguments: list[str], *allowed: str) -> str:
    if len(arguments) != 1 or arguments[0] not in allowed:
        raise WrongError
    return arguments[0]
