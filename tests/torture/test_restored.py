"""A kill while an earlier setpoint is brought back: the step that was done once stays done."""

from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import pytest

from sdl.journal import TrialState
from tests.crashing import Plan, Story, story


def warm_then_dose(heater: Any, pump: Any, **_: Any) -> Plan:
    yield from bps.mv(heater, 40.0)  # steps 1 and 2
    yield from bps.mv(pump, 1.0)  # steps 3 and 4
    return {"y": 1.0}


def measure_then_read(detector: Any, **_: Any) -> Plan:
    yield from bps.trigger(detector, wait=True)  # steps 1 and 2
    found: Any = yield from bps.read(detector)  # step 3
    return {"y": found["detector"]["value"]}


def outlived(told: Story, *crashes: tuple[int, str]) -> None:
    for crash in crashes:
        assert told.live(crash).killed
    ended = told.live()
    assert ended.state is TrialState.COMPLETED, ended.cause


@pytest.mark.parametrize("where", ["before intent", "after intent", "after act", "done"])
def test_a_setpoint_that_is_sent_again_was_done_all_the_same(tmp_path: Path, where: str):
    with story(tmp_path, warm_then_dose) as told:
        outlived(told, (3, "before intent"), (3, "after intent"), (1, where), (1, where))
        assert told.world.doses() == [("pump", 1.0)]


@pytest.mark.parametrize("where", ["before intent", "after intent", "after act", "done"])
def test_a_measurement_that_is_repeated_was_done_all_the_same(tmp_path: Path, where: str):
    with story(tmp_path, measure_then_read) as told:
        outlived(told, (3, "after intent"), (1, where), (1, where))


def stopped_while_it_begins(pump: Any, **_: Any) -> Plan:
    yield from bps.abs_set(pump, 1.0, group="dose")  # step 1
    try:
        yield from bps.wait("dose", timeout=0.5)
    except TimeoutError:
        yield from bps.stop(pump)  # step 3
        yield from bps.sleep(5.0)
    return {"y": 1.0}


def test_a_dose_that_was_not_begun_when_the_plan_said_stop_is_never_begun(tmp_path: Path):
    with story(tmp_path, stopped_while_it_begins) as told:
        told.lag = 1.0  # so long does it take to write the intent of the dose
        told.live()
        assert told.world.doses() == []
