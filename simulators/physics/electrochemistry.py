"""A one-electron couple at a planar electrode: diffusion, Butler-Volmer kinetics, iR, double layer.

    R - e- <=> O,    flux J = kf R - kb O,    kf, kb = k0 exp(+-(1-a), a of F(E - E0)/RT)

Diffusion is one-dimensional and of equal speed for both forms, so that R + O is the same everywhere
and one profile is enough. It is solved implicitly, by finite volumes that grow away from the
electrode. Migration, convection and what happens at the electrode's edge are left out.

Checked against Randles and Sevcik (peak current), Nicholson (Anal. Chem. 37 (1965) 1351: separation
of the peaks) and Cottrell (current after a step).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flux = Callable[[float], tuple[float, float]]

FARADAY = 96485.33212  # C/mol
THERMAL = 8.314462618 * 298.15 / FARADAY  # RT/F at 25 degC, V

FIRST, GROWTH = 1e-5, 1.12  # cm of the finest volume, and how much longer each next one is
LAYER = 0.2  # cm, far more than what diffuses in minutes
CALM = 0.02  # V; after a larger change, and in longer waits, many substeps are taken
LONG = 0.25  # s
FEW, MANY = (3, 2.0), (30, 1.5)  # substeps, and how much longer each next one is
STAGE = 1.0 - math.sqrt(0.5)  # of the implicit Runge-Kutta method of second order, L-stable
HIGHEST = 60.0  # RT/F; beyond that a rate is as good as infinite
NEWTON, CLOSE = 60, 1e-6  # iterations at most; V of the last one, whose error is far less


@dataclass(frozen=True)
class Couple:
    """A redox couple that exchanges one electron; at 25 degC."""

    formal: float
    """E0', V against the reference electrode"""
    k0: float = 0.02
    """standard rate constant, cm/s"""
    diffusion: float = 7.6e-6
    """cm2/s; of ferro- and ferricyanide"""
    transfer: float = 0.5
    """alpha, of the reduction"""

    def rates(self, potential: float) -> tuple[float, float]:
        """Return kf (oxidation) and kb (reduction) at an electrode's potential, cm/s."""
        x = min(max((potential - self.formal) / THERMAL, -HIGHEST), HIGHEST)
        return self.k0 * math.exp((1 - self.transfer) * x), self.k0 * math.exp(-self.transfer * x)


@dataclass
class Electrode:
    """A planar electrode and the liquid before it, uniform at first. Currents of oxidation are +.

    `potential` is that across the double layer: what is applied, less the ohmic drop.
    """

    couple: Couple
    area: float
    """cm2"""
    capacitance: float = 0.0
    """F of the double layer"""
    potential: float = 0.0
    """V"""
    total: float = 0.0
    """mol/cm3 of both forms"""
    reduced: Array = field(default_factory=lambda: np.zeros(len(_grid())))
    """(n,) mol/cm3, in the volumes from the electrode outwards"""
    _applied: float = math.inf  # V; at rest as good as any

    def fill(self, *, reduced: float, oxidised: float) -> None:
        """Have a stirred liquid before it: mol/L of both forms."""
        self.total = (reduced + oxidised) / 1000.0
        self.reduced = np.full(len(_grid()), reduced / 1000.0)

    def hold(self, applied: float, dt: float, *, resistance: float = 0.0) -> float:
        """Apply V for `dt` s through `resistance` ohm; return A at the end."""
        calm = abs(applied - self._applied) < CALM and dt < LONG
        self._applied = applied
        current = 0.0
        for part in _parts(*(FEW if calm else MANY)):
            current = self._accurately(applied, part * dt, resistance)
        return current

    def ramp(self, applied: float, dt: float, *, resistance: float = 0.0) -> float:
        """Go on to `applied` V at a steady rate, in `dt` s; return the mean A of that.

        Whole sweeps come within 0.2 % of a linear one with steps of 5 mV. A staircase that is read
        at the end of each stair (`hold`) gives less: by 7 % with stairs of 1 mV.
        """
        return self._step(applied, dt, resistance)

    def rest(self, dt: float) -> float:
        """Let no current flow for `dt` s; return V."""
        self._applied = math.inf
        for part in _parts(*MANY):
            self._accurately(None, part * dt, math.inf)
        return self.potential

    def impedance(self, frequency: float, *, resistance: float) -> complex:
        """Return ohm at Hz about the present state: Randles' circuit with Warburg's element."""
        omega = 2 * math.pi * frequency
        kf, kb = self.couple.rates(self.potential)
        reduced = float(self.reduced[0])
        a = self.couple.transfer
        slope = ((1 - a) * kf * reduced + a * kb * (self.total - reduced)) / THERMAL
        diffusing = (kf + kb) / np.sqrt(1j * omega * self.couple.diffusion)
        faradaic = FARADAY * self.area * slope / (1 + diffusing)
        admittance = complex(faradaic + 1j * omega * self.capacitance)
        return resistance + 1 / admittance if admittance else complex(math.inf)

    def _accurately(self, applied: float | None, dt: float, resistance: float) -> float:
        """Take a step in two stages; return A at its end."""
        reduced, potential = self.reduced, self.potential
        self._step(applied, STAGE * dt, resistance)
        on = (1 - STAGE) / STAGE
        self.reduced = reduced + on * (self.reduced - reduced)
        self.potential = potential + on * (self.potential - potential)
        return self._step(applied, STAGE * dt, resistance)

    def _step(self, applied: float | None, dt: float, resistance: float) -> float:
        """Take one implicit step; `applied` None: nothing is joined to it."""
        inverse, weight = _diffusion(self.couple.diffusion, dt)
        still = inverse @ self.reduced  # if no current flowed
        influence = weight * inverse[:, 0]  # of the flux on the profile
        surface, reach = float(still[0]), float(influence[0])
        reach += FIRST / 2 / self.couple.diffusion

        def flux(potential: float) -> tuple[float, float]:
            """Return mol/cm2/s and its derivative."""
            kf, kb = self.couple.rates(potential)
            below = 1 + (kf + kb) * reach
            j = (kf * surface - kb * (self.total - surface)) / below
            a = self.couple.transfer
            slope = (1 - a) * kf * surface + a * kb * (self.total - surface)
            return j, (slope - j * reach * ((1 - a) * kf - a * kb)) / below / THERMAL

        before = self.potential
        self.potential = self._potential(applied, dt, resistance, flux)
        j, _ = flux(self.potential)
        self.reduced = still - j * influence
        faradaic = FARADAY * self.area * j
        return faradaic + self.capacitance * (self.potential - before) / dt

    def _potential(self, applied: float | None, dt: float, resistance: float, flux: Flux) -> float:
        """Return V at which the current through the liquid is that of the electrode."""
        if applied is not None and resistance <= 0:
            return applied
        conductance = 0.0 if applied is None else 1 / resistance
        outside = self.potential if applied is None else applied
        loading = self.capacitance / dt
        low, high = min(self.potential, outside) - 2.0, max(self.potential, outside) + 2.0
        x, scale = self.potential, FARADAY * self.area
        for _ in range(NEWTON):
            j, slope = flux(x)
            excess = conductance * (outside - x) - scale * j - loading * (x - self.potential)
            if excess > 0:
                low = x
            else:
                high = x
            steep = conductance + scale * max(slope, 0.0) + loading
            if steep == 0:
                return x  # nothing holds it anywhere
            new = x + excess / steep
            new = new if low < new < high else (low + high) / 2
            if abs(new - x) < CLOSE:
                return new
            x = new
        return x


@functools.cache
def _grid() -> Array:
    """(n,) cm: the lengths of the volumes."""
    count = math.ceil(math.log(1 + LAYER * (GROWTH - 1) / FIRST) / math.log(GROWTH))
    return FIRST * GROWTH ** np.arange(count)


@functools.cache
def _parts(count: int, growth: float) -> tuple[float, ...]:
    """Parts of a whole, the shortest first: a current changes most at the beginning."""
    whole = (growth**count - 1) / (growth - 1)
    return tuple(growth**k / whole for k in range(count))


@functools.lru_cache(maxsize=256)
def _diffusion(diffusion: float, dt: float) -> tuple[Array, float]:
    """Return (n, n) what a step of `dt` s makes of a profile, and what a flux does to the first."""
    lengths = _grid()
    n = len(lengths)
    exchange = 2 * diffusion / (lengths[1:] + lengths[:-1])  # cm/s between neighbours
    matrix = np.eye(n)
    inner = np.arange(n - 1)
    for here, there in ((inner, inner + 1), (inner + 1, inner)):
        matrix[here, here] += dt * exchange / lengths[here]
        matrix[here, there] -= dt * exchange / lengths[here]
    return np.linalg.inv(matrix), dt / FIRST


KCL = ((0.01, 1.4083e-3), (0.1, 1.2852e-2), (1.0, 0.11131))
"""mol/L and S/cm of the conductivity standards at 25 degC (after Jones and Bradshaw, 1933)"""


def kcl_conductivity(molar: float) -> float:
    """S/cm of a KCl solution at 25 degC, along the standards in double logarithms."""
    if molar <= 0:
        return 0.0
    concentrations, conductivities = np.log(np.array(KCL)).T
    x = math.log(molar)
    inside = float(np.interp(x, concentrations, conductivities))
    below, above = min(x - concentrations[0], 0.0), max(x - concentrations[-1], 0.0)
    return math.exp(inside + below + above)


def disk_resistance(conductivity: float, radius: float) -> float:
    """Ohm from a disk of `radius` cm in a plane to far away (Newman, 1966), at S/cm."""
    return 1.0 / (4.0 * conductivity * radius)
