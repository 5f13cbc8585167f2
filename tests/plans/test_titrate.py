import time

import bluesky.preprocessors as bpp
import numpy as np
import pytest
from ophyd_async.core import AsyncStatus

from sdl.errors import ConfigError, PlanError
from sdl.plans.titrate import PKW, fitted, titrate
from sdl.simulators.titration import Titration


class Look:
    """Something that is read: one number, the one to look at."""

    def __init__(self, name, look):
        self.name, self.parent, self.look = name, None, look
        self.hints = {"fields": [name]}

    async def read(self):
        return {self.name: {"value": self.look(), "timestamp": time.time()}}

    async def describe(self):
        return {self.name: {"source": "soft", "dtype": "number", "shape": []}}


class Setting:
    def __init__(self, name):
        self.name, self.parent, self.value = name, None, 25.0

    @AsyncStatus.wrap
    async def set(self, value):
        self.value = value


class Probe(Look):
    """Its electrode's slope goes with the temperature; what it is told, it corrects for."""

    def __init__(self, liquid, compensation):
        super().__init__("ph", self.reading)
        self.liquid, self.compensation = liquid, compensation

    def reading(self):
        kelvin = self.liquid.temperature + 273.15
        return 7 + (self.liquid.value - 7) * kelvin / (self.compensation.value + 273.15)


class Lab:
    def __init__(self, bench):
        self.world, self.pumps = bench.world, bench.pumps
        parts = bench.world.parts
        self.compensation = Setting("compensation")
        self.instruments = {
            "balance": Look("balance", lambda: parts["balance"].mass),
            "ph": Probe(parts["ph"], self.compensation),
            "compensation": self.compensation,
            "thermometer": Look("thermometer", lambda: parts["hot_plate"].medium),
            "stirrer": Setting("stirrer"),
        }

    def truth(self, base_strength=0.1):
        """What a titration finds that believes the label of the base and the scale of its pump."""
        scale = self.world.parts["base"].scale
        return self.world.sample_M * base_strength / self.world.base_M / scale


@pytest.fixture
def lab(bench):
    return Lab(bench(Titration, "hot_plate", "light_path", seed=2))


def plan(lab, **conditions):
    given = {"sample_volume": 10.0, "increment": 0.5, **conditions}
    return titrate(**lab.pumps, **lab.instruments, **given)


def commands(run, trial):
    told = []
    result = run(bpp.msg_mutator(trial, lambda m: told.append(m) or m))
    return told, result


@pytest.mark.parametrize(("sample", "increment"), [(3.0, 0.3), (10.0, 2.0), (15.0, 0.49271)])
def test_strength_and_pka_are_the_worlds(lab, run, sample, increment):
    found = run(plan(lab, sample_volume=sample, increment=increment))
    assert found["strength"] == pytest.approx(lab.truth(), rel=2e-3)
    assert found["pka"] == pytest.approx(4.756, abs=5e-3)
    assert found["error"] < 0.2
    assert lab.world.parts["base"].syringe == pytest.approx(0.0, abs=1e-9)


def test_a_standardised_base_gives_the_sample_its_strength(lab, run):
    true = lab.world.base_M * lab.world.parts["base"].scale
    found = run(plan(lab, base_strength=true))
    assert found["strength"] == pytest.approx(lab.world.sample_M, rel=2e-3)


def test_the_probe_is_told_how_warm_the_flask_is(lab, run):
    lab.world.parts["hot_plate"].place(60.0)
    found = run(plan(lab))
    assert lab.compensation.value > 27.0
    assert found["pka"] == pytest.approx(4.756, abs=0.02)


def test_the_last_trials_base_is_not_in_the_next(lab, run):
    first = run(plan(lab, sample_volume=3.0))
    second = run(plan(lab, sample_volume=3.0))
    assert second["strength"] == pytest.approx(first["strength"], rel=5e-4)
    unrinsed = run(plan(lab, sample_volume=3.0, rinse=0.0))
    assert unrinsed["strength"] < first["strength"] * (1 - 5e-3)


def test_a_repeated_plan_sends_the_same_messages(bench, run):
    told = []
    for _ in range(2):
        messages, _ = commands(run, plan(Lab(bench(Titration, "hot_plate", "light_path"))))
        told.append([(m.command, getattr(m.obj, "name", None), m.args) for m in messages])
        told[-1] = [m for m in told[-1] if m[0] != "wait"]  # whose names of groups are new
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"sample_volume": 0.0}, "positive"),
        ({"increment": 30.0}, r"less than longest=25\.0"),
        ({"dilution": 120.0}, "the flask holds 140"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(lab, run, conditions, said):
    with pytest.raises(ConfigError, match=said):
        commands(run, plan(lab, **conditions))
    assert lab.instruments["stirrer"].value == 25.0


def test_a_stalled_pump_ends_the_trial_and_stops_the_others(lab, run):
    lab.pumps["water"].head.blocked = True
    messages, trial = [], plan(lab)
    with pytest.raises(Exception, match="water stalled"):
        run(bpp.msg_mutator(trial, lambda m: messages.append(m) or m))
    assert [m.obj.name for m in messages if m.command == "stop"] == list(lab.pumps)


def test_a_sample_that_is_none_is_an_error(lab, run):
    lab.world._bottles["sample"] = lab.world._bottles["water"]
    with pytest.raises(PlanError, match="titrate"):
        run(plan(lab))


# The fit alone


def curve(strength, pka, sample, water, base, end=11.0):
    """The volumes of base that lead to a grid of pH, from the charge balance of textbooks."""
    x = np.linspace(3.2, end, 25)
    h, oh, ka = 10.0**-x, 10.0 ** (x - PKW), 10.0**-pka
    acetate = strength * sample * ka / (ka + h)
    return np.stack([(acetate - (h - oh) * (sample + water)) / (base + h - oh), x], axis=1)


def test_a_perfect_curve_is_fitted_perfectly():
    strength, error, pka = fitted(curve(0.087, 4.2, 7.0, 20.0, 0.1), 7.0, 20.0, 0.1)
    assert (strength, pka) == pytest.approx((0.087, 4.2), abs=1e-6)
    assert error < 1e-6


def test_the_error_is_about_what_repetitions_differ_by():
    rng, told = np.random.default_rng(5), []
    for _ in range(200):
        points = curve(0.1, 4.756, 10.0, 20.0, 0.1)
        points[:, 0] += 0.01 * rng.standard_normal(len(points))
        told.append(fitted(points, 10.0, 20.0, 0.1)[:2])
    strengths, errors = np.array(told).T
    assert errors.mean() == pytest.approx(strengths.std(), rel=0.2)


@pytest.mark.parametrize(
    ("points", "sample", "said"),
    [
        ([(0, 3), (1, 5), (2, 8)], 10.0, "3 points are too few"),
        ([(n, 7.0 + 3 * (-1) ** n) for n in range(12)], 10.0, "no weak acid"),
        ([(n, 3.0 + n) for n in range(8)], 0.0, "0 mL of sample"),
    ],
)
def test_what_is_no_titration_is_told(points, sample, said):
    with pytest.raises(PlanError, match=said):
        fitted(np.array(points, dtype=float), sample, 20.0, 0.1)
