import bluesky.preprocessors as bpp
import numpy as np
import pytest

from sdl.errors import ConfigError, PlanError
from sdl.plans.colour import difference, lab_of_hex, lab_of_spectrum
from sdl.plans.mix_colour import mix_colour
from sdl.simulators.dye_mixing import DyeMixing
from sdl.simulators.world import HeatedBlock

RECIPE = {"red_volume": 0.85, "yellow_volume": 0.9, "blue_volume": 0.85}
AXIS = np.arange(380.0, 781.0, 5.0)


class DyeMixingBesideAHeater(DyeMixing):
    """What `bench` makes instruments for has a heater; nobody uses it."""

    def __init__(self, **given):
        super().__init__(**given)
        self.parts = {**self.parts, "heater": HeatedBlock(self)}


@pytest.fixture
def lab(bench):
    return bench(DyeMixingBesideAHeater, "heater", "cuvette", seed=2)


def plan(lab, **conditions):
    given = {**RECIPE, "target": "#c8b478", **conditions}
    return mix_colour(**lab.pumps, spectrometer=lab.detector, **given)


def hexadecimal(linear):
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * each):02x}" for each in coded)


def test_the_colour_found_is_the_one_that_a_camera_sees(lab, run):
    found = run(plan(lab))
    camera = lab_of_hex(hexadecimal(lab.world.parts["camera"].colour))
    colour = np.array([found["lightness"], found["green_red"], found["blue_yellow"]])
    assert difference(colour, camera) < 1.0
    assert found["difference"] == pytest.approx(difference(colour, lab_of_hex("#c8b478")))


def test_the_glass_holds_what_was_asked_for_and_nothing_else(lab, run):
    run(plan(lab))
    glass = lab.world.glass
    assert glass.volume == pytest.approx(8.0, rel=0.02)
    assert glass.molar("red") == pytest.approx(2e-4 * 0.85 / 8.0, rel=0.05)
    assert glass.molar("blue") == pytest.approx(4e-5 * 0.85 / 8.0, rel=0.05)


def test_the_recipe_of_a_colour_meets_it_and_another_does_not(lab, run):
    run(plan(lab))
    target = hexadecimal(lab.world.parts["camera"].colour)
    assert run(plan(lab, target=target))["difference"] < 1.0
    assert run(plan(lab, target=target, blue_volume=0.4))["difference"] > 5.0


def test_water_alone_is_white(lab, run):
    nothing = dict.fromkeys(RECIPE, 0.0)
    found = run(plan(lab, **nothing, target="#ffffff"))
    assert found["difference"] < 0.5
    assert found["lightness"] == pytest.approx(100.0, abs=0.3)


def test_the_last_mixture_is_not_seen_in_the_next(lab, run):
    first = run(plan(lab))
    run(plan(lab, red_volume=2.0, blue_volume=2.0))
    assert run(plan(lab)) == pytest.approx(first, abs=0.4)


def test_a_mixture_that_may_not_stand_long_says_so_until_it_was_measured(lab, run):
    messages, trial = [], plan(lab, longest_wait=20.0)
    run(bpp.msg_mutator(trial, lambda m: messages.append(m) or m))
    begins, ends = (n for n, m in enumerate(messages) if m.kwargs.get("sdl") == "may_wait")
    assert (messages[begins].kwargs["seconds"], messages[ends].kwargs["seconds"]) == (1200.0, None)
    drawn, pushed = (
        n for n, m in enumerate(messages) if m.command == "set" and m.obj.name == "red"
    )
    assert drawn < begins < pushed
    assert max(n for n, m in enumerate(messages) if m.command == "trigger") < ends


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"red_volume": 8.0}, "together not more"),
        ({"blue_volume": -0.1}, "none may be negative"),
        ({"volume": 13.0}, r"the glass holds 12\.0 mL"),
        ({"target": "brown"}, "#rrggbb"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(lab, run, conditions, said):
    with pytest.raises(ConfigError, match=said):
        run(plan(lab, **conditions))
    assert all(part.totals(lab.world.now) == (0.0, 0.0) for part in _heads(lab))


def _heads(lab):
    return [pump.head for pump in lab.pumps.values()]


def test_a_stalled_pump_ends_the_trial_and_stops_the_others(lab, run):
    lab.pumps["blue"].head.blocked = True
    messages, trial = [], plan(lab)
    with pytest.raises(Exception, match="blue stalled"):
        run(bpp.msg_mutator(trial, lambda m: messages.append(m) or m))
    assert [m.obj.name for m in messages if m.command == "stop"] == list(lab.pumps)


# Colour


@pytest.mark.parametrize(
    ("colour", "expected"),  # as published for sRGB under D65
    [
        ("#ffffff", (100.0, 0.0, 0.0)),
        ("#000000", (0.0, 0.0, 0.0)),
        ("#ff0000", (53.24, 80.09, 67.20)),
        ("#00ff00", (87.73, -86.18, 83.18)),
        ("#0000ff", (32.30, 79.19, -107.86)),
    ],
)
def test_colours_of_a_screen_have_their_published_place(colour, expected):
    assert lab_of_hex(colour) == pytest.approx(expected, abs=0.1)


def test_a_grey_filter_is_as_light_as_the_cube_root_says():
    blank = 1000.0 + 3 * AXIS
    assert lab_of_spectrum(AXIS, 0.2 * blank, blank) == pytest.approx(
        (116 * 0.2 ** (1 / 3) - 16, 0.0, 0.0), abs=1e-9
    )


def test_a_spectrum_may_run_from_red_to_violet():
    blank, spectrum = np.full_like(AXIS, 1e4), 1e4 * np.exp(-(((AXIS - 500) / 60) ** 2))
    forth = lab_of_spectrum(AXIS, spectrum, blank)
    assert lab_of_spectrum(AXIS[::-1], spectrum[::-1], blank) == pytest.approx(forth)


@pytest.mark.parametrize(
    ("axis", "blank", "said"),
    [
        (AXIS[10:], np.full(71, 1e4), "must reach from 400"),
        (AXIS, np.where(AXIS < 450, 1.0, 1e4), "too little light"),
        (AXIS, np.zeros(81), "too little light"),
    ],
)
def test_a_spectrum_that_says_nothing_of_a_colour_is_an_error(axis, blank, said):
    with pytest.raises(PlanError, match=said):
        lab_of_spectrum(axis, np.ones_like(axis), blank)
