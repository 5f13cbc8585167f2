"""A detector behind an sdl detector service: a spectrometer, an impedance analyser.

Source: docs/reference/detector-protocol.md, protocol 1.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ophyd_async.core import SignalR, StandardReadableFormat

from sdl.drivers.detector.replies import Acquired, Description
from sdl.drivers.detector.service import MARGIN, MAX_AGE, TIMEOUT, AcquiredBackend, Detector
from sdl.errors import GarbledError
from sdl.instrument import PollBackend, PushBackend
from sdl.wires.zmq import ZmqWire

__all__ = ["MARGIN", "MAX_AGE", "Spectrometer"]


class Spectrometer(Detector):
    """`trigger` acquires, `read` gives what was acquired, with the time at which it was.

    `intensity` is (w,), or (2, w) for real and imaginary part; `axis` is (w,). A service that was
    restarted gets its configuration again; a lost reply to a trigger does not acquire twice.
    """

    title: ClassVar[str] = "sdl detector service, spectrometer or impedance analyser"

    def __init__(
        self, wire: ZmqWire, *, integration_time: float = 0.1, averages: int = 1, name: str = ""
    ) -> None:
        """:param integration_time: s of one exposure.
        :param averages: exposures in an acquisition.
        """
        settings = {"integration_time": integration_time, "averages": averages}
        super().__init__(wire, settings, name)

    def _add_signals(self) -> None:
        source = self._zmq.url
        self._intensity = AcquiredBackend(np.ndarray, source=f"{source}#intensity")
        self._saturated = AcquiredBackend(int, source=f"{source}#saturated")
        self._axis = np.zeros(0)
        self._axis_backend = PollBackend(np.ndarray, self._get_axis, None, source=f"{source}#axis")
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.intensity = SignalR(self._intensity, timeout=TIMEOUT)
            self.axis = SignalR(self._axis_backend, timeout=TIMEOUT)
            self.saturated = SignalR(self._saturated, timeout=TIMEOUT)
        with self.add_children_as_readables(StandardReadableFormat.CONFIG_SIGNAL):
            self.integration_time = self._setting(float, "integration_time", "s")
            self.averages = self._setting(int, "averages", None)

    @property
    def _duration(self) -> float:
        return self._settings["integration_time"] * self._settings["averages"]

    def _acquired_signals(self) -> Sequence[PushBackend[Any]]:
        return self._intensity, self._saturated

    def _take_description(self, reply: Description, frames: list[bytes]) -> None:
        if reply.axis is None or reply.dtype is None:
            raise GarbledError(self.name, "the reply to 'describe': no axis: no spectrometer")
        self._axis = np.frombuffer(frames[0], dtype=reply.dtype).astype(float)
        if reply.data.shape[-1:] != [*self._axis.shape]:
            reason = f"an axis of {self._axis.size} for data of shape {reply.data.shape}"
            raise GarbledError(self.name, f"the reply to 'describe': {reason}")
        self._axis_backend.metadata["units"] = reply.axis.units
        self._intensity.shape = [*reply.data.shape]
        self._intensity.metadata["units"] = reply.data.units

    def _publish(self, reply: Acquired, data: np.ndarray, time: float) -> None:
        self._intensity.publish(data.astype(float), time)
        self._saturated.publish(reply.saturated, time)

    async def _get_axis(self) -> np.ndarray:
        return self._axis
