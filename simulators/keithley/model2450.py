"""The Keithley 2450 source-measure unit on TCP port 5025, byte for byte.

Source: Model 2450 reference manual, 2450-901-01, section 6 (through pages of it and those of the
Model 2461's, 2461-901-01 Rev. A, whose commands are the same). Guesses, since they do not say: what
an error leaves of the answers of its message is sent; how long a message takes; settings are
answered with seven digits; an output that the interlock blocks tells 5074. Left out: limit tests,
math, digital lines, binary formats, configuration lists, trigger models but a linear sweep.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sdl.simulators.keithley import scpi
from sdl.simulators.keithley.scpi import ScpiError
from sdl.simulators.keithley.source import (
    HIGH_VOLTAGE,
    MOST,
    NAMES,
    OTHER,
    OVERFLOW,
    Load,
    Quantity,
    SourceMeter,
    between,
    function,
    one_of,
    shown,
    whole,
)

Reading = dict[str, float]


class Simulated2450(SourceMeter):
    """A Model 2450 on TCP port 5025, with its SCPI command set."""

    identity: ClassVar[str] = "KEITHLEY INSTRUMENTS,MODEL 2450,04451321,1.7.12b"
    blocked: ClassVar[ScpiError] = ScpiError(5074, "Output blocked by interlock")

    def __init__(
        self,
        part: Load,
        *,
        rng: np.random.Generator,
        interlock: bool = True,
        noise: bool = True,
    ) -> None:
        """Power it up, with the settings of *RST.

        :param interlock: whether its interlock is closed; else there are no more than 42 V.
        """
        self._interlock = interlock
        self._buffers: dict[str, list[Reading]] = {"defbuffer1": [], "defbuffer2": []}
        self._sweep: list[float] = []
        self._began = 0.0
        super().__init__(part, rng=rng, noise=noise, end=b"\n", ends=b"\n")

    def next_error(self) -> str:
        error = self.status.next_error()
        if not error.code:
            return '0,"No error;0;0 0"'
        return f'{error.code},"{error.text};1;2026/01/01 12:00:00.000"'

    def reset(self) -> None:
        for readings in self._buffers.values():
            readings.clear()
        super().reset()

    def add_commands(self) -> None:
        tree, keep, on = self.tree, self.keep, scpi.switch
        tree.add("SYSTem:ERRor[:NEXT]", None, lambda _: self.next_error())
        tree.add("SYSTem:ERRor:CODE[:NEXT]", None, lambda _: str(self.status.next_error().code))
        tree.add("SYSTem:ERRor:COUNt", None, lambda _: str(len(self.status.errors)))
        tree.add("SYSTem:EVENtlog:NEXT", None, lambda _: self.next_error())
        tree.add("SYSTem:VERSion", None, lambda _: "1996.0")
        tree.add("STATus:CLEar", lambda _: None)
        tree.add("*LANG", lambda _: None, lambda _: "SCPI")
        tree.add("OUTPut[1]:INTerlock:TRIPped", None, lambda _: shown(self._interlock))
        self._defaults |= {"function": "CURR", "four-wire": {"VOLT": False, "CURR": False}}
        tree.add("[SENSe[1]:]FUNCtion[:ON]", self._put_function, lambda _: self._function())
        keep("[SENSe[1]:]COUNt", 1, whole(1, 300000))
        keep("FORMat[:DATA]", "ASC", one_of("ASCii", "REAL", "SREal"))
        keep("FORMat:ASCii:PRECision", 0, whole(0, 16, 0))
        for quantity, name in NAMES.items():
            self._add_limit(quantity, name)
            self._add_sense(quantity, name)
            keep(f"SOURce[1]:{name}:READ:BACK", True, on, shown)
            keep(f"SOURce[1]:{name}:DELay", 0.0, between(0, 10000), self.shown)
            keep(f"SOURce[1]:{name}:DELay:AUTO", True, on, shown)
            keep(f"OUTPut[1]:{name}:SMODe", "NORM", one_of(*_OFF_STATES))
            tree.add(f"SOURce[1]:SWEep:{name}:LINear", lambda p, q=quantity: self._plan_sweep(q, p))
        keep("[SENSe[1]:]RESistance:RANGe[:UPPer]", 2.1e5, between(0, 2.1e8), self.shown)
        keep("[SENSe[1]:]RESistance:RANGe:AUTO", True, on, shown)
        keep("[SENSe[1]:]RESistance:RSENse", False, on, shown)
        tree.add("[SENSe[1]:]RESistance:NPLCycles", self._put_nplc, lambda _: "1.00")
        tree.add("READ", None, lambda p: self._read(p, measure=True))
        tree.add("FETCh", None, lambda p: self._read(p, measure=False))
        for name in (*NAMES.values(), "RESistance"):
            tree.add(f"MEASure:{name}[:DC]", None, lambda p, n=name: self._measure_now(n, p))
        tree.add("MEASure", None, lambda p: self._read(p, measure=True))
        tree.add("INITiate[:IMMediate]", lambda _: self._run_sweep())
        tree.add("ABORt", lambda _: None)
        tree.add("TRIGger:STATe", None, lambda _: "IDLE;IDLE;1")
        tree.add("TRACe:CLEar", self._clear)
        tree.add("TRACe:MAKE", self._make)
        tree.add("TRACe:POINts", lambda _: None, lambda _: "100000")
        tree.add("TRACe:ACTual", None, lambda p: str(len(self._buffer(p))))
        tree.add("TRACe:DATA", None, self._data)

    def _add_limit(self, source: Quantity, name: str) -> None:
        measured = OTHER[source]
        word = "ILIMit" if source == "VOLT" else "VLIMit"
        low, high = (1e-9, 1.05) if source == "VOLT" else (0.02, 210.0)
        header = f"SOURce[1]:{name}:{word}[:LEVel]"
        self.tree.add(
            header,
            lambda p: self.put_limit(measured, scpi.number(p, low, high, low)),
            lambda _: self.shown(self.memory[f"limit {measured}"]),
        )
        self.tree.add(
            f"{header}:TRIPped", None, lambda _: shown(self.limiting and self.source == source)
        )

    def _add_sense(self, quantity: Quantity, name: str) -> None:
        def put(parameters: Sequence[str]) -> None:
            self.memory["four-wire"] = {
                **self.memory["four-wire"],
                quantity: scpi.switch(parameters),
            }

        sense = f"[SENSe[1]:]{name}[:DC]"
        self.tree.add(f"{sense}:RSENse", put, lambda _: shown(self.memory["four-wire"][quantity]))
        self.keep(f"{sense}:AVERage[:STATe]", False, scpi.switch, shown)
        self.keep(f"{sense}:AVERage:COUNt", 10, whole(1, 100))
        self.keep(f"{sense}:AVERage:TCONtrol", "REP", one_of("REPeat", "MOVing"))

    def _put_function(self, parameters: Sequence[str]) -> None:
        self.memory["function"] = function(scpi.single(parameters))

    def _function(self) -> str:
        name = self.memory["function"]
        return f'"{name}"' if name == "RES" else f'"{name}:DC"'

    def apply(self) -> None:
        if self.output and not self._interlock:
            volts = abs(self.memory["level VOLT"] if self.source == "VOLT" else 0.0)
            if volts > 2 * HIGH_VOLTAGE:
                self.memory["output"] = False
                self.status.refuse(self.blocked)
        super().apply()

    # Readings

    def _read(self, parameters: Sequence[str], *, measure: bool) -> str:
        buffer, elements = self._buffer(parameters), _elements(parameters[1:])
        if measure:
            count = self.memory["[SENSe[1]:]COUNt"]
            for _ in range(min(count, MOST_AT_ONCE)):
                buffer.append(self._read_once())
            self._takes *= max(count / MOST_AT_ONCE, 1.0)
            del buffer[:-MOST_KEPT]
        if not buffer:
            raise ScpiError(-230, "Data corrupt or stale")
        return self._shown(buffer[-1:], elements)

    def _read_once(self) -> Reading:
        found, measured = self.measure(), self.memory["function"]
        self._takes += self.memory[f"SOURce[1]:{NAMES[self.source]}:DELay"]
        self._began += 0.1
        if measured == "RES":
            amps = found["CURR"]
            value = found["VOLT"] / amps if amps and abs(amps) < OVERFLOW else OVERFLOW
        else:
            value = found[measured]
        level = self.memory[f"level {self.source}"]
        back = self.memory[f"SOURce[1]:{NAMES[self.source]}:READ:BACK"]
        sourced = found[self.source] if back else level
        return {"READ": value, "SOUR": sourced, "REL": self._began, "STAT": 0.0}

    def _measure_now(self, name: str, parameters: Sequence[str]) -> str:
        self.memory["function"] = "".join(c for c in name if c.isupper())
        return self._read(parameters, measure=True)

    def _buffer(self, parameters: Sequence[str]) -> list[Reading]:
        name = scpi.quoted(parameters[0]) if parameters else "defbuffer1"
        if name not in self._buffers:
            raise ScpiError(-224, "Illegal parameter value")
        return self._buffers[name]

    def _make(self, parameters: Sequence[str]) -> None:
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        if len(self._buffers) < MOST_BUFFERS:
            self._buffers.setdefault(scpi.quoted(parameters[0]), [])

    def _clear(self, parameters: Sequence[str]) -> None:
        self._buffer(parameters).clear()

    def _data(self, parameters: Sequence[str]) -> str:
        if len(parameters) < 2:
            raise ScpiError(-109, "Missing parameter")
        buffer, elements = self._buffer(parameters[2:3]), _elements(parameters[3:])
        first, last = (round(scpi.number([each], 1, 100000, 1)) for each in parameters[:2])
        if last > len(buffer):
            raise scpi.OUT_OF_RANGE
        return self._shown(buffer[first - 1 : last], elements)

    def _shown(self, readings: list[Reading], elements: list[str]) -> str:
        return ",".join(self.shown(each[name]) for each in readings for name in elements)

    def _plan_sweep(self, quantity: Quantity, parameters: Sequence[str]) -> None:
        if len(parameters) < 3:
            raise ScpiError(-109, "Missing parameter")
        most = MOST[quantity]
        start, stop = (scpi.number([each], -most, most, 0.0) for each in parameters[:2])
        count = round(scpi.number([parameters[2]], 2, 10000, 2))
        self._sweep = [float(each) for each in np.linspace(start, stop, count)]
        self.memory["source"] = quantity

    def _run_sweep(self) -> None:
        """Run the sweep that was planned; its output is off afterwards."""
        if not self._sweep:
            raise ScpiError(-221, "Settings conflict")
        before = self.memory[f"level {self.source}"]
        self._put_output(["ON"])
        self._buffers["defbuffer1"].clear()
        for level in self._sweep:
            self.memory[f"level {self.source}"] = level
            self.apply()
            self._buffers["defbuffer1"].append(self._read_once())
        self.memory[f"level {self.source}"] = before
        self.memory["output"] = False


MOST_BUFFERS = 100
MOST_AT_ONCE, MOST_KEPT = 2500, 100_000  # readings that are worked out, and kept
_OFF_STATES = ("NORMal", "HIMPedance", "ZERO", "GUARd")


def _elements(parameters: Sequence[str]) -> list[str]:
    allowed = ("READing", "SOURce", "RELative", "STATus")
    return [scpi.word([each], *allowed) for each in parameters] or ["READ"]
