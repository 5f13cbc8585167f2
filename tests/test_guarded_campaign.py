"""Whole campaigns under rules, with stations, doubts, a recovery plan; on twins without wires."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sdl import Campaign, Lab
from sdl.errors import UnsafeError
from sdl.journal import Journal, TrialState
from sdl.session import Session

DEVICES = '''
import asyncio

from ophyd_async.core import AsyncStatus, StandardReadable, StandardReadableFormat
from ophyd_async.core import soft_signal_r_and_setter

from sdl.errors import FaultError, NoReplyError
from sdl.instrument import Effect, Finding, Verdict, poll_r


class pump(StandardReadable):
    """Doses; `breaks` says how: "mute" from the second dose on, "stalls"."""

    effect = Effect.RELATIVE

    def __init__(self, breaks: str = "", name: str = "") -> None:
        self.breaks, self.doses = breaks, 0
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.total, self._set = soft_signal_r_and_setter(float, 0.0)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self.doses += 1
        await asyncio.sleep(5)
        if self.breaks == "mute" and self.doses == 2:
            raise NoReplyError(self.name, "no reply to RUN")
        if self.breaks == "stalls":
            raise FaultError(self.name, "stalled")
        self._set(await self.total.get_value() + value)

    async def mark(self, command, argument):
        return {"total": await self.total.get_value()}

    async def reconcile(self, command, argument, mark):
        return Finding(Verdict.UNKNOWN, "its counter was cleared")

    async def stop(self, success: bool = False) -> None:
        ...


class hood(StandardReadable):
    """Its flow fails after `fails` s; one that is `mute` answers once, when it is connected."""

    def __init__(self, fails: float = 1e9, mute: bool = False, name: str = "") -> None:
        self.fails, self.asked = fails, 0
        if mute:
            self.flow = poll_r(float, self.answer_once, source="hood", units="m/s")
            super().__init__(name=name)
            return
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.flow, self._set = soft_signal_r_and_setter(float, 0.5, units="m/s")
        super().__init__(name=name)

    async def answer_once(self) -> float:
        self.asked += 1
        if self.asked > 1:
            raise NoReplyError(self.name, "no reply")
        return 0.5

    async def connect(self, mock=False, timeout=10.0, force_reconnect=False):
        await super().connect(mock, timeout, force_reconnect)
        asyncio.get_running_loop().call_later(self.fails, lambda: self._set(0.1))


class heater(StandardReadable):
    stopped = 0

    def __init__(self, name: str = "") -> None:
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.temperature, self._set = soft_signal_r_and_setter(float, 20.0, units="degC")
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        await asyncio.sleep(60)
        self._set(value)

    async def stop(self, success: bool = False) -> None:
        if not success:
            heater.stopped += 1
            self._set(20.0)
'''

PLAN = """
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable


def say(text):
    with (Path(__file__).parent.parent / "said.log").open("a") as log:
        log.write(text + "\\n")


def brew(pump: Movable, heater: Movable, *, temperature: float, doses: int = 3):
    @bpp.run_decorator()
    def inner():
        yield from bps.mv(heater, temperature)
        for _ in range(doses):
            yield from bps.mv(pump, 1.0)
        yield from bps.trigger_and_read([heater])

    yield from inner()
    return {"y": temperature}


def rinse(pump: Movable, *, temperature: float):
    say(f"rinse {pump.name} {temperature:.1f}")
    yield from bps.mv(pump, 0.5)
"""

LAB = """\
lab: brewery
instruments:
  pump_a: {driver: devices:pump, twin: {device: itself}%(a)s}
  pump_b: {driver: devices:pump, twin: {device: itself}}
  heater_a: {driver: devices:heater, twin: {device: itself}}
  heater_b: {driver: devices:heater, twin: {device: itself}}
  hood: {driver: devices:hood, twin: {device: itself}%(hood)s}
%(rules)s
"""

CAMPAIGN = """\
campaign: brewing
plan: brew
instruments: {pump: %(pump)s, heater: %(heater)s}
parameters: {temperature: {low: 30, high: 85, units: degC}}
objectives: {y: {direction: maximize}}
optimizer: {use: sobol}
budget: {trials: %(trials)s}
%(more)s
"""


def brewery(
    folder: Path,
    *,
    a: str = "",
    hood: str = "",
    rules: str = "",
    stations: bool = False,
    trials: int = 3,
    more: str = "",
) -> tuple[Campaign, Lab]:
    for room, name, text in (("drivers", "devices", DEVICES), ("plans", "brew", PLAN)):
        (folder / room).mkdir(parents=True, exist_ok=True)
        (folder / room / f"{name}.py").write_text(text)
    (folder / "plans" / "rinse.py").write_text(PLAN)
    (folder / "lab.yaml").write_text(LAB % {"a": a, "hood": hood, "rules": rules})
    pump, heater = (
        ("[pump_a, pump_b]", "[heater_a, heater_b]") if stations else ("pump_a", "heater_a")
    )
    words = {"pump": pump, "heater": heater, "trials": trials, "more": more}
    (folder / "campaign.yaml").write_text(CAMPAIGN % words)
    lab = Lab.load(folder / "lab.yaml").twin()
    campaign = Campaign.load(folder / "campaign.yaml")
    campaign.check(lab)
    return campaign, lab


def journal(folder: Path) -> Journal:
    return Journal.open(folder / "twin.db")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_an_interlock_that_fails_while_a_heater_is_hot_makes_the_lab_safe(tmp_path: Path):
    rules = "safety: {interlocks: [heater_a needs hood.flow > 0.4 m/s]}"
    campaign, lab = brewery(tmp_path, hood=", fails: 100", rules=rules)
    with Session(campaign, lab) as session:
        ending = session.wait(60)
    assert ending.gave_up
    assert "heater_a needs hood.flow > 0.4 m/s" in ending.why
    with journal(tmp_path) as record:
        trials = record.trials("brewing")
        assert [t.state for t in trials][-1] is TrialState.RUNNING  # it is not its fault
        assert any("interlock tripped" in n.text for n in record.notes())
    campaign, lab = brewery(tmp_path, rules=rules)  # the hood is repaired
    results = campaign.run_blocking(lab)
    assert [t.state for t in results.trials] == [TrialState.COMPLETED] * 3


def test_a_refused_setpoint_fails_the_trial_and_nothing_is_sent(tmp_path: Path):
    rules = "safety: {limits: {heater_a: {high: 40}}}"
    campaign, lab = brewery(tmp_path, rules=rules, trials=2)
    results = campaign.run_blocking(lab)
    refused = [t for t in results.trials if t.state is TrialState.FAILED]
    assert refused
    assert all("lab.yaml" in (t.cause or "") and "40" in (t.cause or "") for t in refused)
    with journal(tmp_path) as record:
        for trial in refused:
            commands = [(s.command, s.instrument) for s in record.steps(trial)]
            assert ("set", "pump_a") not in commands


def test_a_lab_whose_interlocks_cannot_be_evaluated_runs_nothing(tmp_path: Path):
    rules = "safety: {interlocks: [heater_a needs hood.flow > 0.4 m/s]}"
    campaign, lab = brewery(tmp_path, hood=", mute: true", rules=rules)
    with Session(campaign, lab) as session, pytest.raises(UnsafeError, match=r"hood\.flow"):
        session.wait(60)
    with journal(tmp_path) as record:
        assert record.trials("brewing") == []


def test_reagents_are_booked_once_and_a_dose_that_is_short_is_refused(tmp_path: Path):
    rules = "inventory: {malt: {amount: 7.5, units: mL, taken_by: {pump_a: positive}}}"
    campaign, lab = brewery(tmp_path, rules=rules, more="failures_in_a_row: 1")
    with Session(campaign, lab) as session:
        ending = session.wait(60)
    assert ending.gave_up or "budget" in ending.why
    with journal(tmp_path) as record:
        trials = record.trials("brewing")
        assert "malt: 0.5 mL are left, 1 mL asked" in (trials[-1].cause or "")
        states = [t.state for t in trials]
        assert states == [TrialState.COMPLETED, TrialState.COMPLETED, TrialState.FAILED]
        assert record.balances("brewery")["malt"] == pytest.approx(0.5)


def test_the_recovery_runs_after_a_failure_and_only_then(tmp_path: Path):
    rules = "safety: {limits: {pump_a: {high: 0.9}}}"  # the plan's doses of 1 mL are refused
    campaign, lab = brewery(tmp_path, rules=rules, trials=2, more="recovery: rinse")
    results = campaign.run_blocking(lab)
    assert [t.state for t in results.trials] == [TrialState.FAILED] * 2
    said = (tmp_path / "said.log").read_text().splitlines()
    assert said == [f"rinse pump_a {t.parameters['temperature']:.1f}" for t in results.trials]


def test_a_faulty_instrument_is_set_aside_and_the_other_station_goes_on(tmp_path: Path):
    campaign, lab = brewery(
        tmp_path, a=", breaks: stalls", stations=True, trials=4, more="parallel: 2"
    )
    results = campaign.run_blocking(lab)
    states = [t.state for t in results.trials]
    assert states.count(TrialState.FAILED) == 1
    assert states.count(TrialState.COMPLETED) == 3
    with journal(tmp_path) as record:
        claims = record.claims("brewery")
        assert "stalled" in (claims["pump_a"].quarantined or "")
        assert set(claims) == {"pump_a"}


def test_a_trial_in_doubt_keeps_its_station_until_a_person_has_settled_it(tmp_path: Path):
    campaign, lab = brewery(
        tmp_path, a=", breaks: mute", stations=True, trials=5, more="parallel: 2"
    )
    with Session(campaign, lab) as session, journal(tmp_path) as record:

        def doubts() -> list[int]:
            return [t.number for t in record.trials("brewing", {TrialState.IN_DOUBT})]

        def done() -> int:
            return len(record.trials("brewing", {TrialState.COMPLETED}))

        until(lambda: bool(doubts()) and done() >= 3)
        (number,) = doubts()
        trial = record.trial("brewing", number)
        assert {n for n, c in record.claims("brewery").items() if c.trial == trial.id} == {
            "pump_a",
            "heater_a",
        }
        assert "its counter was cleared" in (trial.cause or "")
        (open_step,) = [s for s in record.steps(trial) if not s.done]
        record.settle_step(
            trial, open_step.n, "done", time=trial.suggested_at, who="me", note="seen"
        )
        record.move(trial, TrialState.RUNNING, time=trial.suggested_at, who="me", note="seen")
        ending = session.wait(60)
    assert not ending.gave_up
    with journal(tmp_path) as record:
        trials = record.trials("brewing")
        assert [t.state for t in trials] == [TrialState.COMPLETED] * 5
        doses = [
            s for s in record.steps(record.trial("brewing", number)) if s.instrument == "pump_a"
        ]
        assert [s.attempt for s in doses if s.command == "set"] == [1, 1, 1]
        assert record.verify().breaks == []


def test_a_stop_leaves_the_trial_and_the_next_session_goes_on_with_it(tmp_path: Path):
    campaign, lab = brewery(tmp_path, trials=1)
    lab = Lab.load(tmp_path / "lab.yaml").twin(speed=40)
    with Session(campaign, lab) as session, journal(tmp_path) as record:
        until(lambda: bool(record.trials("brewing", {TrialState.RUNNING})))
        session.abort("a test")
        ending = session.wait(30)
    assert "a test" in ending.why
    with journal(tmp_path) as record:
        assert record.trial("brewing", 1).state is TrialState.RUNNING
    results = campaign.run_blocking(Lab.load(tmp_path / "lab.yaml").twin())
    assert [t.state for t in results.trials] == [TrialState.COMPLETED]


STUCK = """
import time


class stuck:
    provenance = {}

    def __init__(self, task, *, seed=0):
        self.known = 0

    def ingest(self, points):
        self.known += len(points)

    def suggest(self, n):
        while self.known:
            time.sleep(1)
        return [{"temperature": 50.0}]
"""


def test_a_stop_waits_for_no_optimizer_that_hangs(tmp_path: Path):
    (tmp_path / "optimizers").mkdir()
    (tmp_path / "optimizers" / "stuck.py").write_text(STUCK)
    brewery(tmp_path, stations=True, more="parallel: 2")
    words = (tmp_path / "campaign.yaml").read_text().replace("use: sobol", "use: stuck")
    (tmp_path / "campaign.yaml").write_text(words)
    campaign = Campaign.load(tmp_path / "campaign.yaml")
    lab = Lab.load(tmp_path / "lab.yaml").twin(speed=20)
    with Session(campaign, lab) as session, journal(tmp_path) as record:
        until(lambda: "optimizer" in record.activities() and bool(record.trials("brewing")))
        session.abort("a test")
        assert "a test" in session.wait(20).why
