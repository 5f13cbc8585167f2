"""`sdl suggest`: what a person is to try next."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdl import cli, spreadsheet
from sdl.byhand import Notebook
from sdl.campaign import Campaign
from sdl.cli.suggest import why
from sdl.errors import ConfigError
from sdl.journal import Journal, Trial, TrialState
from sdl.who import operator
from tests import soft_lab

EXAMPLE = Path(__file__).parents[2] / "examples" / "by_hand" / "campaign.yaml"
Suggest = Callable[..., tuple[int, str, str]]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    file = tmp_path / "campaign.yaml"
    file.write_text(re.sub("optimizer:.*\n", "optimizer: sobol\n", EXAMPLE.read_text("utf-8")))
    return file


@pytest.fixture
def suggest(campaign: Path, capsys: pytest.CaptureFixture[str]) -> Suggest:
    def act(*options: str, humidity: str | None = "41") -> tuple[int, str, str]:
        context = [] if humidity is None else ["--context", f"humidity={humidity}"]
        code = cli.main(["suggest", str(campaign), *options, *context])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def trials(folder: Path) -> list[Trial]:
    with Journal.open(folder / "crystals.db", readonly=True) as journal:
        assert journal.verify().breaks == []
        return journal.trials("crystals")


def spend(campaign: Path, count: int) -> None:
    """Have trials of somebody's in the journal."""
    point = {"temperature": 20.0, "antisolvent": 1.0, "stirring": 100, "solvent": "water"}
    with Notebook.load(campaign).open() as journal:
        journal.suggest("crystals", [(point, {})] * count, time=1.0)


def test_what_is_suggested_waits_approved_and_is_taken_into_account(
    campaign: Path, suggest: Suggest, tmp_path: Path
) -> None:
    sheet = tmp_path / "todo.xlsx"
    code, out, _ = suggest("--n", "2", "--out", str(sheet))
    assert code == 0
    assert "2 waiting for their results; budget 20 trials; sobol, seed 1" in out
    assert f"Fill in {sheet}, then: sdl ingest {campaign} {sheet}" in out
    first = trials(tmp_path)
    assert [trial.state for trial in first] == [TrialState.APPROVED] * 2
    assert first[0].suggestion["context"] == {"humidity": 41.0}
    with Journal.open(tmp_path / "crystals.db", readonly=True) as journal:
        assert journal.history(first[0])[-1].who == operator()
    row = spreadsheet.read(sheet).rows[0].cells
    assert list(row) == [1, *first[0].parameters.values(), 41, *[None] * 6]
    assert suggest("--n", "1")[0] == 0
    points = [trial.parameters for trial in trials(tmp_path)]
    assert len(points) == 3
    assert points[2] not in points[:2]
    # in a new journal, and all at once: the same campaign and seed give the same points
    assert suggest("--n", "3", "--journal", str(tmp_path / "again.db"))[0] == 0
    with Journal.open(tmp_path / "again.db", readonly=True) as journal:
        assert [trial.parameters for trial in journal.trials("crystals")] == points


def test_where_the_budget_is_spent_nothing_is_suggested_unless_it_is_said(
    campaign: Path, suggest: Suggest, tmp_path: Path
) -> None:
    spend(campaign, 20)
    code, out, _ = suggest("--n", "4")
    assert code == 0
    assert "nothing is suggested: the budget of 20 trials is spent" in out
    assert len(trials(tmp_path)) == 20
    code, _, err = suggest("--beyond-budget")
    assert (code, "say how many with --n" in err) == (2, True)
    assert suggest("--n", "1", "--beyond-budget")[0] == 0
    assert len(trials(tmp_path)) == 21


def test_a_sheet_that_is_there_is_not_written_over(
    campaign: Path, suggest: Suggest, tmp_path: Path
) -> None:
    (tmp_path / "todo.csv").write_text("results")
    code, _, err = suggest("--out", str(tmp_path / "todo.csv"))
    assert (code, "is there already" in err) == (2, True)
    assert (tmp_path / "todo.csv").read_text() == "results"
    assert not (tmp_path / "crystals.db").exists()


def test_without_its_sheet_no_trial_is_entered(
    campaign: Path, suggest: Suggest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *args: Any, **details: Any) -> None:
        path.write_bytes(b"half")
        raise ConfigError.at(path, "", "cannot be written: No space left on device")

    monkeypatch.setattr(spreadsheet, "write", full)
    code, _, err = suggest("--out", str(tmp_path / "todo.csv"))
    assert (code, "No space left" in err) == (2, True)
    assert trials(tmp_path) == []
    assert not list(tmp_path.glob("*todo*"))


def test_those_that_wait_can_be_shown_and_written_again(
    campaign: Path, suggest: Suggest, tmp_path: Path
) -> None:
    spend(campaign, 2)
    code, out, _ = suggest("--n", "0", "--out", str(tmp_path / "t.csv"), humidity=None)
    assert (code, "2 waiting" in out) == (0, True)
    assert [row.cells[0] for row in spreadsheet.read(tmp_path / "t.csv").rows] == ["1", "2"]
    assert len(trials(tmp_path)) == 2


@pytest.mark.parametrize(
    ("humidity", "said"),
    [
        (None, "--context humidity=VALUE: is missing"),
        ("wet", "--context humidity=wet: should be a number"),
    ],
)
def test_a_context_that_is_not_said_is_asked_for(
    humidity: str | None, said: str, campaign: Path, suggest: Suggest, tmp_path: Path
) -> None:
    code, _, err = suggest(humidity=humidity)
    assert (code, said in err) == (2, True)
    assert not (tmp_path / "crystals.db").exists()


def test_why_is_told_in_the_optimizer_s_words_else_how_the_point_was_made(campaign: Path) -> None:
    task = Campaign.load(campaign).task
    expected = {"expected": {"yield": {"mean": 91.3, "sd": 2.0}}}
    assert why({"generator": "gp", "why": expected}, task) == "expects yield 91.3 ± 2 %"
    assert why({"generator": "gp", "acquisition": {"name": "logEI"}}, task) == "gp: logEI"
    assert why({"entered": {"row": 2}}, task) == "somebody's own"


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_campaign_without_a_plan_does_not_run(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = soft_lab.write(tmp_path, soft_lab.CAMPAIGN.replace("plan: heat\n", ""))
    assert cli.main([command, str(file)]) == 2
    said = capsys.readouterr().err
    assert "plan: is missing: name one to have a lab do the trials" in said
    assert not (tmp_path / "journal.db").exists()


def test_nothing_is_suggested_beside_a_loop_that_would_take_it_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = soft_lab.write(tmp_path)
    with Journal.open(tmp_path / "journal.db") as journal, journal.own("soft", time=1.0):
        journal.set_activity("runtime", {"state": "running"}, time=1.0)
        assert cli.main(["suggest", str(file)]) == 1
        assert "lab soft is at work" in capsys.readouterr().err
        assert journal.trials("heating") == []
