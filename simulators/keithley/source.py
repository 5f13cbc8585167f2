"""What the source-measure units 2400 and 2450 have in common: settings, output, conversions."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from sdl.simulators.keithley import scpi
from sdl.simulators.keithley.scpi import CommandTree, ScpiError, Status, Unit
from sdl.simulators.simulated import LineSimulator

Read = Callable[[Sequence[str]], Any]
Quantity = Literal["VOLT", "CURR"]

NAMES: dict[Quantity, str] = {"VOLT": "VOLTage", "CURR": "CURRent"}
OTHER: dict[Quantity, Quantity] = {"VOLT": "CURR", "CURR": "VOLT"}
MOST: dict[Quantity, float] = {"VOLT": 210.0, "CURR": 1.05}
RANGES: dict[Quantity, tuple[float, ...]] = {
    "VOLT": (0.2, 2.0, 20.0, 200.0),
    "CURR": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
}
HIGH_VOLTAGE, MOST_CURRENT_THERE = 21.0, 0.105  # above it only 22 W
OVERFLOW, NOT_MEASURED = 9.9e37, 9.91e37
LINE_PERIOD = 0.02  # s
CONVERSIONS = 3  # signal, reference, zero


class Load(Protocol):
    """The part of a world that lies at the terminals; it knows `current(V)` and `voltage(A)`."""

    def drive(self, source: Literal["voltage", "current"], level: float, limit: float) -> None: ...

    def release(self) -> None: ...

    @property
    def volts(self) -> float: ...

    @property
    def amps(self) -> float: ...

    @property
    def limited(self) -> bool: ...


class SourceMeter(LineSimulator):
    """A source with a limit, and a meter for what it does. `memory` holds all that can be set."""

    longest: ClassVar[int] = 4096
    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "drift", "noise", "saturation", "power cycle"}
    )
    blocked: ClassVar[ScpiError] = ScpiError(802, "OUTPUT blocked by output enable")
    identity: ClassVar[str]
    least_nplc: ClassVar[float] = 0.01

    def __init__(
        self, part: Load, *, rng: np.random.Generator, noise: bool, end: bytes, ends: bytes
    ) -> None:
        """:param end: what its answers end with.
        :param ends: each of these bytes ends a message to it.
        """
        super().__init__(rng=rng)
        self._part, self._noise, self._end, self._ends = part, noise, end, ends
        self.memory: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._takes = 0.0  # s that the units of this message take
        self.tree = CommandTree()
        self.status = Status(self.tree)
        self.tree.add("*IDN", None, lambda _: self.identity)
        self.tree.add("*RST", lambda _: self.reset())
        self.tree.add("*SAV", lambda p: self._setup(p, save=True))
        self.tree.add("*RCL", lambda p: self._setup(p, save=False))
        self._saved: dict[int, dict[str, Any]] = {}
        self._add_source()
        self.add_commands()
        self.reset()

    def add_commands(self) -> None:
        """Add what one model has and the other has not."""

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self.reset()
            self.status.power_on()

    def reset(self) -> None:
        """Do what *RST does."""
        self.memory = {key: _copy(value) for key, value in self._defaults.items()}
        self.apply()

    # Messages

    def whole(self, heard: bytes) -> int | None:
        found = [at for end in self._ends if (at := heard.find(end)) >= 0]
        return min(found) + 1 if found else None

    async def respond(self, request: bytes) -> None:
        self._takes = 0.0
        answers = self.obey(request.decode("latin-1").strip("\r\n\0"))
        await asyncio.sleep(self._takes + float(self.rng.uniform(0.0005, 0.002)))
        if answers:
            await self.say(";".join(answers).encode("latin-1", "replace") + self._end)

    def obey(self, message: str) -> list[str]:
        """Act on a message; return the answers to its questions."""
        answers: list[str] = []
        try:
            for unit in scpi.units(message):
                answer = self._execute(unit)
                if answer is not None:
                    answers.append(answer)
        except ScpiError as error:
            self.status.refuse(error)
        return answers

    def _execute(self, unit: Unit) -> str | None:
        try:
            return self.tree.execute(unit)
        finally:
            self.apply()

    # Settings

    def keep(self, header: str, default: Any, read: Read, show: Callable[[Any], str] = str) -> None:
        """Add a setting that is remembered and returned, and does nothing else here."""
        self._defaults[header] = default

        def put(parameters: Sequence[str]) -> None:
            self.memory[header] = read(parameters)

        self.tree.add(header, put, lambda _: show(self.memory[header]))

    def _setup(self, parameters: Sequence[str], *, save: bool) -> None:
        place = round(scpi.number(parameters, 0, 4, 0))
        if save:
            self._saved[place] = {key: _copy(value) for key, value in self.memory.items()}
        elif place in self._saved:
            self.memory = {key: _copy(value) for key, value in self._saved[place].items()}
            self.memory["output"] = False

    def _add_source(self) -> None:
        self._defaults |= {"output": False, "source": "VOLT", "terminals": "FRON"}
        self.tree.add("OUTPut[1][:STATe]", self._put_output, lambda _: shown(self.output))
        self.tree.add("SOURce[1]:FUNCtion[:MODE]", self._put_source, lambda _: self.source)
        self.tree.add("ROUTe:TERMinals", self._put_terminals, lambda _: self.memory["terminals"])
        self.keep("SOURce[1]:CLEar:AUTO", False, scpi.switch, shown)
        self.keep("DISPlay:ENABle", True, scpi.switch, shown)
        self.keep("SYSTem:BEEPer:STATe", True, scpi.switch, shown)
        self.keep("SYSTem:AZERo[:STATe]", "ON", lambda p: "ONCE" if _once(p) else shown_on(p))
        self.tree.add("SYSTem:BEEPer[:IMMediate]", lambda _: None)
        for name in ("SYSTem:LOCal", "SYSTem:REMote", "SYSTem:RWLock", "DISPlay:CLEar"):
            self.tree.add(name, lambda _: None)
        self.tree.add("SYSTem:CLEar", lambda _: self.status.errors.clear())
        self.tree.add("STATus:PRESet", lambda _: None)
        for quantity, name in NAMES.items():
            self._add_quantity(quantity, name)

    def _add_quantity(self, quantity: Quantity, name: str) -> None:
        self._defaults |= {
            f"level {quantity}": 0.0,
            f"range {quantity}": None,
            f"nplc {quantity}": 1.0,
            f"limit {quantity}": 21.0 if quantity == "VOLT" else 105e-6,
            f"sense range {quantity}": None,
        }
        most = MOST[quantity]
        level = f"SOURce[1]:{name}[:LEVel][:IMMediate][:AMPLitude]"
        self.tree.add(
            level,
            lambda p: self._put_level(quantity, scpi.number(p, -most, most, 0.0)),
            lambda _: self.shown(self.memory[f"level {quantity}"]),
        )
        self._add_range(f"SOURce[1]:{name}:RANGe", f"range {quantity}", quantity)
        sense = f"[SENSe[1]:]{name}[:DC]"
        self._add_range(f"{sense}:RANGe", f"sense range {quantity}", quantity)
        self.tree.add(
            f"{sense}:NPLCycles", self._put_nplc, lambda _: f"{self.memory[f'nplc {quantity}']:.2f}"
        )

    def _add_range(self, header: str, key: str, quantity: Quantity) -> None:
        def put(parameters: Sequence[str]) -> None:
            wanted = abs(scpi.number(parameters, -MOST[quantity], MOST[quantity], 0.0))
            self.memory[key] = fitting(quantity, wanted)

        def put_auto(parameters: Sequence[str]) -> None:
            now = self.memory[key] or fitting(quantity, abs(self.memory[f"level {quantity}"]))
            self.memory[key] = None if scpi.switch(parameters) else now

        def get(_: Sequence[str]) -> str:
            level = abs(self.memory[f"level {quantity}"])
            return self.shown(self.memory[key] or fitting(quantity, level))

        self.tree.add(f"{header}[:UPPer]", put, get)
        self.tree.add(f"{header}:AUTO", put_auto, lambda _: shown(self.memory[key] is None))

    def _put_output(self, parameters: Sequence[str]) -> None:
        on = scpi.switch(parameters)
        if on and "stuck" in self.troubles:
            raise self.blocked
        self.memory["output"] = on

    def _put_source(self, parameters: Sequence[str]) -> None:
        source = scpi.word(parameters, "VOLTage", "CURRent")
        if source != self.source:
            self.memory["output"] = False
        self.memory["source"] = source

    def _put_terminals(self, parameters: Sequence[str]) -> None:
        self.memory["terminals"] = scpi.word(parameters, "FRONt", "REAR")
        self.memory["output"] = False

    def _put_level(self, quantity: Quantity, level: float) -> None:
        scale = self.memory[f"range {quantity}"]
        if scale is not None and abs(level) > 1.05 * scale + 1e-12:
            raise scpi.OUT_OF_RANGE
        self._check_power({f"level {quantity}": level})
        self.memory[f"level {quantity}"] = level

    def put_limit(self, quantity: Quantity, limit: float) -> None:
        self._check_power({f"limit {quantity}": limit})
        self.memory[f"limit {quantity}"] = limit

    def _check_power(self, change: dict[str, float]) -> None:
        """Above 21 V there is only a tenth of the current."""
        told = {**self.memory, **change}
        if self.source == "VOLT":
            volts, amps = abs(told["level VOLT"]), told["limit CURR"]
        else:
            volts, amps = told["limit VOLT"], abs(told["level CURR"])
        if volts > HIGH_VOLTAGE and amps > MOST_CURRENT_THERE:
            raise ScpiError(826, "Attempt to exceed power limit")

    def _put_nplc(self, parameters: Sequence[str]) -> None:
        nplc = scpi.number(parameters, self.least_nplc, 10.0, 1.0)
        for quantity in NAMES:  # one integration time for all
            self.memory[f"nplc {quantity}"] = nplc

    def next_error(self) -> str:
        raise NotImplementedError

    # The output

    @property
    def output(self) -> bool:
        return self.memory["output"]

    @property
    def source(self) -> Quantity:
        return self.memory["source"]

    @property
    def limiting(self) -> bool:
        return self.output and self._part.limited

    def apply(self) -> None:
        """Have the part feel what is set."""
        if not self.output:
            self._part.release()
            return
        source = "voltage" if self.source == "VOLT" else "current"
        level = self.memory[f"level {self.source}"]
        self._part.drive(source, level, self.memory[f"limit {OTHER[self.source]}"])

    # Readings

    def measure(self) -> dict[Quantity, float]:
        """Convert once; it takes its time.

        :raises ScpiError: it is at work already.
        """
        if "busy" in self.troubles:
            raise ScpiError(-213, "Init ignored")
        self._takes += CONVERSIONS * LINE_PERIOD * self.memory[f"nplc {OTHER[self.source]}"]
        return {
            "VOLT": self._converted("VOLT", self._part.volts),
            "CURR": self._converted("CURR", self._part.amps),
        }

    def _converted(self, quantity: Quantity, value: float) -> float:
        scale = self.memory[f"sense range {quantity}"] or fitting(quantity, abs(value))
        if self._noise:
            quiet = math.sqrt(max(self.memory[f"nplc {quantity}"], 0.01))
            value += 1e-6 * scale / quiet * float(self.rng.standard_normal())
        if "saturation" in self.troubles:
            scale *= self.troubles["saturation"] / 100
        elif self.troubles.keys() & {"noise", "drift"}:
            value = self.disturbed(value, low=-1.05 * scale, high=1.05 * scale)
        return math.copysign(OVERFLOW, value) if abs(value) > 1.055 * scale else value

    def shown(self, value: float) -> str:
        return f"{value:+.6E}"


def fitting(quantity: Quantity, value: float) -> float:
    """Return the smallest range that holds a value."""
    fits = (each for each in RANGES[quantity] if value <= 1.05 * each + 1e-15)
    return next(fits, RANGES[quantity][-1])


def shown(on: bool) -> str:
    return "1" if on else "0"


def shown_on(parameters: Sequence[str]) -> str:
    return shown(scpi.switch(parameters))


def between(low: float, high: float, default: float = 0.0) -> Read:
    return lambda parameters: scpi.number(parameters, low, high, default)


def whole(low: int, high: int, default: int = 1) -> Read:
    return lambda parameters: round(scpi.number(parameters, low, high, default))


def one_of(*words: str) -> Read:
    return lambda parameters: scpi.word(parameters, *words)


def function(text: str) -> str:
    """Read the name of what is measured, in its quotes; return its short form."""
    name = scpi.quoted(text).upper().removesuffix(":DC")
    return scpi.word([name], "VOLTage", "CURRent", "RESistance")


def _once(parameters: Sequence[str]) -> bool:
    return [each.upper() for each in parameters] == ["ONCE"]


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
