"""TB-20 heating and cooling bath, over MQTT.

FILL IN 7: manual, revision, section and pages of all that is here; what of the manual is not used.

Source: TB-20 (invented), operating manual, rev. 3, section 10, pp. 51-54. Below its topic, in JSON:

    online      1, retained; 0 when the broker has lost it (its will)
    telemetry   {"boot": "1f03", "n": 17, "temperature": 23.45}, every 5 s: `boot` differs each
                time it is started, `n` counts
    ask         {"id": "a-1", "get": "state"}, or "identity";
                {"id": "a-2", "set": {"setpoint": 37.0}}
    answer      {"id": "a-1", "state": {"temperature": 23.45, "setpoint": 25.0, "running": false,
                "alarm": ""}}; {"id": "a-2", "error": "out of range"}

What the broker has retained of `online` is believed; nothing else is retained.
"""

import asyncio
import json
import logging
import math
import secrets
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
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw, push_r
from sdl.wires.mqtt import MqttWire

MAX_AGE = 12.0  # s: two telemetries and some
LIMITS = (-30.0, 150.0)  # degC
PERIOD = 1.0  # s between looks at a bath on its way
TRIES = 2  # of a question, and of an absolute order that is read back as not taken

T = TypeVar("T", bound=BaseModel)
log = logging.getLogger(__name__)


class State(BaseModel):
    """What it answers to `get: state`, and to what it took."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
    temperature: float
    setpoint: float
    running: bool
    alarm: str


class Identity(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    model: str
    firmware: str


class Telemetry(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)
    boot: str
    n: int
    temperature: float


class Answer(BaseModel):
    """One of the three, and to which question."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    id: str
    state: State | None = None
    identity: Identity | None = None
    error: str | None = None


def parse(payload: bytes, kind: type[T], who: str = "") -> T:
    """Return what a message says.

    FILL IN 8: what it must hold, exactly: a number that is a text, or missing, is no value.

    :raises GarbledError: it is no such message.
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
        wire: MqttWire,
        *,
        topic: str = "bath",
        tolerance: float = 0.2,
        longest: float = 3600.0,
        name: str = "",
    ) -> None:
        """Describe a bath.

        :param topic: below which it speaks and listens.
        :param tolerance: degC from the setpoint that count as there.
        :param longest: s until a `set` fails.
        :raises ConfigError: one of them is impossible.
        """
        if not (topic and tolerance > 0 and longest > 0):
            given = f"topic={topic!r}, tolerance={tolerance}, longest={longest}"
            allowed = "there must be a topic, the others are above 0"
            raise ConfigError(f"newname: {given}; {allowed}")
        self._mqtt, self._topic = wire, topic
        self._tolerance, self._longest = tolerance, longest
        self._mocked, self._aims = False, 0  # how often somebody decided where it should go
        self._changing = asyncio.Lock()  # what belongs together is changed by one at a time
        at = f"{wire.url}/{topic}"
        # FILL IN 12: a line for each reading and each setting: its question, units, limits
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature, self._measured = push_r(
                float,
                source=f"{at}/telemetry",
                max_age=MAX_AGE,
                subscribe=self._listen,
                units="degC",
                precision=2,
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.setpoint = poll_rw(
                float,
                self._get_setpoint,
                self._put_setpoint,
                source=f"{at}/answer#setpoint",
                units="degC",
                precision=2,
                limits=LIMITS,
            )
            self.running = poll_r(bool, self._is_running, source=f"{at}/answer#running")
            self.alarm = poll_r(str, self._get_alarm, source=f"{at}/answer#alarm")
            self.online, self._online = push_r(
                bool, source=f"{at}/online", max_age=math.inf, subscribe=self._listen
            )
        self._listening, self._heard = False, Telemetry(boot="", n=0, temperature=0.0)
        self._prefix, self._asked = secrets.token_hex(4), 0  # of another process's questions
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        wire.on_lost(self._lose)
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
        found = (await self._ask({"get": "identity"})).identity
        if found is None:
            raise GarbledError(self.name, "it was asked for its identity, and answered otherwise")
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

    # What it says of itself

    async def _listen(self) -> None:
        """Subscribe; again is as good as once."""
        if not self._listening:
            for name, hear in (
                ("answer", self._hear_answer),
                ("telemetry", self._hear_telemetry),
                ("online", self._hear_will),
            ):
                await self._mqtt.subscribe(f"{self._topic}/{name}", hear)
            self._listening = True

    def _lose(self) -> None:
        """Forget what was heard: nobody can tell what was missed."""
        self._measured.invalidate()
        self._online.invalidate()

    def _hear_will(self, topic: str, payload: bytes, retained: bool) -> None:
        if payload not in (b"0", b"1"):
            raise GarbledError(topic, f"neither 0 nor 1: {payload[:200]!r}")
        self._online.publish(payload == b"1")
        if payload == b"0":
            self._measured.invalidate()

    def _hear_telemetry(self, topic: str, payload: bytes, retained: bool) -> None:
        heard = parse(payload, Telemetry, topic)
        late = heard.boot == self._heard.boot and heard.n <= self._heard.n
        if not (late or retained):
            self._heard = heard
            self._measured.publish(heard.temperature)

    def _hear_answer(self, topic: str, payload: bytes, retained: bool) -> None:
        answer = parse(payload, Answer, topic)
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

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
                await self._ask({"set": {what: wanted}})
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
        state = (await self._ask({"get": "state"})).state
        if state is None:
            raise GarbledError(self.name, "it was asked for its state, and answered otherwise")
        self._measured.publish(state.temperature)  # newer than the last telemetry
        return state

    async def _ask(self, what: dict[str, object]) -> Answer:
        """Ask once; the answer is known by its number, however late others come.

        :raises RefusedError: it said no; nothing has changed.
        """
        await self._listen()
        self._asked += 1
        number = f"{self._prefix}-{self._asked}"
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self._mqtt.publish(f"{self._topic}/ask", json.dumps({"id": number, **what}))
            async with asyncio.timeout(self._mqtt.timeout):
                answer = await waiting
        except TimeoutError as error:
            limit = f"no answer in {self._mqtt.timeout:g} s"
            raise NoReplyError(self.name, f"{what}: {limit}") from error
        except NoReplyError as error:
            raise type(error)(self.name, str(error)) from error
        finally:
            del self._waiting[number]
        if answer.error is not None:
            raise RefusedError(self.name, f"{what}: {answer.error}")
        return answer


newname = NewName
