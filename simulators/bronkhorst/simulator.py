"""A Bronkhorst EL-FLOW mass-flow controller that answers as its manuals say.

Written from the manuals of the RS232 interface (9.17.027) and of EL-FLOW instruments (9.17.061,
9.17.099), with the parameters of the maker's list. It hears binary and ASCII messages, and answers
each in its own way. Alarms at limits, ramps and the analog input are not simulated: that is 0 V.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from sdl.simulators.bronkhorst.messages import (
    CLAIMED,
    SEND_WRITE,
    VALUE,
    Cell,
    Content,
    Refused,
    Table,
    cell,
    find_end,
    speak,
    status,
    understand,
)
from sdl.simulators.parts.gas_line import GasPart, Valve
from sdl.simulators.simulated import LineSimulator

THINKING = (0.001, 0.003)  # s from a message to its answer
BOOTING = 1.0  # s without ears after the power came back
LOCAL = 0x80  # the node that stands for the instrument at the line's end
WHOLE, HIGHEST = 32000, 41942  # 100 % and 131.07 % as integers
FULLY_OPEN = 2**24 - 1
KELVIN = 273.15
UNITS = {"mln/min": (1.0, 0.0), "ln/min": (1e3, 0.0), "mls/min": (1.0, 20.0), "ls/min": (1e3, 20.0)}
UNLOCKED, LOCKED = 64, 82
BUS, ANALOG, CLOSED, IDLE, FULL, OPEN, ZERO, RS232, SAFE = 0, 1, 3, 4, 7, 8, 12, 18, 22
LAST_MODE = 24
HARDWARE_ALARM = 0x80
REPEATABILITY = 0.0005  # of full scale


class SimulatedBronkhorst(LineSimulator):
    """One instrument on a line that it may share with others."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "drift", "noise", "saturation", "power cycle", "local mode"}
    )
    longest: ClassVar[int] = 600

    def __init__(
        self,
        part: GasPart,
        *,
        rng: np.random.Generator,
        node: int = LOCAL,
        full_scale: float = 500.0,
        unit: str = "mln/min",
        model: str = "F-201CV-500-RAD-33-V",
        serial: str = "M6212345A",
        firmware: str = "V1.12",
        user_tag: str = "USERTAG",
        noise: bool = True,
    ) -> None:
        """Describe an instrument.

        :param node: its number on the bus; 128 is read as 3, as delivered.
        :param full_scale: in mL/min at the standard of `unit`.
        """
        super().__init__(rng=rng)
        self._part, self._node = part, 3 if node == LOCAL else node
        size, celsius = UNITS[unit]
        self._per_unit = size * KELVIN / (KELVIN + celsius)  # mL/min at 0 degC
        self._capacity, self._unit = full_scale / size, unit
        self._model, self._serial, self._firmware = model, serial, firmware
        self._user_tag, self._noise = user_tag, noise
        self._mode, self._aimed, self._slope, self._fluid = BUS, 0.0, 0, 0
        self._counted_from, self._init, self._calibration = (
            part.volume,
            LOCKED,
            [0.0, 1.0, 0.0, 0.0],
        )
        self.hardware_fault = False
        """A fault to inject: the alarm for it."""
        self._table = Table(self._cells())

    def _cells(self) -> dict[tuple[int, int], Cell | tuple[Cell, ...]]:
        keep: Callable[[Content], None] = lambda _: None  # noqa: E731
        measure = cell("integer", lambda: self._whole(self._flow()))
        counter = cell("float", self._counted)
        table: dict[tuple[int, int], Cell | tuple[Cell, ...]] = {
            (0, 0): cell("string", lambda: f"SN{self._serial}", keep),
            (0, 1): cell("char", lambda: self._node),
            (0, 2): cell("char", lambda: self._node),
            (0, 3): cell("char", lambda: 0),
            (0, 4): cell("char", lambda: self._node),
            (0, 10): cell("char", lambda: self._init, self._unlock),
            (0, 18): cell("char", lambda: 1),
            (1, 0): (measure, counter),
            (1, 1): cell("integer", lambda: self._whole(self._setpoint()), self._aim_whole),
            (1, 2): cell("integer", lambda: self._slope, self._set_slope),
            (1, 3): cell("integer", lambda: 0),
            (1, 4): cell("char", lambda: self._mode, self._set_mode),
            (1, 13): cell("float", lambda: self._capacity, keep, secured=True),
            (1, 14): cell("char", lambda: 3, keep, secured=True),
            (1, 15): cell("char", lambda: 0, keep, secured=True),
            (1, 16): cell("char", lambda: self._fluid, self._set_fluid),
            (1, 17): cell("string", lambda: self._part.gas),
            (1, 20): cell("char", lambda: HARDWARE_ALARM if self.hardware_fault else 0),
            (1, 31): cell("string", lambda: self._unit, keep, secured=True),
            (33, 0): cell("float", self._flow),
            (33, 3): cell("float", self._setpoint, self._aim),
            (33, 7): cell("float", lambda: self._part.temperature),
            (33, 22): cell("float", lambda: 0.0),
            (104, 1): cell("float", self._counted, self._count_from),
            (104, 2): cell("char", lambda: 0),
            (104, 7): cell("string", lambda: self._unit.partition("/")[0]),
            (113, 1): cell("string", lambda: "DMFC"),
            (113, 2): cell("string", lambda: self._model),
            (113, 3): cell("string", lambda: self._serial),
            (113, 4): cell("string", lambda: ""),
            (113, 5): cell("string", lambda: self._firmware),
            (113, 6): cell("string", lambda: self._user_tag, self._tag),
            (113, 12): cell("char", lambda: 7),
            (114, 1): cell("long", self._opening),
            (114, 11): cell("char", lambda: 0, keep, secured=True),
        }
        for index in range(4):  # the polynomial of its calibration
            get, put = self._constant(index)
            table[1, 5 + index] = cell("float", get, put, secured=True)
        return table

    # Life

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "stuck":
            self._part.stuck = True
        if fault == "local mode":
            self._set_mode(ANALOG)
        if fault == "power cycle":
            self.power_cycle()

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "stuck":
            self._part.stuck = False
        if fault == "local mode":
            self._set_mode(BUS)

    def power_cycle(self) -> None:
        """Cut the power for a moment: the setpoint is gone, the mode is the default one again."""
        self.forget()
        self._init, self._aimed, self._deaf_until = LOCKED, 0.0, _now() + BOOTING
        self._table.unlocked = False
        self._set_mode(ANALOG if "local mode" in self.troubles else BUS)
        self._part.setpoint = 0.0

    _deaf_until = 0.0

    def whole(self, heard: bytes) -> int | None:
        return find_end(heard) if heard else None

    async def respond(self, request: bytes) -> None:
        message = understand(request)
        if message is None or message.node not in (self._node, LOCAL) or _now() < self._deaf_until:
            return
        await asyncio.sleep(self.rng.uniform(*THINKING))
        if "busy" in self.troubles and message.data[0] == SEND_WRITE:
            data = status(CLAIMED, 1)
        else:
            data = self._table.answer(message.data)
        if data:
            await self.say(speak(message, self._node, data))

    # What it measures

    def _flow(self) -> float:
        """Return the flow in the unit of its capacity."""
        full = self._capacity
        flow = self._part.flow / self._per_unit
        flow = self.disturbed(flow, low=-0.737 * full, high=HIGHEST / WHOLE * full)
        if self._noise and flow > 0.001 * full:
            flow += REPEATABILITY * full * float(self.rng.standard_normal())
        return flow

    def _setpoint(self) -> float:
        return self._part.setpoint / self._per_unit

    def _whole(self, value: float) -> int:
        """Return it as an integer of which 32000 is 100 %; negative ones wrap."""
        return round(min(value / self._capacity * WHOLE, HIGHEST)) % 65536

    def _counted(self) -> float:
        litres = 1e3 if self._unit.startswith("l") else 1.0
        per_unit = self._per_unit / litres  # mL at 0 degC for each mL at its standard
        return (self._part.volume - self._counted_from) / per_unit / litres

    def _count_from(self, value: Content) -> None:
        if float(value) != 0:
            raise Refused(VALUE)
        self._counted_from = self._part.volume

    def _opening(self) -> int:
        openings = {"closed": 0.0, "open": 1.0}
        share = self._part.flow / self._part.supply if self._part.supply else 1.0
        return round(FULLY_OPEN * min(max(openings.get(self._part.valve, share), 0.0), 1.0))

    # What can be set

    def _aim_whole(self, value: Content) -> None:
        if int(value) > WHOLE:
            raise Refused(VALUE)
        self._aim(int(value) / WHOLE * self._capacity)

    def _aim(self, value: Content) -> None:
        if not 0 <= float(value) <= self._capacity * 1.0001:
            raise Refused(VALUE)
        self._aimed = float(value) * self._per_unit
        if self._mode in (BUS, RS232):
            self._part.setpoint = self._aimed

    def _set_mode(self, value: Content) -> None:
        mode = int(value)
        if mode > LAST_MODE:
            raise Refused(VALUE)
        if self._mode in (BUS, RS232):
            self._aimed = self._part.setpoint
        self._mode = mode
        valves: dict[int, Valve] = {CLOSED: "closed", SAFE: "closed", OPEN: "open", IDLE: "held"}
        self._part.valve = valves.get(mode, "control")
        aims = {ANALOG: 0.0, ZERO: 0.0, FULL: self._capacity * self._per_unit}
        self._part.setpoint = aims.get(mode, self._aimed)

    def _set_slope(self, value: Content) -> None:
        if int(value) > 30000:
            raise Refused(VALUE)
        self._slope = int(value)

    def _set_fluid(self, value: Content) -> None:
        if int(value) > 7:
            raise Refused(VALUE)
        self._fluid = int(value)

    def _unlock(self, value: Content) -> None:
        if value not in (UNLOCKED, LOCKED):
            raise Refused(VALUE)
        self._init, self._table.unlocked = int(value), value == UNLOCKED

    def _tag(self, value: Content) -> None:
        self._user_tag = str(value)

    def _constant(self, index: int) -> tuple[Callable[[], float], Callable[[Content], None]]:
        def put(value: Content) -> None:
            self._calibration[index] = float(value)

        return lambda: self._calibration[index], put


def _now() -> float:
    return asyncio.get_running_loop().time()
