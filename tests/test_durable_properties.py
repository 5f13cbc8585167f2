"""Random plans through random crashes: what is physically done is what it would have been anyway.

`SDL_LONG=1` tries many more.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sdl.errors import StoppedError
from sdl.journal import TrialState
from tests.crashing import Ended, Life, Plan, Story
from tests.test_rewinding import paused_and_resumed

LONG = os.environ.get("SDL_LONG") == "1"
CALM = {"deadline": None, "suppress_health_check": list(HealthCheck)}

Op = tuple[Any, ...]

VOLUMES = st.sampled_from([0.1, 0.2, 0.5, 1.0])
SETPOINTS = st.sampled_from([30.0, 45.0, 60.0])


def _simple(pumps: Sequence[str]) -> st.SearchStrategy[Op]:
    return st.one_of(
        st.tuples(st.just("dose"), st.sampled_from(pumps), VOLUMES),
        st.tuples(st.just("both"), VOLUMES, VOLUMES),
        st.tuples(st.just("slow dose"), VOLUMES),
        st.tuples(st.just("set"), st.sampled_from(["heater", "oven"]), SETPOINTS),
        st.tuples(st.just("begin set"), st.sampled_from(["heater", "oven"]), SETPOINTS),
        st.tuples(st.just("measure")),
        st.tuples(st.just("sleep"), st.sampled_from([1.0, 60.0, 500.0])),
        st.tuples(st.just("checkpoint")),
    )


def programs(pumps: Sequence[str]) -> st.SearchStrategy[list[Op]]:
    def deeper(ops: st.SearchStrategy[list[Op]]) -> st.SearchStrategy[list[Op]]:
        some = st.one_of(
            _simple(pumps),
            st.tuples(st.just("branch"), ops, ops),
            st.tuples(st.just("loop"), st.integers(1, 3), ops),
            st.tuples(st.just("failing"), ops, ops),
        )
        return st.lists(some, min_size=1, max_size=4)

    return st.recursive(st.lists(_simple(pumps), min_size=1, max_size=5), deeper, max_leaves=6)


class Program:
    """A plan made of operations."""

    def __init__(self, ops: list[Op]) -> None:
        self._ops = ops

    def plan(self, **instruments: Any) -> Plan:
        found: list[float] = []

        @bpp.run_decorator()
        def inner():
            yield from self._all(self._ops, instruments, found)
            yield from bps.wait("sets")
            yield from bps.wait("slow")

        yield from inner()
        return {"y": sum(found)}

    def _all(self, ops: list[Op], its: dict[str, Any], found: list[float]) -> Plan:
        for op in ops:
            yield from self._one(op, its, found)

    def _one(self, op: Op, its: dict[str, Any], found: list[float]) -> Plan:
        match op:
            case ("dose", pump, volume):
                yield from bps.mv(its[pump], volume)
            case ("both", one, other):
                yield from bps.mv(its["pump"], one, its["other"], other)
            case ("slow dose", volume):
                yield from bps.wait("slow")
                yield from bps.abs_set(its["slow"], volume, group="slow")
            case ("set", heater, value):
                yield from bps.mv(its[heater], value)
            case ("begin set", heater, value):
                yield from bps.wait("sets")
                yield from bps.abs_set(its[heater], value, group="sets")
            case ("measure",):
                readings = yield from bps.trigger_and_read([its["detector"]])
                found.append(readings["detector"]["value"])
            case ("sleep", seconds):
                yield from bps.sleep(seconds)
            case ("checkpoint",):
                yield from bps.checkpoint()
            case ("branch", more, less):
                high = bool(found) and found[-1] % 0.5 > 0.25
                yield from self._all(more if high else less, its, found)
            case ("loop", times, body):
                for _ in range(times):
                    yield from self._all(body, its, found)
            case ("failing", body, clean_up):
                yield from bpp.contingency_wrapper(
                    self._failing(body, its, found),
                    except_plan=lambda _: self._all(clean_up, its, found),
                    auto_raise=False,
                )

    def _failing(self, body: list[Op], its: dict[str, Any], found: list[float]) -> Plan:
        yield from self._all(body, its, found)
        yield from bps.mv(its["pump"], 99.0)  # is refused


class Calm:
    """What the world and the record look like where nothing goes wrong."""

    def __init__(self, folder: Path, ops: list[Op]) -> None:
        self.story = _begun(folder, ops)
        self.ended = self.story.live()
        assert self.ended.outcomes is not None, self.ended.cause
        self.levels = {p: self.story.world.levels(p) for p in self.story.world.motions}
        self.conditions = _conditions(self.story)
        self.story.close()

    def check(self, one: Story, ended: Ended) -> None:
        assert ended.cause == ""
        assert ended.outcomes == pytest.approx(self.ended.outcomes, abs=1e-3)
        assert one.world.motions.keys() == self.levels.keys()
        for pump, levels in self.levels.items():
            given = one.world.levels(pump)
            assert set(levels) <= set(given), f"{pump} skipped or repeated something"
            assert given[-1] == levels[-1], pump
        calm = self.conditions
        for pump, start, setpoints in _conditions(one):
            if (
                pump == "slow"
            ):  # nobody waits for it: what is left of it moves under what is set now
                continue
            told = [c for p, s, c in calm if p == pump and s <= start + 1e-9]
            assert setpoints == told[-1], f"{pump} moved under other setpoints"


def _begun(folder: Path, ops: list[Op]) -> Story:
    folder.mkdir()
    story = Story(folder, Program(ops).plan)
    story.world.too_much = 50.0
    return story


def _conditions(story: Story) -> list[tuple[str, float, dict[str, float]]]:
    """Of each dose: the pump, what it had given before, and the setpoints then."""
    before: dict[str, list[float]] = {p: [0.0, *story.world.levels(p)] for p in story.world.motions}
    doses = [entry for entry in story.world.log if entry[0] == "dose"]
    return [(pump, before[pump].pop(0), setpoints) for _, pump, _, setpoints in doses]


CRASHES = st.lists(
    st.tuples(
        st.integers(1, 40),  # at so many boundaries of its life
        st.sampled_from([0.0, 3.0, 1000.0]),  # s until the next one
        st.booleans(),  # pumps stop half-way
        st.booleans(),  # heaters fall back
    ),
    min_size=1,
    max_size=4,
)


LAGS = st.sampled_from([0.0, 0.01])  # s that the journal takes to write


@settings(max_examples=400 if LONG else 25, **CALM)
@given(programs(["pump", "other"]), CRASHES, LAGS)
def test_random_crashes_of_a_random_plan_leave_no_trace_in_the_world(
    ops: list[Op], crashes: list[tuple[int, float, bool, bool]], lag: float
):
    with tempfile.TemporaryDirectory() as folder:
        calm = Calm(Path(folder) / "calm", ops)
        one = _begun(Path(folder) / "one", ops)
        one.lag = lag
        try:
            known: dict[int, Any] = {}
            ended: Ended | None = None
            for count, gap, halts, cools in crashes:
                ended = one.live(count=count, gap=gap, halts=halts, cools=cools)
                known = _kept(known, one)
                if not ended.killed:
                    break
            ended = one.live() if ended is None or ended.killed else ended
            _kept(known, one)
            calm.check(one, ended)
        finally:
            one.close()


def _kept(known: dict[int, Any], story: Story) -> dict[int, Any]:
    """No reading that was recorded is lost or changed."""
    now = story.readings()
    assert {n: now.get(n) for n in known} == known
    return now


class Interrupted(RuleBasedStateMachine):
    """A trial, and all that may happen to it, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._known: dict[int, Any] = {}
        self._over: Ended | None = None

    @initialize(ops=programs(["pump", "other", "mute"]), lag=LAGS)
    def begin(self, ops: list[Op], lag: float) -> None:
        folder = Path(self._folder.name)
        self._calm = Calm(folder / "calm", ops)
        self._story = _begun(folder / "one", ops)
        self._story.lag = lag

    def _live(self, count: int = 0, **how: Any) -> None:
        ended = self._story.live(count=count, **how)
        self._story.prepare = None
        if ended.state is TrialState.COMPLETED:
            self._over = ended
        else:
            assert ended.killed or ended.state is not TrialState.FAILED, ended.cause

    def _goes_on(self) -> bool:
        return self._over is None and self._story.trial.state is not TrialState.IN_DOUBT

    def _doubted(self) -> bool:
        return self._story.trial.state is TrialState.IN_DOUBT

    @precondition(_goes_on)
    @rule(count=st.integers(1, 30), gap=st.sampled_from([0.0, 4.0, 1000.0]), cools=st.booleans())
    def crash(self, count: int, gap: float, cools: bool) -> None:
        self._live(count, gap=gap, cools=cools)

    @precondition(_goes_on)
    @rule(seconds=st.floats(0, 100), at_once=st.booleans(), gap=st.sampled_from([0.0, 50.0]))
    def stop(self, seconds: float, at_once: bool, gap: float) -> None:
        self._later(seconds, lambda life: life.run.freeze(StoppedError("why"), at_once=at_once))
        self._live(gap=gap)

    @precondition(_goes_on)
    @rule(seconds=st.floats(0, 100), length=st.floats(0, 100), count=st.integers(5, 60))
    def pause_and_crash(self, seconds: float, length: float, count: int) -> None:
        def both(life: Life) -> None:
            life.run.pause()
            life.loop.call_later(length, life.run.resume)

        self._later(seconds, both)
        self._live(count)

    @precondition(_goes_on)
    @rule(seconds=st.floats(0, 100), count=st.integers(5, 60))
    def rewind_and_crash(self, seconds: float, count: int) -> None:
        self._later(seconds, paused_and_resumed)
        self._live(count)

    @rule(pumps=st.integers(1, 2))
    def lose_replies(self, pumps: int) -> None:
        self._story.world.lost_replies += pumps

    @precondition(_doubted)
    @rule()
    def settle(self) -> None:
        """A person looks at what is there."""
        steps = [s for s in self._story.steps() if s.instrument == "mute" and s.error is None]
        doubted = max(steps, key=lambda s: (s.n, s.attempt))
        before = sum(s.argument for s in steps if s.n < doubted.n and s.done)
        level = sum(m.volume for m in self._story.world.motions.get("mute", []))
        given = abs(level - before - doubted.argument) < 1e-9
        self._story.resolve(doubted.n, "done" if given else "not done")

    @invariant()
    def no_reading_is_lost(self) -> None:
        if hasattr(self, "_story"):
            self._known = _kept(self._known, self._story)

    def _later(self, seconds: float, what: Callable[[Life], object]) -> None:
        self._story.prepare = lambda life: life.loop.call_later(seconds, what, life)

    def teardown(self) -> None:
        try:
            if hasattr(self, "_story"):
                self._finish()
                self._story.close()
        finally:
            self._folder.cleanup()

    def _finish(self) -> None:
        for _ in range(20):
            if self._over is not None:
                self._calm.check(self._story, self._over)
                return
            if self._doubted():
                self.settle()
            self._live()
        raise AssertionError("the trial comes to no end")


Interrupted.TestCase.settings = settings(
    max_examples=200 if LONG else 12, stateful_step_count=12 if LONG else 6, **CALM
)
test_whatever_happens_in_whatever_order_the_trial_ends_as_if_nothing_had = Interrupted.TestCase
