"""Example labs whose instruments share a vessel, on their twins: from campaign file to outcomes."""

from pathlib import Path
from typing import Any

import pytest

from sdl import Campaign, Lab
from sdl.simulators.titration import BASE_M, Titration

EXAMPLES = Path(__file__).parent.parent / "examples"


def first_trials(example: str, folder: Path, trials: int) -> list[dict[str, Any]]:
    campaign = Campaign.load(EXAMPLES / example / "campaign.yaml")
    optimizer = campaign.optimizer.model_copy(update={"use": "sobol"})
    budget = campaign.budget.model_copy(update={"trials": trials})
    campaign = campaign.model_copy(update={"optimizer": optimizer, "budget": budget})
    lab = Lab.load(EXAMPLES / example / "lab.yaml").twin()
    campaign.check(lab)
    rows = list(campaign.run_blocking(lab, journal=str(folder / "twin.db")).rows)
    assert [row["state"] for row in rows] == ["completed"] * trials, [row["cause"] for row in rows]
    return rows


def test_a_titration_finds_what_is_in_the_bottle_as_far_as_base_and_pump_are_right(tmp_path: Path):
    world = Titration(seed=1, clock=lambda: 0.0)  # the example's
    truth = world.sample_M * BASE_M / world.base_M / world.parts["base"].scale
    for row in first_trials("titration", tmp_path, 2):
        assert row["strength"] == pytest.approx(truth, rel=3e-3)
        assert row["pka"] == pytest.approx(4.756, abs=0.01)


def test_dyes_are_mixed_and_their_colour_compared(tmp_path: Path):
    (row,) = first_trials("dye_mixing", tmp_path, 1)
    assert 0 < row["difference"] < 100
    assert 20 < row["lightness"] < 100
