import numpy as np
import pytest

from sdl.errors import PlanError
from sdl.plans.impedance import resistance

OMEGA = 2 * np.pi * np.logspace(2, 5, 31)


def spectrum(ohms: float) -> np.ndarray:
    z = ohms + 1 / (2e-5 * (1j * OMEGA) ** 0.9)
    return np.stack([z.real, z.imag])


@pytest.mark.parametrize("ohms", [20.0, 110.0, 3000.0])
def test_the_intercept_is_the_resistance(ohms):
    assert resistance(spectrum(ohms)) == pytest.approx(ohms)


def test_noise_of_half_a_percent_costs_less_than_half_a_percent():
    rng, z = np.random.default_rng(1), spectrum(110.0)
    noisy = z + 0.005 * np.hypot(*z) * rng.standard_normal(z.shape)
    assert resistance(noisy) == pytest.approx(110.0, rel=0.005)


def test_a_dry_cell_is_an_error():
    with pytest.raises(PlanError, match="no filled cell"):
        resistance(spectrum(1e7))
    with pytest.raises(PlanError, match="no filled cell"):
        resistance(1e7 * np.random.default_rng(2).standard_normal((2, 31)))
