"""A flow reactor for an aromatic substitution, with an absorption cell behind it.

    substrate 2.0 M ─┐
    amine     4.2 M ─┼─ mixer ── heated coil, 3 mL ── cell, 5 um path ── waste
    solvent ─────────┘

Feeds are in ethanol. The chemistry is in `physics/chemistry.py`; the coil's residence time
distribution is that of 12 stirred vessels in a row. As in a laboratory, nothing is quite what the
label says: feeds and syringes deviate by about 1 %, spectra by 1 to 2 % from the literature's.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.physics import chemistry
from sdl.simulators.physics.flow import TanksInSeries
from sdl.simulators.physics.optics import Band, absorbance, absorptivity
from sdl.simulators.world import Acting, BenchAir, HeatedBlock, PumpHead, World

Array = NDArray[np.float64]

REACTOR_ML, VESSELS = 3.0, 12
MIXER_ML, CELL_ML = 0.12, 0.12
PATH_CM = 0.0005  # a gap of 5 um: the mixture is measured undiluted
LONGEST_S, LEAST_ML = 20.0, 0.5 * CELL_ML  # what is gathered before it flows on
STREAM_HEAT = 0.789 * 2.44  # J/mL/K of ethanol

FEEDS = {"substrate": 2.0, "amine": 4.2, "solvent": 0.0}  # M, nominal
SYRINGES_ML = {"substrate": 20.0, "amine": 60.0, "solvent": 60.0}

# Bands chosen after nitroanilines in ethanol: positions and heights are typical of the chromophores
# (nitrobenzene; 2-nitro-, 4-nitro-, 2,4-diamino-substituted), not measured on these compounds.
BANDS: dict[str, tuple[Band, ...]] = {
    "substrate": (Band(252.0, 8200.0, 17.0), Band(296.0, 1500.0, 18.0)),
    "amine": (),
    "ortho": (Band(246.0, 9800.0, 15.0), Band(284.0, 5200.0, 16.0), Band(421.0, 6100.0, 34.0)),
    "para": (Band(238.0, 7600.0, 16.0), Band(388.0, 19200.0, 27.0)),
    "bis": (Band(268.0, 14100.0, 18.0), Band(362.0, 20400.0, 24.0), Band(440.0, 3100.0, 26.0)),
}


class FlowCell(Acting):
    """The cell behind the reactor: a `DetectorPart`."""

    axis_name = "wavelength"
    axis_units = "nm"
    quantity: Literal["transmittance", "impedance"] = "transmittance"

    def __init__(self, world: "SnArFlow") -> None:
        self._world = world
        self.axis = np.arange(230.0, 540.0 + 1e-9, 2.0)

    def sample(self, integration_s: float) -> Array:
        """Return (w,) transmittance of what is in the cell, however long was integrated."""
        self._act(self._world.now, "exposure", seconds=integration_s)
        return 10.0 ** -self.absorbance(self.axis)

    def absorbance(self, wavelengths_nm: Array) -> Array:
        """Return (w,) true absorbances at (w,) nm; the solvent has none here."""
        spectra = self._world.absorptivities(wavelengths_nm)
        return absorbance(spectra, self._world.concentrations(), PATH_CM)

    @property
    def temperature(self) -> float:
        """Of the cell, degC; the stream has cooled to the room's."""
        return self._world.air.temperature


class SnArFlow(World):
    """Parts: `substrate`, `amine`, `solvent`, `reactor`, `outlet`, `bench`."""

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(seed=seed, clock=clock)
        error = self.rng("calibration").standard_normal
        self._pumps = {
            name: PumpHead(self, capacity_mL=size, filled_mL=2.0, scale=1 + 0.005 * error())
            for name, size in SYRINGES_ML.items()
        }
        self._feeds = np.zeros((3, len(chemistry.SPECIES)))  # (pumps, species) M
        self._feeds[0, chemistry.A] = FEEDS["substrate"] * (1 + 0.008 * error())
        self._feeds[1, chemistry.B] = FEEDS["amine"] * (1 + 0.008 * error())
        self._bands = {
            name: [
                Band(b.center + 0.1 * error(), b.height * (1 + 0.01 * error()), b.width) for b in s
            ]
            for name, s in BANDS.items()
        }
        self.air = BenchAir(self, self.rng("bench"))
        self._reactor = HeatedBlock(self, temperature=self.air.temperature)
        volumes = [MIXER_ML, *[REACTOR_ML / VESSELS] * VESSELS, CELL_ML]
        self._tube = TanksInSeries(np.array(volumes), len(chemistry.SPECIES))
        self._pushed = np.zeros(3)  # true mL per pump, up to the last step
        self._waiting_s, self._waiting_mL = 0.0, np.zeros(3)  # not yet in the tube
        self._k, self._k_at = np.zeros((4, len(volumes))), (np.nan, np.nan)
        self.parts = {
            **self._pumps,
            "reactor": self._reactor,
            "outlet": FlowCell(self),
            "bench": self.air,
        }

    def concentrations(self) -> Array:
        """Return (5,) M in the cell, in the order of `chemistry.SPECIES`."""
        self.advance()
        return self._tube.concentrations[:, -1]

    def absorptivities(self, wavelengths_nm: Array) -> Array:
        """Return (5, w) true M-1 cm-1 at (w,) nm."""
        return np.stack([absorptivity(self._bands[s], wavelengths_nm) for s in chemistry.SPECIES])

    def step(self, t: float, dt: float) -> None:
        pushed = np.array([pump.totals(t)[0] for pump in self._pumps.values()])
        volumes, self._pushed = pushed - self._pushed, pushed
        flow = float(volumes.sum()) / dt  # mL/s
        air = self.air.temperature_at(t)
        self._heat(self._reactor.step(dt, air, stream=flow * STREAM_HEAT), air)
        if self._waiting_s and volumes.any() != self._waiting_mL.any():
            self._flow()  # what stood is not what flows
        self._waiting_s += dt
        self._waiting_mL += volumes
        if self._waiting_s >= LONGEST_S or self._waiting_mL.sum() >= LEAST_ML:
            self._flow()

    def _flow(self) -> None:
        """Move and react what has been waiting: fewer steps where the flow is slow or at rest."""
        total = float(self._waiting_mL.sum())
        inlet = self._waiting_mL @ self._feeds / total if total > 0 else np.zeros(0)
        seconds, self._waiting_s, self._waiting_mL = self._waiting_s, 0.0, np.zeros(3)
        self._tube.advance(seconds, total / seconds, inlet, self._react)

    def _react(self, c: Array, dt: float) -> Array:
        return chemistry.react(c, self._k, dt)

    def _heat(self, medium: float, air: float) -> None:
        then, air_then = self._k_at
        if abs(medium - then) < 1e-3 and abs(air - air_then) < 0.05:
            return
        celsius = np.full(self._k.shape[1], medium)
        celsius[[0, -1]] = air  # mixer and cell stand outside the block
        self._k, self._k_at = chemistry.rate_constants(celsius), (medium, air)
