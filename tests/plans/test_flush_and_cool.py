from typing import Any

import bluesky.preprocessors as bpp
import pytest

from sdl.plans.flow_reaction import flow_reaction
from sdl.plans.flush_and_cool import flush_and_cool
from sdl.simulators.snar_flow import SnArFlow

HOT: dict[str, Any] = {
    "temperature": 110.0,
    "residence_time": 0.5,
    "equivalents": 1.5,
    "concentration": 0.5,
}


@pytest.fixture
def lab(bench):
    return bench(SnArFlow, "reactor", "outlet", seed=11)


def trial(lab):
    devices = {**lab.pumps, "reactor": lab.heater, "spectrometer": lab.detector}
    return flow_reaction(**devices, **HOT)


def plan(lab, **options):
    return flush_and_cool(**lab.pumps, reactor=lab.heater, **options)


def test_after_it_there_is_nothing_but_solvent_in_the_reactor(lab, run):
    run(trial(lab))
    before = lab.world.concentrations().sum()
    run(plan(lab))
    assert lab.world.concentrations().sum() < 0.01 * before


def test_the_reactor_is_told_to_cool_and_nobody_waits_until_it_has(lab, run, loop):
    run(trial(lab))
    told: list[float] = []

    def timed():
        began = loop.time()  # in the plan: outside of it simulated time runs on
        yield from plan(lab)
        told.extend((loop.time() - began, lab.heater.block.temperature, lab.heater.target))

    run(timed())
    took, temperature, target = told
    assert took < 5 * 60
    assert temperature > 40.0
    assert target == 25.0


def test_pumps_are_stopped_before_anything_else(lab):
    messages = list(plan(lab, cool_to=30.0))
    assert [(m.command, m.obj.name) for m in messages[:3]] == [
        ("stop", "substrate"),
        ("stop", "amine"),
        ("stop", "solvent"),
    ]
    assert messages[3].args == (30.0,)


def test_a_flush_leaves_the_syringe_as_full_as_it_found_it(lab, run):
    before = lab.pumps["solvent"].head.syringe
    run(plan(lab, flush_volumes=2.0))
    assert lab.pumps["solvent"].head.syringe == pytest.approx(before, abs=1e-6)


def test_a_flush_that_fails_stops_the_pumps(lab, run):
    lab.pumps["solvent"].head.blocked = True
    messages = []
    with pytest.raises(Exception, match="solvent stalled"):
        run(bpp.msg_mutator(plan(lab), lambda m: messages.append(m) or m))
    stopped = [m.obj.name for m in messages if m.command == "stop"]
    assert stopped == ["substrate", "amine", "solvent"] * 2
