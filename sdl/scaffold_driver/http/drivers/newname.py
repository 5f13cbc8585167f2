"""TB-20 heating and cooling bath, over HTTP.

FILL IN 7: manual, revision, section and pages of all that is here; what of the manual is not used.

Source: TB-20 (invented), operating manual, rev. 3, section 9, pp. 48-50. JSON both ways:

    GET /info                           {"model": "TB-20", "firmware": "1.40"}
    GET /bath                           {"temperature": 23.45, "setpoint": 25.0,
                                         "running": false, "alarm": ""}
    PUT /bath {"setpoint": 37.0}        the same; 422 where it is out of range, 409 while it is
    PUT /bath {"running": true}         operated at its panel, or the liquid level is too low
"""

import asyncio
import logging
from typing import ClassVar, TypeVar

from bluesky.protocols import Location
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock
from ophyd_async.core import StandardReadableFormat as Format
from pydantic import BaseModel, ConfigDict, ValidationError

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
from sdl.wires.http import HttpWire

LIMITS = (-30.0, 150.0)  # degC
PERIOD = 1.0  # s between looks at a bath on its way
TRIES = 2  # of a question, and of an absolute order that is read back as not taken

T = TypeVar("T", bound=BaseModel)
log = logging.getLogger(__name__)


class State(BaseModel):
    """What `GET /bath` answers."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
    temperature: float
    setpoint: float
    running: bool
    alarm: str


class Identity(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    model: str
    firmware: str


def parse(payload: bytes, kind: type[T], who: str = "") -> T:
    """Return what an answer says.

    FILL IN 8: what it must hold, exactly: a number that is a text, or missing, is no value.

    :raises GarbledError: it is no such answer.
    """
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise GarbledError(who, f"{payload[:200]!r} is no {kind.__name__}") from error


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
        wire: HttpWire,
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
        self._http = wire
        self._tolerance, self._longest = tolerance, longest
        self._mocked, self._aims = False, 0  # how often somebody decided where it should go
        self._changing = asyncio.Lock()  # what belongs together is changed by one at a time
        at = wire.url
        # FILL IN 12: a line for each reading and each setting: its question, units, limits
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = poll_r(
                float, self._get_temperature, source=f"{at}#temperature", units="degC", precision=2
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.setpoint = poll_rw(
                float,
                self._get_setpoint,
                self._put_setpoint,
                source=f"{at}#setpoint",
                units="degC",
                precision=2,
                limits=LIMITS,
            )
            self.running = poll_r(bool, self._is_running, source=f"{at}#running")
            self.alarm = poll_r(str, self._get_alarm, source=f"{at}#alarm")
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
        found = parse(await self._ask("GET", "/info"), Identity, self.name)
        return f"{found.model}, firmware {found.firmware}"

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
        return (await self._read()).temperature

    async def _get_setpoint(self) -> float:
        return (await self._read()).setpoint

    async def _is_running(self) -> bool:
        return (await self._read()).running

    async def _get_alarm(self) -> str:
        return (await self._read()).alarm

    async def _get_state(self) -> tuple[bool, str]:
        bath = await self._read()
        return bath.running, bath.alarm

    async def _put_setpoint(self, value: float) -> None:
        await self._order("setpoint", round(value, 2))

    async def _switch(self, on: bool) -> None:
        await self._order("running", on)

    async def _order(self, what: str, wanted: float | bool) -> None:
        """Give an absolute order, and read back whether it was taken.

        FILL IN 9: is what is sent absolute? What adds up is never sent twice.

        :raises RefusedError: the instrument said no; nothing has changed.
        :raises FaultError: it reads back otherwise.
        """
        holds, lost = None, None
        for _ in range(TRIES):
            try:
                await self._ask("PUT", "/bath", {what: wanted})
            except NoReplyError as error:  # whether it was taken is read back
                lost = error
            if (holds := getattr(await self._read(), what)) == wanted:
                return
        raise FaultError(self.name, f"{what} {wanted!r}: it reads back {holds!r}") from lost

    async def _read(self) -> State:
        """Ask for everything; a question may be asked again."""
        for _ in range(TRIES - 1):
            try:
                return await self._read_once()
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._read_once()

    async def _read_once(self) -> State:
        return parse(await self._ask("GET", "/bath"), State, self.name)

    async def _ask(self, method: str, path: str, data: object = None) -> bytes:
        try:
            return (await self._http.ask(method, path, data=data)).body
        except (NoReplyError, RefusedError, FaultError) as error:
            kind = next(k for k in (NoReplyError, RefusedError, FaultError) if isinstance(error, k))
            raise kind(self.name, str(error)) from error


newname = NewName
