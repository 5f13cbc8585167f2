"""The demo's lab on the virtual clock: every room at once, over four kinds of wire."""

from pathlib import Path
from typing import Any

import pytest

from sdl import Campaign, Lab
from sdl.journal import Journal, dump
from sdl.results import Results

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(example: str, folder: Path, journal: str = "twin.db", **changes: Any) -> Results:
    campaign = Campaign.load(EXAMPLES / example / "campaign.yaml").model_copy(update=changes)
    lab = Lab.load(EXAMPLES / example / "lab.yaml").twin()
    campaign.check(lab)
    return campaign.run_blocking(lab, journal=str(folder / journal))


def entries(example: str, **changes: object) -> dict[str, Any]:
    """The campaign's optimizer and budget, changed."""
    campaign = Campaign.load(EXAMPLES / example / "campaign.yaml")
    optimizer = campaign.optimizer.model_copy(update={"use": "sobol"})
    return {"optimizer": optimizer, "budget": campaign.budget.model_copy(update=changes)}


def test_a_flow_trial_ends_with_outcomes_that_chemistry_allows(tmp_path: Path):
    (row,) = run("flow_chemistry", tmp_path, **entries("flow_chemistry", trials=1)).rows
    assert row["state"] == "completed", row["cause"]
    # all of the substrate to product, at 212.2 g/mol (2-fluoro... minus HF): nothing can be more
    most = row["concentration"] * 196.2 / (row["residence_time"] / 60)
    assert 0.05 * most < row["space_time_yield"] < most
    assert row["e_factor"] > 0


def test_nothing_is_wired_to_the_first_example(tmp_path: Path):
    results = run("conductivity", tmp_path, **entries("conductivity", trials=2))
    assert [row["state"] for row in results] == ["completed"] * 2
    for row in results:  # Landesfeind and Gasteiger: 0.2 to 2 M, 30 to 50 degC
        assert 2 < row["conductivity"] < 15


def test_readings_of_all_instruments_are_in_the_journal(tmp_path: Path):
    run("flow_chemistry", tmp_path, **entries("flow_chemistry", trials=1))
    with Journal.open(tmp_path / "twin.db", readonly=True) as journal:
        seen = set(journal.readings())
        documents = journal.documents(limit=10_000)
    assert {"heater-temperature", "bench_air-humidity", "solvent_pump-dispensed"} <= seen
    events = [d.doc for d in documents if d.name == "event"]
    spectra = [e["data"]["spectrometer-intensity"] for e in events]
    assert len(spectra) == 6
    assert all(len(spectrum) == len(spectra[0]) > 100 for spectrum in spectra)


@pytest.mark.slow
def test_a_simulated_day_gives_the_same_journal_twice(tmp_path: Path):
    changes = entries("flow_chemistry", hours=24.0, trials=None)
    fixed = {"reactor_volume": 3.0, "flush_rate": 0.1}  # a slow flush: 100 minutes a trial
    dumps = []
    for name in ("one.db", "two.db"):
        results = run("flow_chemistry", tmp_path, name, **changes, fixed=fixed)
        ended = results.trials[-1].ended_at
        assert ended is not None
        assert ended - results.trials[0].suggested_at >= 24 * 3600
        assert len(results.completed) == len(results)
        with Journal.open(tmp_path / name, readonly=True) as journal:
            dumps.append(dump(journal))
    assert dumps[0] == dumps[1]
