"""`sdl evaluate` from beginning to end, with an optimizer of the lab's own."""

import json
from pathlib import Path

import pytest

from sdl.cli import main
from sdl.journal import Journal
from tests import soft_lab

SUITE = "{tasks: [{analytic: branin, budget: 9, initial: 3}], seeds: 3, proposals: 4}"

OWN = """
from sdl.optimizers.sobol import Sobol


class mine(Sobol):
    def __init__(self, task, *, seed, corner=False):
        super().__init__(task, seed=seed)
        self.corner, self.space = corner, task.space

    def suggest(self, n, pending=(), **context):
        points = super().suggest(n, pending, **context)
        if self.corner:  # the same for ever
            points = self.space.from_unit(self.space.to_unit(points) * 0)
        return points
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    soft_lab.write(tmp_path, campaign(""))
    (tmp_path / "optimizers").mkdir()
    (tmp_path / "optimizers" / "mine.py").write_text(OWN)
    (tmp_path / "suite.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def campaign(options: str) -> str:
    return soft_lab.CAMPAIGN.replace("{use: sobol}", f"{{use: mine{options}}}")


def evaluate(*more: str) -> int:
    given = ["evaluate", "campaign.yaml", "--suite", "suite.yaml", "--workers", "1", *more]
    return main(given)


def test_a_worse_version_is_refused_and_the_promoted_one_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--promote", "--note", "the first") == 0
    promoted = folder / "evaluations" / "heating" / "promoted.json"
    before = promoted.read_text()
    assert json.loads(before)["note"] == "the first"
    (folder / "campaign.yaml").write_text(campaign(", promoted: true"))
    assert main(["check", "campaign.yaml"]) == 0

    (folder / "campaign.yaml").write_text(campaign(", corner: true, promoted: true"))
    assert main(["check", "campaign.yaml"]) == 2
    assert "its options differ" in capsys.readouterr().err
    assert evaluate("--promote", "--note", "quicker") == 1
    said = capsys.readouterr().err
    assert "It is not promoted:" in said
    assert "tried again: " in said
    assert promoted.read_text() == before
    assert len(list(promoted.parent.glob("mine-*.json"))) == 2  # each evaluation is kept


def test_decisions_stand_in_the_audit_of_the_journal(folder: Path) -> None:
    main(["run", "campaign.yaml", "--twin"])
    assert evaluate("--journal", "twin.db", "--promote", "--note", "fine") == 0
    with Journal.open(folder / "twin.db", readonly=True) as journal:
        (entry,) = journal.audit_entries(subject="optimizer of campaign heating")
        assert journal.verify().breaks == []
    assert (entry.body["promoted"], entry.body["note"]) == (True, "fine")


def test_a_limit_that_proposals_pass_is_a_violation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "suite.yaml").write_text(SUITE[:-1] + ", limits: {temperature: {high: 31}}}")
    assert evaluate("--promote", "--note", "hot") == 1
    assert "violation: heating: proposed temperature" in capsys.readouterr().err


def test_a_promotion_needs_a_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--promote") == 2
    assert "--note" in capsys.readouterr().err
    assert not (folder / "evaluations").exists()
