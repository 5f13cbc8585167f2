import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdl import Campaign, Lab, cli, plugins
from sdl.clock import new_loop
from sdl.endpoints import memory_wire
from sdl.endpoints.line import Line
from sdl.errors import NoReplyError

ABSORBANCE = b"ABS -0.4213\n"
Said = pytest.CaptureFixture[str]


@pytest.fixture
def lab(tmp_path: Path, capsys: Said) -> Path:
    assert cli.main(["init", str(tmp_path / "lab 1")]) == 0
    assert "sdl run campaign.yaml --twin" in capsys.readouterr().out
    return tmp_path / "lab 1"


def test_a_new_lab_is_right_and_has_its_folders_name(lab: Path, capsys: Said):
    assert cli.main(["check", str(lab / "campaign.yaml")]) == 0
    assert Lab.load(lab / "lab.yaml").lab == "lab-1"
    for name in ("README.md", ".gitignore", "plans", "drivers", "simulators", "tests"):
        assert (lab / name).exists(), name
    assert "mylab" not in (lab / "README.md").read_text()


@pytest.mark.slow
def test_a_new_lab_finds_what_its_own_test_asks_for(lab: Path, tmp_path: Path):
    campaign = Campaign.load(lab / "campaign.yaml")
    results = campaign.run_blocking(
        Lab.load(lab / "lab.yaml").twin(), journal=str(tmp_path / "twin.db")
    )
    assert len(results.completed) == campaign.budget.trials
    assert (results.best[0].outcomes or {})["absorbance"] > 0.9


def test_init_overwrites_nothing(lab: Path, capsys: Said):
    (lab / "lab.yaml").write_text("mine")
    for gone in ("campaign.yaml", "README.md"):
        (lab / gone).unlink()
    assert cli.main(["init", str(lab)]) == 2
    assert "lab.yaml" in capsys.readouterr().err
    assert (lab / "lab.yaml").read_text() == "mine"
    assert not (lab / "README.md").exists()


def test_instruments_are_listed_without_asking_them(lab: Path, capsys: Said):
    assert cli.main(["instruments", "--lab", str(lab / "lab.yaml")]) == 0
    said = capsys.readouterr().out
    for words in ("feed_pump", "ne1000", "serial:///dev/ttyUSB0?baudrate=19200", "feed"):
        assert words in said


def test_one_dead_instrument_does_not_hide_the_others(lab: Path, capsys: Said):
    text = (lab / "lab.yaml").read_text()
    text = text.replace("serial:///dev/ttyUSB0?baudrate=19200", "serial:///dev/nothing-here")
    text = text.replace("tcp://192.168.0.5:4001", "tcp://127.0.0.1:9")  # the discard port
    (lab / "lab.yaml").write_text(text)
    assert cli.main(["instruments", "--lab", str(lab / "lab.yaml"), "--ping"]) == 1
    said = capsys.readouterr().out
    assert "/dev/nothing-here" in said
    assert "feed_pump: " in said
    assert "photometer: " in said
    assert cli.main(["instruments", "--lab", str(lab / "lab.yaml"), "--ping", "--twin"]) == 0
    assert "mylab photometer 1.0".replace("mylab", "lab-1") in capsys.readouterr().out


@contextmanager
def started(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of ours; one that says nothing for too long is killed, so that reading ends."""
    command = [sys.executable, "-u", "-m", "sdl.cli", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        patience = threading.Timer(60, process.kill)
        patience.start()
        try:
            yield process
        finally:
            patience.cancel()
            process.kill()


def until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("ready: "):
            return said
    raise AssertionError(f"it never was ready: {said}")


@pytest.mark.slow
def test_the_simulators_answer_on_real_ports_until_they_are_told_to_end(lab: Path, capsys: Said):
    written = lab / "simulated.yaml"
    arguments = ("simulate", "lab.yaml", "--write", "simulated.yaml")
    with started(*arguments, folder=lab) as process:
        said = until_ready(process)
        assert "serial:///dev/" in said
        assert "tcp://127.0.0.1:" in said
        assert cli.main(["instruments", "--lab", str(written), "--ping"]) == 0
        assert "NE1000V" in capsys.readouterr().out
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert Lab.load(written).journal == "simulated.db"  # never the real lab's record


@pytest.mark.parametrize(
    ("file", "says"), [("lab.yaml", "the lab file itself"), ("../x.yaml", "into")]
)
def test_the_simulated_lab_is_written_where_its_plugins_are(
    lab: Path, capsys: Said, file: str, says: str
):
    assert cli.main(["simulate", str(lab / "lab.yaml"), "--write", str(lab / file)]) == 2
    assert says in capsys.readouterr().err


def test_what_libraries_log_of_a_dead_instrument_is_not_shown(tmp_path: Path):
    """Beside the answer in words, ophyd-async logs a traceback for each signal."""
    lab = "lab: x\nwires: {w: tcp://127.0.0.1:9}\n"
    lab += "instruments: {pump: {driver: ne1000, wire: w, diameter: 20}}\n"
    (tmp_path / "lab.yaml").write_text(lab)
    done = subprocess.run(
        [sys.executable, "-m", "sdl.cli", "instruments", "--ping"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "pump: SAF0: tcp://127.0.0.1:9: cannot connect" in done.stdout
    assert "pump: pump:" not in done.stdout


@pytest.mark.parametrize("missing", range(len(ABSORBANCE)))
def test_its_photometer_takes_no_reply_that_lacks_a_byte(lab: Path, missing: int):
    class Photometer:
        def __init__(self, *replies: bytes) -> None:
            self._replies = list(replies)

        async def serve(self, line: Line) -> None:
            while self._replies:
                await line.read()
                await line.write(self._replies.pop(0))

    async def story() -> None:
        damaged = ABSORBANCE[:missing] + ABSORBANCE[missing + 1 :]
        said = Photometer(damaged, ABSORBANCE)
        async with memory_wire("tcp://photometer:4001", [said]) as wire:
            driver = plugins.load("drivers", "photometer", lab)(wire, name="photometer")
            with pytest.raises(NoReplyError, match="photometer"):
                await driver.absorbance.get_value()
            assert await driver.absorbance.get_value() == -0.4213

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story())
