import bluesky.preprocessors as bpp
import pytest

from sdl.errors import ConfigError, PlanError
from sdl.plans.flow_reaction import flow_reaction
from sdl.plans.green_metrics import e_factor, space_time_yield
from sdl.simulators.physics import chemistry
from sdl.simulators.snar_flow import SnArFlow

GOOD = {"temperature": 70.0, "residence_time": 0.5, "equivalents": 1.5, "concentration": 0.5}
MILD = {"temperature": 40.0, "residence_time": 1.5, "equivalents": 2.0, "concentration": 0.2}


@pytest.fixture
def lab(bench):
    return bench(SnArFlow, "reactor", "outlet", seed=11)


def plan(lab, **conditions):
    return flow_reaction(**lab.pumps, reactor=lab.heater, spectrometer=lab.detector, **conditions)


@pytest.mark.parametrize("conditions", [GOOD, MILD])
def test_the_outcomes_are_within_a_few_percent_of_the_truth(lab, run, conditions):
    truth = []

    def note(name, doc):
        if name == "event":
            truth.append(lab.world.concentrations()[chemistry.O])

    found = run(plan(lab, **conditions), note)
    ortho, c = truth[-1], conditions["concentration"]
    sty = space_time_yield(ortho, conditions["residence_time"])
    assert found["space_time_yield"] == pytest.approx(sty, rel=0.04)
    waste = e_factor(ortho, c, conditions["equivalents"] * c)
    assert found["e_factor"] == pytest.approx(waste, rel=0.05)


def test_two_trials_of_one_suggestion_agree_whatever_was_in_the_reactor_before(lab, run):
    first = run(plan(lab, **MILD))
    run(plan(lab, **GOOD))
    again = run(plan(lab, **MILD))
    assert again == pytest.approx(first, rel=0.01)


def test_a_trial_leaves_every_syringe_as_full_as_it_found_it(lab, run):
    before = {name: pump.head.syringe for name, pump in lab.pumps.items()}
    run(plan(lab, **GOOD))
    assert {n: p.head.syringe for n, p in lab.pumps.items()} == pytest.approx(before, abs=1e-6)


def test_a_trial_is_one_run_with_blank_and_spectra_in_streams_of_their_own(lab, run, loop):
    docs = []
    began = loop.time()
    run(plan(lab, **GOOD), lambda name, doc: docs.append((name, doc)))
    assert 5 * 60 < loop.time() - began < 20 * 60
    streams = {d["uid"]: d["name"] for n, d in docs if n == "descriptor"}
    events = [streams[d["descriptor"]] for n, d in docs if n == "event"]
    assert events == ["blank"] * 3 + ["primary"] * 3
    (start,) = [d for n, d in docs if n == "start"]
    assert {key: start[key] for key in GOOD} == GOOD


def test_the_spectra_are_taken_while_the_pumps_still_push(lab, run):
    pushing = []
    trigger = lab.detector.trigger

    def watched():
        pushing.append(lab.pumps["amine"].head.running)
        return trigger()

    lab.detector.trigger = watched
    run(plan(lab, **GOOD))
    assert pushing == [False] * 3 + [True] * 3


def sent(message):
    """What a message asks for; names of groups are Bluesky's own, and new each time."""
    return message.command, getattr(message.obj, "name", None), message.args


def test_a_repeated_plan_sends_the_same_messages(bench, run):
    """Or it could not be gone on with after a crash."""
    told = []
    for _ in range(2):
        lab, messages = bench(SnArFlow, "reactor", "outlet", seed=11), []
        run(bpp.msg_mutator(plan(lab, **GOOD), lambda m, into=messages: into.append(sent(m)) or m))
        told.append([m for m in messages if m[0] != "wait"])
    assert told[0] == told[1]


def test_the_mixture_may_not_stand_in_the_hot_reactor_until_it_was_measured(lab, run):
    messages = []
    trial = plan(lab, **GOOD, longest_wait=5.0)
    run(bpp.msg_mutator(trial, lambda m: messages.append(m) or m))
    begins, ends = (n for n, m in enumerate(messages) if m.kwargs.get("sdl") == "may_wait")
    assert (messages[begins].kwargs["seconds"], messages[ends].kwargs["seconds"]) == (300.0, None)
    pumped = [n for n, m in enumerate(messages) if m.command == "set" and m.obj.name == "amine"]
    triggered = [n for n, m in enumerate(messages) if m.command == "trigger"]
    drawn, *pushed = pumped
    assert drawn < triggered[2] < begins < pushed[0]
    assert triggered[-1] < ends


def test_a_stalled_pump_ends_the_trial_and_stops_the_others(lab, run):
    started = lab.pumps["substrate"].head.start

    def shut(rate, volume=None):
        lab.pumps["substrate"].head.blocked = rate > 0
        started(rate, volume)

    lab.pumps["substrate"].head.start = shut
    messages = []
    with pytest.raises(Exception, match="substrate stalled"):
        run(bpp.msg_mutator(plan(lab, **GOOD), lambda m: messages.append(m) or m))
    # by the plan itself: an engine may have its own mind about the end of a plan
    stopped = [m.obj.name for m in messages if m.command == "stop"]
    assert stopped == ["substrate", "amine", "solvent"]
    assert [p.head.running for p in lab.pumps.values()] == [False] * 3


def test_feeds_that_are_too_dilute_are_refused_before_anything_moves(lab, run):
    with pytest.raises(ConfigError, match=r"leave -0\.38 of the volume"):
        run(plan(lab, **{**GOOD, "concentration": 0.9, "equivalents": 4.34}))
    assert not any(p.head.moved for p in lab.pumps.values())
    assert lab.heater.target == 25.0


def test_a_detector_without_a_spectrum_is_named(lab, run):
    lab.detector.name, name = "uv", lab.detector.name

    async def read():
        return {f"{name}-intensity": {"value": 1.0, "timestamp": 0.0}}

    async def describe():
        return {f"{name}-intensity": {"source": "soft", "dtype": "number", "shape": []}}

    lab.detector.read, lab.detector.describe = read, describe
    with pytest.raises(PlanError, match="uv was asked for uv-axis and -intensity; it gave"):
        run(plan(lab, **GOOD))
