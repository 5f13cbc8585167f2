"""What simulators are built from: faults that can be switched on, and whole requests off a line.

A simulator is written from the manual, never from the driver, and shares no code with it. It acts
on a part of a world (`sdl.simulators.parts`), and asks the loop for the time (`asyncio.sleep`,
`sdl.clock`), so that it lives on a virtual clock as well.
"""

from typing import ClassVar

import numpy as np

from sdl.endpoints.line import Line


class Simulated:
    """A simulated instrument that faults of the catalogue (`sdl faults`) can happen to.

    A subclass names in `faults` those that it knows and looks `self.troubles` up where they matter:
    `if "stuck" in self.troubles`. What happens at one moment (a power cycle) it does in `begin`.
    """

    faults: ClassVar[frozenset[str]] = frozenset()
    """The kinds that can happen inside the instrument; those on its line happen to all."""

    def __init__(self, *, rng: np.random.Generator) -> None:
        self.rng = rng
        self.troubles: dict[str, float] = {}
        """The faults that last now, each with its size."""

    def begin(self, fault: str, size: float = 1.0) -> None:
        """Let a fault begin; override it (and call it) for what happens at that moment.

        :param size: how bad, in the catalogue's unit.
        """
        self.troubles[fault] = size

    def end(self, fault: str) -> None:
        """Let a fault be over."""
        self.troubles.pop(fault, None)

    def disturbed(self, value: float, *, low: float, high: float) -> float:
        """Return what the sensor makes of a true value: noise, drift and saturation, as they last.

        :param low: lower end of the range; noise and drift have sizes in % of the range.
        :param high: upper end; what saturates ends at 10 % of the range, or the fault's size in %.
        """
        span = high - low
        if "noise" in self.troubles:
            value += self.troubles["noise"] / 100 * span * float(self.rng.standard_normal())
        value += self.troubles.get("drift", 0.0) / 100 * span
        if "saturation" in self.troubles:
            high = low + self.troubles["saturation"] / 100 * span
        return min(max(value, low), high)


class LineSimulator(Simulated):
    """An instrument on a byte stream that hears whole requests, one after the other.

    Subclasses answer in `respond`, or in `answer` where nothing takes time. What is heard meanwhile
    waits; an instrument that loses it calls `forget` when it is through.
    """

    terminator: ClassVar[bytes] = b"\r"
    """What a request ends with; override `whole` where it is not as simple."""

    longest: ClassVar[int] = 256
    """Bytes that are kept of a request that never ends."""

    _line: Line

    def __init__(self, *, rng: np.random.Generator) -> None:
        super().__init__(rng=rng)
        self._heard = bytearray()

    async def serve(self, line: Line) -> None:
        """Live on the line until cancelled."""
        self._line = line
        await self.powered()
        while True:
            self._heard += await line.read()
            while (length := self.whole(bytes(self._heard))) is not None:
                request = bytes(self._heard[:length])
                del self._heard[:length]
                await self.respond(request)
            del self._heard[: -self.longest]

    async def powered(self) -> None:
        """Do what the instrument does when power comes: a banner, perhaps."""

    def whole(self, heard: bytes) -> int | None:
        """Return how many bytes the first whole request has; None while more must come.

        What can be no request counts as one, so that it is taken away.
        """
        at = heard.find(self.terminator)
        return None if at < 0 else at + len(self.terminator)

    async def respond(self, request: bytes) -> None:
        """Act on a whole request, its end included; say what there is to say."""
        if reply := self.answer(request):
            await self.say(reply)

    def answer(self, request: bytes) -> bytes:
        """Act on a request at once; return the reply, empty for silence."""
        raise NotImplementedError

    async def say(self, data: bytes) -> None:
        """Send bytes to the host, as fast as the line is."""
        await self._line.write(data)

    def forget(self) -> None:
        """Lose what was heard and not yet understood, as with a loss of power."""
        self._heard.clear()
