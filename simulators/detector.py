"""What all simulated detector services do, whatever they measure: sessions, keys, acquisitions.

Source: docs/reference/detector-protocol.md, protocol 1.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sdl import clock
from sdl.simulators.simulated import Simulated

Header = dict[str, Any]
Publish = Callable[[str, Header, list[bytes]], None]

LONGEST_WAIT = 10.0  # s that `read` may be held back
BUSY = 1.0  # s that a service that is busy for a reason of its own says it will be
UNSTUCK = 0.5  # s between looks at whether what is stuck still is
KEPT_DATA, KEPT_KEYS = 16, 1000


@dataclass(frozen=True)
class Allowed:
    """A setting of a detector."""

    units: str
    low: float
    high: float
    initial: float
    whole: bool = False


class RefusalError(Exception):
    def __init__(self, code: str, message: str, **more: float) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **more}


@dataclass
class Acquisition:
    number: int
    configuration: Header
    ready_at: float  # on the loop's clock
    ended: asyncio.Event
    reply: Header | None = None  # what `read` replies once the data are there
    data: bytes = b""


class SimulatedDetector(Simulated):
    """A `FrameDevice`. All that it does by chance comes from `rng`."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "drift", "noise", "saturation", "power cycle"}
    )

    def __init__(
        self, settings: Mapping[str, Allowed], *, rng: np.random.Generator, serial: str
    ) -> None:
        super().__init__(rng=rng)
        self._settings, self._serial = settings, serial
        self._publish: Publish = lambda topic, header, frames: None
        self._running: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._session = ""
        self._arguments: Mapping[str, tuple[str, ...]] = {
            "hello": (),
            "describe": (),
            "configure": tuple(settings),
            "arm": (),
            "trigger": ("key", "configuration"),
            "read": ("acquisition", "wait"),
            "status": (),
            "abort": (),
        }
        self._forget()

    # What a kind of detector is

    @property
    @abstractmethod
    def model(self) -> str:
        """What `hello` says."""

    @abstractmethod
    def described(self) -> tuple[Header, list[bytes]]:
        """Return what `describe` says beside the settings: the data, perhaps an axis."""

    @abstractmethod
    def lasting(self, configuration: Header) -> float:
        """Return how long an acquisition takes, s."""

    @abstractmethod
    async def expose(self, configuration: Header) -> tuple[np.ndarray, int]:
        """Acquire, taking the time that it takes; return data and how many elements were full."""

    def warmed_up(self) -> None:
        """Do what the service does before it can be reached."""

    # The service

    @property
    def configuration(self) -> Mapping[str, float]:
        """As it is now, whoever set it."""
        return self._configuration

    def configure(self, **settings: float) -> None:
        """Have another client change the configuration, and arm it."""
        self._configuration, self._armed = {**self._configuration, **settings}, True

    async def start(self, publish: Publish) -> None:
        self._publish = publish
        self._begin_session()

    async def stop(self) -> None:
        await self._end()
        if self._failure is not None:  # of the part it looks at
            raise self._failure

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            if self._running is not None:
                self._running.cancel()
            self._begin_session()

    def _begin_session(self) -> None:
        # the time makes it differ also where the same seed is started again
        self._session = f"{clock.now():.6f}-{self.rng.bytes(4).hex()}"
        self._forget()
        self.warmed_up()

    def _forget(self) -> None:
        self._configuration: Header = {name: s.initial for name, s in self._settings.items()}
        self._armed, self._begun, self._completed = False, 0, 0
        self._keys: dict[str, int] = {}
        self._kept: deque[Acquisition] = deque(maxlen=KEPT_DATA)

    async def request(self, header: Header, frames: list[bytes]) -> tuple[Header, list[bytes]]:
        try:
            results, answer = await self._answer(header)
            status: Header = {"status": "ok"}
        except RefusalError as refusal:
            results, answer, status = {"error": refusal.error}, [], {"status": "error"}
        common = {"protocol": 1, "session": self._session, "t": clock.now()}
        return {**common, **status, **results}, answer

    async def _answer(self, header: Header) -> tuple[Header, list[bytes]]:
        command = header["command"]
        if command not in self._arguments:
            known = ", ".join(self._arguments)
            raise RefusalError("unknown_command", f"{command!r:.99} is none of {known}")
        if header.get("session", self._session) != self._session:
            raise RefusalError("session", f"this is session {self._session}; say hello")
        given = {k: v for k, v in header.items() if k not in ("protocol", "command", "session")}
        for name in given:
            if name not in self._arguments[command]:
                known = ", ".join(self._arguments[command]) or "no arguments"
                raise RefusalError("bad_argument", f"{command} knows {known}, not {name!r:.99}")
        match command:
            case "describe":
                return self._describe()
            case "read":
                return await self._read(**{"acquisition": None, **given})
            case "abort":
                return {"aborted": await self._abort()}, []
        answer: Callable[..., Header] = getattr(self, f"_{command}")
        return answer(**given), []

    def _hello(self) -> Header:
        return {"model": self.model, "serial": self._serial, "firmware": "1.0"}

    def _describe(self) -> tuple[Header, list[bytes]]:
        header, frames = self.described()
        settings = {
            name: {"units": each.units, "minimum": each.low, "maximum": each.high}
            for name, each in self._settings.items()
        }
        return {**header, "settings": settings}, frames

    def _configure(self, **given: object) -> Header:
        changed = dict(self._configuration)
        for name, value in given.items():
            if value is not None:
                allowed = self._settings[name]
                changed[name] = number(name, value, allowed.low, allowed.high, whole=allowed.whole)
        self._refuse_if_busy()
        self._configuration, self._armed = changed, False
        return {"configuration": changed}

    def _arm(self) -> Header:
        self._refuse_if_busy()
        self._armed = True
        return {"configuration": self._configuration}

    def _trigger(self, key: object = None, configuration: object = None) -> Header:
        if not isinstance(key, str) or not 1 <= len(key) <= 64:
            message = f"key must be a text of 1 to 64 characters: {key!r:.99}"
            raise RefusalError("bad_argument", message)
        if key in self._keys:
            known = self._keys[key]
            return {"acquisition": known, "remaining": self._left(known), "repeated": True}
        if not self._armed:
            raise RefusalError("not_armed", "configure and arm first")
        if configuration is not None and configuration != self._configuration:
            raise RefusalError("configuration", f"it is {self._configuration}")
        self._refuse_if_busy()
        self._begin(key)
        return {"acquisition": self._begun, "remaining": self._left(self._begun), "repeated": False}

    async def _read(self, acquisition: object, wait: object = 0.0) -> tuple[Header, list[bytes]]:
        wanted = int(number("acquisition", acquisition, 0, 2**53, whole=True))
        seconds = number("wait", wait, 0.0, LONGEST_WAIT)
        if not 1 <= wanted <= self._begun:
            raise RefusalError("unknown_acquisition", f"{self._begun} were begun in this session")
        found = next((a for a in self._kept if a.number == wanted), None)
        if found is None:
            raise RefusalError("gone", f"only the newest {KEPT_DATA} are kept")
        try:
            async with asyncio.timeout(seconds):
                await found.ended.wait()
        except TimeoutError:
            left = self._left(wanted)
            message = f"acquisition {wanted} is ready in {left:.3g} s"
            raise RefusalError("not_ready", message, remaining=left) from None
        if found.reply is None:
            raise RefusalError("aborted", f"acquisition {wanted} was aborted")
        return found.reply, [found.data]

    def _status(self) -> Header:
        return {
            "state": "acquiring" if self._busy else "armed" if self._armed else "idle",
            "acquisition": self._begun or None,
            "remaining": self._left(self._begun),
            "configuration": self._configuration,
        }

    async def _abort(self) -> int | None:
        aborted = self._begun if self._busy else None
        self._armed = False
        await self._end()
        return aborted

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def _refuse_if_busy(self) -> None:
        if self._busy:
            left = self._left(self._begun)
            message = f"acquisition {self._begun} runs for {left:.3g} s more"
            raise RefusalError("busy", message, remaining=left)
        if "busy" in self.troubles:
            raise RefusalError("busy", "the service is not ready", remaining=BUSY)

    def _left(self, wanted: int) -> float:
        """Seconds until the data are ready; 0 if they are, or never will be."""
        for kept in self._kept:
            if kept.number == wanted and not kept.ended.is_set():
                return max(kept.ready_at - clock.monotonic(), 0.0)
        return 0.0

    def _begin(self, key: str) -> None:
        self._begun += 1
        self._keys[key] = self._begun
        if len(self._keys) > KEPT_KEYS:
            del self._keys[next(iter(self._keys))]
        ready_at = clock.monotonic() + self.lasting(self._configuration)
        acquisition = Acquisition(self._begun, self._configuration, ready_at, asyncio.Event())
        self._kept.append(acquisition)
        self._running = asyncio.create_task(self._acquire(acquisition))
        self._running.add_done_callback(lambda task: self._ended(acquisition, task))

    def _ended(self, acquisition: Acquisition, task: asyncio.Task[None]) -> None:
        acquisition.ended.set()
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _end(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _acquire(self, acquisition: Acquisition) -> None:
        data, saturated = await self.expose(acquisition.configuration)
        while "stuck" in self.troubles:
            await asyncio.sleep(UNSTUCK)
        self._complete(acquisition, data, saturated)

    def _complete(self, acquisition: Acquisition, data: np.ndarray, saturated: int) -> None:
        self._completed += 1
        now = clock.now()
        common = {
            "acquisition": acquisition.number,
            "seq": self._completed,
            "saturated": saturated,
            "dtype": data.dtype.str,
            "shape": list(data.shape),
        }
        acquisition.data = data.tobytes()
        acquisition.reply = {
            **common,
            "acquired": now,
            "configuration": acquisition.configuration,
        }
        live = {**common, "t": now, "session": self._session}
        self._publish("frame", live, [acquisition.data])


def number(name: str, value: object, low: float, high: float, *, whole: bool = False) -> float:
    """Return `value` if it is a number in that range.

    :raises RefusalError: it is not.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        message = f"{name} must be {what}, {low:g} to {high:g}: {value!r:.99}"
        raise RefusalError("bad_argument", message)
    return value
