"""Exactly once: what a trial does when its runtime is killed, stopped, paused or not answered."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import Msg
from bluesky.utils import FailedStatus

from sdl.errors import (
    InDoubtError,
    NoReplyError,
    RefusedError,
    SpoiledError,
    StoppedError,
    UnrepeatableError,
    UnsafeError,
)
from sdl.journal import TrialState
from sdl.safety.rules import Item, Limit, SafetyRules
from tests.crashing import Detector, Ended, Life, Plan, Story

Tell = Callable[..., Any]


@pytest.fixture
def tell(tmp_path: Path) -> Iterator[Tell]:
    """Begin stories; each has a journal of its own."""
    told: list[Story] = []

    def begin(plan: Any, **options: Any) -> Story:
        folder = tmp_path / str(len(told))
        folder.mkdir()
        told.append(Story(folder, plan, **options))
        return told[-1]

    yield begin
    for one in told:
        one.close()


def may_wait(seconds: float) -> Plan:
    yield Msg("null", None, sdl="may_wait", seconds=seconds)


def reading(detector: Any) -> Plan:
    found = yield from bps.trigger_and_read([detector])
    return found["detector"]["value"]


# -- crashes --------------------------------------------------------------------------------------


def rich(
    pump: Any, other: Any, heater: Any, detector: Any, flyer: Any, stage: Any, **_: Any
) -> Plan:
    """Doses, setpoints, groups, readings, two runs, a branch, a failure that is handled."""
    found: dict[str, float] = {}

    @bpp.run_decorator(md={"part": "first"})
    def first():
        yield from bps.mv(heater, 60.0)
        yield from bps.mv(pump, 1.0, other, 0.5)
        found["first"] = yield from reading(detector)

    def failing():
        yield from bps.mv(pump, 0.25)
        raise ValueError("not good enough")

    def clean_up(error: Exception):
        yield from bps.mv(other, 0.125)

    @bpp.run_decorator(md={"part": "second"})
    def second():
        yield from bps.abs_set(heater, 40.0, group="cool")
        yield from bps.abs_set(pump, 0.5, group="dose")
        yield from bps.wait("dose")
        yield from bps.wait("cool")
        yield from bps.mv(stage, 7.0)
        yield from bpp.contingency_wrapper(failing(), except_plan=clean_up, auto_raise=False)
        yield from bps.sleep(30)
        if found["first"] > 2.0:
            yield from bps.mv(pump, 0.75)
        yield from bps.kickoff(flyer, wait=True)
        yield from bps.complete(flyer, wait=True)
        yield from bps.collect(flyer)
        found["second"] = yield from reading(detector)

    yield from first()
    yield from second()
    return {"y": found["first"] + found["second"]}


def whole(tell: Tell, plan: Any) -> tuple[Story, Ended]:
    """The story without a crash."""
    one = tell(plan)
    ended = one.live()
    assert ended.outcomes is not None, ended.cause
    return one, ended


@pytest.mark.slow
def test_a_kill_at_every_boundary_of_every_step_repeats_and_skips_nothing(tell: Tell):
    calm, ended = whole(tell, rich)
    assert len(ended.boundaries) > 60
    for k in range(1, len(ended.boundaries) + 1):
        where = f"killed at {ended.boundaries[k - 1]}"
        one = tell(rich)
        assert one.live(count=k).killed, where
        known = one.readings()
        again = one.live()
        assert again.cause == "", where
        assert again.outcomes == pytest.approx(ended.outcomes, abs=1e-4), where
        assert sorted(one.world.doses()) == sorted(calm.world.doses()), where
        for pump in ("pump", "other"):
            assert one.world.levels(pump) == calm.world.levels(pump), where
        assert one.world.flown == ["flyer"], where
        assert {n: one.readings()[n] for n in known} == known, where
        _same_runs(one, calm, where)
        one.close()


def _same_runs(one: Story, calm: Story, where: str) -> None:
    """Each part of the plan has one whole run, with the same events; what was cut off is linked."""
    assert [len(run) for run in one.events()] == [len(run) for run in calm.events()], where
    runs = one.runs()
    assert all(run["stop"] is not None for run in runs), where
    cut = [r["start"]["uid"] for r in runs if r["stop"]["exit_status"] != "success"]
    assert [r["start"].get("continues") for r in runs if "continues" in r["start"]] == cut, where
    whole_parts = [r["start"]["part"] for r in runs if r["stop"]["exit_status"] == "success"]
    assert sorted(whole_parts) == ["first", "second"], where


def test_recorded_readings_keep_their_values_and_their_times(tell: Tell):
    def plan(detector: Any, pump: Any, **_: Any):
        found = []

        @bpp.run_decorator()
        def inner():
            for _ in range(3):
                found.append((yield from reading(detector)))
                yield from bps.mv(pump, 1.0)

        yield from inner()
        return {"y": sum(found)}

    calm, ended = whole(tell, plan)
    one = tell(plan)
    last = [b for b in ended.boundaries if b[1] == "after act"][-1]
    assert one.live(last).killed
    assert one.live().outcomes == ended.outcomes
    (events,) = one.events()
    assert events == calm.events()[0]
    cut, whole_run = one.runs()
    assert [e["time"] for e in whole_run["events"]] == pytest.approx(
        [e["time"] for e in calm.runs()[0]["events"]], abs=1e-3
    )
    assert [e["timestamps"] for e in whole_run["events"]] == [
        e["timestamps"] for e in calm.runs()[0]["events"]
    ]
    assert cut["stop"]["exit_status"] == "abort"
    assert whole_run["start"]["continues"] == cut["start"]["uid"]


def test_runs_that_were_complete_are_not_made_twice(tell: Tell):
    _, ended = whole(tell, rich)
    one = tell(rich)
    assert one.live(ended.boundaries[-1]).killed
    assert one.live().outcomes is not None
    assert [r["start"]["part"] for r in one.runs()] == ["first", "second", "second"]


def two_setpoints(heater: Any, oven: Any, pump: Any, **_: Any) -> Plan:
    yield from bps.mv(heater, 80.0)
    yield from bps.mv(oven, 50.0)
    yield from bps.mv(heater, 60.0)
    yield from bps.mv(pump, 1.0)
    return {"y": 1.0}


@pytest.mark.parametrize("where", ["before intent", "after intent"])
def test_setpoints_are_sent_again_and_reached_before_anything_else_moves(tell: Tell, where: str):
    one = tell(two_setpoints)
    assert one.live((7, where), cools=True).killed
    reached: dict[str, float] = {}
    begun = len(one.world.log)

    def look(life: Life, n: int, _: str) -> None:
        if n == 7 and not reached:
            reached.update({h: one.world.temperature(h, life.now) for h in ("heater", "oven")})

    assert one.live(on_boundary=look).outcomes
    assert sorted(one.world.log[begun:-1]) == [("set", "heater", 60.0), ("set", "oven", 50.0)]
    assert reached == {"heater": 60.0, "oven": 50.0}
    assert one.world.log[-1] == ("dose", "pump", 1.0, {"heater": 60.0, "oven": 50.0})


def test_a_crash_while_setpoints_are_sent_again_is_no_other_crash(tell: Tell):
    calm = tell(two_setpoints)
    assert calm.live((7, "before intent"), cools=True).killed
    ended = calm.live()
    for k in range(1, len(ended.boundaries)):
        one = tell(two_setpoints)
        assert one.live((7, "before intent"), cools=True).killed
        assert one.live(count=k, cools=True).killed
        again = one.live()
        assert again.outcomes, (ended.boundaries[k - 1], again.cause)
        doses = [entry for entry in one.world.log if entry[0] == "dose"]
        assert doses == [("dose", "pump", 1.0, {"heater": 60.0, "oven": 50.0})]


def test_a_setpoint_that_cannot_be_sent_again_is_a_failure_where_the_plan_went_on(tell: Tell):
    def plan(heater: Any, pump: Any, other: Any, **_: Any):
        def clean():
            yield from bps.mv(other, 0.25)
            yield from bps.mv(other, 0.5)

        yield from bps.mv(heater, 60.0)
        yield from bpp.finalize_wrapper(bps.mv(pump, 1.0), clean)
        return {"y": 1.0}

    def broken(crash: tuple[int, str] | None = None) -> tuple[Story, Ended]:
        one = tell(plan)
        assert one.live((3, "before intent")).killed
        one.world.refusals["heater"] = 1
        return one, one.live(crash)

    calm, ended = broken()
    assert isinstance(ended.error, RefusedError)
    assert calm.world.doses() == [("other", 0.25), ("other", 0.5)]
    for boundary in ended.boundaries:
        if boundary[0] < 3:
            continue
        one, killed = broken(boundary)
        assert killed.killed
        again = one.live()
        if boundary == (3, "before intent"):  # that it failed is not on record: it is tried again
            continue
        assert isinstance(again.error, RefusedError), boundary
        assert one.world.doses() == calm.world.doses(), boundary


@pytest.mark.parametrize("lag", [0.0, 0.01])
def test_a_setpoint_that_was_on_its_way_is_sent_again_before_a_later_dose(tell: Tell, lag: float):
    def plan(heater: Any, pump: Any, **_: Any):
        yield from bps.abs_set(heater, 400.0, group="heat")
        yield from bps.mv(pump, 1.0)
        yield from bps.mv(pump, 2.0)
        yield from bps.wait("heat")
        return {"y": 1.0}

    one = tell(plan)
    one.lag = lag
    assert one.live((4, "before intent"), cools=True).killed
    assert one.live().outcomes
    assert one.world.log[-2:] == [
        ("set", "heater", 400.0),
        ("dose", "pump", 2.0, {"heater": 400.0}),
    ]


def measuring(detector: Any, **_: Any) -> Plan:
    yield from bpp.run_wrapper(_both(detector))
    return {"y": 1.0}


def _both(detector: Any) -> Plan:
    yield from reading(detector)
    yield from reading(detector)


@pytest.mark.parametrize(
    ("crash", "measurements"),
    [((1, "done"), 3), ((3, "before intent"), 3), ((3, "after act"), 3), ((3, "done"), 2)],
)
def test_a_trigger_is_repeated_only_if_its_reading_was_lost(
    tell: Tell, crash: tuple[int, str], measurements: int
):
    one = tell(measuring)
    assert one.live(crash).killed
    assert one.live().cause == ""
    assert one.world.measured == measurements


def test_a_sleep_goes_on_with_what_is_left_of_it(tell: Tell):
    def plan(pump: Any, **_: Any):
        yield from bps.sleep(1000)
        yield from bps.mv(pump, 1.0)
        return {"y": 1.0}

    one = tell(plan)
    one.prepare = lambda life: life.loop.call_later(300, life.kill)
    assert one.live(gap=200).killed
    one.prepare = None
    assert one.live().at == pytest.approx(1010)


def test_a_sleep_is_over_at_once_if_its_time_has_passed_meanwhile(tell: Tell):
    def plan(pump: Any, **_: Any):
        yield from bps.sleep(1000)
        yield from bps.mv(pump, 1.0)
        return {"y": 1.0}

    one = tell(plan)
    assert one.live((1, "after intent"), gap=5000).killed
    assert one.live().at == pytest.approx(5010)


def test_a_step_that_failed_fails_again_at_the_same_place(tell: Tell):
    seen: list[str] = []

    def plan(stage: Any, pump: Any, heater: Any, other: Any, **_: Any):
        yield from bps.abs_set(heater, 30.0, group="g")
        seen.append("set")
        try:
            yield from bps.mv(pump, 1.0)
            yield from bps.wait("g")
        except Exception as error:  # noqa: BLE001 (whatever comes, the plan goes on)
            seen.append(type(error.__cause__ or error).__name__)
        yield from bps.mv(other, 2.0)
        return {"y": 1.0}

    one = tell(plan)
    one.world.refusals["pump"] = 99
    calm = tell(plan)
    calm.world.refusals["pump"] = 99
    ended = calm.live()
    assert ended.outcomes
    first = list(seen)
    assert "RefusedError" in first
    for boundary in ended.boundaries:
        one = tell(plan)
        one.world.refusals["pump"] = 99
        seen.clear()
        assert one.live(boundary).killed
        seen.clear()
        assert one.live().outcomes, boundary
        assert seen == first, boundary
        assert sorted(one.world.doses()) == sorted(calm.world.doses()), boundary


def test_a_step_that_was_interrupted_and_then_failed_fails_again_at_the_same_place(tell: Tell):
    def plan(pump: Any, other: Any, **_: Any):
        try:
            yield from bps.mv(pump, 99.0)
        except FailedStatus:
            yield from bps.mv(other, 0.2)
        yield from bps.mv(other, 0.5)
        return {"y": 1.0}

    one = tell(plan)
    one.world.too_much = 50.0
    assert one.live((1, "after intent")).killed
    assert one.live((5, "after intent")).killed
    assert one.live().cause == ""
    assert one.world.doses() == [("other", 0.2), ("other", 0.5)]


def test_a_step_that_failed_late_fails_again_where_the_plan_heard_of_it(tell: Tell):
    def plan(pump: Any, other: Any, **_: Any):
        given = 0
        try:
            yield from bps.abs_set(pump, 99.0, group="g")
            for _again in range(4):
                yield from bps.mv(other, 0.2)
                given += 1
            yield from bps.wait("g")
        except FailedStatus:
            yield from bps.mv(other, 1.0 + given)
        yield from bps.mv(other, 0.5)
        return {"y": 1.0}

    def balking() -> Story:
        one = tell(plan)
        one.world.too_much, one.world.balks_after = 50.0, 5.0
        return one

    calm = balking()
    ended = calm.live()
    assert calm.world.doses()[-2:] == [("other", 3.0), ("other", 0.5)]
    for boundary in [b for b in ended.boundaries if b[0] > 6]:
        one = balking()
        assert one.live(boundary).killed
        assert one.live().cause == "", boundary
        assert sorted(one.world.doses()) == sorted(calm.world.doses())


# -- plans that are not repeatable ----------------------------------------------------------------


def changed(
    first: Callable[..., Plan], then: Callable[..., Plan], tell: Tell
) -> tuple[Story, Ended]:
    """Killed in one plan, gone on with another."""
    one = tell(first)
    assert one.live((5, "before intent")).killed
    one.plan = then
    log = list(one.world.log)
    ended = one.live()
    assert one.world.log == log, "something moved"
    return one, ended


def doses(*volumes: float) -> Callable[..., Plan]:
    def plan(pump: Any, **_: Any):
        for volume in volumes:
            yield from bps.mv(pump, volume)
        return {"y": 1.0}

    return plan


def raising(pump: Any, **_: Any) -> Plan:
    yield from bps.mv(pump, 1.0)
    raise RuntimeError("oh")


def cleaning_up(pump: Any, other: Any, **_: Any) -> Plan:
    def clean():
        yield from bps.mv(other, 1.0)

    yield from bpp.finalize_wrapper(raising(pump), clean)


@pytest.mark.parametrize(
    ("then", "was", "now"),
    [
        (doses(1.0, 2.5, 3.0), "set pump 2", "set pump 2.5"),
        (doses(2.0, 1.0, 3.0), "set pump 1", "set pump 2"),
        (doses(1.0), "set pump 2", "the plan's end"),
        (raising, "set pump 2", "RuntimeError: oh"),
        (cleaning_up, "set pump 2", "set other 1"),
        (lambda heater, **_: bps.mv(heater, 1.0), "set pump 1", "set heater 1"),
    ],
)
def test_a_plan_that_does_something_else_stops_before_anything_moves(
    tell: Tell, then: Any, was: str, now: str
):
    one, ended = changed(doses(1.0, 2.0, 3.0), then, tell)
    assert isinstance(ended.error, UnrepeatableError)
    assert f"was `{was}`" in ended.cause
    assert f"now it is `{now}`" in ended.cause
    assert ended.state is TrialState.IN_DOUBT
    one.plan = doses(1.0, 2.0, 3.0)
    one.retry()
    assert one.live().outcomes
    assert one.world.levels("pump") == [1.0, 3.0, 6.0]


# -- in doubt -------------------------------------------------------------------------------------


def mute(mute: Any, **_: Any) -> Plan:
    yield from bps.mv(mute, 1.0)
    yield from bps.mv(mute, 2.0)
    return {"y": 1.0}


@pytest.mark.parametrize(
    ("where", "doubt"),
    [("before intent", False), ("after intent", True), ("after act", True), ("done", False)],
)
def test_a_trial_is_in_doubt_only_where_nobody_can_tell(tell: Tell, where: str, doubt: bool):
    one = tell(mute)
    assert one.live((1, where)).killed
    ended = one.live()
    if not doubt:
        assert ended.outcomes
        assert one.world.levels("mute") == [1.0, 3.0]
        return
    assert isinstance(ended.error, InDoubtError)
    assert ended.state is TrialState.IN_DOUBT
    assert "set mute 1" in ended.cause
    assert "sdl resolve 1 --done" in ended.cause
    given = one.world.levels("mute") == [1.0]
    assert given is (where == "after act")
    one.resolve(1, "done" if given else "not done")
    assert one.live().outcomes
    assert one.world.levels("mute") == [1.0, 3.0]


def test_a_lost_reply_is_settled_with_the_instrument_while_the_trial_goes_on(tell: Tell):
    one = tell(doses(1.0, 2.0))
    one.world.lost_replies = 1
    assert one.live().outcomes
    assert one.world.doses() == [("pump", 1.0), ("pump", 2.0)]
    first = one.steps()[0]
    assert (first.done, first.error) == (True, None)
    assert first.findings[-1]["verdict"] == "done"
    assert "given 1 of 1 mL" in first.findings[-1]["evidence"]


def test_a_lost_reply_of_an_instrument_that_cannot_tell_leaves_the_trial_in_doubt(tell: Tell):
    one = tell(mute)
    one.world.lost_replies = 1
    ended = one.live()
    assert ended.state is TrialState.IN_DOUBT
    assert one.world.doses() == [("mute", 1.0)]
    one.resolve(1, "done")
    assert one.live().outcomes
    assert one.world.levels("mute") == [1.0, 3.0]


def test_an_instrument_that_does_not_answer_for_long_leaves_the_trial_in_doubt(tell: Tell):
    one = tell(doses(1.0, 2.0))
    assert one.live((1, "after intent")).killed
    one.world.deaf = True
    ended = one.live()
    assert ended.state is TrialState.IN_DOUBT
    assert "cannot be asked now" in ended.cause
    one.world.deaf = False
    one.retry()
    assert one.live().outcomes
    assert one.world.levels("pump") == [1.0, 3.0]


def test_a_dose_that_was_partly_given_is_completed(tell: Tell):
    one = tell(doses(1.0, 2.0))
    one.prepare = lambda life: life.loop.call_later(4, life.kill)
    assert one.live(halts=True).killed
    one.prepare = lambda life: life.loop.call_later(3, life.kill)
    assert one.live(halts=True).killed
    one.prepare = None
    assert one.live().outcomes
    assert one.world.levels("pump") == [0.4, 0.7, 1.0, 3.0]


def test_what_was_booked_is_booked_once_over_all_crashes(tell: Tell):
    inventory = {"reagent": Item(amount=10.0, taken_by={"pump": "positive"})}
    for where in ("before intent", "after intent", "after act", "done"):
        one = tell(doses(1.0, 2.0), inventory=inventory)
        assert one.live((1, where)).killed
        assert one.live().outcomes
        assert one.journal.balances("small")["reagent"] == pytest.approx(7.0), where


# -- the guard, errors, retries -------------------------------------------------------------------


def test_what_the_guard_refuses_does_not_move_and_the_plan_sees_why(tell: Tell):
    rules = SafetyRules(limits={"pump": Limit(high=1.5)})
    one = tell(doses(1.0, 2.0), rules=rules)
    ended = one.live()
    assert isinstance(ended.error, UnsafeError)
    assert one.world.doses() == [("pump", 1.0)]
    assert ended.state is TrialState.FAILED
    assert "1.5" in (one.steps()[-1].error or "")


def test_retries_are_for_what_may_be_repeated_only(tell: Tell):
    def plan(heater: Any, detector: Any, **_: Any):
        yield from bps.mv(heater, 30.0)
        yield from bps.trigger(detector, wait=True)
        return {"y": 1.0}

    retries = {name: {"set": 2, "trigger": 2} for name in ("heater", "detector", "pump")}
    one = tell(plan, retries=retries)
    one.world.refusals |= {"heater": 2, "detector": 2}
    assert one.live().outcomes
    assert one.world.log == [("set", "heater", 30.0), ("measure", "detector", 30.0)]

    one = tell(plan, retries=retries)
    one.world.refusals["detector"] = 3
    assert isinstance(one.live().error, RefusedError)

    one = tell(doses(1.0), retries=retries)
    one.world.refusals["pump"] = 99
    assert isinstance(one.live().error, RefusedError)
    assert one.world.doses() == []


def test_a_device_that_does_not_answer_for_a_moment_is_asked_about_itself_again(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
):
    describe, tries = Detector.describe, []

    async def late(self: Detector) -> dict[str, Any]:
        tries.append(1)
        if len(tries) < 3:
            raise NoReplyError("detector", "no reply")
        return await describe(self)

    monkeypatch.setattr(Detector, "describe", late)

    def plan(detector: Any, **_: Any):
        yield from bpp.run_wrapper(bps.trigger_and_read([detector]))
        return {"y": 1.0}

    one = tell(plan)
    assert one.live().outcomes
    assert one.world.measured == 1


# -- samples that cannot wait, clean-up and recovery ----------------------------------------------


def waiting(pump: Any, other: Any, **_: Any) -> Plan:
    def clean():
        yield from bps.mv(other, 0.25)

    def inner():
        yield from may_wait(50.0)
        yield from bps.mv(pump, 1.0)
        yield from bps.mv(pump, 2.0)
        yield from bps.mv(pump, 3.0)

    yield from bpp.finalize_wrapper(inner(), clean)
    return {"y": 1.0}


def flush(other: Any) -> Plan:
    yield from bps.mv(other, 5.0)
    yield from bps.mv(other, 6.0)


@pytest.mark.parametrize("gap", [100.0, -20.0])
def test_a_sample_that_waited_too_long_gets_its_recovery_and_fails(tell: Tell, gap: float):
    one = tell(waiting, recovery=flush)
    assert one.live((3, "before intent"), gap=gap).killed
    ended = one.live()
    assert isinstance(ended.error, SpoiledError)
    assert ended.state is TrialState.FAILED
    said = "100 s" if gap > 0 else "the clock was set back"
    assert said in ended.cause
    assert one.world.doses() == [*(("pump", 1.0), ("other", 0.25), ("other", 5.0), ("other", 6.0))]


def test_a_sample_that_waited_a_little_goes_on(tell: Tell):
    one = tell(waiting, recovery=flush)
    assert one.live((3, "before intent"), gap=20.0).killed
    assert one.live().outcomes
    assert [v for _, v in one.world.doses()] == [1.0, 2.0, 3.0, 0.25]


def test_a_crash_in_the_recovery_goes_on_in_the_recovery(tell: Tell):
    calm = tell(waiting, recovery=flush)
    assert calm.live((3, "before intent")).killed
    ended = calm.live()
    for boundary in ended.boundaries:
        one = tell(waiting, recovery=flush)
        assert one.live((3, "before intent")).killed
        assert one.live(boundary).killed
        again = one.live()
        assert isinstance(again.error, SpoiledError), boundary
        assert one.world.doses() == calm.world.doses(), boundary


@pytest.mark.parametrize("seconds", [5.0, 15.0])
def test_an_abort_runs_clean_up_and_recovery_once(tell: Tell, seconds: float):
    one = tell(waiting, recovery=flush)
    why = StoppedError("a person said so")
    one.prepare = lambda life: life.loop.call_later(seconds, lambda: life.run.abort(why))
    ended = one.live()
    assert isinstance(ended.error, StoppedError)
    assert ended.state is TrialState.ABANDONED
    begun = [("pump", 1.0)] if seconds < 10 else [("pump", 1.0), ("pump", 2.0)]
    assert one.world.doses() == [*begun, ("other", 0.25), ("other", 5.0), ("other", 6.0)]


def test_an_abort_in_a_wait_for_many_runs_the_whole_clean_up(tell: Tell):
    def plan(heater: Any, oven: Any, other: Any, **_: Any):
        def clean():
            yield from bps.mv(other, 0.25)
            yield from bps.mv(other, 0.5)

        yield from bpp.finalize_wrapper(bps.mv(heater, 500.0, oven, 400.0), clean)
        return {"y": 1.0}

    one = tell(plan, recovery=flush)
    why = StoppedError("a person said so")
    one.prepare = lambda life: life.loop.call_later(5.0, lambda: life.run.abort(why))
    assert isinstance(one.live().error, StoppedError)
    assert [v for _, v in one.world.doses()] == [0.25, 0.5, 5.0, 6.0]


# -- frozen, paused -------------------------------------------------------------------------------


def busy(pump: Any, heater: Any, other: Any, **_: Any) -> Plan:
    def clean():
        yield from bps.mv(other, 9.0)

    def inner():
        yield from bps.abs_set(heater, 520.0, group="heat")
        yield from bps.mv(pump, 1.0)
        yield from bps.mv(pump, 2.0)
        yield from bps.sleep(100)
        yield from bps.wait("heat")
        yield from bps.mv(pump, 3.0)

    yield from bpp.contingency_wrapper(inner(), except_plan=lambda _: clean())
    return {"y": 1.0}


@pytest.mark.parametrize(
    ("seconds", "until"), [(5.0, 10.0), (15.0, 30.0), (50.0, 50.0), (200.0, 200.0)]
)
def test_a_freeze_finishes_the_dose_under_way_and_nothing_else(
    tell: Tell, seconds: float, until: float
):
    one = tell(busy, recovery=flush)
    why = StoppedError("sdl stop")
    one.prepare = lambda life: life.loop.call_later(seconds, lambda: life.run.freeze(why))
    ended = one.live(gap=10.0)
    assert ended.error is why
    assert ended.at == pytest.approx(until, abs=0.01)
    assert ended.state is TrialState.RUNNING
    assert not any(s.n == 1 and s.done for s in one.steps())
    one.prepare = None
    assert one.live().outcomes
    assert one.world.doses() == [("pump", 1.0), ("pump", 2.0), ("pump", 3.0)]


def test_a_freeze_finishes_a_dose_that_nobody_waits_for_yet(tell: Tell):
    def plan(pump: Any, **_: Any):
        yield from bps.abs_set(pump, 3.0, group="dose")
        yield from bps.sleep(100)
        yield from bps.wait("dose")
        return {"y": 1.0}

    one = tell(plan)
    why = StoppedError("sdl stop")
    one.prepare = lambda life: life.loop.call_later(5.0, lambda: life.run.freeze(why))
    ended = one.live(gap=0.0)
    assert ended.error is why
    assert ended.at == pytest.approx(30.0, abs=0.01)
    assert one.steps()[0].done


def test_a_stop_leaves_doses_open(tell: Tell):
    one = tell(busy)
    why = StoppedError("STOP")
    freeze: Callable[[Life], Any] = lambda life: life.loop.call_later(  # noqa: E731
        5.0, lambda: life.run.freeze(why, at_once=True)
    )
    one.prepare = freeze
    ended = one.live(gap=100.0)
    assert ended.at == pytest.approx(5.0, abs=0.01)
    assert not any(s.n == 2 and s.done for s in one.steps())
    one.prepare = None
    assert one.live().outcomes
    assert one.world.doses() == [("pump", 1.0), ("pump", 2.0), ("pump", 3.0)]


def test_a_pause_holds_at_the_next_step(tell: Tell):
    one = tell(doses(1.0, 2.0))

    def prepare(life: Life) -> None:
        life.loop.call_later(5.0, life.run.pause)
        life.loop.call_later(500.0, life.run.resume)

    one.prepare = prepare
    ended = one.live()
    assert ended.at == pytest.approx(520.0)
    assert one.world.doses() == [("pump", 1.0), ("pump", 2.0)]


def test_a_pause_that_a_sample_cannot_bear_spoils_it(tell: Tell):
    one = tell(waiting, recovery=flush)

    def prepare(life: Life) -> None:
        life.loop.call_later(5.0, life.run.pause)
        life.loop.call_later(500.0, life.run.resume)

    one.prepare = prepare
    ended = one.live()
    assert isinstance(ended.error, SpoiledError)
    assert "495 s by a pause" in ended.cause


def test_a_plan_that_asks_for_a_pause_is_held_there(tell: Tell):
    def plan(pump: Any, **_: Any):
        yield from bps.mv(pump, 1.0)
        yield from bps.pause()
        yield from bps.mv(pump, 2.0)
        return {"y": 1.0}

    one = tell(plan)
    one.prepare = lambda life: life.loop.call_later(300.0, life.run.resume)
    ended = one.live()
    assert ended.outcomes
    assert ended.at == pytest.approx(320.0)


# -- the other messages ---------------------------------------------------------------------------


def test_devices_are_staged_as_steps_and_unstaged_at_the_end(tell: Tell):
    def plan(detector: Any, pump: Any, **_: Any):
        yield from bpp.stage_wrapper(bps.mv(pump, 1.0), [detector])
        return {"y": 1.0}

    one = tell(plan)
    ended = one.live()
    assert [s.command for s in one.steps()] == ["stage", "set", "unstage"]
    assert [what for name, what in ended.stops if name == "detector"] == ["stage", "unstage"]

    one = tell(plan)
    assert one.live((3, "after intent")).killed
    ended = one.live()
    assert ended.outcomes
    assert [what for name, what in ended.stops if name == "detector"] == ["stage", "unstage"]


def test_a_location_is_answered_from_the_journal(tell: Tell):
    def plan(heater: Any, pump: Any, **_: Any):
        yield from bps.mv(heater, 33.0)
        there = yield from bps.locate(heater)
        yield from bps.mv(heater, 44.0)
        yield from bps.mv(pump, there["setpoint"] / 33)
        return {"y": there["setpoint"]}

    calm, ended = whole(tell, plan)
    for boundary in ended.boundaries:
        one = tell(plan)
        assert one.live(boundary).killed
        assert one.live().outcomes == {"y": 33.0}, boundary
        assert one.world.doses() == calm.world.doses()


def test_a_device_is_configured_again_after_a_crash(tell: Tell):
    def plan(detector: Any, pump: Any, **_: Any):
        yield from bps.configure(detector, "gain", 2)
        yield from bps.mv(pump, 1.0)
        return {"y": 1.0}

    one = tell(plan)
    assert one.live((2, "before intent")).killed
    assert one.live().outcomes
    assert [e for e in one.world.log if e[0] == "configure"] == [
        ("configure", "detector", "gain", 2)
    ] * 2


def test_stop_messages_of_a_plan_reach_the_device_and_the_end_reaches_all_that_moved(tell: Tell):
    def plan(pump: Any, heater: Any, **_: Any):
        yield from bps.mv(heater, 30.0)
        yield from bps.mv(pump, 1.0)
        yield from bps.stop(heater)
        return {"y": 1.0}

    ended = tell(plan).live()
    assert ended.stops[0] == ("heater", False) or ended.stops[0] == ("heater", True)
    assert sorted(ended.stops[1:]) == [("heater", True), ("pump", True)]
