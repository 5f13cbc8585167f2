"""What is set on a JULABO has no answer: its `status` is asked after it, and it is read back."""

from collections.abc import Callable, Collection

from sdl.drivers.julabo.commands import REFUSALS, Interface, Status
from sdl.errors import FaultError, RefusedError

SETTINGS = 2  # times that an absolute setting is sent when it is read back as not taken
UNKNOWN_COMMAND, OUTSIDE_WARNINGS = -8, -13


class Settings:
    """Sets what a circulator keeps, and sees that it was done."""

    def __init__(
        self, bath: Interface, who: Callable[[], str], ignored_status: Collection[int]
    ) -> None:
        self._bath, self._who, self._ignored = bath, who, ignored_status

    def judged(self, status: Status, what: str) -> Status:
        """:raises FaultError: there is an alarm that counts."""
        if status.alarm is not None and status.code not in self._ignored:
            raise FaultError(self._who(), f"{what}: {status.alarm}")
        return status

    async def put(
        self, which: str, value: float, what: str, *, decimals: int = 0, judged: bool = True
    ) -> None:
        """Have a setting hold `value`, and see that it does.

        :param judged: an alarm is a fault; else it is tried all the same.
        :raises RefusedError: it holds what it held before.
        :raises FaultError: an alarm; or it holds something else.
        """
        wanted = round(value, decimals)
        before = await self._bath.number(f"in_{which}", exact=True)
        if before == wanted:
            return
        status = await self._bath.status()  # what it said no to earlier is gone with this
        if judged:
            self.judged(status, what)
        if status.remote is False:
            why = f"{status.text!r}: switch remote control on at its panel"
            raise RefusedError(self._who(), f"{what}: {why}; nothing was sent")
        holds = before
        for _ in range(SETTINGS):
            await self._bath.tell(f"out_{which} {wanted:.{decimals}f}")
            status = await self._bath.status()
            holds = await self._bath.number(f"in_{which}", exact=True)
            refused = status.code in REFUSALS and status.code != UNKNOWN_COMMAND
            if refused or holds == wanted:
                break
        if status.code == OUTSIDE_WARNINGS and holds == wanted:  # kept, but not meant to be
            await self._bath.tell(f"out_{which} {before:.{decimals}f}")
            holds = await self._bath.number(f"in_{which}", exact=True)
        elif holds == wanted:
            return
        kind = RefusedError if holds == before else FaultError
        raise kind(self._who(), f"{what}: {told(status)}; it holds {holds:g}")


def told(status: Status) -> str:
    """Say in words what it answered to a setting."""
    if status.code in REFUSALS:
        return f"{status.text!r}: {REFUSALS[status.code]}"
    return f"not taken; it says {status.text!r}"
