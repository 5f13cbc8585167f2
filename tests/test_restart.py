"""`kill -9` of `sdl run`, then the same command: nothing completed is lost or repeated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdl.errors import JournalError
from sdl.journal import Journal, TrialState
from tests import soft_lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9"),
]

TRIALS = 8
CAMPAIGN = soft_lab.CAMPAIGN.replace("trials: 6", f"trials: {TRIALS}")


def start(folder: Path) -> subprocess.Popen[bytes]:
    """`sdl run` on the twin, scaled so that a trial takes some 0.2 s of real time."""
    command = [sys.executable, "-m", "sdl.cli", "run", "campaign.yaml", "--twin", "--speed", "1500"]
    with (folder / "output.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def completed(folder: Path) -> dict[int, tuple[object, object]]:
    try:
        with Journal.open(folder / "twin.db", readonly=True) as journal:
            trials = journal.trials("heating", {TrialState.COMPLETED})
    except JournalError:  # not yet
        return {}
    return {t.number: (t.parameters, t.outcomes) for t in trials}


def wait_for(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while len(completed(folder)) < count:
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline, (folder / "output.txt").read_text()
        time.sleep(0.01)


def test_kill_dash_nine_loses_and_repeats_no_completed_trial(tmp_path: Path):
    soft_lab.write(tmp_path, campaign=CAMPAIGN)
    running: list[subprocess.Popen[bytes]] = []
    try:
        _torture(tmp_path, running)
    finally:
        for process in running:
            process.kill()
            process.wait(10)


def _torture(tmp_path: Path, running: list[subprocess.Popen[bytes]]) -> None:
    known: dict[int, tuple[object, object]] = {}
    for kills in (1, 2, 3):
        process = start(tmp_path)
        running.append(process)
        wait_for(tmp_path, len(known) + 2, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        after = completed(tmp_path)
        assert {n: after[n] for n in known} == known, f"after {kills} kills"
        known = after
    process = start(tmp_path)
    running.append(process)
    assert process.wait(100) == 0, (tmp_path / "output.txt").read_text()
    final = completed(tmp_path)
    assert {n: final[n] for n in known} == known
    assert len(final) == TRIALS

    with Journal.open(tmp_path / "twin.db", readonly=True) as journal:
        trials = journal.trials("heating")
        assert {t.state for t in trials} == {TrialState.COMPLETED}
        assert len(trials) == TRIALS
        documents = journal.documents(limit=100_000)
        assert journal.verify().breaks == []
    starts = {d.run: d.doc for d in documents if d.name == "start"}
    assert sorted(starts) == sorted(d.run for d in documents if d.name == "stop")
    # a run that was cut off is continued by the next one of its trial, and only such a run
    cut_off = {d.run for d in documents if d.name == "stop" and d.doc["exit_status"] == "abort"}
    assert cut_off == {doc["continues"] for doc in starts.values() if "continues" in doc}
    # the plan of an interrupted trial was entered again, once for each time it was interrupted
    assert len(soft_lab.ran(tmp_path)) <= TRIALS + 3
