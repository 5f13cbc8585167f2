"""`sdl stop`, with and without a runtime, and what it leaves in the journal."""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdl.cli import stop as command
from sdl.errors import ConfigError, InstrumentError, JournalError
from sdl.journal import Journal
from sdl.watchdog import alone, control
from sdl.watchdog.places import places
from tests.watchdog import valves

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9, POSIX pipes and signals")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[valves.Bench]:
    with valves.served(tmp_path) as found:
        yield found


def options(place: Path, **given: object) -> Namespace:
    words = {"place": place, "lab": None, "twin": False, "journal": None, "why": None}
    return Namespace(**{**words, **given})


def test_a_running_lab_is_stopped_and_each_instrument_named(
    bench: valves.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with bench.runtime("wait"):
        assert command.run(options(bench.folder, why="smoke")) == 0
        assert bench.is_safe()
    said = capsys.readouterr().out
    assert said.splitlines()[:3] == ["valve_0  safe", "valve_1  safe", "valve_2  safe"]
    assert "stopped by the runtime" in said


def test_without_a_runtime_the_command_itself_makes_the_lab_safe_and_says_who_did(
    bench: valves.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(options(bench.folder, why="smoke")) == 0
    assert bench.is_safe()
    assert "no runtime was at work" in capsys.readouterr().out
    with Journal.open(bench.folder / "journal.db", readonly=True) as journal:
        (note,) = journal.notes()
    assert "(smoke)" in note.text
    assert "all 3 instruments confirmed" in note.text


def test_a_stale_control_file_leads_nobody_astray(bench: valves.Bench) -> None:
    control.Control(1, "of a watchdog that was killed", 2).write(bench.control)
    assert command.run(options(bench.folder)) == 0
    assert bench.is_safe()


def test_what_did_not_confirm_is_named_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with valves.served(tmp_path, 3, mute=[1]) as bench:
        assert command.run(options(bench.folder)) == 1
        assert bench.is_safe()
    assert "valve_1  DID NOT CONFIRM" in capsys.readouterr().out


def test_a_driver_that_is_broken_keeps_no_other_from_being_made_safe(
    bench: valves.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.folder / "drivers" / "broken.py").write_text("raise RuntimeError('half edited')")
    with bench.lab.open("a") as lab:
        lab.write("  odd: {driver: broken}\n")
    assert command.run(options(bench.folder)) == 1
    assert bench.is_safe()
    assert "odd      DID NOT CONFIRM" in capsys.readouterr().out


def test_a_journal_that_cannot_be_written_keeps_nothing_from_being_made_safe(
    bench: valves.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = str(bench.lab / "journal.db")  # in a file, as if it were a folder
    assert command.run(options(bench.folder, journal=journal)) == 0
    assert bench.is_safe()
    assert "not in the journal" in capsys.readouterr().out


OWNER = """
import signal, sys, time
from sdl.journal import Journal
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with Journal.open(sys.argv[1]) as journal, journal.own("valves", time=0.0):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["hears", "deaf"])
def test_a_runtime_without_a_watchdog_is_ended_and_the_lab_made_safe(
    bench: valves.Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(command, "KILL_AFTER", 0.5)
    file = str(bench.folder / "journal.db")
    owner = [sys.executable, "-c", OWNER, file, kind]
    with subprocess.Popen(owner, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        assert command.run(options(bench.folder)) == 0
        assert bench.is_safe()
        assert process.wait(5) < 0  # ended by a signal


def test_a_runtime_of_another_machine_is_named_and_nothing_done(
    bench: valves.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Journal.open(bench.folder / "journal.db") as journal,
        journal.own("valves", time=0.0),
    ):
        monkeypatch.setattr(alone.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(InstrumentError, match=r"process \d+ on .*; nothing was done"):
            command.run(options(bench.folder))
    assert not any(valve.heard for valve in bench.valves.values())


def test_no_runtime_starts_while_the_command_makes_the_lab_safe(bench: valves.Bench) -> None:
    url = str(bench.folder / "journal.db")
    with (
        Journal.open(url) as journal,
        alone.owned(url, "valves", places(url, "valves", bench.folder)) as owned,
    ):
        assert owned
        with pytest.raises(JournalError, match="owned by"):
            journal.own("valves", time=0.0)


def test_a_twin_that_does_not_run_never_means_the_real_instruments(bench: valves.Bench) -> None:
    with pytest.raises(JournalError, match="no runtime of the twin"):
        command.run(options(bench.folder, twin=True))
    assert not any(valve.heard for valve in bench.valves.values())


def test_a_folder_without_a_lab_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        command.run(options(tmp_path))


def test_it_asks_the_watchdog_before_it_loads_anything_heavy() -> None:
    code = "import sdl.cli.stop, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"bluesky", "ophyd_async", "sqlalchemy", "torch", "numpy"}
