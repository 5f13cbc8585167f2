"""The valve of a Cavro pump: manual 734237-C, valve commands `I`, `O`, `B`, `E` and report `?6`."""

import asyncio

from sdl import clock
from sdl.drivers.cavro.conversation import TRIES, Conversation
from sdl.errors import FaultError, NoReplyError, RefusedError
from sdl.instrument import check_limits

Port = int | str

PLACES = {"input": "I", "output": "O", "bypass": "B", "extra": "E"}  # of a valve without numbers
LETTERS = {letter.lower(): place for place, letter in PLACES.items()}
TURNING, PERIOD = 5.0, 0.1  # s until a valve has turned, and between looks at it


class Valve:
    """Turns, and says where it stands: at a port with a number, or at a place with a name."""

    def __init__(self, pump: Conversation, ports: int | None) -> None:
        """:param ports: of a distribution valve; None: another."""
        self._pump, self._ports = pump, ports
        self._pattern = "[iobe]" if ports is None else r"\d{1,2}"

    def check(self, port: Port) -> None:
        """:raises RefusedError: there is no such port; nothing was sent."""
        if self._ports is not None:
            check_limits(port, (1, self._ports), f"{self._pump.who()} valve", "")
        elif port not in PLACES:
            allowed = f"allowed are {', '.join(PLACES)}; nothing was sent"
            raise RefusedError(self._pump.who(), f"valve to {port!r}: {allowed}")

    async def stands(self) -> Port:
        return self._port((await self._pump.look("?6", self._pattern)).text)

    async def turn_to(self, port: Port) -> None:
        """Turn, and have it confirmed where the valve stands.

        :raises RefusedError: the pump said no (not initialized, busy); nothing has moved.
        :raises FaultError: it stands elsewhere, or is blocked.
        """
        command = f"I{port}" if isinstance(port, int) else PLACES[port]
        for _ in range(TRIES):
            if await self.stands() == port:
                return
            try:
                await self._pump.tell(command)
            except NoReplyError:
                continue  # where it stands says whether it was heard
            if await self._has_turned() == port:
                return
        raise FaultError(self._pump.who(), f"valve to {port}: it stands at {await self.stands()}")

    async def _has_turned(self) -> Port:
        """Wait for the valve to rest; return where."""
        deadline, heard = clock.monotonic() + TURNING, len(self._pump.errors)
        while not (seen := await self._pump.patiently("?6", self._pattern)).ready:
            if clock.monotonic() > deadline:
                raise FaultError(self._pump.who(), f"valve: still busy after {TURNING:g} s")
            await asyncio.sleep(PERIOD)
        for error in self._pump.errors[heard:]:
            self._pump.judge("valve", error)
        return self._port(seen.text)

    def _port(self, text: str) -> Port:
        return LETTERS[text] if self._ports is None else int(text)
