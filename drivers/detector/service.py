"""What all detectors behind an sdl detector service have in common, whatever they measure.

Source: docs/reference/detector-protocol.md, protocol 1. The protocol is ours and no vendor's.
"""

import asyncio
import secrets
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from event_model import DataKey, Limits, LimitsRange
from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    AsyncStatus,
    DeviceMock,
    SignalDatatypeT,
    SignalRW,
)
from pydantic import ValidationError

from sdl import clock
from sdl.drivers.detector.replies import (
    Acquired,
    Configured,
    Description,
    Hello,
    Reply,
    ReplyT,
    Triggered,
)
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
NOWHERE = -1.0  # no service has such a setting


class Detector(Instrument):
    """`trigger` acquires, `read` gives what was acquired, with the time at which it was.

    A service that was restarted gets its configuration again; a lost reply to a trigger does not
    acquire twice.
    """

    effect: ClassVar[Effect | None] = Effect.MEASURE
    delivered: ClassVar[str] = "zmq+tcp://127.0.0.1:5555"
    unverified: ClassVar[tuple[str, ...]] = ("any vendor's detector: the protocol is ours",)

    def __init__(self, wire: ZmqWire, settings: Mapping[str, float], name: str = "") -> None:
        """Describe a detector.

        :param settings: with which it is configured, by their names in the protocol.
        """
        self._zmq, self._settings = wire, dict(settings)
        self._backends: dict[str, PollBackend[Any]] = {}
        self._shape: list[int] = []
        self._session: str | None = None  # the one that has our configuration
        self._beginning = asyncio.Lock()
        self._keys, self._triggers = secrets.token_hex(8), 0
        self._add_signals()
        super().__init__(wire, name)

    @abstractmethod
    def _add_signals(self) -> None:
        """Make the signals."""

    @property
    @abstractmethod
    def _duration(self) -> float:
        """How long an acquisition should take, s."""

    @abstractmethod
    def _take_description(self, reply: Description, frames: list[bytes]) -> None:
        """Take shapes and units.

        :raises GarbledError: this is no detector of our kind.
        """

    @abstractmethod
    def _publish(self, reply: Acquired, data: np.ndarray, time: float) -> None:
        """Take what was acquired, at `time` (s since 1970)."""

    @abstractmethod
    def _acquired_signals(self) -> Sequence[PushBackend[Any]]:
        """Return what is no reading any more when something else is acquired."""

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
        session, nowhere = await self._ready(), dict.fromkeys(self._settings, NOWHERE)
        for attempt in (2, 1):
            key = f"{mark['key']}-{attempt}"
            try:
                started, _ = await self._ask(
                    Triggered, "trigger", session=session, key=key, configuration=nowhere
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
        hello, _ = await self._ask(Hello, "hello")
        return f"{hello.model}, serial {hello.serial}, firmware {hello.firmware}"

    async def make_safe(self) -> None:
        """Abort the acquisition under way, if any: nothing else here acts on the world."""
        await self._ask(Reply, "abort")

    async def halt(self) -> None:
        await self.make_safe()

    def _key(self, number: int) -> str:
        return f"{self._keys}-{number}"

    async def _start(self, key: str, deadline: float) -> tuple[str, Triggered]:
        """Trigger under `key`: asking again with the same key never acquires twice."""
        while True:
            try:
                session = await self._ready()
                started, _ = await self._ask(
                    Triggered, "trigger", session=session, key=key, configuration=self._settings
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

    async def _fetch(self, session: str, started: Triggered, deadline: float) -> None:
        await asyncio.sleep(min(started.remaining, deadline - clock.monotonic()))
        while True:
            late = clock.monotonic() > deadline
            try:
                reply, frames = await self._ask(
                    Acquired,
                    "read",
                    session=session,
                    acquisition=started.acquisition,
                    wait=LONG_POLL,
                )
                self._take(reply, frames)
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

    def _take(self, reply: Acquired, frames: list[bytes]) -> None:
        if reply.shape != self._shape:
            reason = f"data of shape {reply.shape}; {self._shape} was described"
            raise GarbledError(self.name, reason)
        data = np.frombuffer(frames[0], dtype=reply.dtype).reshape(reply.shape)
        # our clock; only their difference is used
        self._publish(reply, data, clock.now() - (reply.t - reply.acquired))

    def _forget(self) -> None:
        for signal in self._acquired_signals():
            signal.invalidate()

    async def _ready(self) -> str:
        """Return the session that has our configuration; begin one if there is none."""
        async with self._beginning:
            if self._session is None:
                hello, _ = await self._ask(Hello, "hello")
                await self._describe(hello.session)
                await self._configure_in_turn(hello.session)
                self._session = hello.session
            return self._session

    async def _describe(self, session: str) -> None:
        reply, frames = await self._ask(Description, "describe", session=session)
        self._take_description(reply, frames)
        self._shape = [*reply.data.shape]
        for name, backend in self._backends.items():
            setting = reply.settings.get(name)
            if setting is None:
                reason = f"no setting {name!r} among {', '.join(reply.settings)}"
                raise GarbledError(self.name, f"the reply to 'describe': {reason}")
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
        await self._ask(Configured, "configure", session=session, **settings)
        await self._ask(Configured, "arm", session=session)

    def _setting(
        self, datatype: type[SignalDatatypeT], name: str, units: str | None
    ) -> SignalRW[SignalDatatypeT]:
        """Return the signal of a setting, by its name in the protocol."""

        async def get() -> Any:
            for _ in range(2):
                session = await self._ready()
                reply, _ = await self._ask(Configured, "status")
                if reply.session == session:
                    return _as_configured(self.name, reply, name, datatype)
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

        backend = PollBackend(datatype, get, put, source=f"{self._zmq.url}#{name}", units=units)
        self._backends[name] = backend
        return SignalRW(backend, timeout=TIMEOUT)

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


class AcquiredBackend(PushBackend[SignalDatatypeT]):
    """A value that `trigger` brings; its shape is known before."""

    def __init__(
        self, datatype: type[SignalDatatypeT], *, source: str, max_age: float = MAX_AGE
    ) -> None:
        super().__init__(datatype, source=source, max_age=max_age, subscribe=_nothing)
        self.shape: list[int | None] = []
        self.dtype = "<f8"

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
            source=source, dtype="array", shape=self.shape, dtype_numpy=self.dtype, **self.metadata
        )


def _as_configured(instrument: str, reply: Configured, name: str, datatype: type) -> Any:
    value = reply.configuration.get(name)
    if value is None or datatype(value) != value:
        reason = f"{name} is {value!r} in {dict(reply.configuration)}"
        raise GarbledError(instrument, f"the reply to 'status': {reason}")
    return datatype(value)


async def _nothing() -> None: ...
