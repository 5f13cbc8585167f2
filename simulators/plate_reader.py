"""A simulated plate reader: a detector service that counts the light of each well.

Source: docs/reference/detector-protocol.md, protocol 1; its axis are the wells. It images the whole
plate at once: shot noise, dark counts, read noise, 16 bits.
"""

import asyncio
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.detector import Allowed, Header, SimulatedDetector

Array = NDArray[np.float64]

FULL_SCALE = 65535.0  # counts, 16 bits
DARK_RATE, READ_NOISE = 200.0, 12.0  # counts/s, counts (s.d.)
SETTINGS = {
    "integration_time": Allowed("s", 0.001, 10.0, initial=0.1),
    "averages": Allowed("", 1, 100, initial=1, whole=True),
}


class Wells(Protocol):
    """What the reader looks at."""

    axis: Array
    """(w,) the wells by their numbers"""

    def light(self) -> Array:
        """Return (w,) counts/s that the light of each well is worth."""
        ...


class SimulatedPlateReader(SimulatedDetector):
    """All that it does by chance comes from `rng`.

    Its drift is the lamp's, its noise is added to each well, in % of full scale.
    """

    def __init__(self, part: Wells, *, rng: np.random.Generator, serial: str = "SIMPR01") -> None:
        super().__init__(SETTINGS, rng=rng, serial=serial)
        self._part = part

    @property
    def model(self) -> str:
        return "SDL-PR"

    def described(self) -> tuple[Header, list[bytes]]:
        width = len(self._part.axis)
        header = {
            "data": {"name": "fluorescence", "units": "counts", "shape": [width]},
            "axis": {"name": "well", "units": ""},
            "dtype": "<f8",
            "shape": [width],
        }
        return header, [self._part.axis.astype("<f8").tobytes()]

    def lasting(self, configuration: Header) -> float:
        return configuration["integration_time"] * configuration["averages"]

    async def expose(self, configuration: Header) -> tuple[np.ndarray, int]:
        await asyncio.sleep(self.lasting(configuration))
        seconds, exposures = configuration["integration_time"], configuration["averages"]
        light = np.clip(self._part.light(), 0.0, None)
        light *= 1.0 + self.troubles.get("drift", 0.0) / 100
        full = FULL_SCALE * self.troubles.get("saturation", 100.0) / 100
        spread = np.hypot(READ_NOISE, self.troubles.get("noise", 0.0) / 100 * FULL_SCALE)
        shots = self.rng.poisson((light + DARK_RATE) * seconds, (exposures, len(light)))
        counts = shots + spread * self.rng.standard_normal(shots.shape)
        clipped = (counts >= full).any(axis=0)
        counts = np.clip(np.rint(counts), 0.0, full)
        return counts.mean(axis=0).astype("<f8"), int(clipped.sum())
