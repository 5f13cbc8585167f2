"""A simulated camera behind a detector service: a lens, a sensor and a converter.

Source: docs/reference/detector-protocol.md, protocol 1. The sensor counts electrons: shot noise,
read noise, a dark current, a full well; the converter has 8 or 16 bits and a gain in dB before it.
Counts are linear in light. A grey camera weighs the colours as ITU-R BT.709 weighs luminance.
"""

import asyncio
from typing import Any, Literal, Protocol

import numpy as np

from sdl.simulators.detector import Allowed, Header, SimulatedDetector

FULL_WELL = 10_000.0  # electrons that are full scale at 0 dB
BRIGHT = 600_000.0  # electrons/s of a white surface: 60 % of full scale in 0.01 s
DARK, READ_NOISE = 20.0, 4.0  # electrons/s, electrons (s.d.)
LUMINANCE = (0.2126, 0.7152, 0.0722)
SETTINGS = {
    "exposure": Allowed("s", 1e-5, 10.0, initial=0.01),
    "gain": Allowed("dB", 0.0, 24.0, initial=0.0),
}


class View(Protocol):
    """What the camera looks at."""

    def image(self, exposure_s: float) -> np.ndarray:
        """Return the light of an exposure that ends now: (h, w, 3) linear RGB, 0 to 1 (white)."""
        ...


class SimulatedCamera(SimulatedDetector):
    """A `FrameDevice`. Its drift is of its light, in %; its noise and its end, of full scale."""

    def __init__(
        self,
        part: View,
        *,
        rng: np.random.Generator,
        channels: Literal["rgb", "grey"] = "rgb",
        bits: Literal[8, 16] = 8,
        noise: bool = True,
        serial: str = "SIM0001",
    ) -> None:
        """:param bits: of the converter.
        :param noise: whether there is any.
        """
        super().__init__(SETTINGS, rng=rng, serial=serial)
        self._part, self._channels, self._bits, self._noise = part, channels, bits, noise
        self._shape: list[int] = []

    @property
    def model(self) -> str:
        return f"SDL-CAM{self._bits}{'C' if self._channels == 'rgb' else 'M'}"

    def warmed_up(self) -> None:
        self._shape = list(self._light(0.0).shape)

    def described(self) -> tuple[Header, list[bytes]]:
        data = {"name": "image", "units": "counts", "shape": self._shape}
        return {"data": data, "full_scale": self._full_scale}, []

    def lasting(self, configuration: Header) -> float:
        return configuration["exposure"]

    async def expose(self, configuration: Header) -> tuple[np.ndarray, int]:
        seconds = configuration["exposure"]
        await asyncio.sleep(seconds)
        light = self._light(seconds) * (1 + self.troubles.get("drift", 0.0) / 100)
        scale = self._full_scale * 10 ** (configuration["gain"] / 20) / FULL_WELL
        counts = self._electrons(light * BRIGHT * seconds, seconds) * scale
        if "noise" in self.troubles:
            sigma = self.troubles["noise"] / 100 * self._full_scale
            counts = counts + sigma * self.rng.standard_normal(counts.shape)
        full = np.floor(self._full_scale * self.troubles.get("saturation", 100.0) / 100)
        counts = np.clip(np.rint(counts), 0, full)
        return counts.astype("|u1" if self._bits == 8 else "<u2"), int((counts >= full).sum())

    @property
    def _full_scale(self) -> float:
        return 2.0**self._bits - 1

    def _light(self, seconds: float) -> np.ndarray:
        image = np.clip(np.asarray(self._part.image(seconds), dtype=float), 0.0, None)
        return image if self._channels == "rgb" else image @ np.array(LUMINANCE)

    def _electrons(self, light: np.ndarray, seconds: float) -> np.ndarray:
        """Return what the sensor holds after an exposure to (…) electrons of light."""
        if not self._noise:
            return light
        shot: Any = self.rng.poisson(light + DARK * seconds)
        return shot + READ_NOISE * self.rng.standard_normal(light.shape) - DARK * seconds
