"""What is typed in another terminal while `sdl run` is at work in its own process."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdl import cli
from sdl.journal import Journal, TrialState
from tests import soft_lab

Said = pytest.CaptureFixture[str]
SHORT = soft_lab.CAMPAIGN.replace("trials: 6", "trials: 2")

DOSER = """
from pathlib import Path

from ophyd_async.core import AsyncStatus, Device, StandardReadable

from sdl.errors import NoReplyError
from sdl.instrument import Effect

FOLDER = Path(__file__).parent.parent


class bath(StandardReadable):
    effect = Effect.RELATIVE

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        with (FOLDER / "doses.log").open("a") as log:
            log.write(f"{value}\\n")
        if (FOLDER / "mute").exists():
            raise NoReplyError(self.name, "set: no reply in 1 s")
"""
DOSE = """
import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable


def heat(bath: Movable, *, temperature: float, hold: float, pause: float = 0.0):
    yield from bpp.run_wrapper(bps.mv(bath, temperature))
    return {"y": temperature}
"""


@contextmanager
def at_work(path: Path, speed: str) -> Iterator[subprocess.Popen[str]]:
    """`sdl run --twin` in a process of its own; killed if the test takes too long."""
    command = [sys.executable, "-m", "sdl.cli", "run", str(path), "--twin", "--speed", speed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        patience = threading.Timer(90, process.kill)
        patience.start()
        try:
            yield process
        finally:
            patience.cancel()
            process.kill()


def until(process: subprocess.Popen[str], text: str) -> str:
    """Read what it says up to a line with `text`, and return that."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return line
    raise AssertionError(f"it never said {text!r}: {said}")


def states(folder: Path) -> list[TrialState]:
    with Journal.open(folder / "twin.db", readonly=True) as journal:
        return [t.state for t in journal.trials("heating")]


def quick(*arguments: str) -> int:
    """A command, which must have its answer in a second or so."""
    began = time.monotonic()
    code = cli.main(list(arguments))
    assert time.monotonic() - began < 2.5  # on a busy machine; the bar is 1 s
    return code


@pytest.mark.slow
def test_a_campaign_is_paused_resumed_and_ended_and_one_trial_aborted(tmp_path: Path, capsys: Said):
    folder = str(tmp_path)
    path = soft_lab.write(tmp_path, SHORT.replace("pause: 0.0", "pause: 36000.0"))
    with at_work(path, "60") as process:
        until(process, "trial 1 started")
        assert quick("pause", folder, "--why", "lunch") == 0
        assert cli.main(["status", folder]) == 0
        assert "paused: " in capsys.readouterr().out
        assert quick("abort", "2", folder) != 0  # there is none
        assert quick("resume", folder) == 0
        assert quick("abort", "1", folder, "--why", "the wrong sample") == 0
        until(process, "trial 2 started")
        assert states(tmp_path) == [TrialState.ABANDONED, TrialState.RUNNING]
        assert quick("stop", folder, "--twin", "--after-step", "--why", "the week is over") == 0
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert states(tmp_path)[1] is TrialState.RUNNING  # for the next `sdl run`
    capsys.readouterr()
    assert cli.main(["history", "1", folder]) == 0
    told = capsys.readouterr().out
    for words in ("wished: pause (lunch)", "wished: resume", "wished: abort (the wrong sample)"):
        assert words in told, told
    assert cli.main(["verify", folder]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("verdict", "doses"), [("--done", 2), ("--not-done", 3)])
def test_a_trial_in_doubt_is_settled_under_a_runtime_that_goes_on(
    tmp_path: Path, capsys: Said, verdict: str, doses: int
):
    path = soft_lab.write(tmp_path, SHORT, plan=DOSE)
    (tmp_path / "drivers" / "bath.py").write_text(DOSER)
    (tmp_path / "mute").touch()
    with at_work(path, "60") as process:
        until(process, "trial 1 in doubt")
        (tmp_path / "mute").unlink()
        assert cli.main(["resolve", "1", str(tmp_path), verdict, "--note", "seen"]) == 0
        assert "goes on with the trial now" in capsys.readouterr().out
        until(process, "trial 1 completed")
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert states(tmp_path) == [TrialState.COMPLETED] * 2
    assert len((tmp_path / "doses.log").read_text().splitlines()) == doses
    assert cli.main(["verify", str(tmp_path)]) == 0
