"""A simulated detector service: a lamp and a CCD before a flow cell, or an impedance analyser.

Source: docs/reference/detector-protocol.md, protocol 1. The optics are those of a small
fibre spectrometer: 16 bits, shot and read noise, a dark signal with a fixed pattern, stray light.
"""

import asyncio
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.detector import Allowed, Header, SimulatedDetector

Array = NDArray[np.float64]

FULL_SCALE = 65535.0  # counts, 16 bits
GAIN = 0.5  # counts per electron
BRIGHTEST = 400_000.0  # counts/s where the lamp is brightest: over half of full scale in 0.1 s
OFFSET, PATTERN, DARK_RATE = 1000.0, 20.0, 50.0  # counts, counts (s.d. over pixels), counts/s
READ_NOISE = 8.0  # counts (s.d.)
STRAY = 1e-3  # of the light of all pixels, on each
DARK_EXPOSURES = 100
IMPEDANCE_NOISE = 1e-3  # of each value (s.d.)

INTEGRATION_S = (0.001, 60.0)
SETTINGS = {
    "integration_time": Allowed("s", *INTEGRATION_S, initial=0.1),
    "averages": Allowed("", 1, 1000, initial=1, whole=True),
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


class SimulatedSpectrometer(SimulatedDetector):
    """A `FrameDevice`. All that it does by chance comes from `rng`.

    Its drift is the lamp's, its noise is added to each pixel, in % of full scale.
    """

    def __init__(self, part: Sample, *, rng: np.random.Generator, serial: str = "SIM0001") -> None:
        super().__init__(SETTINGS, rng=rng, serial=serial)
        self._part = part
        self._optics = _Optics(part, rng) if part.quantity == "transmittance" else None

    @property
    def model(self) -> str:
        return "SDL-UV16" if self._optics is not None else "SDL-Z1"

    def warmed_up(self) -> None:
        if self._optics is not None:
            self._optics.measure_dark()

    def described(self) -> tuple[Header, list[bytes]]:
        part = self._part
        optical = self._optics is not None
        width = len(part.axis)
        header = {
            "data": {
                "name": "intensity" if optical else part.quantity,
                "units": "counts" if optical else "ohm",
                "shape": [width] if optical else [2, width],
            },
            "axis": {"name": part.axis_name, "units": part.axis_units},
            "dtype": "<f8",
            "shape": [width],
        }
        return header, [part.axis.astype("<f8").tobytes()]

    def lasting(self, configuration: Header) -> float:
        return configuration["integration_time"] * configuration["averages"]

    async def expose(self, configuration: Header) -> tuple[np.ndarray, int]:
        exposures = configuration["averages"]
        seconds = configuration["integration_time"]
        total, clipped = 0.0, np.zeros(len(self._part.axis), dtype=bool)
        for _ in range(exposures):
            await asyncio.sleep(seconds)
            values, saturated = self._expose(seconds)
            total, clipped = total + values, clipped | saturated
        return np.asarray(total / exposures).astype("<f8"), int(clipped.sum())

    def _expose(self, seconds: float) -> tuple[Array, NDArray[np.bool_]]:
        true = self._part.sample(seconds)
        drift = 1.0 + self.troubles.get("drift", 0.0) / 100
        noisy = self.troubles.get("noise", 0.0) / 100
        if self._optics is not None:
            full = FULL_SCALE * self.troubles.get("saturation", 100.0) / 100
            return self._optics.expose(true * drift, seconds, noisy * FULL_SCALE, full)
        noise = drift + np.hypot(IMPEDANCE_NOISE, noisy) * self.rng.standard_normal(true.shape)
        return true * noise, np.zeros(true.shape[-1], dtype=bool)


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

    def expose(
        self, transmittance: Array, seconds: float, noise: float, full: float
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return (w,) counts without the dark, and which of them were at full scale.

        :param noise: counts (s.d.) beside the usual ones.
        :param full: counts where the converter ends.
        """
        light = self._lamp * np.clip(transmittance, 0.0, None)
        counts = self._counts(light + STRAY * light.mean(), seconds, noise, full)
        return counts - self._dark - self._dark_rate * seconds, counts >= full

    def _counts(
        self, light: Array, seconds: float, noise: float = 0.0, full: float = FULL_SCALE
    ) -> Array:
        """Return what the converter says of (w,) counts/s of light."""
        electrons = self._rng.poisson((light + DARK_RATE) * seconds / GAIN)
        read = np.hypot(READ_NOISE, noise) * self._rng.standard_normal(len(light))
        return np.clip(np.rint(GAIN * electrons + self._offset + read), 0.0, full)


def _lamp(wavelengths: Array) -> Array:
    """Return (w,) relative brightness, 0..1, of a deuterium and a halogen lamp together (nm)."""
    deuterium = 0.75 * np.exp(-(((wavelengths - 250.0) / 70.0) ** 2))
    halogen = 1.0 / (1.0 + np.exp(-(wavelengths - 420.0) / 60.0))
    return (0.15 + deuterium + halogen) / 1.2
