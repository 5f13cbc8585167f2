"""The lab's own tests: run `pytest` in this folder after each change."""

from pathlib import Path

from sdl import Campaign, Lab

HERE = Path(__file__).resolve().parents[1]


def test_the_files_fit_together() -> None:
    campaign, lab = Campaign.load(HERE / "campaign.yaml"), Lab.load(HERE / "lab.yaml")
    assert list(campaign.problems(lab)) == []


def test_the_campaign_finds_a_deep_colour_on_the_twin(tmp_path: Path) -> None:
    campaign, lab = Campaign.load(HERE / "campaign.yaml"), Lab.load(HERE / "lab.yaml")
    results = campaign.run_blocking(lab.twin(), journal=str(tmp_path / "twin.db"))
    assert len(results.completed) == campaign.budget.trials
    best = results.best[0].outcomes or {}
    assert best["absorbance"] > 0.9  # the deepest there is, is 0.94
