import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sdl import cli
from sdl.cli.operator import FIRST, SECOND, Operator
from sdl.journal import Journal, TrialState
from tests import soft_lab

Said = pytest.CaptureFixture[str]
SHORT = soft_lab.CAMPAIGN.replace("trials: 6", "trials: 2")
HOT = SHORT.replace("low: 30, high: 85", "low: 86, high: 90").replace("trials: 2", "trials: 5")


def sdl(capsys: Said, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def states(folder: Path) -> list[TrialState]:
    with Journal.open(folder / "twin.db", readonly=True) as journal:
        return [t.state for t in journal.trials("heating")]


def test_a_campaign_is_told_line_by_line_and_the_same_command_goes_on(tmp_path: Path, capsys: Said):
    path = soft_lab.write(tmp_path, SHORT)
    code, out, _ = sdl(capsys, "run", path, "--twin")
    assert code == 0
    for line in (
        r"00:00:00  trial 1 suggested: temperature [\d.]+ degC, hold [\d.]+ min",
        r"trial 1 started",
        r"trial 2 completed in \d+ \w+: y -?[\d.]+",
        r"ended: the budget of 2 trials is spent",
        r"best so far",
        rf"record is in {re.escape(str(tmp_path / 'twin.db'))}",
        r"The audit's head is \d+ [0-9a-f]{64}",
        r"sdl report .*campaign\.yaml --twin",
    ):
        assert re.search(line, out), f"no {line} in: {out}"
    assert (tmp_path / "sdl.log").stat().st_size > 0
    path.write_text(SHORT.replace("trials: 2", "trials: 3"))
    code, out, _ = sdl(capsys, "run", path, "--twin")
    assert code == 0
    assert "going on with heating: 2 trials are done" in out
    assert "trial 1 " not in out
    assert states(tmp_path) == [TrialState.COMPLETED] * 3
    code, out, _ = sdl(capsys, "run", path, "--twin", "--fresh")
    assert code == 0
    assert (tmp_path / "twin-1.db").is_file()
    assert states(tmp_path) == [TrialState.COMPLETED] * 3
    assert len(soft_lab.ran(tmp_path)) == 6


def test_a_campaign_that_gives_up_has_failed(tmp_path: Path, capsys: Said):
    code, out, err = sdl(capsys, "run", soft_lab.write(tmp_path, HOT), "--twin")
    assert code == 1
    assert out.count("failed: RuntimeError: boiled over") == 3  # each told once
    assert "3 trials in a row failed" in err


def test_a_twin_that_somebody_runs_is_not_put_aside(tmp_path: Path, capsys: Said):
    path = soft_lab.write(tmp_path, SHORT)
    with Journal.open(tmp_path / "twin.db") as journal, journal.own("soft", time=0.0):
        code, _, err = sdl(capsys, "run", path, "--twin", "--fresh")
        assert code == 1
        assert "another process runs this twin" in err
        assert (tmp_path / "twin.db").is_file()


def test_nothing_begins_while_a_file_is_wrong(tmp_path: Path, capsys: Said):
    code, _, err = sdl(capsys, "run", soft_lab.write(tmp_path, "campaign: x\n"), "--twin")
    assert code == 2
    assert "objectives: is missing" in err
    assert not (tmp_path / "twin.db").exists()


class FakeSession:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def stop(self, why: str) -> None:
        self.heard.append("stop")

    def abort(self, why: str) -> None:
        self.heard.append("abort")


@pytest.mark.parametrize(
    ("signals", "heard", "said"),
    [
        ([signal.SIGINT], ["stop"], [FIRST]),
        ([signal.SIGINT, signal.SIGINT], ["stop", "abort"], [FIRST, SECOND]),
        ([signal.SIGTERM], ["abort"], [SECOND]),
        ([], [], []),
    ],
)
def test_once_means_after_the_step_and_twice_means_now(
    signals: list[signal.Signals], heard: list[str], said: list[str]
):
    session, told = FakeSession(), []
    before = signal.getsignal(signal.SIGINT)
    with Operator() as operator:
        for number in signals:
            os.kill(os.getpid(), number)
            told.append(operator.act(session))  # type: ignore[arg-type]
        assert operator.act(session) is None  # type: ignore[arg-type]
    assert (session.heard, told) == (heard, said)
    assert signal.getsignal(signal.SIGINT) is before


def until_a_trial_runs(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "trial 1 started" in line:
            return
    raise AssertionError("it ended before its first trial")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGINT, FIRST), (signal.SIGTERM, SECOND), (signal.SIGKILL, None)],
)
def test_a_signal_ends_it_and_the_same_command_goes_on(
    tmp_path: Path, capsys: Said, number: signal.Signals, says: str | None
):
    lab = soft_lab.LAB.replace("driver: bath", "driver: bath, step: 0.1")
    pause = 1.0 if number == signal.SIGINT else 600.0
    slow = SHORT.replace("pause: 0.0", f"pause: {pause}").replace(
        "{low: 1, high: 5, ", "{low: 0.01, high: 0.02, "
    )
    path = soft_lab.write(tmp_path, slow, lab)
    command = [sys.executable, "-m", "sdl.cli", "run", str(path), "--twin", "--speed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        patience = threading.Timer(60, process.kill)
        patience.start()
        until_a_trial_runs(process)
        process.send_signal(number)
        out, _ = process.communicate()
        patience.cancel()
    assert process.returncode == (0 if says else -signal.SIGKILL)
    assert (says or "") in out
    assert states(tmp_path) == [TrialState.RUNNING]
    code, out, _ = sdl(capsys, "status", tmp_path)
    assert code == 0
    assert "not running" in out
    assert "trial 1 was interrupted; it waits for `sdl run`" in out
    code, out, _ = sdl(capsys, "run", tmp_path / "campaign.yaml", "--twin")
    assert code == 0
    assert "trial 1 was interrupted; it goes on with its sample" in out
    assert states(tmp_path) == [TrialState.COMPLETED] * 2
    _, out, _ = sdl(capsys, "history", 1, tmp_path)
    assert "its run was broken off" in out
    assert "its run is continued by a new one" in out
