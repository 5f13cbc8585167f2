import pytest

from sdl.plans.green_metrics import e_factor, space_time_yield


def test_half_a_mole_per_litre_and_minute():
    # 0.5 mol/L x 210.21 g/mol, sixty times an hour
    assert space_time_yield(0.5, 1.0) == pytest.approx(6306.3)
    assert space_time_yield(0.5, 0.5) == pytest.approx(2 * 6306.3)


def test_an_e_factor_by_hand():
    # per litre: 79.545 g substrate, 71.12 g amine, and ethanol in what is left of the volume
    ethanol = 789.0 * (1 - 0.079545 / 1.451 - 0.07112 / 0.866)
    product = 0.4 * 210.21
    expected = (79.545 + 71.12 + ethanol - product) / product
    assert e_factor(0.4, 0.5, 1.0) == pytest.approx(expected)


def test_recovered_solvent_is_no_waste():
    product = 0.4 * 210.21
    expected = (79.545 + 71.12 - product) / product
    assert e_factor(0.4, 0.5, 1.0, solvent_recovery=1.0) == pytest.approx(expected)


def test_more_product_from_the_same_feed_is_less_waste():
    assert e_factor(0.45, 0.5, 1.0) < e_factor(0.4, 0.5, 1.0) < e_factor(0.4, 0.5, 2.0) + 1
