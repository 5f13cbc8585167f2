import os
import socket
from pathlib import Path

import pytest
from rich.console import Console

from sdl import cli
from sdl.cli import snapshot, view, words
from sdl.journal import Journal, TrialState

Said = pytest.CaptureFixture[str]
SPEC = {
    "parameters": {
        "temperature": {"type": "continuous", "low": 0, "high": 9, "units": "degC"},
        "residence_time": {"type": "continuous", "low": 0, "high": 9, "units": "min"},
        "equivalents": {"type": "continuous", "low": 0, "high": 9, "units": ""},
        "concentration": {"type": "continuous", "low": 0, "high": 9, "units": "mol/L"},
    },
    "objectives": {
        "space_time_yield": {"direction": "maximize", "units": "kg/m3/h"},
        "e_factor": {"direction": "minimize", "units": ""},
    },
    "budget": {"trials": 5},
    "parallel": 1,
}
OUTCOMES = [(100.0, 5.0), (200.0, 4.0), (300.0, 6.0)]  # the second beats the first


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A twin's journal: three trials done, one failed, one running at time 1000."""
    with Journal.open(tmp_path / "twin.db") as journal:
        journal.add_campaign("snar", SPEC, lab="bench", twin=True, versions={}, time=0.0)
        for n in range(5):
            point = dict.fromkeys(SPEC["parameters"], 1.2345678 + n)
            (trial,) = journal.suggest("snar", [(point, {})], time=200.0 * n)
            for state in (TrialState.APPROVED, TrialState.RUNNING):
                trial = journal.move(trial, state, time=200.0 * n, who="test")
            if n == 4:
                break
            outcomes = dict(zip(SPEC["objectives"], OUTCOMES[n], strict=True)) if n < 3 else None
            state = TrialState.FAILED if outcomes is None else TrialState.COMPLETED
            cause = "pump: the syringe is empty" if outcomes is None else None
            journal.move(
                trial, state, time=200.0 * (n + 1), who="test", outcomes=outcomes, cause=cause
            )
        doing = {"step": 7, "doing": "sleep 300", "since": 900.0, "duration": 300.0}
        journal.set_activity("trial/5", doing, time=900.0)
        journal.set_activity("runtime", {"state": "running", "pid": os.getpid()}, time=1.8e9)
        journal.put_readings(
            {"pump-rate": (1.23456, "mL/min", 990.0), "heater": ("no reply", "", 10.0)}
        )
        journal.note(
            "warning", "runtime", "the optimizer was restarted", time=1000.0, campaign="snar"
        )
        owned = journal.own("bench", time=0.0)
        monkeypatch.setattr(owned, "release", lambda: None)  # as if it were still at work
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def taken(folder: Path) -> snapshot.Snapshot:
    with Journal.open(folder / "twin.db", readonly=True) as journal:
        return snapshot.take(journal)


def drawn(shot: snapshot.Snapshot, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(view.screen(shot, view.Room(width, height)))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (120, 30), (60, 24)])
def test_the_view_fits_its_screen_and_shows_what_counts(folder: Path, width: int, height: int):
    lines = drawn(taken(folder), width, height)
    text = "\n".join(lines)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    for wanted in ("4 of 5 trials", "Pareto front", "running", "33%", "pump", "optimizer was"):
        assert wanted in text, text


def test_numbers_are_not_cropped_on_80_columns(folder: Path):
    text = "\n".join(drawn(taken(folder), 80, 40))
    assert text.count("1.235") == len(SPEC["parameters"]) + 1  # and the pump's rate
    assert "kg/m3/h" in text
    assert "200" in text


def test_the_front_holds_what_nothing_beats(folder: Path):
    assert [t.number for t in taken(folder).best] == [3, 2]


def test_the_time_of_a_twin_is_what_its_journal_knows(folder: Path):
    shot = taken(folder)
    assert shot.now == 1000.0  # not 1.8e9, which is when the runtime's process was seen
    assert shot.seconds_left() == 200.0 - (1000.0 - 800.0)
    assert view.fraction(shot.in_flight[0][1], shot.now) == pytest.approx(1 / 3)


def test_a_pause_is_in_sight_with_its_reason(folder: Path):
    with Journal.open(folder / "twin.db") as journal:
        journal.set_activity("runtime", {"state": "paused: lunch (ada@lab)"}, time=1.8e9)
        journal.set_activity("optimizer", {"doing": "suggesting"}, time=1.8e9)
    assert "paused: lunch (ada@lab)" in drawn(taken(folder), 80, 24)[0]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 24)])
def test_what_waits_for_a_person_fits_the_screen_too(folder: Path, width: int, height: int):
    with Journal.open(folder / "twin.db") as journal:
        trial = journal.trial("snar", 5)
        journal.begin_step(trial, 7, "set", "pump", -5.25, time=900.0)
        journal.note_finding(trial, 7, {"verdict": "unknown", "evidence": "no " * 99}, time=901.0)
        journal.move(trial, TrialState.IN_DOUBT, time=902.0, who="test", cause="it cannot tell")
        for name in ("lamp", "mixer", "shaker", "valve"):
            journal.quarantine("bench", name, "stuck " * 30, time=902.0, who="test")
    lines = drawn(taken(folder), width, height)
    text = "\n".join(lines)
    assert len(lines) < height, "\n" + text
    assert max(map(len, lines)) <= width
    for wanted in (
        "trial 5 is in doubt",
        "step 7 (set pump -5.25)",
        "sdl resolve 5",
        "… `sdl status` shows all",
    ):
        assert wanted in text, text


def test_status_shows_a_journal_while_another_writes_it(folder: Path, capsys: Said):
    assert cli.main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    for wanted in (
        "twin.db",
        f"process {os.getpid()}",
        "3 completed, 1 failed, 1 running",
        "step 7: sleep 300",
        "rate 1.235 mL/min",
        "the optimizer was restarted",
    ):
        assert wanted in said, said


def test_a_runtime_that_died_is_not_called_running(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "_alive", lambda _: False)
    shot = taken(folder)
    assert shot.running == ""
    assert "was interrupted; it waits for `sdl run`" in "\n".join(drawn(shot, 80, 40))
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert taken(folder).running.endswith(f"on {socket_name()}")


def socket_name() -> str:
    return os.uname().nodename


def test_the_real_record_goes_before_the_twins(folder: Path, capsys: Said):
    with Journal.open(folder / "journal.db") as journal:
        journal.add_campaign("real", SPEC, lab="bench", twin=False, versions={}, time=0.0)
    cli.main(["status", str(folder)])
    assert "journal.db" in capsys.readouterr().out
    cli.main(["status", str(folder), "--twin"])
    assert "twin.db" in capsys.readouterr().out


def test_a_lab_file_says_where_its_record_is(folder: Path, capsys: Said):
    (folder / "twin.db").rename(folder / "kept.db")
    (folder / "lab.yaml").write_text("lab: bench\njournal: kept.db\ninstruments: broken\n")
    (folder / "c.yaml").write_text("campaign: snar\n")
    assert cli.main(["status", str(folder / "c.yaml")]) == 0
    assert "kept.db" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["status", "report"])
def test_where_nothing_was_run_that_is_said(tmp_path: Path, capsys: Said, command: str):
    assert cli.main([command, str(tmp_path)]) == 1
    assert "no journal.db and no twin.db" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (6000, "1 h 40 min"), (200_000, "2 d 7 h")],
)
def test_durations_are_as_exact_as_a_person_wants(seconds: float, said: str):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(11209.6, "11210"), (9999.9, "10000"), (3.14159, "3.142"), (2.5e9, "2.5e+09"), (None, "")],
)
def test_a_number_is_as_long_as_a_person_reads_it(number: float | None, said: str):
    assert words.value(number) == said
