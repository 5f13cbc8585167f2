"""What is set on an IKA plate has no answer: it is read back, and set again if need be."""

import contextlib
from collections.abc import Callable

from sdl.drivers.ika.namur import Namur
from sdl.errors import FaultError, NoReplyError, RefusedError

SETTINGS = 2  # times that an absolute setting is sent when it is read back as not taken
OFF = "off: its watchdog, an error on its display (power must be cut to end Er02), or a person"


class Settings:
    """Sets a plate's setpoints and switches, and sees that it was done."""

    def __init__(self, plate: Namur, who: Callable[[], str], *, status: bool) -> None:
        """:param status: it answers `STATUS_n`."""
        self._plate, self._who, self._status = plate, who, status

    async def switch(self, which: int, on: bool, what: str) -> None:
        """Switch heater (1) or motor (4), and see that it is so.

        :raises FaultError: it is not.
        """
        command = f"{'START' if on else 'STOP'}_{which}"
        for _ in range(SETTINGS):
            await self._plate.tell(command)
            if not self._status or await self._plate.switch(f"STATUS_{which}") == on:
                return
        stays = f"stays {OFF}" if on else "stays on"
        raise FaultError(self._who(), f"{what}: {command}: it {stays}")

    async def put(self, which: str, value: float, what: str) -> None:
        """Have a setpoint hold `value`, and see that it does.

        :raises RefusedError: it holds what it held before.
        :raises FaultError: it holds something else.
        """
        before = holds = await self._plate.number(f"IN_{which}", exact=True)
        for attempt in range(SETTINGS):
            if holds == value:
                return
            if attempt:  # a watchdog's warning may keep setpoints where they are
                with contextlib.suppress(NoReplyError):  # a plate without watchdogs says nothing
                    await self._plate.end_warning()
            await self._plate.tell(f"OUT_{which} {value:g}")
            holds = await self._plate.number(f"IN_{which}", exact=True)
        if holds == value:
            return
        kind = RefusedError if holds == before else FaultError
        safety = await self._plate.number("IN_SP_3", exact=True)
        found = f"it holds {holds:g}; its safety temperature is {safety:g} degC, less 50 K"
        raise kind(self._who(), f"{what}: {value:g} was not taken: {found}")
