"""A camera behind an sdl detector service: frames of 8 or 16 bits, grey or RGB.

Source: docs/reference/detector-protocol.md, protocol 1. A camera's settings are `exposure` (s) and
`gain` (dB); what it describes has no axis, `shape` is (h, w) or (h, w, 3), and `full_scale` says
which count is white that cannot be told from whiter. Counts are linear in light: no gamma.

What `trigger` acquires is fetched and cannot be lost. The live view is the service's stream of
whatever anybody acquires there; frames of it may be lost, and `lost` says how many were.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, SignalR, StandardReadableFormat

from sdl import clock
from sdl.drivers.detector.replies import Acquired, Description
from sdl.drivers.detector.service import TIMEOUT, AcquiredBackend, Detector
from sdl.errors import ConfigError, GarbledError
from sdl.instrument import PushBackend
from sdl.wires.zmq import Header, ZmqWire

Channels = Literal["rgb", "grey"]
Region = tuple[int, int, int, int]

NAMES: dict[str, tuple[str, ...]] = {"rgb": ("red", "green", "blue"), "grey": ("grey",)}
DEPTHS = {"|u1": 255.0, "<u2": 65535.0}  # counts that fit


class Camera(Detector):
    """`trigger` takes a picture, `read` gives it, with the time at which it was taken.

    `image` is (h, w) or (h, w, 3), as the camera counts; `red`, `green` and `blue` (or `grey`) are
    the means of `region`, 0 to 1 of full scale: what a campaign can work with. `saturated` is how
    many elements of the picture were at full scale: what is saturated has no colour any more.
    """

    title: ClassVar[str] = "sdl detector service, camera"

    red: SignalR[float]
    green: SignalR[float]
    blue: SignalR[float]
    grey: SignalR[float]

    def __init__(
        self,
        wire: ZmqWire,
        *,
        exposure: float = 0.01,
        gain: float = 0.0,
        channels: Channels = "rgb",
        region: Region | None = None,
        live: bool = False,
        name: str = "",
    ) -> None:
        """Describe a camera.

        :param exposure: s.
        :param gain: dB.
        :param channels: what the camera has.
        :param region: left, top, right, bottom in pixels (the last two not included), of what the
            colour is the mean of; default: the whole picture.
        :param live: also listen to what is acquired there, by whomever: `live` and `lost`.
        """
        if channels not in NAMES:
            raise ConfigError(f"{name}: channels={channels!r}; allowed are rgb and grey")
        if region is not None and not (0 <= region[0] < region[2] and 0 <= region[1] < region[3]):
            raise ConfigError(f"{name}: region={region}: left < right and top < bottom, from 0")
        self._channels, self._region, self._is_live = channels, region, live
        self._full_scale, self._last = math.nan, ("", 0)
        self._unsubscribe: Callable[[], None] | None = None
        super().__init__(wire, {"exposure": exposure, "gain": gain}, name)

    def _add_signals(self) -> None:
        source = self._zmq.url
        self._image = AcquiredBackend(np.ndarray, source=f"{source}#image")
        self._saturated = AcquiredBackend(int, source=f"{source}#saturated")
        self._means = [
            AcquiredBackend(float, source=f"{source}#{each}") for each in NAMES[self._channels]
        ]
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.image = SignalR(self._image, timeout=TIMEOUT)
            self.saturated = SignalR(self._saturated, timeout=TIMEOUT)
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            for each, backend in zip(NAMES[self._channels], self._means, strict=True):
                setattr(self, each, SignalR(backend, timeout=TIMEOUT))
        with self.add_children_as_readables(StandardReadableFormat.CONFIG_SIGNAL):
            self.exposure = self._setting(float, "exposure", "s")
            self.gain = self._setting(float, "gain", "dB")
        if self._is_live:
            self._live = AcquiredBackend(np.ndarray, source=f"{source}#stream")
            self._lost = AcquiredBackend(int, source=f"{source}#stream.seq", max_age=math.inf)
            self.live = SignalR(self._live, timeout=TIMEOUT)
            self.lost = SignalR(self._lost, timeout=TIMEOUT)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        await super().connect(mock, timeout, force_reconnect)
        if self._is_live and not mock and self._unsubscribe is None:
            self._lost.publish(0)
            self._unsubscribe = await self._zmq.subscribe("frame", self._hear_frame)

    @property
    def _duration(self) -> float:
        return self._settings["exposure"]

    def _acquired_signals(self) -> Sequence[PushBackend[Any]]:
        return self._image, self._saturated, *self._means

    def _take_description(self, reply: Description, frames: list[bytes]) -> None:
        shape, colours = reply.data.shape, len(NAMES[self._channels])
        wanted = "(h, w, 3)" if colours > 1 else "(h, w)"
        found = shape[2:] if colours > 1 else [1] if len(shape) == 2 else []
        if found != [colours] or min(shape) < 1 or reply.full_scale is None:
            reason = f"shape {shape}, full scale {reply.full_scale}: no camera, or not of channels"
            text = f"the reply to 'describe': {reason}={self._channels}, {wanted}"
            raise GarbledError(self.name, text)
        if self._region is not None and (self._region[2] > shape[1] or self._region[3] > shape[0]):
            raise ConfigError(f"{self.name}: region={self._region} of a picture of {shape}")
        self._full_scale = reply.full_scale
        self._image.shape, self._image.metadata["units"] = [*shape], reply.data.units
        self._image.dtype = "<u2" if reply.full_scale > DEPTHS["|u1"] else "|u1"

    def _publish(self, reply: Acquired, data: np.ndarray, time: float) -> None:
        if reply.dtype not in DEPTHS or self._full_scale > DEPTHS[reply.dtype]:
            raise GarbledError(self.name, f"a picture of dtype {reply.dtype}")
        left, top, right, bottom = self._region or (0, 0, data.shape[1], data.shape[0])
        part = data[top:bottom, left:right].reshape(-1, len(self._means))
        self._image.publish(data, time)
        self._saturated.publish(reply.saturated, time)
        for backend, mean in zip(self._means, part.mean(axis=0), strict=True):
            backend.publish(float(mean) / self._full_scale, time)

    def _hear_frame(self, header: Header, frames: list[bytes]) -> None:
        """Take a frame of the live view, and count those that did not come before it."""
        session, seq, shape = header.get("session"), header.get("seq"), header.get("shape")
        dtype = header.get("dtype")
        if type(seq) is not int or dtype not in DEPTHS or shape != self._shape:
            return  # none of a picture; the wire has checked its length
        known, last = self._last
        if session == known and seq <= last:
            return  # an old one
        if session == known:
            self._lost.publish((self._lost.newest or {"value": 0})["value"] + seq - last - 1)
        self._last = str(session), seq
        self._live.publish(np.frombuffer(frames[0], dtype=dtype).reshape(shape), clock.now())
