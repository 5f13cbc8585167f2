import bluesky.preprocessors as bpp
import pytest

from sdl.errors import ConfigError, PlanError
from sdl.plans.electrolyte_conductivity import electrolyte_conductivity
from sdl.simulators.electrolyte import Electrolyte


@pytest.fixture
def lab(bench):
    return bench(Electrolyte, "cell_heater", "cell", seed=2)


def plan(lab, **conditions):
    return electrolyte_conductivity(
        **lab.pumps, cell_heater=lab.heater, cell=lab.detector, **conditions
    )


@pytest.mark.parametrize(("molar", "celsius"), [(1.0, 25.0), (0.2, 45.0), (2.0, 60.0)])
def test_the_conductivity_is_within_a_few_percent_of_the_truth(lab, run, molar, celsius):
    found = run(plan(lab, salt_concentration=molar, temperature=celsius))
    assert found == {"conductivity": pytest.approx(lab.world.conductivity(), rel=0.03)}


def test_one_molar_at_25_degc_gives_the_literature_value(lab, run):
    found = run(plan(lab, salt_concentration=1.0, temperature=25.0))
    assert found["conductivity"] == pytest.approx(9.13, rel=0.03)


def test_the_last_sample_is_not_seen_in_the_next(lab, run):
    first = run(plan(lab, salt_concentration=0.3, temperature=30.0))
    run(plan(lab, salt_concentration=1.9, temperature=30.0))
    assert run(plan(lab, salt_concentration=0.3, temperature=30.0)) == pytest.approx(
        first, rel=0.01
    )


def test_more_salt_than_the_stock_has_is_refused_before_anything_moves(lab, run):
    with pytest.raises(ConfigError, match=r"2\.5 M: the stock is 2\.0 M"):
        run(plan(lab, salt_concentration=2.5, temperature=30.0))
    assert lab.heater.target == 25.0


def test_a_repeated_plan_sends_the_same_messages(bench, run):
    told = []
    for _ in range(2):
        lab, messages = bench(Electrolyte, "cell_heater", "cell", seed=2), []
        trial = plan(lab, salt_concentration=1.0, temperature=30.0)
        run(bpp.msg_mutator(trial, lambda m, into=messages: into.append(m) or m))
        told.append([(m.command, getattr(m.obj, "name", None), m.args) for m in messages])
        told[-1] = [m for m in told[-1] if m[0] != "wait"]  # whose names of groups are new
    assert told[0] == told[1]


def test_the_electrolyte_may_not_stand_in_the_cell_until_it_was_measured(lab, run):
    messages, trial = [], plan(lab, salt_concentration=1.0, temperature=30.0, longest_wait=20.0)
    run(bpp.msg_mutator(trial, lambda m: messages.append(m) or m))
    begins, ends = (n for n, m in enumerate(messages) if m.kwargs.get("sdl") == "may_wait")
    assert (messages[begins].kwargs["seconds"], messages[ends].kwargs["seconds"]) == (1200.0, None)
    filled = [n for n, m in enumerate(messages) if m.command == "set" and m.obj.name == "salt"]
    drawn, pushed = filled
    assert drawn < begins < pushed
    assert max(n for n, m in enumerate(messages) if m.command == "trigger") < ends


def test_a_stalled_pump_ends_the_trial_and_stops_the_others(lab, run):
    lab.pumps["waste"].head.blocked = True
    messages, trial = [], plan(lab, salt_concentration=1.0, temperature=30.0)
    with pytest.raises(Exception, match="waste stalled"):
        run(bpp.msg_mutator(trial, lambda m: messages.append(m) or m))
    stopped = [m.obj.name for m in messages if m.command == "stop"]
    assert stopped == ["salt", "solvent", "waste"]


def test_a_cell_that_stays_empty_is_an_error(lab, run):
    with pytest.raises(PlanError, match="impedance"):
        run(plan(lab, salt_concentration=1.0, temperature=30.0, volume=2.0))
