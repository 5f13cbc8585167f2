"""A photometer on a TCP port. One line asks, one line answers:

*IDN?   mylab photometer 1.0
ABS?    ABS +0.4213
"""

import re

from ophyd_async.core import StandardReadableFormat as Format

from sdl.errors import GarbledError
from sdl.instrument import Instrument, poll_r
from sdl.wires import StreamWire
from sdl.wires.frames import until


class Photometer(Instrument):
    """`absorbance` is asked for each time it is read."""

    def __init__(self, wire: StreamWire, *, name: str = "") -> None:
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.absorbance = poll_r(float, self._absorbance, source=f"{wire.url} ABS", precision=4)
        super().__init__(wire, name=name)

    async def identify(self) -> str:
        return await self._ask("*IDN?")

    async def make_safe(self) -> None:
        """It only looks: it is always safe."""

    async def _absorbance(self) -> float:
        reply = await self._ask("ABS?")
        found = re.fullmatch(r"ABS ([+-]\d\.\d{4})", reply)  # so exact that no byte can be missing
        if found is None:
            raise GarbledError(self.name, f"ABS?: {reply!r} is no absorbance")
        return float(found[1])

    async def _ask(self, question: str) -> str:
        assert isinstance(self.wire, StreamWire)
        reply = await self.wire.ask(f"{question}\n".encode(), until(b"\n"))
        return reply.decode("ascii", "replace").strip()


photometer = Photometer  # what `driver: photometer` in lab.yaml means
