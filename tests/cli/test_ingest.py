"""`sdl ingest`: from the spreadsheet into the journal."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdl import cli
from sdl.byhand import Notebook
from sdl.campaign import Campaign
from sdl.journal import Journal, Trial, TrialState
from sdl.journal.comparing import dump
from sdl.lab import Lab
from sdl.telling import history
from sdl.who import operator
from tests import soft_lab

EXAMPLE = Path(__file__).parents[2] / "examples" / "by_hand" / "campaign.yaml"
POINT = {"temperature": 20.0, "antisolvent": 1.0, "stirring": 100, "solvent": "water"}
SHEET = """\
trial,temperature,antisolvent,stirring,solvent,yield,impurity,state,note
1,20,1,100,water,71,,,
1,20,1,100,water,73,0.2,,clear
2,,,,,,,failed,it gelled
3,,,,,>99,0.3,,
4,,,,,,,rejected,no salt left
,25,2,100,acetone,50,0.4,,
,25,2,100,acetone,50,0.4,,
5,,,,,,,,
"""
Ingest = Callable[..., tuple[int, str, str]]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign by hand, five trials of which wait."""
    file = tmp_path / "campaign.yaml"
    file.write_text(re.sub("optimizer:.*\n", "optimizer: sobol\n", EXAMPLE.read_text("utf-8")))
    with Notebook.load(file).open() as journal:
        made = journal.suggest("crystals", [(POINT, {"generator": "sobol"})] * 5, time=1.0)
        for trial in made:
            journal.move(trial, TrialState.APPROVED, time=1.0, who="somebody")
    return file


@pytest.fixture
def ingest(campaign: Path, capsys: pytest.CaptureFixture[str]) -> Ingest:
    def act(sheet: str, *options: str) -> tuple[int, str, str]:
        file = campaign.parent / "results.csv"
        file.write_text(sheet, encoding="utf-8")
        code = cli.main(["ingest", str(campaign), str(file), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def trials(campaign: Path) -> list[Trial]:
    with Journal.open(campaign.parent / "crystals.db", readonly=True) as journal:
        return journal.trials("crystals")


def record(campaign: Path) -> str:
    """All that stands in the journal, which is whole."""
    with Journal.open(campaign.parent / "crystals.db", readonly=True) as journal:
        assert journal.verify().breaks == []
        return dump(journal)


def test_results_end_their_trials_and_the_optimizer_is_told(campaign: Path, ingest: Ingest) -> None:
    code, out, _ = ingest(SHEET)
    assert code == 0
    assert "trial 1: completed: yield 72 % (sd 1), impurity 0.2 %" in out
    assert "trial 2: failed: it gelled" in out
    assert "trial 3: completed: yield >99 %, impurity 0.3 %" in out
    assert "trial 6 (new, row 7): completed: yield 50 %" in out
    assert "6 trials written" in out
    assert "no result yet: trial 5" in out
    made = trials(campaign)
    states = " ".join(trial.state.value for trial in made)
    assert states == "completed failed completed rejected approved completed completed"
    task = Campaign.load(campaign).task
    told = history(made, task)
    assert told[0] | {"yield": 72.0, "yield_sd": 1.0, "impurity": 0.2} == told[0]
    assert (told[1]["_state"], told[3]["_cause"]) == ("failed", "rejected")
    assert told[2]["yield_censored"] == 1
    assert told[5] | {"temperature": 25.0, "solvent": "acetone", "yield": 50.0} == told[5]
    with Journal.open(campaign.parent / "crystals.db", readonly=True) as journal:
        last = journal.history(made[0])[-1]
    assert last.who == operator()
    assert last.note == "results.csv, rows 2, 3, the mean of 2: clear"
    record(campaign)


def test_the_same_table_again_changes_nothing(campaign: Path, ingest: Ingest) -> None:
    ingest(SHEET)
    before = record(campaign)
    code, out, _ = ingest(SHEET)
    assert code == 0
    assert "already in the journal: trials 1, 2, 3, 4, 6, 7" in out
    assert record(campaign) == before


def test_of_a_table_with_mistakes_all_are_told_and_nothing_is_written(
    campaign: Path, ingest: Ingest
) -> None:
    ingest(SHEET)
    before = record(campaign)
    wrong = SHEET.replace("71", "seventy").replace("5,,,,,,", "5,,,,,,many")
    wrong = wrong.replace("it gelled", "").replace("2,,,,,,,failed", "2,,,,,33,,") + "9,,,,,1,,,\n"
    code, _, err = ingest(wrong)
    assert code == 2
    told = [line.split(": ", 1)[1] for line in err.splitlines()]
    starts = ["yield: should", "state: is failed in the journal, completed", "impurity: should"]
    assert [any(t.startswith(start) for t in told) for start in starts] == [True] * 3
    assert "results.csv:10: trial: crystals has no trial 9; it has trials 1 to 7" in err
    assert record(campaign) == before


def test_broken_off_in_the_middle_the_same_again_finishes(
    campaign: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial is whole or untouched: the second is cut off between two of its moves."""
    move, moves = Journal.move, list[Any]()

    def cut(self: Journal, *args: Any, **details: Any) -> Trial:
        moves.append(args)
        if len(moves) == 4:
            raise KeyboardInterrupt
        return move(self, *args, **details)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "move", cut)
        code, out, _ = ingest(SHEET)
    assert code == 130
    assert "interrupted: 1 of 6 were written" in out
    assert [trial.state.value for trial in trials(campaign)] == ["completed"] + ["approved"] * 4
    record(campaign)
    code, out, _ = ingest(SHEET)
    assert (code, "5 trials written" in out) == (0, True)
    assert len(trials(campaign)) == 7
    record(campaign)


def test_a_dry_run_says_what_would_be_written_and_makes_no_journal(
    campaign: Path, ingest: Ingest
) -> None:
    (campaign.parent / "crystals.db").unlink()
    code, out, _ = ingest(SHEET.splitlines()[0] + "\n,25,2,100,acetone,50,0.4,,\n", "--dry-run")
    assert code == 0
    assert "a trial (new, row 2): completed: yield 50 %, impurity 0.4 %" in out
    assert "1 trial would be written; nothing was" in out
    assert not list(campaign.parent.glob("*.db*"))


def test_what_runs_on_a_lab_is_not_ended_from_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a plan the journal is the lab's; a trial under way there ends there."""
    file = soft_lab.write(tmp_path)
    notebook = Notebook.of(Campaign.load(file), Lab.load(tmp_path / "lab.yaml"))
    assert notebook.url == str(tmp_path / "journal.db")
    with notebook.open() as journal:
        made = journal.suggest("heating", [({"temperature": 40.0, "hold": 2.0}, {})] * 2, time=1.0)
        made = [journal.move(t, TrialState.APPROVED, time=1.0, who="x") for t in made]
        journal.move(made[0], TrialState.RUNNING, time=1.0, who="runtime")
    (tmp_path / "r.csv").write_text("trial,y\n1,3\n2,4\n")
    assert cli.main(["ingest", str(file), str(tmp_path / "r.csv")]) == 2
    assert "r.csv:2: trial: trial 1 is running on its lab" in capsys.readouterr().err
    (tmp_path / "r.csv").write_text("trial,y\n2,4\n")
    assert cli.main(["ingest", str(file), str(tmp_path / "r.csv")]) == 0
    assert "trial 2: completed: y 4" in capsys.readouterr().out
