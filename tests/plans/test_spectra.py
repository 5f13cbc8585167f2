import numpy as np
import pytest

from sdl.errors import PlanError
from sdl.plans.spectra import CALIBRATION, PATH, calibration, concentrations

X = np.arange(230.0, 541.0, 2.0)
BLANK = np.full(len(X), 50_000.0)


def spectrum(*molar: float) -> np.ndarray:
    return BLANK * 10.0 ** -(PATH * calibration(X) @ np.array(molar))


def test_a_mixture_is_unmixed():
    found = concentrations(X, spectrum(0.1, 0.3, 0.02, 0.05), BLANK)
    assert list(found) == list(CALIBRATION)
    assert list(found.values()) == pytest.approx([0.1, 0.3, 0.02, 0.05], rel=1e-6)


def test_nothing_is_found_in_the_blank_and_nothing_is_negative():
    rng = np.random.default_rng(0)
    found = concentrations(X, rng.poisson(BLANK).astype(float), BLANK)
    assert all(0 <= c < 1e-3 for c in found.values())


def test_a_lamp_that_drifted_since_the_blank_changes_nothing():
    found = concentrations(X, 0.9 * spectrum(0.0, 0.4, 0.02, 0.1), BLANK)
    assert found["ortho"] == pytest.approx(0.4, rel=1e-3)


def test_stray_light_and_saturated_bands_do_little_harm():
    stray = spectrum(0.0, 0.45, 0.03, 0.1) + 5e-4 * BLANK
    assert concentrations(X, stray, BLANK)["ortho"] == pytest.approx(0.45, rel=0.01)


def test_where_the_lamp_is_dark_nothing_is_learnt():
    blank = BLANK.copy()
    blank[X < 260] = 10.0
    intensity = spectrum(0.0, 0.3, 0.02, 0.05)
    intensity[X < 260] = -3.0  # dark-subtracted noise
    assert concentrations(X, intensity, blank)["ortho"] == pytest.approx(0.3, rel=1e-3)


def test_no_light_is_an_error_that_says_so():
    with pytest.raises(PlanError, match=r"0 of 156 wavelengths.*lamp"):
        concentrations(X, np.zeros(len(X)), np.zeros(len(X)))
