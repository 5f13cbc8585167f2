"""A RunEngine that rewinds: what it repeats of the messages repeats nothing in the world."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.run_engine import TransitionError  # type: ignore[attr-defined]
from bluesky.suspenders import SuspendBoolHigh

from tests.crashing import Ended, Life, Plan, Story

Tell = Callable[..., Story]


@pytest.fixture
def tell(tmp_path: Path) -> Iterator[Tell]:
    """Begin stories; each has a journal of its own."""
    told: list[Story] = []

    def begin(plan: Any) -> Story:
        folder = tmp_path / str(len(told))
        folder.mkdir()
        told.append(Story(folder, plan))
        return told[-1]

    yield begin
    for one in told:
        one.close()


def experiment(pump: Any, other: Any, heater: Any, detector: Any, stage: Any, **_: Any) -> Plan:
    found: list[float] = []

    @bpp.run_decorator()
    def inner():
        yield from bps.mv(heater, 60.0)
        yield from bps.checkpoint()
        for volume in (1.0, 0.5):
            yield from bps.mv(pump, volume, other, volume / 2)
            readings = yield from bps.trigger_and_read([detector])
            found.append(readings["detector"]["value"])
        yield from bps.checkpoint()
        yield from bps.abs_set(pump, 0.25, group="dose")
        yield from bps.abs_set(heater, 90.0, group="dose")
        yield from bps.checkpoint()
        yield from bps.wait("dose")
        yield from bps.mv(stage, 1.0)
        yield from bps.sleep(20)
        readings = yield from bps.trigger_and_read([detector])
        found.append(readings["detector"]["value"])
        if found[-1] > found[0]:
            yield from bps.mv(other, 2.0)

    yield from inner()
    return {"y": sum(found)}


DOSES = [
    *(("pump", 1.0), ("other", 0.5), ("pump", 0.5), ("other", 0.25)),
    *(("pump", 0.25), ("other", 2.0)),
]


class Rewound:
    """Rewinds a RunEngine once, some seconds after one boundary of one step."""

    def __init__(self, k: int, later: float, rewind: Callable[[Life], object]) -> None:
        self._k, self._later, self._rewind = k, later, rewind

    def __call__(self, life: Life, n: int, where: str) -> None:
        if len(life.boundaries) == self._k:
            life.loop.call_later(self._later, self._rewind, life)


def paused_and_resumed(life: Life) -> None:
    """From another thread, as any pause of an engine."""
    life.loop.hold()  # type: ignore[attr-defined]

    def work() -> None:
        with contextlib.suppress(TransitionError, CancelledError):  # the plan was at its end
            life.engine.pause()
            life.engine.resume()
        life.loop.call_soon_threadsafe(life.loop.release)  # type: ignore[attr-defined]

    threading.Thread(target=work, daemon=True).start()


def as_if_nothing_had_been(story: Story, ended: Ended, calm: Story, first: Ended) -> None:
    assert ended.cause == ""
    assert sorted(ended.stops) == sorted(first.stops), "something was stopped in the pause"
    assert story.world.doses() == DOSES
    assert story.world.measured == 3
    assert ended.outcomes == first.outcomes
    assert story.events() == calm.events()
    (run,) = story.runs()
    numbers = [event["seq_num"] for event in run["events"]]
    assert numbers == [1, 2, 3]
    assert run["stop"]["num_events"] == {"primary": 3}
    reached = [entry for entry in story.world.log if entry[0] == "measure"]
    assert reached == [entry for entry in calm.world.log if entry[0] == "measure"]
    assert [s.n for s in story.steps()] == sorted({s.n for s in calm.steps()})


@pytest.mark.slow
@pytest.mark.parametrize("later", [0.0, 1.0])
def test_a_pause_and_resume_at_every_step_repeats_and_loses_nothing(tell: Tell, later: float):
    calm = tell(experiment)
    ended = calm.live()
    for k in range(1, len(ended.boundaries)):
        one = tell(experiment)
        again = one.live(on_boundary=Rewound(k, later, paused_and_resumed))
        as_if_nothing_had_been(one, again, calm, ended)


class Door:
    """A signal as a suspender wants one. It opens once, for ten seconds."""

    name = "door"

    def __init__(self) -> None:
        self._open = False
        self._callbacks: list[Callable[..., Any]] = []

    def plan(self, **instruments: Any) -> Plan:
        """The experiment, which must not go on while the door is open."""
        yield from bps.install_suspender(SuspendBoolHigh(self))
        return (yield from experiment(**instruments))

    def subscribe(self, callback: Any, event_type: Any = None, run: bool = True) -> None:
        self._callbacks.append(callback)

    def clear_sub(self, callback: Any) -> None:
        self._callbacks.remove(callback)

    def get(self) -> bool:
        return self._open

    def open(self, life: Life) -> None:
        self._tell(True)
        life.loop.call_later(10.0, self._tell, False)

    def _tell(self, is_open: bool) -> None:
        self._open = is_open
        for callback in self._callbacks:
            callback(value=is_open)


@pytest.mark.slow
@pytest.mark.parametrize("later", [0.0, 1.0])
def test_a_suspender_that_trips_at_every_step_repeats_and_loses_nothing(tell: Tell, later: float):
    calm = tell(experiment)
    ended = calm.live()
    for k in range(1, len(ended.boundaries)):
        door = Door()
        one = tell(door.plan)
        again = one.live(on_boundary=Rewound(k, later, door.open))
        as_if_nothing_had_been(one, again, calm, ended)


def test_the_wait_for_a_group_is_not_lost_in_a_pause(tell: Tell):
    """A checkpoint between the set and the wait: RunEngine forgets what it waited for."""
    reached: list[float] = []

    def plan(heater: Any, pump: Any, **_: Any):
        yield from bps.abs_set(heater, 60.0, group="heat")
        yield from bps.abs_set(pump, 3.0, group="heat")
        yield from bps.checkpoint()
        yield from bps.wait("heat")
        found = yield from bps.rd(heater)
        reached.append(found)
        yield from bps.mv(pump, 1.0)
        return {"y": 1.0}

    one = tell(plan)
    one.prepare = lambda life: life.loop.call_later(10.0, paused_and_resumed, life)
    assert one.live().outcomes
    assert reached == [60.0]
    assert one.world.doses() == [("pump", 3.0), ("pump", 1.0)]
