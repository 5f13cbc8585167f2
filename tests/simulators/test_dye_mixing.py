import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl import Lab
from sdl.clock import new_loop
from sdl.simulators.dye_mixing import RESIDUE_ML, STOCKS_M, DyeMixing
from sdl.simulators.parts.seen import DetectorPart
from sdl.simulators.physics.colour import DYES, VISIBLE, matching, rgb, xyz
from sdl.simulators.physics.optics import absorptivity

LAB = Path(__file__).parents[2] / "examples" / "dye_mixing" / "lab.yaml"


# Colour


def test_the_light_itself_is_the_white_of_d65():
    x, y, z = xyz(np.ones_like(VISIBLE))
    assert y == pytest.approx(1.0)
    assert (x / (x + y + z), y / (x + y + z)) == pytest.approx((0.3127, 0.3290), abs=5e-4)
    assert rgb(np.ones_like(VISIBLE)) == pytest.approx(np.ones(3))


@pytest.mark.parametrize(
    ("nm", "table"),
    [
        (440.0, (0.3483, 0.0230, 1.7471)),
        (500.0, (0.0049, 0.3230, 0.2720)),
        (550.0, (0.4334, 0.9950, 0.0087)),
        (600.0, (1.0622, 0.6310, 0.0008)),
        (650.0, (0.2835, 0.1070, 0.0000)),
    ],
)
def test_the_matching_functions_are_near_the_table_of_the_cie(nm, table):
    assert matching(np.array([nm]))[:, 0] == pytest.approx(table, abs=0.03)


@given(st.floats(0.0, 1.0))
def test_a_grey_filter_gives_grey(part):
    assert rgb(np.full_like(VISIBLE, part)) == pytest.approx([part] * 3)


def test_dyes_have_the_colours_of_their_names():
    def seen(dye):
        spectrum = absorptivity(DYES[dye], VISIBLE)
        return rgb(10.0 ** -(spectrum / spectrum.max()))

    red, yellow, blue = (seen(dye) for dye in ("red", "yellow", "blue"))
    assert red[0] > 0.95 > 0.5 > red[1:].max()
    assert yellow[:2].min() > 0.95 > 0.5 > yellow[2]
    assert blue[2] > 0.95 > 0.5 > blue[0]


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
    return DyeMixing(seed=4, clock=clock)


def dose(world, clock, **volumes):
    for name, volume in volumes.items():
        world.parts[name].start(np.sign(volume) * 30.0, abs(volume))
    clock.now += 61.0


def fill(world, clock, **volumes):
    dose(world, clock, **{name: -volume for name, volume in volumes.items()})
    dose(world, clock, **volumes)


def pure(world, dye):
    """Absorbances per cm of a bottle."""
    return world._bottles[dye].molar[dye] * absorptivity(DYES[dye], VISIBLE)


def test_absorbances_add_up_by_what_was_pumped(world, clock):
    volumes = {"red": 1.0, "yellow": 2.0, "blue": 0.5, "water": 4.0}
    fill(world, clock, **volumes)
    true = {name: each * world.parts[name].scale for name, each in volumes.items()}
    total = sum(true.values())
    expected = sum(true[dye] / total * pure(world, dye) for dye in DYES)
    assert world.absorbance(VISIBLE) == pytest.approx(expected, rel=1e-9)
    assert world.parts["cuvette"].sample(0.1) == pytest.approx(10.0**-expected)


def test_as_much_water_halves_the_absorbance(world, clock):
    fill(world, clock, red=4.0)
    alone = world.absorbance(VISIBLE)
    fill(world, clock, water=4.0 * world.parts["red"].scale / world.parts["water"].scale)
    assert world.absorbance(VISIBLE) == pytest.approx(0.5 * alone, rel=1e-9)


def test_labels_are_right_within_a_few_percent(world):
    for dye, molar in STOCKS_M.items():
        assert world._bottles[dye].molar[dye] == pytest.approx(molar, rel=0.04)


def test_light_passes_above_what_is_too_little(world, clock):
    cuvette = world.parts["cuvette"]
    assert isinstance(cuvette, DetectorPart)
    fill(world, clock, red=2.0)
    assert np.all(cuvette.sample(0.1) == 1.0)
    fill(world, clock, water=2.0)
    assert cuvette.sample(0.1).min() < 0.1


def test_a_rinsed_glass_keeps_a_trace_of_a_trace(world, clock):
    fill(world, clock, red=8.0)
    strong = world.absorbance(VISIBLE).max()
    for _ in range(2):
        dose(world, clock, waste=-12.0)
        dose(world, clock, waste=12.0)
        fill(world, clock, water=8.0)
    assert world.absorbance(VISIBLE).max() == pytest.approx(
        strong * (RESIDUE_ML / (8.0 + RESIDUE_ML)) ** 2, rel=0.02
    )


# Through the drivers


def test_a_dye_that_is_pumped_in_changes_spectrum_picture_and_weight():
    async def seen(bench):
        for name in ("spectrometer", "camera"):
            await bench.instruments[name].trigger()
        return (
            await bench.instruments["spectrometer"].intensity.get_value(),
            np.array(
                [await getattr(bench.instruments["camera"], c).get_value() for c in ("red", "blue")]
            ),
            await bench.instruments["balance"].weight.get_value(),
        )

    async def pump(bench, name, volume):
        device = bench.instruments[f"{name}_pump"]
        await device.rate.set(6.0)
        for sign in (-1, 1):
            await device.set(sign * volume)
        await asyncio.sleep(5.0)

    async def scenario():
        async with Lab.load(LAB).twin().open() as bench:
            axis = await bench.instruments["spectrometer"].axis.get_value()
            await pump(bench, "water", 6.0)
            water = await seen(bench)
            await pump(bench, "blue", 2.0)
            return axis, water, await seen(bench)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        axis, water, blue = runner.run(scenario())
    absorbance = np.log10(water[0] / blue[0])
    assert axis[np.argmax(absorbance)] == pytest.approx(630.0, abs=5.0)
    assert absorbance.max() == pytest.approx(1.3e5 * 4e-5 * 2 / 8, rel=0.06)
    assert blue[1][0] < 0.5 * water[1][0]
    assert blue[1][1] == pytest.approx(water[1][1], rel=0.1)
    assert blue[2] - water[2] == pytest.approx(2.0, rel=0.03)
