import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve

from sdl.simulators.physics import chemistry
from sdl.simulators.physics.conductivity import conductivity, impedance
from sdl.simulators.physics.flow import TanksInSeries
from sdl.simulators.physics.optics import Band, absorbance, absorptivity
from sdl.simulators.physics.thermal import TwoNodes

INLET = np.array([0.5, 0.9, 0.0, 0.0, 0.0])


def scheme(c, k):
    """The reaction scheme written out once more, for one vessel."""
    s, n, o, p, _ = c
    return np.array(
        [
            -(k[0] + k[1]) * s * n,
            -(k[0] + k[1]) * s * n - k[2] * o * n - k[3] * p * n,
            k[0] * s * n - k[2] * o * n,
            k[1] * s * n - k[3] * p * n,
            k[2] * o * n + k[3] * p * n,
        ]
    )


def constants(celsius):
    kelvin = celsius + 273.15
    e = np.array([33.3e3, 35.3e3, 38.9e3, 44.8e3]) / 8.314462618
    return np.array([57.9, 2.70, 0.865, 1.63]) / 100 * np.exp(-e * (1 / kelvin - 1 / 363.15))


@pytest.mark.parametrize("celsius", [30.0, 90.0, 120.0])
def test_rate_constants_are_those_of_arrhenius_around_90_degc(celsius):
    assert chemistry.rate_constants(np.array([celsius]))[:, 0] == pytest.approx(constants(celsius))


def test_rates_follow_the_reaction_scheme():
    c, k = np.array([0.3, 0.5, 0.1, 0.02, 0.04]), constants(70.0)
    assert chemistry.rates(c[:, None], k[:, None])[:, 0] == pytest.approx(scheme(c, k))


molar = st.floats(0.0, 3.0)


@settings(deadline=None)
@given(c=st.tuples(*[molar] * 5), celsius=st.floats(0, 150), dt=st.floats(1e-3, 1e4))
def test_a_reaction_step_of_any_length_keeps_every_mole_and_makes_none_negative(c, celsius, dt):
    before = np.array(c)[:, None]
    after = chemistry.react(before, chemistry.rate_constants(np.array([celsius])), dt)
    assert (after >= 0).all()
    rings = [chemistry.A, chemistry.O, chemistry.P, chemistry.D]
    assert after[rings].sum() == pytest.approx(before[rings].sum(), abs=1e-9)
    amine = np.array([0, 1, 1, 1, 2])  # each product carries the amine that made it
    assert amine @ after == pytest.approx(amine @ before, abs=1e-7)


@settings(deadline=None)
@given(c=st.tuples(*[molar] * 5), celsius=st.floats(0, 150), dt=st.floats(1e-2, 1e3))
def test_a_reaction_step_solves_the_implicit_equation(c, celsius, dt):
    before, k = np.array(c)[:, None], chemistry.rate_constants(np.array([celsius]))
    after = chemistry.react(before, k, dt)
    error = after - before - dt * chemistry.rates(after, k)
    assert np.abs(error).max() < 1e-6 * max(1.0, dt * k.max())


def test_a_batch_follows_an_independent_integration():
    k = chemistry.rate_constants(np.array([60.0]))
    c = INLET[:, None]
    for _ in range(6000):
        c = chemistry.react(c, k, 0.01)
    truth = solve_ivp(lambda t, y: scheme(y, k[:, 0]), (0, 60), INLET, rtol=1e-9, atol=1e-12)
    assert c[:, 0] == pytest.approx(truth.y[:, -1], abs=1e-4)


def flow_until_steady(tanks, k, flow, seconds):
    for _ in range(seconds):
        tanks.advance(1.0, flow, INLET, lambda c, dt: chemistry.react(c, k, dt))
    return tanks.concentrations[:, -1]


def test_the_steady_state_is_that_of_vessels_in_series_solved_on_their_own():
    n, volume, flow = 6, 0.5, 0.05
    k = constants(60.0)
    upstream = INLET
    for _ in range(n):
        upstream = fsolve(
            lambda c, u=upstream: flow / volume * (u - c) + scheme(c, k), upstream, xtol=1e-12
        )
    tanks = TanksInSeries(np.full(n, volume), 5)
    found = flow_until_steady(tanks, np.repeat(k[:, None], n, axis=1), flow, 600)
    assert found == pytest.approx(upstream, abs=1e-7)


def test_many_vessels_come_near_plug_flow():
    n, k = 200, constants(60.0)
    tanks = TanksInSeries(np.full(n, 3.0 / n), 5)
    found = flow_until_steady(tanks, np.repeat(k[:, None], n, axis=1), 0.1, 60)
    plug = solve_ivp(lambda t, y: scheme(y, k), (0, 30.0), INLET, rtol=1e-8, atol=1e-10).y[:, -1]
    assert found == pytest.approx(plug, abs=2e-3)


def test_the_residence_time_distribution_has_the_mean_and_width_of_the_vessels():
    n, volume, flow, dt = 12, 0.25, 0.1, 0.05
    tanks = TanksInSeries(np.full(n, volume), 1)
    times, washed_in = [], []
    for i in range(3000):
        tanks.advance(dt, flow, np.ones(1), lambda c, dt: c)
        times.append((i + 1) * dt)
        washed_in.append(tanks.concentrations[0, -1])
    density = np.diff(washed_in, prepend=0.0)
    mean = np.sum(times * density)
    variance = np.sum((times - mean) ** 2 * density)
    assert mean == pytest.approx(n * volume / flow, rel=0.01)
    assert variance == pytest.approx(mean**2 / n, rel=0.03)


def test_what_flows_in_and_does_not_stay_has_flowed_out():
    tanks = TanksInSeries(np.array([0.1, 0.3, 0.2]), 1)
    out = 0.0
    for _ in range(500):
        step = min(0.01, 0.09)
        out += step * 0.5 * tanks.concentrations[0, -1]
        tanks.advance(step, 0.5, np.array([2.0]), lambda c, dt: c)
    inside = float(tanks.concentrations[0] @ tanks.volumes)
    assert inside + out == pytest.approx(2.0 * 0.5 * 500 * 0.01, rel=1e-9)


def test_a_heated_block_settles_where_its_losses_equal_its_power():
    model, block, medium = TwoNodes(), 22.0, 22.0
    for _ in range(200):
        block, medium = model.step(block, medium, power=100.0, air=22.0, dt=20.0)
    assert block == pytest.approx(22.0 + 100.0 / model.loss)
    assert medium == pytest.approx(block)


def test_a_cold_stream_keeps_the_medium_below_its_block():
    model, block, medium = TwoNodes(), 100.0, 100.0
    for _ in range(500):
        block, medium = model.step(block, medium, power=180.0, air=22.0, dt=20.0, stream=0.2)
    assert model.coupling * (block - medium) == pytest.approx(0.2 * (medium - 22.0))


def test_absorbance_is_additive_and_proportional_to_path():
    x = np.linspace(230.0, 540.0, 50)
    spectra = np.stack(
        [absorptivity([Band(300, 1e4, 20)], x), absorptivity([Band(400, 5e3, 30)], x)]
    )
    both = absorbance(spectra, np.array([0.1, 0.2]), 0.001)
    alone = absorbance(spectra, np.array([0.1, 0.0]), 0.001)
    assert both - alone == pytest.approx(0.2 * 0.001 * spectra[1])
    assert absorptivity([Band(300, 1e4, 20)], np.array([300.0]))[0] == 1e4


def test_lipf6_conducts_best_at_about_1_molar_with_9_13_ms_per_cm_at_25_degc():
    molar = np.linspace(0.05, 2.0, 400)
    kappa = [conductivity(c, 25.0) for c in molar]
    assert max(kappa) == pytest.approx(9.13, abs=0.01)
    assert molar[int(np.argmax(kappa))] == pytest.approx(1.0, abs=0.05)


def test_at_high_frequency_only_leads_and_electrolyte_are_left():
    z = impedance(np.array([1e12]), resistance=100.0, series=0.5, layer=2e-5, exponent=0.9)
    assert z[0] == pytest.approx(100.5, abs=1e-4)
