"""TB-20 heating and cooling bath.

FILL IN 7: manual, revision, section and pages of all that is here; what of the manual is not used.

Source: TB-20 (invented), operating manual, rev. 3, section 7, pp. 41-44. A request ends with CR, a
reply with CR LF; a reply begins with the word that it answers:

    ID          ID TB-20 V1.40
    TI          TI +023.45      degC
    SP          SP +025.00      degC
    SP +037.00  SP OK           or an error: SP ER2
    ST          ST 10           running (0, 1) and alarm (0, 1)
    RN 1        RN OK           switches it on
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

END = b"\r\n"
CELSIUS, STATE, IDENTITY = r"[+-]\d{3}\.\d\d", r"[01][01]", r"[A-Z]{2}-\d\d V\d\.\d\d"
LIMITS = (-30.0, 150.0)  # degC
ALARMS = {"0": "", "1": "liquid level too low"}
ERRORS = {
    "ER1": "it does not know that",
    "ER2": "out of range",
    "ER3": "it is operated at its panel",
    "ER4": "liquid level too low",
}
PERIOD = 1.0  # s between looks at a bath on its way
TRIES = 2  # of a question, and of an absolute order that is read back as not taken

T = TypeVar("T")
log = logging.getLogger(__name__)


def parse(reply: bytes, word: str, pattern: str) -> str:
    """Return what a reply to `word` says.

    FILL IN 8: judge it as strictly as the manual allows: the word that it answers, all widths.

    :param pattern: regular expression of all that may stand behind the word.
    :raises GarbledError: it is no such reply.
    """
    match = re.fullmatch(rf"{word} ({pattern})\r\n".encode(), reply)
    if match is None:
        raise GarbledError("", f"{reply!r} is no answer to {word}")
    return match[1].decode("ascii")


def _is(word: str, pattern: str) -> Callable[[bytes], bool]:
    return lambda reply: re.fullmatch(rf"{word} {pattern}\r\n".encode(), reply) is not None


# FILL IN 9: a harmless question whose answer is like no other's: it finds the place again
SYNC = Sync(b"ID\r", until(END), _is("ID", IDENTITY))


class NewName(Instrument):
    """`set(degC)` switches it on, and is done when the bath is there. It then holds it.

    `halt` has it keep the temperature that it has on its way; the safe state is switched off.
    """

    # FILL IN 10: maker, model and kind; the wire as delivered; what nobody has confirmed
    title: ClassVar[str] = "TB-20 (invented), heating and cooling bath"
    delivered: ClassVar[str] = "newname://delivered"
    unverified: ClassVar[tuple[str, ...]] = ("all of it: there is no such instrument",)
    # FILL IN 11: what `set` does when it is repeated; what the end of a plan does to it
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        tolerance: float = 0.2,
        longest: float = 3600.0,
        name: str = "",
    ) -> None:
        """Describe a bath.

        :param tolerance: degC from the setpoint that count as there.
        :param longest: s until a `set` fails.
        :raises ConfigError: one of them is impossible.
        """
        if not (tolerance > 0 and longest > 0):
            given = f"tolerance={tolerance}, longest={longest}"
            allowed = "both must be above 0"
            raise ConfigError(f"newname: {given}; {allowed}")
        self._line, self._tolerance, self._longest = wire, tolerance, longest
        self._mocked, self._aims = False, 0  # how often somebody decided where it should go
        self._changing = asyncio.Lock()  # what belongs together is changed by one at a time
        # FILL IN 12: a line for each reading and each setting: its question, units, limits
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = poll_r(
                float, self._get_temperature, source=f"{wire.url} TI", units="degC", precision=2
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.setpoint = poll_rw(
                float,
                self._get_setpoint,
                self._put_setpoint,
                source=f"{wire.url} SP",
                units="degC",
                precision=2,
                limits=LIMITS,
            )
            self.running = poll_r(bool, self._is_running, source=f"{wire.url} ST")
            self.alarm = poll_r(str, self._get_alarm, source=f"{wire.url} ST")
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._mocked = bool(mock)
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        model, _, version = (await self._ask("ID", IDENTITY)).partition(" V")
        return f"{model}, firmware {version}"

    async def check_value(self, value: float) -> None:
        """Refuse a temperature that must not be set.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, LIMITS, self.name, "degC")

    async def locate(self) -> Location[float]:
        return Location(setpoint=await self._get_setpoint(), readback=await self._get_temperature())

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Bring the bath to `value` degC.

        :raises RefusedError: the limits or the instrument said no; nothing has changed.
        :raises FaultError: it does not run, or does not get there; the setpoint stays.
        :raises InstrumentError: another setting or a stop came before it was there.
        :raises NoReplyError: it cannot be asked; it may be on its way.
        """
        await self.check_value(value)
        aim = self._decide()
        if self._mocked:
            return
        deadline = clock.monotonic() + self._longest
        async with self._changing:
            self._check_aim(aim, value)  # what was made safe meanwhile stays so
            await self._put_setpoint(value)
            try:
                await self._switch(True)
            except RefusedError as error:
                why = f"the setpoint was taken, but it cannot be switched on: {error}"
                raise FaultError(self.name, f"set {value:g} degC: {why}") from error
        while abs((at := await self._look(value, aim)) - value) > self._tolerance:
            if clock.monotonic() > deadline:
                raise FaultError(
                    self.name, f"set {value:g} degC: at {at:g} degC after {self._longest:g} s"
                )
            await asyncio.sleep(PERIOD)

    async def halt(self) -> None:
        """End the way to a setpoint: it keeps the temperature that it has now."""
        self._decide()
        if self._mocked:
            return
        async with self._changing:
            low, high = LIMITS
            await self._put_setpoint(min(max(await self._get_temperature(), low), high))

    async def make_safe(self) -> None:
        """Switch it off, and have that confirmed.

        FILL IN 13: what is safe, and how the instrument confirms it.

        :raises NoReplyError: it was not confirmed; that it be off was sent all the same.
        :raises FaultError: it goes on running.
        """
        self._decide()
        if self._mocked:
            return
        async with self._changing:
            await self._switch(False)

    # A bath on its way

    def _decide(self) -> int:
        self._aims += 1
        return self._aims

    def _check_aim(self, aim: int, value: float) -> None:
        if aim != self._aims:
            raise InstrumentError(self.name, f"set {value:g} degC: stopped, or set anew")

    async def _look(self, value: float, aim: int) -> float:
        """Return the temperature, if `value` is still what everybody wants."""
        at, (running, alarm) = await self._get_temperature(), await self._get_state()
        self._check_aim(aim, value)
        if alarm or not running:
            why = alarm or "it has been switched off"
            raise FaultError(self.name, f"set {value:g} degC: {why}, at {at:g} degC")
        return at

    # Questions and orders

    async def _get_temperature(self) -> float:
        return float(await self._ask("TI", CELSIUS))

    async def _get_setpoint(self) -> float:
        return float(await self._ask("SP", CELSIUS))

    async def _is_running(self) -> bool:
        return (await self._get_state())[0]

    async def _get_alarm(self) -> str:
        return (await self._get_state())[1]

    async def _get_state(self) -> tuple[bool, str]:
        running, alarm = await self._ask("ST", STATE)
        return running == "1", ALARMS[alarm]

    async def _put_setpoint(self, value: float) -> None:
        wanted = round(value, 2)
        await self._order("SP", f"{wanted:+07.2f}", self._get_setpoint, wanted)

    async def _switch(self, on: bool) -> None:
        await self._order("RN", str(int(on)), self._is_running, on, urgent=not on)

    async def _order(
        self,
        word: str,
        argument: str,
        get: Callable[[], Awaitable[T]],
        wanted: T,
        *,
        urgent: bool = False,
    ) -> None:
        """Give an absolute order, and read back whether it was taken.

        :param urgent: send it even on a line that is out of step.
        :raises RefusedError: the instrument said no; nothing has changed.
        :raises FaultError: it reads back otherwise.
        """
        holds, lost = None, None
        for _ in range(TRIES):
            try:
                said = await self._exchange(f"{word} {argument}", word, r"OK|ER\d", urgent=urgent)
            except NoReplyError as error:  # whether it was taken is read back
                lost = error
            else:
                if said != "OK":
                    why = f"{ERRORS.get(said, 'unknown error')} ({said})"
                    raise RefusedError(self.name, f"{word} {argument}: {why}")
            if (holds := await get()) == wanted:
                return
        raise FaultError(self.name, f"{word} {argument}: it reads back {holds!r}") from lost

    async def _ask(self, word: str, pattern: str) -> str:
        """Ask; a question may be asked again."""
        for _ in range(TRIES - 1):
            try:
                return await self._exchange(word, word, pattern)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._exchange(word, word, pattern)

    async def _exchange(
        self, request: str, word: str, pattern: str, *, urgent: bool = False
    ) -> str:
        frame = answering(until(END), _is(word, f"(?:{pattern})"))
        asked = f"{request}\r".encode("ascii")
        try:
            reply = await self._line.ask(asked, frame, sync=SYNC, urgent=urgent)
            return parse(reply, word, pattern)
        except NoReplyError as error:
            raise type(error)(self.name, str(error)) from error


newname = NewName
