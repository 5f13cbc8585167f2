"""What goes wrong on a line, at a chosen exchange: for tests of what must survive it.

    plan = Mishap("lost reply", at=7)
    cable = Cable([Unlucky(pump, plan)])                 # in memory
    serve("serial:///dev/pump", [Unlucky(pump, plan)])   # or at a port

All byte streams can be disturbed so, Modbus too: `Unlucky(Station(units, "rtu"), plan)` on a serial
line. An exchange is what the instrument hears at once, and all that it says until it hears more.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from sdl.endpoints.line import Line, LineDevice

Kind = Literal[
    "lost request", "lost reply", "late reply", "double reply", "garbled reply", "cut", "event"
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Mishap:
    """One thing that goes wrong.

    - "lost request", "lost reply": it does not arrive;
    - "late reply": it arrives `seconds` later, behind what was said meanwhile;
    - "double reply": it arrives twice;
    - "garbled reply": the byte in its middle has its highest bit turned;
    - "cut": from the reply on nothing arrives in either direction, for `seconds`;
    - "event": only what `Unlucky` was given to do happens.
    """

    kind: Kind
    at: int
    """Which exchange, counted from 1."""

    seconds: float = 3.0


class Unlucky:
    """A `LineDevice` on a line where a mishap happens, once."""

    mishap: Mishap | None
    exchanges: int
    """How many the instrument has had since the mishap was planned."""

    happened: bool

    def __init__(
        self,
        device: LineDevice,
        mishap: Mishap | None = None,
        *,
        event: Callable[[], object] | None = None,
        before_request: bool = False,
    ) -> None:
        """Stand between a line and a simulator.

        :param mishap: None: nothing yet; `plan` changes it at any time.
        :param event: what else happens at that exchange, such as `pump.power_cycle`.
        :param before_request: `event` comes before the request is heard, not before the reply is.
        """
        self._device = device
        self.plan(mishap, event=event, before_request=before_request)
        self._cut_until = 0.0
        self._late: set[asyncio.Task[None]] = set()

    def plan(
        self,
        mishap: Mishap | None,
        *,
        event: Callable[[], object] | None = None,
        before_request: bool = False,
    ) -> None:
        """Have that happen; exchanges are counted anew. The arguments are the constructor's."""
        self.mishap, self.exchanges, self.happened = mishap, 0, False
        self._event, self._before = event, before_request

    async def serve(self, line: Line) -> None:
        self._line = line
        try:
            await self._device.serve(self)
        finally:
            for task in self._late:
                task.cancel()

    async def read(self) -> bytes:
        while True:
            data = await self._line.read()
            self.exchanges += 1
            if self._is_cut():
                continue
            if self._due and self._before and self._event is not None:
                self._event()
            if not (self._due and self.mishap is not None and self.mishap.kind == "lost request"):
                return data
            self.happened = True

    async def write(self, data: bytes) -> None:
        if self._is_cut():
            return
        if not self._due or self.mishap is None:
            await self._line.write(data)
            return
        self.happened = True
        if self._event is not None and not self._before:
            self._event()
        match self.mishap.kind:
            case "late reply":
                task = asyncio.create_task(self._later(data, self.mishap.seconds))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            case "double reply":
                await self._line.write(data + data)
            case "garbled reply":
                await self._line.write(garbled(data))
            case "cut":
                self._cut_until = asyncio.get_running_loop().time() + self.mishap.seconds
            case "event":
                await self._line.write(data)
            case "lost request" | "lost reply":
                pass

    @property
    def _due(self) -> bool:
        return self.mishap is not None and not self.happened and self.exchanges == self.mishap.at

    def _is_cut(self) -> bool:
        return asyncio.get_running_loop().time() < self._cut_until

    async def _later(self, data: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._line.write(data)


def garbled(data: bytes) -> bytes:
    """Turn the highest bit of the byte in the middle, as a line of 7 bits and parity may find."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1 :]
