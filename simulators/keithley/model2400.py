"""The Keithley 2400 source-measure unit on RS-232, byte for byte.

Source: Series 2400 user's manual, 2400S-900-01 Rev. K, sections 14 to 18 and appendix B (through a
third party's digest of it, and PyMeasure 0.16). Guesses, since neither says: what an error leaves
of the answers of its message is sent; how long a message takes. Left out: source memory, limit
tests, math, handler port, binary formats, pulses.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from sdl.simulators.keithley import scpi
from sdl.simulators.keithley.scpi import ScpiError
from sdl.simulators.keithley.source import (
    MOST,
    NAMES,
    NOT_MEASURED,
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

ENDS = {"CR": b"\r", "LF": b"\n", "CRLF": b"\r\n"}
ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT")
MOST_POINTS = 2500
BUFFER_FULL, READING_AVAILABLE, COMPLIANCE = 1 << 9, 1 << 6, 1 << 14
Reading = dict[str, float]


class Simulated2400(SourceMeter):
    """A Model 2400 on RS-232. It understands CR and LF, and ends its answers with `terminator`."""

    identity: ClassVar[str] = (
        "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1286021,C33   Mar 31 2015 09:32:39/A02  /S/K"
    )

    def __init__(
        self,
        part: Load,
        *,
        rng: np.random.Generator,
        terminator: Literal["CR", "LF", "CRLF"] = "CR",
        noise: bool = True,
    ) -> None:
        """Power it up, with the settings of *RST."""
        self._fetched: list[Reading] = []
        self._trace: list[Reading] = []
        self._measured = 0  # its event register
        self._waits = False  # for a trigger over the bus
        self._began = 0.0  # how much time its clock has counted
        super().__init__(part, rng=rng, noise=noise, end=ENDS[terminator], ends=b"\r\n")

    def next_error(self) -> str:
        error = self.status.next_error()
        return f'{error.code:+d},"{error.text}"' if error.code else '0,"No error"'

    def _all_errors(self) -> str:
        found = [self.next_error()]
        while self.status.errors:
            found.append(self.next_error())
        return ",".join(found)

    def add_commands(self) -> None:
        tree = self.tree
        tree.add("SYSTem:ERRor[:NEXT]", None, lambda _: self.next_error())
        tree.add("STATus:QUEue[:NEXT]", None, lambda _: self.next_error())
        tree.add("SYSTem:ERRor:ALL", None, lambda _: self._all_errors())
        tree.add("SYSTem:ERRor:COUNt", None, lambda _: str(len(self.status.errors)))
        tree.add("SYSTem:ERRor:CODE[:NEXT]", None, lambda _: self.next_error().partition(",")[0])
        tree.add("*OPT", None, lambda _: "0")
        tree.add("SYSTem:KEY", lambda _: None)
        tree.add("SYSTem:VERSion", None, lambda _: "1996.0")
        tree.add("SYSTem:PRESet", lambda _: self.reset())
        tree.add("SYSTem:TIME:RESet", lambda _: None)
        self._add_sense()
        self._add_status()
        self._add_trigger()
        self._add_trace()

    def _add_sense(self) -> None:
        tree = self.tree
        self._defaults |= {"functions": ["CURR"], "four-wire": False, "elements": list(ELEMENTS)}
        tree.add("[SENSe[1]:]FUNCtion[:ON]", self._put_functions, lambda _: self._functions())
        tree.add("[SENSe[1]:]FUNCtion:OFF", self._drop_functions)
        tree.add("[SENSe[1]:]FUNCtion:ON:ALL", lambda _: self._all_functions())
        tree.add("[SENSe[1]:]FUNCtion:OFF:ALL", lambda _: self.memory["functions"].clear())
        tree.add("SYSTem:RSENse", self._put_four_wire, lambda _: shown(self.memory["four-wire"]))
        tree.add("FORMat:ELEMents[:SENSe[1]]", self._put_elements, lambda _: self._elements())
        for quantity, name in NAMES.items():
            self._add_protection(quantity, f"[SENSe[1]:]{name}[:DC]:PROTection")
        on, keep = scpi.switch, self.keep
        keep("FORMat[:DATA]", "ASC", one_of("ASCii", "REAL", "SREal"))
        keep("FORMat:SREGister", "ASC", one_of("ASCii", "HEXadecimal", "OCTal", "BINary"))
        keep("[SENSe[1]:]FUNCtion:CONCurrent", True, on, shown)
        keep("[SENSe[1]:]RESistance:MODE", "MAN", one_of("MANual", "AUTO"))
        keep("[SENSe[1]:]RESistance:OCOMpensated", False, on, shown)
        keep("[SENSe[1]:]RESistance:RANGe[:UPPer]", 2.1e5, between(0, 2.1e8), self.shown)
        keep("[SENSe[1]:]RESistance:RANGe:AUTO", True, on, shown)
        tree.add("[SENSe[1]:]RESistance:NPLCycles", self._put_nplc, lambda _: self._nplc())
        keep("[SENSe[1]:]AVERage[:STATe]", False, on, shown)
        keep("[SENSe[1]:]AVERage:COUNt", 10, whole(1, 100))
        keep("[SENSe[1]:]AVERage:TCONtrol", "REP", one_of("REPeat", "MOVing"))
        keep("SYSTem:GUARd", "CABL", one_of("OHMS", "CABLe"))
        keep("OUTPut[1]:SMODe", "NORM", one_of("HIMPedance", "NORMal", "ZERO", "GUARd"))
        keep("OUTPut[1]:ENABle[:STATe]", False, on, shown)
        tree.add("OUTPut[1]:ENABle:TRIPped", None, lambda _: shown("stuck" not in self.troubles))
        keep("SOURce[1]:DELay", 0.0, between(0, 999.9999), self.shown)
        keep("SOURce[1]:DELay:AUTO", True, on, shown)
        keep("SOURce[1]:VOLTage:PROTection[:LEVel]", 210.0, between(-210, 210), self.shown)

    def _add_protection(self, measured: Quantity, header: str) -> None:
        low, high = (2e-4, 210.0) if measured == "VOLT" else (1e-9, 1.05)

        def put(parameters: Sequence[str]) -> None:
            limit = abs(scpi.number(parameters, -high, high, low))
            self.put_limit(measured, max(limit, low))

        self.tree.add(
            f"{header}[:LEVel]", put, lambda _: self.shown(self.memory[f"limit {measured}"])
        )
        self.tree.add(
            f"{header}:TRIPped",
            None,
            lambda _: shown(self.limiting and self.source == OTHER[measured]),
        )

    def _add_status(self) -> None:
        self.status.summary = self._summary
        self._enabled = {"MEASurement": 0, "OPERation": 0, "QUEStionable": 0}
        for name in self._enabled:
            self.tree.add(
                f"STATus:{name}:ENABle",
                lambda p, name=name: (
                    self._enabled.update({name: round(float(p[0]))})
                    if p and p[0].isdigit()
                    else None
                ),
                lambda _, name=name: str(self._enabled[name]),
            )
            self.tree.add(f"STATus:{name}[:EVENt]", None, lambda _, name=name: self._events(name))
            self.tree.add(
                f"STATus:{name}:CONDition", None, lambda _, name=name: self._condition(name)
            )

    def _enable(self, name: str, parameters: Sequence[str]) -> None:
        self._enabled[name] = round(scpi.number(parameters, 0, 65535, 0))

    def _summary(self) -> int:
        return int(bool(self._measured & self._enabled["MEASurement"]))

    def _events(self, name: str) -> str:
        if name != "MEASurement":
            return self._condition(name)
        events, self._measured = self._measured, 0
        return str(events)

    def _condition(self, name: str) -> str:
        if name == "OPERation":
            return str(1 << 10)  # idle
        return str(COMPLIANCE if name == "MEASurement" and self.limiting else 0)

    def _add_trigger(self) -> None:
        tree, keep = self.tree, self.keep
        keep("ARM[:SEQuence[1]][:LAYer[1]]:COUNt", 1, self._count)
        keep("TRIGger[:SEQuence[1]]:COUNt", 1, self._count)
        keep("ARM[:SEQuence[1]][:LAYer[1]]:SOURce", "IMM", one_of(*_ARM_SOURCES))
        keep("TRIGger[:SEQuence[1]]:SOURce", "IMM", one_of("IMMediate", "TLINk"))
        keep("ARM[:SEQuence[1]][:LAYer[1]]:TIMer", 0.1, between(0.001, 99999.99), self.shown)
        keep("TRIGger[:SEQuence[1]]:DELay", 0.0, between(0, 999.9999), self.shown)
        keep("ARM:OUTPut", "NONE", one_of("TENTer", "TEXit", "NONE"))
        keep("TRIGger:OUTPut", "NONE", one_of("SOURce", "DELay", "SENSe", "NONE"))
        for layer in ("ARM", "TRIGger"):
            keep(f"{layer}:ILINe", 1, whole(1, 4))
            keep(f"{layer}:OLINe", 2, whole(1, 4))
        tree.add("TRIGger:CLEar", lambda _: None)
        tree.add("ABORt", lambda _: self._abort())
        tree.add("INITiate[:IMMediate]", lambda _: self._initiate())
        tree.add("*TRG", lambda _: self._trigger())
        tree.add("READ", None, lambda _: self._initiate() or self._fetch())
        tree.add("FETCh", None, lambda _: self._fetch())
        tree.add("[SENSe[1]:]DATA[:LATest]", None, lambda _: self._fetch(last=True))
        for name in (*NAMES.values(), "RESistance"):
            tree.add(f"CONFigure:{name}[:DC]", lambda _, name=name: self._configure(name))
            tree.add(f"MEASure:{name}[:DC]", None, lambda _, name=name: self._measure_now(name))
        tree.add("MEASure", None, lambda _: self._measure_now(None))
        for quantity, name in NAMES.items():
            most = MOST[quantity]
            keep(f"SOURce[1]:{name}:MODE", "FIX", one_of("FIXed", "SWEep", "LIST"))
            for end in ("STARt", "STOP", "STEP"):
                keep(f"SOURce[1]:{name}:{end}", 0.0, between(-most, most), self.shown)
            self._add_list(quantity, name)
        keep("SOURce[1]:SWEep:POINts", MOST_POINTS, whole(1, MOST_POINTS))
        keep("SOURce[1]:SWEep:SPACing", "LIN", one_of("LINear", "LOGarithmic"))
        keep("SOURce[1]:SWEep:RANGing", "BEST", one_of("BEST", "AUTO", "FIXed"))
        keep("SOURce[1]:SWEep:DIRection", "UP", one_of("UP", "DOWn"))

    def _add_list(self, quantity: Quantity, name: str) -> None:
        key, most = f"list {quantity}", MOST[quantity]
        self._defaults[key] = []

        def put(parameters: Sequence[str]) -> None:
            self.memory[key] = [scpi.number([each], -most, most, 0.0) for each in parameters]

        self.tree.add(
            f"SOURce[1]:LIST:{name}",
            put,
            lambda _: ",".join(self.shown(each) for each in self.memory[key]),
        )
        self.tree.add(f"SOURce[1]:LIST:{name}:POINts", None, lambda _: str(len(self.memory[key])))

    def _add_trace(self) -> None:
        tree, keep = self.tree, self.keep
        keep("TRACe:POINts", 100, whole(1, MOST_POINTS))
        keep("TRACe:FEED", "SENS", one_of("SENSe[1]", "CALCulate[1]", "CALCulate2"))
        keep("TRACe:FEED:CONTrol", "NEV", one_of("NEXT", "NEVer"))
        keep("TRACe:TSTamp:FORMat", "ABS", one_of("ABSolute", "DELTa"))
        tree.add("TRACe:CLEar", lambda _: self._trace.clear())
        tree.add("TRACe:POINts:ACTual", None, lambda _: str(len(self._trace)))
        tree.add("TRACe:DATA", None, lambda _: self._data(self._trace))
        keep("CALCulate3:FORMat", "MEAN", one_of(*_STATISTICS))
        tree.add("CALCulate3:DATA", None, lambda _: self._statistics())

    # What is sensed

    def _put_functions(self, parameters: Sequence[str]) -> None:
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        wanted = [function(each) for each in parameters]
        concurrent = self.memory["[SENSe[1]:]FUNCtion:CONCurrent"]
        kept = self.memory["functions"] if concurrent else []
        both = [*kept, *(each for each in wanted if each not in kept)]
        self.memory["functions"] = both if concurrent else both[:1]

    def _drop_functions(self, parameters: Sequence[str]) -> None:
        for each in parameters:
            if (name := function(each)) in self.memory["functions"]:
                self.memory["functions"].remove(name)

    def _all_functions(self) -> None:
        self.memory["functions"] = ["VOLT", "CURR", "RES"]

    def _functions(self) -> str:
        names = {"VOLT": '"VOLT:DC"', "CURR": '"CURR:DC"', "RES": '"RES"'}
        return ",".join(names[each] for each in self.memory["functions"]) or '""'

    def _put_four_wire(self, parameters: Sequence[str]) -> None:
        wanted = scpi.switch(parameters)
        if wanted is not self.memory["four-wire"]:
            self.memory["output"] = False
        self.memory["four-wire"] = wanted

    def _put_elements(self, parameters: Sequence[str]) -> None:
        allowed = ("VOLTage", "CURRent", "RESistance", "TIME", "STATus")
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        wanted = {scpi.word([each], *allowed) for each in parameters}
        self.memory["elements"] = [each for each in ELEMENTS if each in wanted]

    def _elements(self) -> str:
        return ",".join(self.memory["elements"])

    def _nplc(self) -> str:
        return f"{self.memory['nplc CURR']:.2f}"

    def _count(self, parameters: Sequence[str]) -> int:
        if [each.upper()[:3] for each in parameters] == ["INF"]:
            return MOST_POINTS
        return whole(1, MOST_POINTS)(parameters)

    # Readings

    def _abort(self) -> None:
        self._waits = False

    def _initiate(self) -> None:
        if not self.output and not self.memory["SOURce[1]:CLEar:AUTO"]:
            raise ScpiError(803, "Not permitted with OUTPUT off")
        if self.memory["ARM[:SEQuence[1]][:LAYer[1]]:SOURce"] == "BUS":
            self._waits = True
            return
        self._cycle()

    def _trigger(self) -> None:
        if not self._waits:
            raise ScpiError(-211, "Trigger ignored")
        self._waits = False
        self._cycle()

    def _cycle(self) -> None:
        """Source, delay, measure, as often as the counters say."""
        memory, source = self.memory, self.source
        counts = memory["ARM[:SEQuence[1]][:LAYer[1]]:COUNt"], memory["TRIGger[:SEQuence[1]]:COUNt"]
        if math.prod(counts) > MOST_POINTS:
            raise ScpiError(-221, "Settings conflict")
        automatic, before = memory["SOURce[1]:CLEar:AUTO"], memory[f"level {source}"]
        memory["output"] = True
        points, readings = self._points(), []
        for n in range(math.prod(counts)):
            memory[f"level {source}"] = points[n % len(points)]
            self.apply()
            readings.append(self._read_once())
        memory[f"level {source}"] = before
        memory["output"] = not automatic
        self._fetched = readings
        self._store(readings)

    def _points(self) -> list[float]:
        memory, source = self.memory, self.source
        mode = memory[f"SOURce[1]:{NAMES[source]}:MODE"]
        if mode == "LIST" and memory[f"list {source}"]:
            return memory[f"list {source}"]
        if mode != "SWE":
            return [memory[f"level {source}"]]
        start, stop, step = (
            memory[f"SOURce[1]:{NAMES[source]}:{end}"] for end in ("STARt", "STOP", "STEP")
        )
        count = memory["SOURce[1]:SWEep:POINts"]
        if step:
            count = min(round(abs((stop - start) / step)) + 1, MOST_POINTS)
        if memory["SOURce[1]:SWEep:SPACing"] == "LOG" and start * stop > 0:
            points = start * np.geomspace(1.0, stop / start, count)
        else:
            points = np.linspace(start, stop, count)
        upwards = memory["SOURce[1]:SWEep:DIRection"] == "UP"
        return [float(each) for each in (points if upwards else points[::-1])]

    def _read_once(self) -> Reading:
        memory = self.memory
        self._takes += memory["SOURce[1]:DELay"] + memory["TRIGger[:SEQuence[1]]:DELay"]
        found, sensed = self.measure(), memory["functions"]
        self._began += 0.1
        volts = found["VOLT"] if "VOLT" in sensed or self.source == "VOLT" else NOT_MEASURED
        amps = found["CURR"] if "CURR" in sensed or self.source == "CURR" else NOT_MEASURED
        resistance = NOT_MEASURED
        if "RES" in sensed:
            beyond = abs(found["VOLT"]) >= OVERFLOW or abs(found["CURR"]) >= OVERFLOW
            resistance = OVERFLOW if beyond or not found["CURR"] else found["VOLT"] / found["CURR"]
        word = self._word(OVERFLOW in (abs(volts), abs(amps)))
        values = (volts, amps, resistance, self._began, float(word))
        return dict(zip(ELEMENTS, values, strict=True))

    def _word(self, overflow: bool) -> int:
        """Return the status word of a reading: manual p. 18-50."""
        memory, sensed = self.memory, self.memory["functions"]
        bits = {
            0: overflow,
            1: memory["[SENSe[1]:]AVERage[:STATe]"],
            2: memory["terminals"] == "FRON",
            3: self.limiting,
            11: "VOLT" in sensed,
            12: "CURR" in sensed,
            13: "RES" in sensed,
            14: self.source == "VOLT",
            15: self.source == "CURR",
            22: memory["four-wire"],
        }
        return sum(1 << bit for bit, is_set in bits.items() if is_set)

    def _fetch(self, *, last: bool = False) -> str:
        if not self._fetched:
            raise ScpiError(-230, "Data corrupt or stale")
        return self._data(self._fetched[-1:] if last else self._fetched)

    def _data(self, readings: list[Reading]) -> str:
        values = (each[name] for each in readings for name in self.memory["elements"])
        return ",".join(self.shown(value) for value in values)

    def _store(self, readings: list[Reading]) -> None:
        self._measured |= READING_AVAILABLE | (COMPLIANCE if self.limiting else 0)
        if self.memory["TRACe:FEED:CONTrol"] != "NEXT":
            return
        most = self.memory["TRACe:POINts"]
        self._trace += readings[: most - len(self._trace)]
        if len(self._trace) >= most:
            self._measured |= BUFFER_FULL
            self.memory["TRACe:FEED:CONTrol"] = "NEV"

    def _statistics(self) -> str:
        if not self._trace:
            raise ScpiError(-230, "Data corrupt or stale")
        work = {"MEAN": np.mean, "SDEV": np.std, "MAX": np.max, "MIN": np.min, "PKPK": np.ptp}
        reduce = work[self.memory["CALCulate3:FORMat"]]
        columns = ([each[name] for each in self._trace] for name in ELEMENTS[:3])
        return ",".join(self.shown(float(reduce(column))) for column in columns)

    def _configure(self, name: str | None) -> None:
        if name is not None:
            wanted = "".join(c for c in name if c.isupper())
            concurrent = self.memory["[SENSe[1]:]FUNCtion:CONCurrent"]
            kept = self.memory["functions"] if concurrent else []
            self.memory["functions"] = [*kept, *([] if wanted in kept else [wanted])]
        for key in _COUNTS:
            self.memory[key] = 1
        self.memory["ARM[:SEQuence[1]][:LAYer[1]]:SOURce"] = "IMM"
        self._put_output(["ON"])
        self.apply()

    def _measure_now(self, name: str | None) -> str:
        self._configure(name)
        self._initiate()
        return self._fetch()


_ARM_SOURCES = ("IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest")
_STATISTICS = ("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK")
_COUNTS = ("ARM[:SEQuence[1]][:LAYer[1]]:COUNt", "TRIGger[:SEQuence[1]]:COUNt")
