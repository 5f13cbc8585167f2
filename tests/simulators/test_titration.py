import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from sdl import Lab
from sdl.clock import new_loop
from sdl.simulators.parts.seen import DetectorPart
from sdl.simulators.physics.acid_base import ACETIC, PHOSPHORIC, PKW, ph
from sdl.simulators.physics.colour import BROMOTHYMOL_BLUE, VISIBLE
from sdl.simulators.physics.optics import absorptivity
from sdl.simulators.titration import DRY_PH, FLASK_G, WATER_HEAT, Titration

LAB = Path(__file__).parents[2] / "examples" / "titration" / "lab.yaml"
KW = 10.0**-PKW


# Closed forms


@given(st.floats(-0.5, 0.5))
def test_strong_acid_and_base_follow_the_quadratic(net):
    # h - Kw/h + net = 0; of its two forms the one that does not cancel
    root = np.sqrt(net**2 + 4 * KW)
    h = 2 * KW / (net + root) if net > 0 else (root - net) / 2
    assert ph(net, {}) == pytest.approx(-np.log10(h), abs=1e-6)


@pytest.mark.parametrize("molar", [1e-3, 0.01, 0.1, 1.0])
def test_acetic_acid_at_its_equivalence_point_follows_the_cubic(molar):
    ka = 10.0 ** -ACETIC[0]
    roots = np.roots([1.0, ka + molar, -KW, -ka * KW])
    (h,) = (root.real for root in roots if root.real > 0)
    assert ph(molar, {ACETIC: molar}) == pytest.approx(-np.log10(h), abs=1e-6)


@pytest.mark.parametrize("molar", [1e-3, 0.01, 0.1, 1.0])
def test_half_neutralised_acetic_acid_has_its_pka_but_for_what_dissociates(molar):
    found = ph(molar / 2, {ACETIC: molar})
    free = 10.0**-found - KW * 10.0**found
    exact = ACETIC[0] + np.log10((molar / 2 + free) / (molar / 2 - free))
    assert found == pytest.approx(exact, abs=1e-6)
    assert found == pytest.approx(ACETIC[0], abs=4.0 / 2.303 * free / molar * 1.1)


@given(st.floats(1.5, 12.9))
def test_phosphoric_acid_takes_the_base_that_its_three_steps_say(x):
    # the fractions of a triprotic acid as textbooks write them, and the base that leads to this pH
    h, (k1, k2, k3) = 10.0**-x, (10.0**-pka for pka in PHOSPHORIC)
    terms = np.array([h**3, h**2 * k1, h * k1 * k2, k1 * k2 * k3])
    charges = float(terms @ [0, 1, 2, 3] / terms.sum())
    assert ph(0.05 * charges - h + KW / h, {PHOSPHORIC: 0.05}) == pytest.approx(x, abs=1e-6)


def test_phosphoric_acid_has_its_jumps_between_its_steps():
    for given_off, middle in ((1, 0.5 * sum(PHOSPHORIC[:2])), (2, 0.5 * sum(PHOSPHORIC[1:]))):
        assert ph(0.1 * given_off, {PHOSPHORIC: 0.1}) == pytest.approx(middle, abs=0.2)
    for step, pka in enumerate(PHOSPHORIC):
        assert ph(0.1 * (step + 0.5), {PHOSPHORIC: 0.1}) == pytest.approx(pka, abs=0.4)


def test_both_forms_of_the_indicator_absorb_alike_at_one_wavelength():
    acid, base = (
        lambda nm, bands=bands: float(absorptivity(bands, np.array([nm]))[0])
        for bands in (BROMOTHYMOL_BLUE.acid, BROMOTHYMOL_BLUE.base)
    )
    crossing = np.array([brentq(lambda nm: acid(nm) - base(nm), 440.0, 600.0)])
    at = [BROMOTHYMOL_BLUE.absorptivity(x, crossing)[0] for x in (3.0, 6.5, 7.1, 8.0, 12.0)]
    assert at == pytest.approx([acid(crossing[0])] * 5, rel=1e-9)


# The world


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world(clock):
    return Titration(seed=3, clock=clock, sample_M=0.12)


def dose(world, clock, **volumes):
    for name, volume in volumes.items():
        world.parts[name].start(np.sign(volume) * 60.0, abs(volume))
    clock.now += 61.0


def fill(world, clock, **volumes):
    dose(world, clock, **{name: -volume for name, volume in volumes.items()})
    dose(world, clock, **volumes)


def scale(world, name):
    return world.parts[name].scale


def test_sample_and_base_have_the_ph_of_the_amounts_that_were_pumped(world, clock):
    fill(world, clock, sample=10.0, base=9.0)
    acetic = 0.12 * 10.0 * scale(world, "sample")
    sodium = world.base_M * 9.0 * scale(world, "base")
    volume = 10.0 * scale(world, "sample") + 9.0 * scale(world, "base")
    ka = 10.0 ** -ACETIC[0]
    c, na = acetic / volume, sodium / volume
    roots = np.roots([1.0, ka + na, ka * (na - c) - KW, -ka * KW])
    (h,) = (root.real for root in roots if root.real > 0)
    assert world.parts["ph"].value == pytest.approx(-np.log10(h), abs=1e-6)


def test_the_balance_weighs_what_was_pumped_and_is_restless_meanwhile(world, clock):
    balance = world.parts["balance"]
    assert balance.mass == FLASK_G
    fill(world, clock, sample=10.0, water=20.0)
    poured = 10.0 * 0.999 * scale(world, "sample") + 20.0 * 0.998 * scale(world, "water")
    assert balance.mass == pytest.approx(FLASK_G + poured)
    assert not balance.moving
    world.parts["waste"].start(-60.0, 20.0)
    clock.now += 5.0
    assert balance.moving
    assert balance.mass < FLASK_G + poured


def test_a_probe_in_air_shows_nothing_of_the_drops_below_it(world, clock):
    fill(world, clock, sample=5.0)
    assert world.parts["ph"].value == DRY_PH
    fill(world, clock, sample=5.0)
    assert world.parts["ph"].value == pytest.approx(2.84, abs=0.02)  # 0.12 M acetic acid


def test_the_indicator_turns_from_yellow_to_blue_where_the_acid_is_used_up(world, clock):
    fill(world, clock, water=30.0, sample=10.0)
    red, green, blue = world.parts["camera"].colour
    assert min(red, green) > 0.8 > 0.7 > blue  # yellow
    fill(world, clock, base=14.0)
    red, green, blue = world.parts["camera"].colour
    assert blue > 0.95 > green > red  # blue


def test_the_picture_shows_how_full_the_flask_is(world, clock):
    fill(world, clock, water=50.0, sample=10.0)
    picture = world.parts["camera"].image(0.01)
    assert picture.shape == (48, 64, 3)
    in_the_middle = picture[:, 32, 2] < 0.99
    assert in_the_middle.sum() == round(48 * 60 / 150)
    assert in_the_middle[-1]
    assert not in_the_middle[0]
    assert np.all(picture[:, :16] == 1.0)


def test_a_spectrometer_can_look_through_the_flask(world, clock):
    path = world.parts["light_path"]
    assert isinstance(path, DetectorPart)
    assert path.sample(0.1) == pytest.approx(np.ones_like(VISIBLE))
    fill(world, clock, water=50.0)
    assert path.sample(0.1).min() < 0.9


def test_what_is_poured_in_cools_a_hot_flask(world, clock):
    plate = world.parts["hot_plate"]
    plate.place(60.0)
    fill(world, clock, sample=1.0)
    warm, room = plate.medium, world.parts["bench"].temperature
    world.parts["water"].start(-60.0, 50.0)
    clock.now += 51.0
    still = plate.medium
    world.parts["water"].start(60.0, 50.0)
    clock.now += 51.0
    assert warm - still < 2.0  # what the air takes meanwhile
    mixed = still + (room - still) * (1 - np.exp(-50 * WATER_HEAT / 420.0))
    assert plate.medium == pytest.approx(mixed, abs=4.0)  # but for the plate, which is still hot


def test_what_is_not_drawn_off_stays_for_the_next_filling(world, clock):
    fill(world, clock, base=10.0)
    dose(world, clock, waste=-50.0)
    world.advance()
    assert world.flask.volume == pytest.approx(0.1)
    fill(world, clock, water=20.0)
    assert world.parts["ph"].value > 10.0


# Through the drivers


async def _seen(bench):
    probe, balance, camera = (bench.instruments[name] for name in ("ph", "balance", "camera"))
    await camera.trigger()
    return {
        "ph": await probe.value.get_value(),
        "grams": await balance.weight.get_value(),
        "red": await camera.red.get_value(),
        "blue": await camera.blue.get_value(),
    }


async def _pump(bench, **volumes):
    for sign in (-1, 1):
        for name, volume in volumes.items():
            pump = bench.instruments[f"{name}_pump"]
            await pump.rate.set(12.0)
            await pump.set(sign * volume)
    await asyncio.sleep(5.0)


def test_pumping_changes_what_balance_probe_and_camera_see():
    async def scenario():
        async with Lab.load(LAB).twin().open() as bench:
            empty = await _seen(bench)
            await _pump(bench, water=20.0, sample=10.0)
            acid = await _seen(bench)
            await _pump(bench, base=20.0)
            return empty, acid, await _seen(bench)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        empty, acid, base = runner.run(scenario())
    assert acid["grams"] - empty["grams"] == pytest.approx(29.95, rel=0.02)
    assert base["grams"] - acid["grams"] == pytest.approx(20.04, rel=0.02)
    assert (empty["ph"], acid["ph"]) == pytest.approx((7.0, 3.1), abs=0.2)
    assert base["ph"] > 11.0
    assert acid["blue"] < acid["red"] - 0.1  # yellow before the white
    assert base["blue"] > base["red"] + 0.1
