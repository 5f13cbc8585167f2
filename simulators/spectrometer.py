"""A simulated detector service: a lamp and a CCD before a flow cell, or an impedance analyser.

Source: docs/reference/detector-protocol.md, protocol 1. The optics are those of a small
fibre spectrometer: 16 bits, shot and read noise, a dark signal with a fixed pattern, stray light.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdl import clock

Array = NDArray[np.float64]
Header = dict[str, Any]
Publish = Callable[[str, Header, list[bytes]], None]

FULL_SCALE = 65535.0  # counts, 16 bits
GAIN = 0.5  # counts per electron
BRIGHTEST = 400_000.0  # counts/s where the lamp is brightest: over half of full scale in 0.1 s
OFFSET, PATTERN, DARK_RATE = 1000.0, 20.0, 50.0  # counts, counts (s.d. over pixels), counts/s
READ_NOISE = 8.0  # counts (s.d.)
STRAY = 1e-3  # of the light of all pixels, on each
DARK_EXPOSURES = 100
IMPEDANCE_NOISE = 1e-3  # of each value (s.d.)

INTEGRATION_S, AVERAGES = (0.001, 60.0), (1, 1000)
LONGEST_WAIT = 10.0  # s that `read` may be held back
KEPT_DATA, KEPT_KEYS = 16, 1000
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "hello": (),
    "describe": (),
    "configure": ("integration_time", "averages"),
    "arm": (),
    "trigger": ("key", "configuration"),
    "read": ("acquisition", "wait"),
    "status": (),
    "abort": (),
}


class Sample(Protocol):
    """What the detector looks at."""

    @property
    def axis(self) -> Array:
        """(w,), always the same."""
        ...

    @property
    def axis_name(self) -> str: ...

    @property
    def axis_units(self) -> str: ...

    @property
    def quantity(self) -> str:
        """`transmittance`, or what else `sample` gives in ohm (`impedance`)."""
        ...

    def sample(self, integration_s: float) -> Array:
        """Return the true signal: (w,) transmittance, 0..1; or (2, w) real and imaginary ohm."""
        ...


class _RefusalError(Exception):
    def __init__(self, code: str, message: str, **more: float) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **more}


@dataclass
class _Acquisition:
    number: int
    configuration: Header
    ready_at: float  # on the loop's clock
    ended: asyncio.Event
    reply: Header | None = None  # what `read` replies once the data are there
    data: bytes = b""


class SimulatedSpectrometer:
    """A `FrameDevice`. All that it does by chance comes from `rng`."""

    def __init__(self, part: Sample, *, rng: np.random.Generator, serial: str = "SIM0001") -> None:
        self._part, self._rng, self._serial = part, rng, serial
        self._optics = _Optics(part, rng) if part.quantity == "transmittance" else None
        self._publish: Publish = lambda topic, header, frames: None
        self._running: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._session = ""
        self._forget()

    async def start(self, publish: Publish) -> None:
        self._publish = publish
        # the time makes it differ also where the same seed is started again
        self._session = f"{clock.now():.6f}-{self._rng.bytes(4).hex()}"
        self._forget()
        if self._optics is not None:
            self._optics.measure_dark()

    async def stop(self) -> None:
        await self._end()
        if self._failure is not None:  # of the part it looks at
            raise self._failure

    def _forget(self) -> None:
        self._configuration: Header = {"integration_time": 0.1, "averages": 1}
        self._armed, self._begun, self._completed = False, 0, 0
        self._keys: dict[str, int] = {}
        self._kept: deque[_Acquisition] = deque(maxlen=KEPT_DATA)

    async def request(self, header: Header, frames: list[bytes]) -> tuple[Header, list[bytes]]:
        try:
            results, answer = await self._answer(header)
            status: Header = {"status": "ok"}
        except _RefusalError as refusal:
            results, answer, status = {"error": refusal.error}, [], {"status": "error"}
        common = {"protocol": 1, "session": self._session, "t": clock.now()}
        return {**common, **status, **results}, answer

    async def _answer(self, header: Header) -> tuple[Header, list[bytes]]:
        command = header["command"]
        if command not in ARGUMENTS:
            known = ", ".join(ARGUMENTS)
            raise _RefusalError("unknown_command", f"{command!r:.99} is none of {known}")
        if header.get("session", self._session) != self._session:
            raise _RefusalError("session", f"this is session {self._session}; say hello")
        given = {k: v for k, v in header.items() if k not in ("protocol", "command", "session")}
        for name in given:
            if name not in ARGUMENTS[command]:
                known = ", ".join(ARGUMENTS[command]) or "no arguments"
                raise _RefusalError("bad_argument", f"{command} knows {known}, not {name!r:.99}")
        match command:
            case "describe":
                return self._describe(), [self._part.axis.astype("<f8").tobytes()]
            case "read":
                return await self._read(**{"acquisition": None, **given})
            case "abort":
                return {"aborted": await self._abort()}, []
        answer: Callable[..., Header] = getattr(self, f"_{command}")
        return answer(**given), []

    def _hello(self) -> Header:
        model = "SDL-UV16" if self._optics is not None else "SDL-Z1"
        return {"model": model, "serial": self._serial, "firmware": "1.0"}

    def _describe(self) -> Header:
        part = self._part
        optical = self._optics is not None
        width = len(part.axis)
        return {
            "data": {
                "name": "intensity" if optical else part.quantity,
                "units": "counts" if optical else "ohm",
                "shape": [width] if optical else [2, width],
            },
            "axis": {"name": part.axis_name, "units": part.axis_units},
            "settings": {
                "integration_time": _setting("s", *INTEGRATION_S),
                "averages": _setting("", *AVERAGES),
            },
            "dtype": "<f8",
            "shape": [width],
        }

    def _configure(self, integration_time: object = None, averages: object = None) -> Header:
        changed = dict(self._configuration)
        if integration_time is not None:
            value = _number("integration_time", integration_time, *INTEGRATION_S)
            changed["integration_time"] = value
        if averages is not None:
            changed["averages"] = int(_number("averages", averages, *AVERAGES, whole=True))
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
            raise _RefusalError("bad_argument", message)
        if key in self._keys:
            number = self._keys[key]
            return {"acquisition": number, "remaining": self._left(number), "repeated": True}
        if not self._armed:
            raise _RefusalError("not_armed", "configure and arm first")
        if configuration is not None and configuration != self._configuration:
            raise _RefusalError("configuration", f"it is {self._configuration}")
        self._refuse_if_busy()
        self._begin(key)
        return {"acquisition": self._begun, "remaining": self._left(self._begun), "repeated": False}

    async def _read(self, acquisition: object, wait: object = 0.0) -> tuple[Header, list[bytes]]:
        number = int(_number("acquisition", acquisition, 0, 2**53, whole=True))
        seconds = _number("wait", wait, 0.0, LONGEST_WAIT)
        if not 1 <= number <= self._begun:
            raise _RefusalError("unknown_acquisition", f"{self._begun} were begun in this session")
        found = next((a for a in self._kept if a.number == number), None)
        if found is None:
            raise _RefusalError("gone", f"only the newest {KEPT_DATA} are kept")
        try:
            async with asyncio.timeout(seconds):
                await found.ended.wait()
        except TimeoutError:
            left = self._left(number)
            message = f"acquisition {number} is ready in {left:.3g} s"
            raise _RefusalError("not_ready", message, remaining=left) from None
        if found.reply is None:
            raise _RefusalError("aborted", f"acquisition {number} was aborted")
        return found.reply, [found.data]

    def _status(self) -> Header:
        return {
            "state": "acquiring" if self._busy else "armed" if self._armed else "idle",
            "acquisition": self._begun or None,
            "remaining": self._left(self._begun),
            "configuration": self._configuration,
        }

    async def _abort(self) -> int | None:
        number = self._begun if self._busy else None
        self._armed = False
        await self._end()
        return number

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def _refuse_if_busy(self) -> None:
        if self._busy:
            left = self._left(self._begun)
            message = f"acquisition {self._begun} runs for {left:.3g} s more"
            raise _RefusalError("busy", message, remaining=left)

    def _left(self, number: int) -> float:
        """Seconds until the data are ready; 0 if they are, or never will be."""
        for kept in self._kept:
            if kept.number == number and not kept.ended.is_set():
                return max(kept.ready_at - clock.monotonic(), 0.0)
        return 0.0

    def _begin(self, key: str) -> None:
        self._begun += 1
        self._keys[key] = self._begun
        if len(self._keys) > KEPT_KEYS:
            del self._keys[next(iter(self._keys))]
        seconds = self._configuration["integration_time"] * self._configuration["averages"]
        acquisition = _Acquisition(
            self._begun, self._configuration, clock.monotonic() + seconds, asyncio.Event()
        )
        self._kept.append(acquisition)
        self._running = asyncio.create_task(self._acquire(acquisition))
        self._running.add_done_callback(lambda task: self._ended(acquisition, task))

    def _ended(self, acquisition: _Acquisition, task: asyncio.Task[None]) -> None:
        acquisition.ended.set()
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _end(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _acquire(self, acquisition: _Acquisition) -> None:
        exposures = acquisition.configuration["averages"]
        seconds = acquisition.configuration["integration_time"]
        total, clipped = 0.0, np.zeros(len(self._part.axis), dtype=bool)
        for _ in range(exposures):
            await asyncio.sleep(seconds)
            values, saturated = self._expose(seconds)
            total, clipped = total + values, clipped | saturated
        self._complete(acquisition, np.asarray(total / exposures), int(clipped.sum()))

    def _expose(self, seconds: float) -> tuple[Array, NDArray[np.bool_]]:
        true = self._part.sample(seconds)
        if self._optics is not None:
            return self._optics.expose(true, seconds)
        noise = 1.0 + IMPEDANCE_NOISE * self._rng.standard_normal(true.shape)
        return true * noise, np.zeros(true.shape[-1], dtype=bool)

    def _complete(self, acquisition: _Acquisition, data: Array, saturated: int) -> None:
        self._completed += 1
        now = clock.now()
        common = {
            "acquisition": acquisition.number,
            "seq": self._completed,
            "saturated": saturated,
            "dtype": "<f8",
            "shape": list(data.shape),
        }
        acquisition.data = data.astype("<f8").tobytes()
        acquisition.reply = {
            **common,
            "acquired": now,
            "configuration": acquisition.configuration,
        }
        live = {**common, "t": now, "session": self._session}
        self._publish("frame", live, [acquisition.data])


class _Optics:
    """Lamp, spectrograph and CCD."""

    def __init__(self, part: Sample, rng: np.random.Generator) -> None:
        self._rng = rng
        width = len(part.axis)
        self._lamp = BRIGHTEST * _lamp(np.asarray(part.axis, dtype=float))
        self._offset = OFFSET + PATTERN * rng.standard_normal(width)
        self._dark, self._dark_rate = np.zeros(width), np.zeros(width)

    def measure_dark(self) -> None:
        """Close the shutter, and learn each pixel's offset and dark rate.

        It takes the service some seconds before it can be reached; no client sees them.
        """
        night, short, long = np.zeros_like(self._offset), INTEGRATION_S[0], 1.0
        first = np.mean([self._counts(night, short) for _ in range(DARK_EXPOSURES)], axis=0)
        second = np.mean([self._counts(night, long) for _ in range(DARK_EXPOSURES)], axis=0)
        self._dark_rate = (second - first) / (long - short)
        self._dark = first - self._dark_rate * short

    def expose(self, transmittance: Array, seconds: float) -> tuple[Array, NDArray[np.bool_]]:
        """Return (w,) counts without the dark, and which of them were at full scale."""
        light = self._lamp * np.clip(transmittance, 0.0, None)
        counts = self._counts(light + STRAY * light.mean(), seconds)
        return counts - self._dark - self._dark_rate * seconds, counts >= FULL_SCALE

    def _counts(self, light: Array, seconds: float) -> Array:
        """Return what the converter says of (w,) counts/s of light."""
        electrons = self._rng.poisson((light + DARK_RATE) * seconds / GAIN)
        read = READ_NOISE * self._rng.standard_normal(len(light))
        return np.clip(np.rint(GAIN * electrons + self._offset + read), 0.0, FULL_SCALE)


def _lamp(wavelengths: Array) -> Array:
    """Return (w,) relative brightness, 0..1, of a deuterium and a halogen lamp together (nm)."""
    deuterium = 0.75 * np.exp(-(((wavelengths - 250.0) / 70.0) ** 2))
    halogen = 1.0 / (1.0 + np.exp(-(wavelengths - 420.0) / 60.0))
    return (0.15 + deuterium + halogen) / 1.2


def _setting(units: str, low: float, high: float) -> Header:
    return {"units": units, "minimum": low, "maximum": high}


def _number(name: str, value: object, low: float, high: float, *, whole: bool = False) -> float:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        message = f"{name} must be {what}, {low:g} to {high:g}: {value!r:.99}"
        raise _RefusalError("bad_argument", message)
    return value
