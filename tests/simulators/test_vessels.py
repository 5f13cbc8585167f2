import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.simulators.vessels import Liquid, Vessel

SALT, SUGAR = Liquid({"salt": 2.0}, 1.08), Liquid({"sugar": 0.5, "salt": 0.1}, 1.02)
VOLUMES = st.floats(0.0, 30.0)
MOVES = st.lists(st.tuples(st.sampled_from(["salt", "sugar", "draw"]), VOLUMES), max_size=30)


def filled(*poured, **given):
    vessel = Vessel(**{"capacity": 1e9, **given})
    for liquid, volume in poured:
        vessel.pour(liquid, volume)
    return vessel


@given(MOVES)
def test_what_is_poured_in_is_drawn_out_or_still_there(moves):
    vessel = filled()
    volume = mass = salt = 0.0
    for what, each in moves:
        if what == "draw":
            before = vessel.volume
            taken = vessel.draw(each)
            left = before - vessel.volume
            assert left == pytest.approx(min(each, before))
            volume, mass = volume - left, mass - left * taken.density
            salt -= left * taken.molar.get("salt", 0.0)
        else:
            liquid = {"salt": SALT, "sugar": SUGAR}[what]
            vessel.pour(liquid, each)
            volume, mass = volume + each, mass + each * liquid.density
            salt += each * liquid.molar["salt"]
    assert vessel.volume == pytest.approx(volume, abs=1e-6)
    assert vessel.mass == pytest.approx(mass, abs=1e-6)
    assert vessel.amounts.get("salt", 0.0) == pytest.approx(salt, abs=1e-6)


@given(MOVES, st.floats(0.0, 1.0))
def test_it_never_holds_more_than_its_brim_nor_gives_its_residue(moves, residue):
    vessel = filled(capacity=20.0, residue=residue)
    for what, each in moves:
        before = vessel.volume
        if what == "draw":
            vessel.draw(each)
            assert vessel.volume >= min(residue, before) - 1e-9
        else:
            vessel.pour({"salt": SALT, "sugar": SUGAR}[what], each)
        assert -1e-9 <= vessel.volume <= 20.0 + 1e-9
        assert min(vessel.amounts.values(), default=0.0) >= 0.0


def test_two_liquids_mix_in_proportion():
    vessel = filled((SALT, 10.0), (SUGAR, 30.0))
    assert vessel.molar("salt") == pytest.approx((2.0 * 10 + 0.1 * 30) / 40)
    assert vessel.density == pytest.approx((1.08 * 10 + 1.02 * 30) / 40)


def test_what_runs_over_is_told_and_changes_no_concentration():
    vessel = filled((SALT, 10.0), (SUGAR, 30.0), capacity=25.0)
    assert vessel.volume == pytest.approx(25.0)
    assert vessel.spilled == pytest.approx(15.0)
    assert vessel.molar("sugar") == pytest.approx(0.5 * 30 / 40)


def test_the_residue_stays_however_much_is_drawn():
    vessel = filled((SALT, 10.0), residue=0.1)
    vessel.draw(50.0)
    vessel.draw(50.0)
    assert vessel.volume == pytest.approx(0.1)
    assert vessel.molar("salt") == pytest.approx(2.0)


def test_a_dry_vessel_holds_nothing_and_gives_nothing():
    vessel = filled()
    assert vessel.draw(5.0).molar == {}
    assert (vessel.volume, vessel.mass, vessel.molar("salt")) == (0.0, 0.0, 0.0)
