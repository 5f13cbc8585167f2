import math

import pytest

from sdl.errors import ConfigError
from sdl.plans import stubs
from sdl.simulators.snar_flow import SnArFlow


@pytest.fixture
def pumps(bench):
    return list(bench(SnArFlow, "reactor", "outlet").pumps.values())


def test_pumps_that_begin_together_end_together(pumps):
    a, b, _ = pumps
    messages = list(stubs.begin({a: 3.0, b: -0.5}, minutes=2.0, group="g"))
    sets = [(m.obj.name, m.args[0]) for m in messages if m.command == "set"]
    rates = dict(sets[:2])
    assert rates == {f"{a.name}-rate": 1.5, f"{b.name}-rate": 0.25}
    assert sets[2:] == [(a.name, 3.0), (b.name, -0.5)]


def test_a_pump_with_nothing_to_move_is_not_asked(pumps):
    a, b, _ = pumps
    messages = list(stubs.begin({a: 3.0, b: 1e-12}, minutes=2.0, group="g"))
    assert {m.obj.name for m in messages if m.command == "set"} == {f"{a.name}-rate", a.name}


def test_a_move_waits_no_longer_than_it_can_take(pumps):
    *_, wait = stubs.move({pumps[0]: -6.0, pumps[1]: 3.0}, rate=2.0)
    assert wait.command == "wait"
    assert wait.kwargs["timeout"] == 180.0 + stubs.SPARE


def test_a_pump_that_cannot_be_stopped_does_not_keep_the_others_from_it(pumps):
    plan = stubs.stop(*pumps)
    stopped = [next(plan).obj, plan.throw(ConnectionError("no reply")).obj]
    with pytest.raises(ConnectionError):
        stopped.extend(message.obj for message in plan)
    assert stopped == pumps


@pytest.mark.parametrize(("minutes", "seconds"), [(10, 600.0), (0, 0.0), (None, None)])
def test_how_long_a_sample_may_wait_is_one_message_that_does_nothing(run, minutes, seconds):
    (message,) = stubs.may_wait(minutes)
    assert (message.command, message.obj, message.args) == ("null", None, ())
    assert message.kwargs == {"sdl": "may_wait", "seconds": seconds}
    assert run(stubs.may_wait(minutes)) is None


@pytest.mark.parametrize("minutes", [-1, math.nan, math.inf])
def test_a_wait_that_is_no_time_span_is_refused(minutes):
    with pytest.raises(ConfigError, match="may_wait"):
        list(stubs.may_wait(minutes))
