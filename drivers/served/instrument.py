"""An instrument that another program serves, as a lab file describes it: what is read, what
setting it calls, what measures, what stops it and what is safe. How that program is spoken to is a
`Link`: `sila2_feature`, `opcua`.

Nothing that acts is sent twice; a question whose connection was lost is asked once more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock, StandardReadableFormat

from sdl import clock
from sdl.drivers.served.words import TYPES, Command, Given, Reading, Setting, parse_value
from sdl.errors import (
    ConfigError,
    FaultError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    StaleError,
)
from sdl.instrument import Effect, StopPolicy, check_limits, poll_r
from sdl.instrument.unwired import Unwired

T = TypeVar("T")
PERIOD = 0.5  # s between looks at what is on its way
TRIES = 2  # of a question
log = logging.getLogger(__name__)

Safe = Command | Literal["nothing"]


class Link(Protocol):
    """The connection to the program. Errors are `InstrumentError`s of the right kind."""

    url: str

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def identify(self) -> str: ...

    async def value(self, of: str) -> Any:
        """Ask for a property or node."""
        ...

    async def write(self, to: str, value: Any) -> None:
        """Write a node.

        :raises ConfigError: nothing can be written there.
        """
        ...

    async def call(
        self, command: str, given: Given, timeout: float, *, urgent: bool = False
    ) -> Mapping[str, Any]:
        """Call a command, wait for its end, and return its answers by name.

        :param urgent: do not wait for another that is under way.
        """
        ...


class Served(Unwired):
    """Reads, sets, measures and stops as described. `halt` and `make_safe` call what the lab file
    says is `stopping` and `safe`; one that can be set or measures must say what is safe.
    """

    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        link: Link,
        *,
        readings: Mapping[str, Reading],
        setting: Setting | None = None,
        measuring: Command | None = None,
        stopping: Command | None = None,
        safe: Safe | None = None,
        name: str = "",
    ) -> None:
        """Describe it.

        :param readings: its signals, by name.
        :param safe: what makes it safe; "nothing" where nothing needs to be done.
        :raises ConfigError: it acts, and nobody says what is safe; or a reading is not there.
        """
        if safe is None and stopping is None and (setting or measuring):
            allowed = "say `safe: {call: …}`, `stopping: {call: …}`, or `safe: nothing`"
            raise ConfigError(f"it acts, so somebody must say what is safe: {allowed}")
        if setting is not None and setting.reading and setting.reading not in readings:
            raise ConfigError(f"setting: there is no reading {setting.reading!r}")
        if measuring is None and (lost := [n for n, r in readings.items() if r.result]):
            raise ConfigError(f"readings: {', '.join(lost)}: nothing measures; give `measuring`")
        self._link, self._readings = link, dict(readings)
        self._setting, self._measuring = setting, measuring
        self._stopping, self._safe = stopping, safe
        self._results: Mapping[str, Any] = {}
        self._connecting = False
        self._aims = 0  # how often somebody decided what it should do
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            for key, reading in readings.items():
                setattr(self, key, self._signal(key, reading))
        super().__init__(name=name)

    def _signal(self, key: str, reading: Reading) -> Any:
        if key in ("name", "parent") or not key.isidentifier() or hasattr(type(self), key):
            raise ConfigError(f"readings: {key!r} cannot be the name of a signal here")
        return poll_r(
            TYPES[reading.kind],
            lambda: self._read(key),
            source=f"{self._link.url}#{reading.of or reading.result}",
            units=reading.units or None,
            precision=reading.precision,
        )

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        self._connecting = True  # each signal is asked; there are no results yet, and that is right
        try:
            await super().connect(mock, timeout, force_reconnect)
        finally:
            self._connecting = False

    async def _open(self) -> None:
        await self._link.open()

    async def _close(self) -> None:
        await self._link.close()

    async def identify(self) -> str:
        return await self._asked(self._link.identify)

    async def call(self, command: str, timeout: float = 600.0, **given: Any) -> Mapping[str, Any]:
        """Call any command and return its answers by name. It is sent once."""
        return {} if self.mocked else await self._link.call(command, given, timeout)

    async def check_value(self, value: Any) -> None:
        """Refuse what cannot be set.

        :raises RefusedError: nothing was sent.
        """
        if self._setting is None:
            raise RefusedError(self.name, "cannot be set: its lab file has no `setting`")
        limits = (self._setting.low, self._setting.high)
        check_limits(value, limits, self.name, self._setting.units)

    @AsyncStatus.wrap
    async def set(self, value: Any) -> None:
        """Do what `setting` says; done when its command has ended and its reading has come.

        :raises RefusedError: the limits or the server said no; nothing has changed.
        :raises FaultError: it failed, or its reading did not come.
        :raises NoReplyError: no answer came; it may have been done.
        :raises InstrumentError: it was stopped before it was there.
        """
        await self.check_value(value)
        setting = self._setting
        assert setting is not None  # check_value
        self._aims += 1
        aim, began = self._aims, clock.monotonic()
        if self.mocked:
            return
        if setting.write:
            await self._link.write(setting.write, value)
        else:
            given = setting.given | ({setting.parameter: value} if setting.parameter else {})
            await self._link.call(setting.call, given, setting.timeout)
        while setting.reading:
            self._check_aim(aim, f"set {value!r}")
            reached = await self._read(setting.reading)
            if reached == value or abs(reached - value) <= setting.tolerance:
                return
            if clock.monotonic() - began > setting.timeout:
                at = f"{setting.reading} is {reached!r} after {setting.timeout:g} s"
                raise FaultError(self.name, f"set {value!r}: {at}")
            await asyncio.sleep(PERIOD)
        self._check_aim(aim, f"set {value!r}")

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Do what `measuring` says; its answers are then read. Without it, do nothing."""
        if self._measuring is None or self.mocked:
            return
        self._results, aim = {}, self._aims
        command = self._measuring
        self._results = await self._link.call(command.call, command.given, command.timeout)
        self._check_aim(aim, command.call)

    async def halt(self) -> None:
        """Do what `stopping` says; what was under way ends with an error."""
        self._aims += 1
        if self._stopping is not None and not self.mocked:
            await self._do(self._stopping)

    async def make_safe(self) -> None:
        """Do what `safe` says, else what `stopping` says; done when the server has confirmed."""
        self._aims += 1
        command = self._safe or self._stopping
        if isinstance(command, Command) and not self.mocked:
            await self._do(command)

    async def _do(self, command: Command) -> None:
        """Stop or make safe: that may be said twice, and must be, if the first was not heard."""
        words = (command.call, command.given, command.timeout)
        await self._asked(lambda: self._link.call(*words, urgent=True))

    def _check_aim(self, aim: int, what: str) -> None:
        if aim != self._aims:
            raise InstrumentError(self.name, f"{what}: stopped before it was done")

    async def _read(self, key: str) -> Any:
        reading = self._readings[key]
        if not reading.result:
            return parse_value(await self._asked(lambda: self._link.value(reading.of)), reading,
                               self.name)  # fmt: skip
        if self._connecting:
            return TYPES[reading.kind]()
        if reading.result not in self._results:
            answers = ", ".join(self._results) or "nothing"
            raise StaleError(self.name, f"{reading.result}: measured was {answers}; trigger it")
        return parse_value(self._results[reading.result], reading, self.name)

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        for _ in range(TRIES - 1):
            try:
                return await ask()
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await ask()
