"""A TB-20 bath, simulated: written from its manual, never from the driver.

FILL IN 4: manual, revision, section, pages; and what it does not say and was guessed.

Source: TB-20 (invented), operating manual, rev. 3, section 7, pp. 41-44. A request ends with CR, a
reply with CR LF. Setpoint and state are lost with the power (p. 12). Guessed: that an unknown
command is answered with `??`.
"""

import asyncio
import re
from typing import ClassVar, Protocol

import numpy as np

from sdl.simulators.simulated import LineSimulator

DELIVERED = 25.0  # degC, setpoint when the power comes
LOW, HIGH = -30.0, 150.0  # degC, of the setpoint
SENSOR = (-50.0, 200.0)  # degC, range
UNKNOWN, OUT_OF_RANGE, AT_ITS_PANEL, NO_WATER = "ER1", "ER2", "ER3", "ER4"


class Bath(Protocol):
    """The part of a world that it acts on."""

    setpoint: float
    running: bool

    @property
    def temperature(self) -> float: ...
    @property
    def filled(self) -> bool: ...


class SimulatedNewName(LineSimulator):
    """FILL IN 6: each command of the manual, and the faults that can happen inside of it."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"stuck", "local mode", "power cycle", "drift", "noise", "saturation"}
    )
    terminator = b"\r"

    def __init__(self, part: Bath, *, rng: np.random.Generator, noise: float = 0.02) -> None:
        """Power it up.

        :param noise: degC, standard deviation of what it measures.
        """
        super().__init__(rng=rng)
        self._part, self._noise = part, noise

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self._part.setpoint, self._part.running = DELIVERED, False

    async def respond(self, request: bytes) -> None:
        await asyncio.sleep(self.rng.uniform(0.002, 0.01))  # it thinks
        await super().respond(request)

    def answer(self, request: bytes) -> bytes:
        word, _, argument = request.decode("latin-1").strip().partition(" ")
        match word, argument:
            case "ID", "":
                said = "TB-20 V1.40"
            case "TI", "":
                said = f"{self._measured():+07.2f}"
            case "SP", "":
                said = f"{self._part.setpoint:+07.2f}"
            case "ST", "":
                said = f"{int(self._part.running)}{int(not self._part.filled)}"
            case "SP", _:
                said = self._take_setpoint(argument)
            case "RN", "0" | "1":
                said = self._switch(argument == "1")
            case _:
                word, said = "??", UNKNOWN
        return f"{word} {said}\r\n".encode("ascii")

    def _measured(self) -> float:
        value = self._part.temperature + self._noise * float(self.rng.standard_normal())
        return self.disturbed(value, low=SENSOR[0], high=SENSOR[1])

    def _take_setpoint(self, argument: str) -> str:
        if re.fullmatch(r"[+-]\d{3}\.\d\d", argument, re.ASCII) is None:
            return UNKNOWN
        if not LOW <= float(argument) <= HIGH:
            return OUT_OF_RANGE
        if "local mode" in self.troubles:
            return AT_ITS_PANEL
        if "stuck" not in self.troubles:  # else it takes orders, and does not carry them out
            self._part.setpoint = float(argument)
        return "OK"

    def _switch(self, on: bool) -> str:
        if "local mode" in self.troubles:
            return AT_ITS_PANEL
        if on and not self._part.filled:
            return NO_WATER
        if "stuck" not in self.troubles:
            self._part.running = on
        return "OK"


newname = SimulatedNewName
