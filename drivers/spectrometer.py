"""A detector behind an sdl detector service: a spectrometer, an impedance analyser.

Source: docs/reference/detector-protocol.md, protocol 1.
"""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from event_model import DataKey, Limits, LimitsRange
from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    AsyncStatus,
    DeviceMock,
    SignalDatatypeT,
    SignalR,
    SignalRW,
    StandardReadableFormat,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from sdl import clock
from sdl.errors import GarbledError, NoReplyError, StaleError
from sdl.instrument import Effect, Finding, Instrument, PollBackend, PushBackend, Verdict
from sdl.wires.zmq import DetectorRefusedError, ZmqWire

MAX_AGE = 600.0  # s after which an acquisition no longer counts as the present one
MARGIN = 10.0  # s beyond the expected duration: a slow service, others' acquisitions, lost replies
LONG_POLL = 0.5  # s that one `read` may be held back; STOP waits no longer for its turn
PAUSE = 0.1  # s before asking again what got no answer
TIMEOUT = 30.0  # s for a signal

UNPREPARED = ("session", "configuration", "not_armed")  # configure, arm, and ask again
LOST = ("session", "unknown_acquisition", "gone")  # there will never be such data
UNBEGUN = ("not_armed", "configuration")  # how a key is refused that began nothing
NONE = {"integration_time": -1.0, "averages": 0}  # a configuration that no service has


class _Reply(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)
    session: str
    t: float


ReplyT = TypeVar("ReplyT", bound=_Reply)


class _Hello(_Reply):
    model: str
    serial: str
    firmware: str


class _Quantity(BaseModel):
    name: str
    units: str
    shape: list[int] = []


class _Setting(BaseModel):
    units: str
    minimum: float
    maximum: float


class _Allowed(BaseModel):
    integration_time: _Setting
    averages: _Setting


class _Description(_Reply):
    data: _Quantity
    axis: _Quantity
    settings: _Allowed
    dtype: str


class _Settings(BaseModel):
    integration_time: float
    averages: int


class _Configured(_Reply):
    configuration: _Settings


class _Triggered(_Reply):
    acquisition: int
    remaining: float


class _Acquired(_Reply):
    acquired: float
    saturated: int
    dtype: str
    shape: list[int]


class Spectrometer(Instrument):
    """`trigger` acquires, `read` gives what was acquired, with the time at which it was.

    `intensity` is (w,), or (2, w) for real and imaginary part; `axis` is (w,). A service that was
    restarted gets its configuration again; a lost reply to a trigger does not acquire twice.
    """

    effect: ClassVar[Effect | None] = Effect.MEASURE

    def __init__(
        self, wire: ZmqWire, *, integration_time: float = 0.1, averages: int = 1, name: str = ""
    ) -> None:
        """:param integration_time: s of one exposure.
        :param averages: exposures in an acquisition.
        """
        self._zmq = wire
        self._settings: dict[str, float] = {
            "integration_time": integration_time,
            "averages": averages,
        }
        self._session: str | None = None  # the one that has our configuration
        self._beginning = asyncio.Lock()
        self._keys, self._triggers = secrets.token_hex(8), 0
        self._axis = np.zeros(0)
        self._backends = {
            "integration_time": self._setting(float, "integration_time"),
            "averages": self._setting(int, "averages"),
        }
        source = wire.url
        self._intensity = _AcquiredBackend(np.ndarray, source=f"{source}#intensity")
        self._saturated = _AcquiredBackend(int, source=f"{source}#saturated")
        self._axis_backend = PollBackend(np.ndarray, self._get_axis, None, source=f"{source}#axis")
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.intensity = SignalR(self._intensity, timeout=TIMEOUT)
            self.axis = SignalR(self._axis_backend, timeout=TIMEOUT)
            self.saturated = SignalR(self._saturated, timeout=TIMEOUT)
        with self.add_children_as_readables(StandardReadableFormat.CONFIG_SIGNAL):
            self.integration_time = SignalRW(self._backends["integration_time"], timeout=TIMEOUT)
            self.averages = SignalRW(self._backends["averages"], timeout=TIMEOUT)
        super().__init__(wire, name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        if not mock:
            if force_reconnect:
                self._session = None
            await self._ready()
        await super().connect(mock, timeout, force_reconnect)

    @AsyncStatus.wrap
    async def stage(self) -> None:
        self._forget()  # what was acquired before does not belong to this run
        await super().stage()

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Acquire; done when the data are here.

        :raises NoReplyError: the service did not answer, or did not finish in time.
        :raises RefusedError: it refused, or the acquisition was aborted.
        """
        if self._mock is not None:
            return
        self._forget()
        self._triggers += 1
        for attempt in (1, 2):  # a service that is restarted forgets its data: once more, then
            key = f"{self._key(self._triggers)}-{attempt}"
            deadline = clock.monotonic() + self._duration + MARGIN
            session, started = await self._start(key, deadline)
            try:
                await self._fetch(session, started, deadline)
                break
            except DetectorRefusedError as error:
                if error.code not in LOST or attempt == 2:
                    raise
                self._session = None

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Return under which key the next `trigger` will acquire, and in which session."""
        if command != "trigger" or self._mock is not None:
            return {}
        return {"key": self._key(self._triggers + 1), "session": await self._ready()}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Ask for what was acquired under the mark's key; never acquire.

        If it is `DONE`, `read` gives it, with the time at which it was acquired. A key that the
        service knows begins nothing, whatever else would be refused; one that it does not know is
        refused for the configuration that comes with it, which no service has.

        :raises InstrumentError: it cannot be asked now.
        """
        if command != "trigger" or not mark:
            return Finding(Verdict.UNKNOWN, f"{self.name} can tell nothing of this {command}")
        session = await self._ready()
        for attempt in (2, 1):
            key = f"{mark['key']}-{attempt}"
            try:
                started, _ = await self._ask(
                    _Triggered, "trigger", session=session, key=key, configuration=NONE
                )
                deadline = clock.monotonic() + started.remaining + MARGIN
                await self._fetch(session, started, deadline)
            except DetectorRefusedError as error:
                if error.code in UNBEGUN:
                    continue
                if error.code not in (*LOST, "aborted"):
                    raise
                if error.code == "session":
                    self._session = None
                why = f"acquisition {key} has no data: {error.code}"
                return Finding(Verdict.UNKNOWN, why)
            return Finding(Verdict.DONE, f"acquisition {started.acquisition}, key {key}: fetched")
        if session != mark["session"]:
            return Finding(Verdict.UNKNOWN, "the service was restarted: it has forgotten its keys")
        return Finding(Verdict.NOT_DONE, f"the service knows no key {mark['key']}")

    async def identify(self) -> str:
        hello, _ = await self._ask(_Hello, "hello")
        return f"{hello.model}, serial {hello.serial}, firmware {hello.firmware}"

    async def make_safe(self) -> None:
        """Abort the acquisition under way, if any: nothing else here acts on the world."""
        await self._ask(_Reply, "abort")

    async def halt(self) -> None:
        await self.make_safe()

    def _key(self, number: int) -> str:
        return f"{self._keys}-{number}"

    @property
    def _duration(self) -> float:
        return self._settings["integration_time"] * self._settings["averages"]

    async def _start(self, key: str, deadline: float) -> tuple[str, _Triggered]:
        """Trigger under `key`: asking again with the same key never acquires twice."""
        while True:
            try:
                session = await self._ready()
                started, _ = await self._ask(
                    _Triggered, "trigger", session=session, key=key, configuration=self._settings
                )
                return session, started
            except DetectorRefusedError as error:
                pause = PAUSE
                if error.code in UNPREPARED:
                    self._session = None
                elif error.code == "busy":
                    pause = max(error.remaining, PAUSE)
                else:
                    raise
                if clock.monotonic() + pause > deadline:
                    raise
            except NoReplyError:
                pause = PAUSE
                if clock.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)

    async def _fetch(self, session: str, started: _Triggered, deadline: float) -> None:
        await asyncio.sleep(min(started.remaining, deadline - clock.monotonic()))
        while True:
            late = clock.monotonic() > deadline
            try:
                reply, frames = await self._ask(
                    _Acquired,
                    "read",
                    session=session,
                    acquisition=started.acquisition,
                    wait=LONG_POLL,
                )
                self._publish(reply, frames)
                return
            except DetectorRefusedError as error:
                if error.code != "not_ready":
                    raise
                if late:
                    allowed = self._duration + MARGIN
                    reason = f"acquisition {started.acquisition} was not finished in {allowed:g} s"
                    raise NoReplyError(self.name, reason) from error
            except NoReplyError:
                if late:
                    raise
                await asyncio.sleep(PAUSE)

    def _publish(self, reply: _Acquired, frames: list[bytes]) -> None:
        if reply.shape != self._intensity.shape:
            reason = f"data of shape {reply.shape}; {self._intensity.shape} was described"
            raise GarbledError(self.name, reason)
        data = np.frombuffer(frames[0], dtype=reply.dtype).reshape(reply.shape).astype(float)
        time = clock.now() - (reply.t - reply.acquired)  # our clock; only their difference is used
        self._intensity.publish(data, time)
        self._saturated.publish(reply.saturated, time)

    def _forget(self) -> None:
        self._intensity.invalidate()
        self._saturated.invalidate()

    async def _ready(self) -> str:
        """Return the session that has our configuration; begin one if there is none."""
        async with self._beginning:
            if self._session is None:
                hello, _ = await self._ask(_Hello, "hello")
                await self._describe(hello.session)
                await self._configure_in_turn(hello.session)
                self._session = hello.session
            return self._session

    async def _describe(self, session: str) -> None:
        reply, frames = await self._ask(_Description, "describe", session=session)
        self._axis = np.frombuffer(frames[0], dtype=reply.dtype).astype(float)
        if reply.data.shape[-1:] != [*self._axis.shape]:
            reason = f"an axis of {self._axis.size} for data of shape {reply.data.shape}"
            raise GarbledError(self.name, f"the reply to 'describe': {reason}")
        self._axis_backend.metadata["units"] = reply.axis.units
        self._intensity.shape = [*reply.data.shape]
        self._intensity.metadata["units"] = reply.data.units
        for name, backend in self._backends.items():
            setting: _Setting = getattr(reply.settings, name)
            backend.limits = (setting.minimum, setting.maximum)
            limits = LimitsRange(low=setting.minimum, high=setting.maximum)
            backend.metadata["limits"] = Limits(control=limits)

    async def _configure_in_turn(self, session: str) -> None:
        """Configure after the acquisition under way: one of a process that died, perhaps."""
        deadline: float | None = None
        while True:
            try:
                return await self._configure(session, self._settings)
            except DetectorRefusedError as error:
                if error.code != "busy":
                    raise
                if deadline is None:
                    deadline = clock.monotonic() + error.remaining + MARGIN
                if clock.monotonic() > deadline:
                    raise
                await asyncio.sleep(max(error.remaining, PAUSE))

    async def _configure(self, session: str, settings: dict[str, float]) -> None:
        await self._ask(_Configured, "configure", session=session, **settings)
        await self._ask(_Configured, "arm", session=session)

    def _setting(self, datatype: type[SignalDatatypeT], name: str) -> PollBackend[SignalDatatypeT]:
        async def get() -> Any:
            for _ in range(2):
                session = await self._ready()
                reply, _ = await self._ask(_Configured, "status")
                if reply.session == session:
                    return getattr(reply.configuration, name)
                self._session = None  # restarted: it has not our configuration yet
            raise NoReplyError(self.name, "the service is restarted again and again")

        async def put(value: Any) -> None:
            changed = {**self._settings, name: value}
            session = await self._ready()
            try:
                await self._configure(session, changed)
            except (NoReplyError, DetectorRefusedError) as error:
                self._session = None  # restarted, or its state is not known
                if not isinstance(error, DetectorRefusedError) or error.code != "session":
                    raise
                await self._configure(await self._ready(), changed)
            self._settings = changed
            self._forget()  # it was not acquired with this

        source = f"{self._zmq.url}#{name}"
        units = "s" if name == "integration_time" else None
        return PollBackend(datatype, get, put, source=source, units=units)

    async def _get_axis(self) -> np.ndarray:
        return self._axis

    async def _ask(
        self, kind: type[ReplyT], command: str, **arguments: Any
    ) -> tuple[ReplyT, list[bytes]]:
        timeout = arguments.get("wait", 0.0) + self._zmq.timeout
        header, frames = await self._zmq.ask({"command": command, **arguments}, timeout=timeout)
        try:
            return kind.model_validate(header), frames
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            reason = f"the reply to {command!r}: {where}: {first['msg']}: {str(header)[:200]}"
            raise GarbledError(self.name, reason) from error


class _AcquiredBackend(PushBackend[SignalDatatypeT]):
    """A value that `trigger` brings; its shape is known before."""

    def __init__(self, datatype: type[SignalDatatypeT], *, source: str) -> None:
        super().__init__(datatype, source=source, max_age=MAX_AGE, subscribe=_nothing)
        self.shape: list[int | None] = []

    async def connect(self, timeout: float) -> None:
        """Wait for nothing: nothing comes before the first trigger."""

    async def get_reading(self) -> Any:
        try:
            return await super().get_reading()
        except StaleError as error:
            advice = "trigger() acquires anew, as bps.trigger_and_read and bp.count do"
            raise StaleError("", f"{error}; {advice}") from None

    async def get_datakey(self, source: str) -> DataKey:
        if not self.shape:
            return await super().get_datakey(source)
        return DataKey(
            source=source, dtype="array", shape=self.shape, dtype_numpy="<f8", **self.metadata
        )


async def _nothing() -> None: ...
