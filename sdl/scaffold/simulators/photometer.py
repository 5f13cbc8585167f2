"""The photometer as it answers on its port. Written from its protocol, not from the driver."""

from typing import Protocol

import numpy as np

from sdl.endpoints.line import Line

NOISE = 0.002


class Cell(Protocol):
    """What it looks at."""

    @property
    def absorbance(self) -> float: ...


class SimulatedPhotometer:
    def __init__(self, part: Cell, *, rng: np.random.Generator) -> None:
        self._part, self._rng = part, rng

    async def serve(self, line: Line) -> None:
        heard = b""
        while True:
            heard += await line.read()
            while b"\n" in heard:
                command, _, heard = heard.partition(b"\n")
                await line.write(self._answer(command.strip().upper()) + b"\n")

    def _answer(self, command: bytes) -> bytes:
        if command == b"*IDN?":
            return b"mylab photometer 1.0"
        if command == b"ABS?":
            return b"ABS %+.4f" % (self._part.absorbance + NOISE * self._rng.standard_normal())
        return b"ERR"


photometer = SimulatedPhotometer
