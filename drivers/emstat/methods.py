"""Electrochemical techniques as values, and the MethodSCRIPT that measures each.

Source: MethodSCRIPT manual v1.8, sections 14.9 to 14.11 and appendix B (through PalmSens'
MethodSCRIPT_Examples and labmcp-palmsens 0.1.3). A method has a text, such as
`cv begin=0 vertex1=0.5 vertex2=-0.2 step=0.005 rate=0.1 scans=2`, that a plan may set and a journal
keeps. Units: V, s, V/s, Hz, A. `highest_current` is the largest current that must be measured.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sdl.errors import ConfigError

LOW_SPEED, HIGH_SPEED, MAX_RANGE = 2, 3, 4
LOW_SPEED_LOW, LOW_SPEED_WINDOW = -1.25, 2.2  # V, of the Pico
MOST_POINTS = 100_000
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


@dataclass(frozen=True)
class Model:
    """What one potentiostat can apply and measure."""

    code: str
    """what its firmware calls it"""
    low: float
    high: float
    """V"""
    lowest_range: float
    highest_range: float
    """A"""
    fastest: float
    """Hz of impedance"""


MODELS: Mapping[str, Model] = {
    "pico": Model("espico", -1.7, 2.0, 1e-7, 5e-3, 2e5),
    "es4_lr": Model("es4_lr", -3.0, 3.0, 1e-9, 1e-2, 2e5),
    "es4_hr": Model("es4_hr", -6.0, 6.0, 1e-7, 0.1, 2e5),
}


@dataclass(frozen=True)
class Method:
    """What all have in common."""

    technique: ClassVar[str]
    marker: ClassVar[int]
    """which number the instrument has for it"""
    outputs: ClassVar[Mapping[str, str]]
    """the type of each variable that is sent, by the name of its curve"""
    cell_on: ClassVar[bool] = True

    @property
    def text(self) -> str:
        """The method as a plan writes it; `parse_method` reads it."""
        told = (f"{f.name}={getattr(self, f.name):.9g}" for f in dataclasses.fields(self))
        return " ".join((self.technique, *told))

    @property
    def potentials(self) -> Sequence[float]:
        """All corners that are applied, V."""
        return ()

    @property
    def interval(self) -> float:
        """Seconds between two points; 0 where it changes."""
        return 0.0

    @property
    def points(self) -> int:
        """How many there are in each scan."""
        raise NotImplementedError

    @property
    def rounds(self) -> int:
        """How often it is done."""
        return getattr(self, "scans", 1)

    @property
    def slowest(self) -> float:
        """Seconds that pass between two points at most."""
        return self.interval

    @property
    def seconds(self) -> float:
        """Seconds that all of it takes."""
        return self.interval * self.points * self.rounds

    @property
    def current(self) -> float:
        return getattr(self, "highest_current", 0.0)

    def check(self, model: Model) -> list[str]:
        """Return what is wrong with it, for that potentiostat."""
        problems = [
            f"{f.name} must be a number"
            for f in dataclasses.fields(self)
            if not math.isfinite(getattr(self, f.name))
        ]
        if problems:
            return problems
        allowed = f"{model.low:g} to {model.high:g} V"
        problems += [
            f"{volts:g} V: allowed is {allowed}"
            for volts in self.potentials
            if not model.low <= volts <= model.high
        ]
        positive = ("step", "rate", "duration", "every", "amplitude", "first", "last", "pulse")
        problems += [
            f"{name}={getattr(self, name):g}: must be above 0"
            for name in (*positive, "frequency", "width", "highest_current")
            if hasattr(self, name) and not getattr(self, name) > 0
        ]
        if self.current > model.highest_range:
            problems.append(
                f"highest_current={self.current:g}: allowed is up to {model.highest_range:g} A"
            )
        if not problems:
            problems += self.check_more(model)
        count = 1 if problems else self.points * self.rounds
        if not 1 <= count <= MOST_POINTS:
            problems.append(f"{count} points: allowed is 1 to {MOST_POINTS}")
        return problems

    def check_more(self, model: Model) -> list[str]:
        return []

    @property
    def loop(self) -> str:
        """The line that begins the measurement."""
        raise NotImplementedError

    @property
    def mode(self) -> int:
        return LOW_SPEED

    def script(self, model: Model, tag: str) -> list[str]:
        """Return the lines; their output begins with the text `tag`, and ends with `tag.`."""
        names = {kind: f"v{n}" for n, kind in enumerate(self.outputs.values())}
        lines = [f'send_string "{tag}"', "var t", *(f"var {name}" for name in names.values())]
        lines += ["set_pgstat_chan 0", f"set_pgstat_mode {self._mode(model)}"]
        lines += self._ranges(model)
        lines += [*self._cell(), "timer_start", self.loop, "timer_get t", "pck_start", "pck_add t"]
        lines += [f"pck_add {name}" for name in names.values()]
        lines += ["pck_end", "endloop", f'send_string "{tag}."', "on_finished:", "cell_off"]
        return lines

    def _mode(self, model: Model) -> int:
        """A Pico reaches further in its mode 4; to others all modes are one."""
        if self.mode == HIGH_SPEED or not self.potentials:
            return self.mode
        low, high = min(self.potentials), max(self.potentials)
        narrow = low >= LOW_SPEED_LOW and high - low <= LOW_SPEED_WINDOW
        return LOW_SPEED if narrow else MAX_RANGE

    def _ranges(self, model: Model) -> list[str]:
        bandwidth = 40.0 if not self.interval else min(max(6 / self.interval, 1.0), 100.0)
        lines = [f"set_max_bandwidth {literal(200e3 if self.mode == HIGH_SPEED else bandwidth)}"]
        if self.potentials:
            low, high = min(self.potentials), max(self.potentials)
            lines.append(f"set_range_minmax da {literal(low)} {literal(high)}")
        if self.current:
            highest = literal(self.current)
            lowest = literal(min(model.lowest_range, self.current))
            lines += [f"set_range ba {highest}", f"set_autoranging ba {lowest} {highest}"]
        return lines

    def _cell(self) -> list[str]:
        if not self.cell_on:
            return ["cell_off"]
        lines = [f"set_e {literal(self.potentials[0])}", "cell_on"]
        equilibration = getattr(self, "equilibration", 0.0)
        return [*lines, f"wait {literal(equilibration)}"] if equilibration > 0 else lines


SWEPT = {"potential": "da", "current": "ba"}


@dataclass(frozen=True)
class LSV(Method):
    """Linear sweep voltammetry."""

    technique: ClassVar[str] = "lsv"
    marker: ClassVar[int] = 0x00
    outputs: ClassVar[Mapping[str, str]] = SWEPT

    begin: float
    end: float
    step: float = 0.005
    rate: float = 0.1
    equilibration: float = 0.0
    highest_current: float = 1e-3

    @property
    def potentials(self) -> Sequence[float]:
        return self.begin, self.end

    @property
    def interval(self) -> float:
        return self.step / self.rate

    @property
    def points(self) -> int:
        return steps(self.step, self.begin, self.end) + 1

    @property
    def loop(self) -> str:
        return _line("meas_loop_lsv v0 v1", self.begin, self.end, self.step, self.rate)


@dataclass(frozen=True)
class CV(Method):
    """Cyclic voltammetry: from begin to vertex 1, vertex 2 and back, as often as `scans`."""

    technique: ClassVar[str] = "cv"
    marker: ClassVar[int] = 0x05
    outputs: ClassVar[Mapping[str, str]] = SWEPT

    begin: float
    vertex1: float
    vertex2: float
    step: float = 0.005
    rate: float = 0.1
    scans: int = 1
    equilibration: float = 0.0
    highest_current: float = 1e-3

    @property
    def potentials(self) -> Sequence[float]:
        return self.begin, self.vertex1, self.vertex2

    @property
    def interval(self) -> float:
        return self.step / self.rate

    @property
    def points(self) -> int:
        return steps(self.step, *self.potentials, self.begin) + 1

    def check_more(self, model: Model) -> list[str]:
        return [] if 1 <= self.scans <= 1000 else [f"scans={self.scans}: allowed is 1 to 1000"]

    @property
    def loop(self) -> str:
        line = _line("meas_loop_cv v0 v1", *self.potentials, self.step, self.rate)
        return f"{line} nscans({self.scans})" if self.scans > 1 else line


@dataclass(frozen=True)
class DPV(Method):
    """Differential pulse voltammetry; `current` is the difference that a pulse makes."""

    technique: ClassVar[str] = "dpv"
    marker: ClassVar[int] = 0x01
    outputs: ClassVar[Mapping[str, str]] = SWEPT

    begin: float
    end: float
    step: float = 0.005
    pulse: float = 0.05
    width: float = 0.05
    rate: float = 0.02
    equilibration: float = 0.0
    highest_current: float = 1e-3

    @property
    def potentials(self) -> Sequence[float]:
        return self.begin, self.end, self.begin + self.pulse, self.end + self.pulse

    @property
    def interval(self) -> float:
        return self.step / self.rate

    @property
    def points(self) -> int:
        return steps(self.step, self.begin, self.end) + 1

    def check_more(self, model: Model) -> list[str]:
        if self.width <= self.interval / 2:
            return []
        return [f"width={self.width:g}: allowed is up to half of step/rate={self.interval:g} s"]

    @property
    def loop(self) -> str:
        told = (self.begin, self.end, self.step, self.pulse, self.width, self.rate)
        return _line("meas_loop_dpv v0 v1", *told)


@dataclass(frozen=True)
class SWV(Method):
    """Square-wave voltammetry; `current` is forward less reverse."""

    technique: ClassVar[str] = "swv"
    marker: ClassVar[int] = 0x02
    outputs: ClassVar[Mapping[str, str]] = SWEPT

    begin: float
    end: float
    step: float = 0.005
    amplitude: float = 0.02
    frequency: float = 10.0
    equilibration: float = 0.0
    highest_current: float = 1e-3

    @property
    def potentials(self) -> Sequence[float]:
        a = self.amplitude
        return self.begin, self.begin - a, self.begin + a, self.end - a, self.end + a

    @property
    def interval(self) -> float:
        return 1 / self.frequency

    @property
    def points(self) -> int:
        return steps(self.step, self.begin, self.end) + 1

    @property
    def mode(self) -> int:
        return HIGH_SPEED

    @property
    def loop(self) -> str:
        told = (self.begin, self.end, self.step, self.amplitude, self.frequency)
        return _line("meas_loop_swv v0 v1 t t", *told)


@dataclass(frozen=True)
class CA(Method):
    """Chronoamperometry: the current at one potential."""

    technique: ClassVar[str] = "ca"
    marker: ClassVar[int] = 0x07
    outputs: ClassVar[Mapping[str, str]] = SWEPT

    potential: float
    duration: float
    every: float = 0.1
    equilibration: float = 0.0
    highest_current: float = 1e-3

    @property
    def potentials(self) -> Sequence[float]:
        return (self.potential,)

    @property
    def interval(self) -> float:
        return self.every

    @property
    def points(self) -> int:
        return round(self.duration / self.every)

    @property
    def loop(self) -> str:
        return _line("meas_loop_ca v0 v1", self.potential, self.every, self.duration)


@dataclass(frozen=True)
class OCP(Method):
    """Open-circuit potentiometry: the potential while nothing flows; the cell is off."""

    technique: ClassVar[str] = "ocp"
    marker: ClassVar[int] = 0x0B
    outputs: ClassVar[Mapping[str, str]] = {"potential": "ab"}
    cell_on: ClassVar[bool] = False

    duration: float
    every: float = 0.1

    @property
    def interval(self) -> float:
        return self.every

    @property
    def points(self) -> int:
        return round(self.duration / self.every)

    @property
    def loop(self) -> str:
        return _line("meas_loop_ocp v0", self.every, self.duration)


@dataclass(frozen=True)
class EIS(Method):
    """Impedance from the first frequency to the last, evenly on a logarithmic scale."""

    technique: ClassVar[str] = "eis"
    marker: ClassVar[int] = 0x0D
    outputs: ClassVar[Mapping[str, str]] = {
        "frequency": "dc",
        "impedance_real": "cc",
        "impedance_imaginary": "cd",
    }

    potential: float = 0.0
    amplitude: float = 0.01
    first: float = 1e5
    last: float = 1.0
    count: int = 31
    equilibration: float = 0.0
    highest_current: float = 1e-3

    @property
    def potentials(self) -> Sequence[float]:
        return (self.potential,)

    @property
    def points(self) -> int:
        return self.count

    @property
    def slowest(self) -> float:
        return 1.0 + 10.0 / min(self.first, self.last)

    @property
    def seconds(self) -> float:
        ends = 1 / self.first, 1 / self.last
        return self.count * (0.5 + 5 * (ends[0] + ends[1]) / 2)

    @property
    def mode(self) -> int:
        return HIGH_SPEED

    def check_more(self, model: Model) -> list[str]:
        problems = [
            f"{hertz:g} Hz: allowed is up to {model.fastest:g} Hz"
            for hertz in (self.first, self.last)
            if hertz > model.fastest
        ]
        return problems if self.count >= 1 else [*problems, f"count={self.count}: from 1 on"]

    @property
    def loop(self) -> str:
        start = _line("meas_loop_eis v0 v1 v2", self.amplitude, self.first, self.last)
        return f"{start} {self.count}i {literal(self.potential)}"


TECHNIQUES: Mapping[str, type[Method]] = {
    kind.technique: kind for kind in (LSV, CV, DPV, SWV, CA, OCP, EIS)
}


def parse_method(text: str, model: Model) -> Method:
    """Read a method's text.

    :raises ConfigError: it is none, or not for this potentiostat; the message says what is allowed.
    """
    name, *settings = text.split()[:32] or [""]
    kind = TECHNIQUES.get(name.lower())
    if kind is None:
        raise ConfigError(f"{text[:80]!r}: no technique; known are {', '.join(TECHNIQUES)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    told: dict[str, float] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in fields or key in told:
            raise ConfigError(f"{name}: {setting!r}: allowed are {', '.join(fields)}, each once")
        try:
            told[key] = int(value) if fields[key].type in ("int", int) else float(value)
        except ValueError:
            raise ConfigError(f"{name}: {setting!r}: {value!r} is no number") from None
    missing = [
        key for key, f in fields.items() if f.default is dataclasses.MISSING and key not in told
    ]
    if missing:
        raise ConfigError(f"{name}: {', '.join(missing)} must be given")
    method = kind(**told)  # type: ignore[arg-type]
    if problems := method.check(model):
        raise ConfigError(*(f"{name}: {problem}" for problem in problems))
    return method


def literal(value: float) -> str:
    """Return a number as MethodSCRIPT writes it: a whole one, with a prefix where needed."""
    if value == 0:
        return "0"
    for size, prefix in PREFIXES:
        number = round(value / size)
        if number and math.isclose(number * size, value, rel_tol=1e-7):
            return f"{number}{prefix}"
    size = 10.0 ** max(math.floor(math.log10(abs(value))) - 6, -12)
    size, prefix = next((s, p) for s, p in PREFIXES if s <= size * 1.01 or s == PREFIXES[-1][0])
    return f"{round(value / size)}{prefix}"


def steps(step: float, *corners: float) -> int:
    """Return how many steps there are along the corners."""
    return sum(math.floor(abs(b - a) / step + 1e-6) for a, b in itertools.pairwise(corners))


def _line(start: str, *numbers: float) -> str:
    return " ".join((start, *(literal(number) for number in numbers)))
