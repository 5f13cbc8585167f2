"""Campaigns under random faults: what is told of them, and that it is true."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl import Campaign, Lab, chaos, cli
from sdl.attending import Operator
from sdl.campaign import Budget, OptimizerEntry
from sdl.chaos import Outcome
from sdl.cli.chaos import data
from sdl.disturbing import ChanceOfFaults, FaultScript, PlannedFault
from sdl.errors import ConfigError
from sdl.journal import Journal, Trial, TrialState
from sdl.reactions import AGAIN, FAILED, STOPPED, UNNOTICED
from sdl.witness import Witness

DEMO = Path(__file__).parents[1] / "examples" / "flow_chemistry"
SLOPPY = """
from sdl.instrument import Instrument, poll_r
from sdl.wires import StreamWire
from sdl.wires.frames import until
from ophyd_async.core import StandardReadableFormat


class Sloppy(Instrument):
    def __init__(self, wire: StreamWire, *, name: str = "") -> None:
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.absorbance = poll_r(float, self._ask, source="")
        super().__init__(wire, name=name)

    async def identify(self) -> str:
        return "sloppy"

    async def make_safe(self) -> None:
        pass

    async def _ask(self) -> float:
        said = await self.wire.ask(b"ABS?\\n", until(b"\\n"))
        return float(said[3:])


sloppy = Sloppy
"""
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # loops that STOP has ended


@pytest.fixture(scope="session")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with one pump and a photometer, as `sdl init` makes it."""
    folder = tmp_path_factory.mktemp("mine") / "mine"
    assert cli.main(["init", str(folder)]) == 0
    return folder


def ran(folder: Path, script: FaultScript, journal: Path, *, trials: int = 2) -> Outcome:
    campaign = Campaign.load(folder / "campaign.yaml")
    changes = {"budget": Budget(trials=trials), "optimizer": OptimizerEntry(use="sobol")}
    campaign = campaign.model_copy(update=changes)
    return chaos.run(campaign, Lab.load(folder / "lab.yaml"), script, str(journal))


def planned(*faults: tuple[str, str, int, float]) -> FaultScript:
    return FaultScript(
        faults=tuple(
            PlannedFault(instrument=name, kind=kind, at=at, seconds=seconds)
            for name, kind, at, seconds in faults
        )
    )


# -- whole campaigns ------------------------------------------------------------------------------


def test_under_all_faults_each_is_told_and_no_promise_is_broken(tmp_path: Path):
    folder = shutil.copytree(DEMO, tmp_path / "lab")
    (folder / "twin.db").write_bytes(b"not to be touched")
    script = FaultScript(seed=7, chance=ChanceOfFaults(rate=0.004))
    told = ran(folder, script, tmp_path / "chaos.db")
    assert told.broken == []
    assert len(told.reactions) > 5
    assert len({each.seen.happening.instrument for each in told.reactions}) > 1
    again = [each for each in told.reactions if each.seen.failed]
    assert again
    assert all("answered again" in each.said[0] for each in again if each.seen.answered)
    assert told.judgement.doses >= 10
    assert told.judged == ["amine_pump", "solvent_pump", "substrate_pump"]
    assert told.trials["completed"] + told.trials["failed"] == 2
    assert (folder / "twin.db").read_bytes() == b"not to be touched"
    assert not (folder / "journal.db").exists()


def test_the_same_seed_gives_the_same_report_and_another_one_another(mine: Path, tmp_path: Path):
    def told(seed: int, name: str) -> dict[str, Any]:
        script = FaultScript(seed=seed, chance=ChanceOfFaults(rate=0.02))
        return data(ran(mine, script, tmp_path / name))

    first = told(1, "a.db")
    assert first["faults"]
    assert told(1, "b.db") == first
    assert told(2, "c.db")["faults"] != first["faults"]


def test_what_the_runtime_did_is_told_of_each_fault(mine: Path, tmp_path: Path):
    script = planned(
        ("feed_pump", "split reply", 30, 0),
        ("feed_pump", "lost reply", 40, 0),
        ("feed_pump", "stuck", 60, 20),
    )
    told = ran(mine, script, tmp_path / "chaos.db", trials=1)
    split, lost, stuck = told.reactions
    assert (split.outcome, split.said) == (UNNOTICED, ())
    assert lost.outcome == AGAIN
    assert "no reply to b'0DIS\\r'" in lost.said[0]
    assert (lost.trial, lost.what.split(" ")[:2]) == (1, ["set", "feed_pump"])
    assert stuck.outcome == FAILED
    assert any("FaultError: feed_pump: infuse" in said for said in stuck.said)
    assert told.causes[1].startswith("feed_pump: infuse")
    assert told.trials == {"failed": 1}
    assert len(told.endings) == 1
    assert told.broken == []


def test_what_no_operator_needs_to_look_at_ends_no_campaign(mine: Path, tmp_path: Path):
    """A pump that cannot confirm that it is safe is in quarantine, and used again."""
    script = planned(("feed_pump", "stuck", 30, 60), ("feed_pump", "cut", 45, 30))
    told = ran(mine, script, tmp_path / "chaos.db", trials=2)
    assert told.quarantined["feed_pump"] >= 1
    assert any(s.what == "feed_pump" and s.verdict == "released" for s in told.settled)
    assert any("in quarantine" in each.said for each in told.reactions)
    assert told.trials.total() == 2
    assert told.broken == []


def test_a_reading_that_is_wrong_and_no_sensor_s_fault_is_a_broken_promise(
    mine: Path, tmp_path: Path
):
    """A driver that takes any number for an answer does not see that a digit is lost."""
    folder = shutil.copytree(mine, tmp_path / "sloppy")
    (folder / "drivers" / "sloppy.py").write_text(SLOPPY)
    lab = (folder / "lab.yaml").read_text().replace("driver: photometer ", "driver: sloppy ")
    lab = lab.replace("{part: cell}", "{simulator: photometer, part: cell}")
    (folder / "lab.yaml").write_text(lab)
    chance = ChanceOfFaults(rate=0.7, kinds=("dropped byte",), instruments=("photometer",))
    told = ran(folder, FaultScript(seed=1, chance=chance), tmp_path / "chaos.db", trials=3)
    assert told.readings >= 5
    assert 1 <= len(told.wrong) < told.readings
    assert "photometer-absorbance was" in told.broken[0]


def test_a_dose_that_the_world_saw_twice_is_a_broken_promise(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    enter = Witness.enter

    def seeing_double(self: Witness, lab: Lab, world: Any) -> None:
        enter(self, lab, world)
        tell = world.parts["feed"]._told

        def twice(action: dict[str, Any]) -> None:
            tell(action)
            if "number" in action:
                tell({**action, "number": action["number"] + 1000})

        world.parts["feed"].tell_actions(twice)

    monkeypatch.setattr(Witness, "enter", seeing_double)
    told = ran(mine, planned(("feed_pump", "lost reply", 40, 0)), tmp_path / "c.db", trials=1)
    assert told.judgement.repeated >= 1
    assert told.broken


@pytest.mark.parametrize(("kind", "says"), [("sneeze", "no fault 'sneeze'"), ("drift", "none of")])
def test_a_kind_that_cannot_come_is_refused_before_anything_starts(
    mine: Path, kind: str, says: str
):
    with pytest.raises(ConfigError, match=says):
        chaos.script_for(Lab.load(mine / "lab.yaml"), seed=1, kinds=[kind])


def test_a_lab_without_a_world_has_no_chaos(mine: Path, tmp_path: Path):
    lab = Lab.load(mine / "lab.yaml").model_copy(update={"world": None})
    with pytest.raises(ConfigError, match="no `world:`"):
        chaos.run(Campaign.load(mine / "campaign.yaml"), lab, FaultScript(), str(tmp_path / "c.db"))


# -- who stands in for a person -------------------------------------------------------------------


def in_doubt(journal: Journal) -> Trial:
    """A trial that asked for -5 mL at second 10, and nobody can tell what became of it."""
    journal.add_campaign("screen", {}, lab="bench", twin=True, versions={}, time=0.0)
    (trial,) = journal.suggest("screen", [({"x": 1.0}, {})], time=0.0)
    for state in (TrialState.APPROVED, TrialState.RUNNING):
        trial = journal.move(trial, state, time=0.0, who="runtime")
    journal.claim("bench", ["pump"], trial, time=0.0)
    journal.begin_step(trial, 1, "set", "pump", -5.0, time=10.0, mark={"withdrawn": 0.0})
    journal.note_finding(trial, 1, {"verdict": "unknown", "evidence": "power lost"}, time=20.0)
    return journal.move(trial, TrialState.IN_DOUBT, time=21.0, who="runtime", cause="step 1")


@pytest.mark.parametrize(
    ("moved", "verdict", "state"),
    [
        (-5.0, "done", TrialState.RUNNING),
        (0.0, "not done", TrialState.RUNNING),
        (-2.5, "abandon", TrialState.ABANDONED),
    ],
)
def test_a_doubt_is_settled_by_what_the_world_has_seen(
    tmp_path: Path, moved: float, verdict: str, state: TrialState
):
    file = tmp_path / "chaos.db"
    witness = Witness(FaultScript())
    witness.dosing = frozenset({"pump"})
    whose = {"instrument": "pump", "action": "moved"}
    witness.actions = [
        {**whose, "at": 5.0, "number": 1, "moved": -3.0},  # before the step began
        {**whose, "at": 12.0, "number": 2, "moved": moved},
    ]
    with Journal.open(file) as journal:
        in_doubt(journal)
        journal.quarantine("bench", "pump", "not safe", time=22.0, who="runtime")
        operator = Operator(str(file), "screen", "bench", witness)
        operator.act(30.0)
        (trial,) = journal.trials("screen")
        assert trial.state is state
        assert [s.verdict for s in operator.settled] == [verdict, "released"]
        assert "mL moved" in operator.settled[0].why
        assert all(c.quarantined is None for c in journal.claims("bench").values())
        assert journal.verify().breaks == []
        step = journal.steps(trial)[0]
        assert (step.done, step.not_done) == (verdict == "done", verdict == "not done")


def test_what_the_world_cannot_tell_is_given_up(tmp_path: Path):
    file = tmp_path / "chaos.db"
    with Journal.open(file) as journal:
        in_doubt(journal)
        operator = Operator(str(file), "screen", "bench", Witness(FaultScript()))
        operator.act(30.0)
        assert [t.state for t in journal.trials("screen")] == [TrialState.ABANDONED]
        assert "cannot tell" in operator.settled[0].why
        assert journal.claims("bench") == {}


def test_an_interlock_that_trips_by_a_fault_is_told_of_that_fault(tmp_path: Path):
    folder = shutil.copytree(DEMO, tmp_path / "lab")
    script = planned(("bench_air", "cut", 10, 300))
    told = ran(folder, script, tmp_path / "chaos.db", trials=1)
    assert told.reactions[0].outcome == STOPPED
    assert "an interlock tripped" in told.endings[0]
    assert told.trials == {"abandoned": 1, "completed": 1}  # its bench is gone with its session
    assert len(told.reactions) == 1  # what is planned happens once
    assert told.broken == []


def test_faults_in_each_session_are_others(mine: Path):
    """The same ones would be had again and again, and no campaign come to its end."""
    witness = Witness(FaultScript(seed=3, chance=ChanceOfFaults(rate=0.5)))
    lab = Lab.load(mine / "lab.yaml").twin().with_faults(witness)
    drawn = []
    for _ in range(2):
        witness.enter(lab, _NoWorld())
        drawn.append(witness.around("feed_pump", object()).rng.random(4))
    assert not np.allclose(*drawn)


class _NoWorld:
    parts = {"feed": object(), "cell": object()}
