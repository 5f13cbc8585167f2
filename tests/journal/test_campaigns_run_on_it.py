"""A whole campaign on either backend: what the loop asks of a journal, both can do."""

from pathlib import Path

from sdl.journal import Journal, dump
from tests import soft_lab


def test_a_campaign_runs_and_goes_on_on_either_backend(journal_url: str, tmp_path: Path):
    short = soft_lab.CAMPAIGN.replace("trials: 6", "trials: 2")
    campaign, lab = soft_lab.load(tmp_path, campaign=short)
    campaign.run_blocking(lab, journal=journal_url)
    campaign, lab = soft_lab.load(tmp_path, campaign=soft_lab.CAMPAIGN.replace("6}", "3}"))
    results = campaign.run_blocking(lab, journal=journal_url)
    assert [row["state"] for row in results] == ["completed"] * 3
    assert len(soft_lab.ran(tmp_path)) == 3
    with Journal.open(journal_url, readonly=True) as journal:
        assert '"name": "event"' in dump(journal)
