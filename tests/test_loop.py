"""The closed loop on a lab without wires: budgets, failures, stops, restarts, equal runs."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from sdl import Campaign, Lab
from sdl.errors import ConfigError, JournalError
from sdl.journal import Journal, TrialState, dump
from sdl.lab import InstrumentEntry
from sdl.session import Session
from tests import soft_lab


def states(folder: Path) -> list[str]:
    with Journal.open(folder / "twin.db", readonly=True) as journal:
        return [str(t.state) for t in journal.trials("heating")]


def edited(*changes: tuple[str, str]) -> str:
    text = soft_lab.CAMPAIGN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def test_the_loop_closes_until_the_budget_is_spent(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path)
    results = campaign.run_blocking(lab)
    assert len(results) == 6
    assert all(row["state"] == "completed" for row in results)
    best = max(results, key=lambda row: row["y"])
    assert [t.number for t in results.best] == [best["trial"]]
    assert "degC" not in str(results)
    assert "completed" in str(results)


def test_results_come_back_as_a_data_frame(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path)
    frame = campaign.run_blocking(lab).to_pandas()
    assert list(frame.columns) == ["state", "temperature", "hold", "y", "cause"]
    assert frame.index.name == "trial"


def test_it_can_be_awaited_in_a_loop_of_the_users_own(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path)
    results = asyncio.run(campaign.run(lab))
    assert len(results.completed) == 6


def test_the_same_command_goes_on_and_repeats_nothing(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("trials: 6", "trials: 3")))
    campaign.run_blocking(lab)
    assert len(soft_lab.ran(tmp_path)) == 3
    campaign.run_blocking(lab)
    assert len(soft_lab.ran(tmp_path)) == 3
    longer, lab = soft_lab.load(tmp_path)
    assert len(longer.run_blocking(lab).completed) == 6
    assert len(set(soft_lab.ran(tmp_path))) == 6


def test_another_campaign_of_the_same_name_is_refused(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path)
    campaign.run_blocking(lab)
    other, lab = soft_lab.load(tmp_path, campaign=edited(("low: 30", "low: 35")))
    with pytest.raises(JournalError, match="parameters"):
        other.run_blocking(lab)


def test_a_failed_trial_is_recorded_with_its_cause_and_the_loop_goes_on(tmp_path: Path):
    text = edited(
        ("low: 30, high: 85", "low: 80, high: 90"),
        ("trials: 6", "trials: 8"),
        ("seed: 1", "seed: 1\nfailures_in_a_row: 8"),
    )
    campaign, lab = soft_lab.load(tmp_path, campaign=text)
    rows = campaign.run_blocking(lab).rows
    failed = [r for r in rows if r["state"] == "failed"]
    assert {r["state"] for r in rows} == {"completed", "failed"}
    assert {r["cause"] for r in failed} == {"RuntimeError: boiled over"}
    assert all(r["temperature"] > 85 for r in failed)


def test_failures_in_a_row_stop_the_campaign(tmp_path: Path):
    text = edited(("low: 30, high: 85", "low: 86, high: 90"))
    campaign, lab = soft_lab.load(tmp_path, campaign=text)
    with Session(campaign, lab) as session:
        ending = session.wait(60)
    assert ending.gave_up
    assert "3 trials in a row failed, the last because: RuntimeError: boiled over" in ending.why
    assert states(tmp_path) == ["failed"] * 3


def test_a_target_ends_it(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("{trials: 6}", "{until: {y: -60}}")))
    with Session(campaign, lab) as session:
        assert str(session.wait(60)) == "the target is reached"
        rows = session.results().rows
    assert rows[-1]["y"] >= -60
    assert all(row["y"] < -60 for row in rows[:-1])


def test_hours_end_it_on_the_labs_clock(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("{trials: 6}", "{hours: 1}")))
    with Session(campaign, lab) as session:
        assert str(session.wait(60)) == "the budget of 1 hours is spent"
        trials = session.results().trials
    began, ended = trials[0].suggested_at, trials[-1].ended_at
    assert ended is not None
    assert 3600 <= ended - began < 3600 + 600


def test_trials_in_flight_share_instruments_in_turn(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("seed: 1", "seed: 1\nparallel: 3")))
    trials = campaign.run_blocking(lab).trials
    assert len(trials) == 6
    spans = sorted((t.started_at or 0, t.ended_at or 0) for t in trials)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_two_runs_are_equal_to_the_last_byte(tmp_path: Path):
    dumps = []
    for name in ("one", "two"):
        campaign, lab = soft_lab.load(tmp_path / name)
        campaign.run_blocking(lab)
        with Journal.open(tmp_path / name / "twin.db", readonly=True) as journal:
            dumps.append(dump(journal))
    assert dumps[0] == dumps[1]
    assert "event" in dumps[0]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "expected a mapping with y"),
        ("{}", "returned no y"),
        ("{'y': float('nan')}", "must be finite"),
        ("{'y': 'much'}", "which is no number"),
        ("[1]", "expected a mapping"),
    ],
)
def test_a_plan_that_breaks_its_word_fails_its_trial(tmp_path: Path, returned: str, says: str):
    plan = soft_lab.PLAN.replace('return {"y": -(', f'return {returned} if True else {{"y": -(')
    text = edited(("trials: 6", "trials: 1"))
    campaign, lab = soft_lab.load(tmp_path, campaign=text, plan=plan)
    (row,) = campaign.run_blocking(lab).rows
    assert row["state"] == "failed"
    assert says in row["cause"]


def test_callbacks_hear_of_documents_after_the_journal(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("trials: 6", "trials: 2")))
    heard: list[tuple[str, bool]] = []

    def callback(name: str, doc: dict):
        run = doc["uid"] if name == "start" else None
        with Journal.open(tmp_path / "twin.db", readonly=True) as journal:
            stored = [d.doc.get("uid") for d in journal.documents(run=run)]
        heard.append((name, doc["uid"] in stored))

    campaign.run_blocking(lab, on_document=[callback])
    assert [name for name, _ in heard] == ["start", "descriptor", "event", "stop"] * 2
    assert all(stored for _, stored in heard)


def test_a_broken_callback_breaks_nothing_else(tmp_path: Path):
    def broken(name: str, doc: dict):
        raise ValueError("no disk")

    heard: list[str] = []
    campaign, lab = soft_lab.load(tmp_path)
    results = campaign.run_blocking(lab, on_document=[broken, lambda name, doc: heard.append(name)])
    assert len(results.completed) == 6
    assert heard.count("stop") == 6
    with Journal.open(tmp_path / "twin.db", readonly=True) as journal:
        assert any("no disk" in note.text for note in journal.notes())


def test_a_stop_ends_it_after_the_step_and_the_next_run_goes_on(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path)
    session = Session(campaign, lab)
    stopped = threading.Event()

    def stop_in_the_third_trial(name: str, doc: dict):
        if name == "start" and doc["trial"] == 3 and not stopped.is_set():
            stopped.set()
            session.stop("Ctrl-C")

    session._on_document = (stop_in_the_third_trial,)
    with session:
        assert str(session.wait(60)) == "Ctrl-C"
    assert states(tmp_path)[:2] == ["completed"] * 2
    assert len(states(tmp_path)) <= 4
    results = campaign.run_blocking(lab)
    assert len(results.completed) == 6
    assert len(results) <= 7


def test_an_instrument_that_does_not_connect_is_named(tmp_path: Path):
    lab_text = soft_lab.LAB + "wires: {line: tcp://127.0.0.1:9}\n"
    lab_text = lab_text.replace("twin:", "twin:").replace(
        "instruments:", "instruments:\n  pump: {driver: ne1000, wire: line, diameter: 20}"
    )
    path = soft_lab.write(tmp_path, lab=lab_text)
    campaign, lab = Campaign.load(path), Lab.load(tmp_path / "lab.yaml")
    with pytest.raises(Exception, match=r"(?s)1 of 2 instruments did not connect.*pump: .*cannot"):
        campaign.run_blocking(lab)
    with Journal.open(tmp_path / "journal.db", readonly=True) as journal:
        assert any("did not connect" in n.text for n in journal.notes())


def test_one_runtime_per_lab(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path)
    with (
        Journal.open(tmp_path / "twin.db") as journal,
        journal.own("soft", time=0.0),
        pytest.raises(JournalError, match="owned by"),
    ):
        campaign.run_blocking(lab)


def test_a_campaign_that_does_not_fit_moves_nothing(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("bath: bath", "bath: oven")))
    with pytest.raises(ConfigError, match="oven"):
        campaign.run_blocking(lab)
    assert not (tmp_path / "twin.db").exists()


def test_a_trial_that_was_suggested_and_not_begun_is_run_as_it_is(tmp_path: Path):
    campaign, lab = soft_lab.load(tmp_path, campaign=edited(("trials: 6", "trials: 2")))
    campaign.run_blocking(lab)
    with Journal.open(tmp_path / "twin.db") as journal:
        point = {"temperature": 44.0, "hold": 2.0}
        journal.suggest("heating", [(point, {"generator": "a person"})], time=1e9)
    longer, lab = soft_lab.load(tmp_path, campaign=edited(("trials: 6", "trials: 3")))
    trial = longer.run_blocking(lab).trials[-1]
    assert (trial.state, trial.parameters) == (TrialState.COMPLETED, point)


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="pgrep finds the optimizer's process")
def test_the_loop_goes_on_when_the_optimizers_process_is_killed(tmp_path: Path):
    killed: list[int] = []

    def kill_it_once(name: str, doc: dict):
        if name == "stop" and not killed:
            mine = ["pgrep", "-P", str(os.getpid()), "-f", "sdl.suggest.worker"]
            pids = subprocess.run(mine, capture_output=True, text=True, check=True).stdout.split()
            killed.extend(map(int, pids))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    campaign, lab = soft_lab.load(tmp_path)
    results = campaign.run_blocking(lab, on_document=[kill_it_once])
    assert killed
    assert len(results.completed) == 6
    assert len({str(t.parameters) for t in results.trials}) == 6
    with Journal.open(tmp_path / "twin.db", readonly=True) as journal:
        assert any("the optimizer was restarted" in n.text for n in journal.notes())


def test_a_lab_made_in_python_is_checked_like_a_file(tmp_path: Path):
    campaign, _ = soft_lab.load(tmp_path)
    bath = InstrumentEntry.model_validate({"driver": "ne1000", "diametre": 1})
    wrong = Lab(lab="soft", instruments={"bath": bath})
    with pytest.raises(ConfigError, match=r"instruments\.bath\.diametre: is not an option"):
        campaign.run_blocking(wrong.twin(), journal=str(tmp_path / "j.db"))
    assert not (tmp_path / "j.db").exists()
