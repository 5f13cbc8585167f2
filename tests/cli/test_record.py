"""What the record tells: `history`, `verify`, `inventory`."""

import json
import sqlite3
from pathlib import Path

import pytest

from sdl import cli
from sdl.cli.doubt import short
from sdl.journal import Journal
from tests.cli.conftest import BEGAN

Said = pytest.CaptureFixture[str]


def sdl(capsys: Said, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_history_of_a_sample_in_the_order_of_time(bench: Path, capsys: Said):
    code, out, _ = sdl(capsys, "history", 1, bench)
    assert code == 0
    told = [
        "trial snar/1 on bench: completed",
        "2023-11-1",
        "suggested by sobol: temperature 60 degC",
        "approved by autonomy",
        "started",
        "step 2  set heater 60: done in 5 min",
        "steps 3 to 8  3 readings of heater, 3 min of waiting",
        "at last: heater-temperature 59.99 degC, camera-image [480 x 640 values]",
        "step 9  set pump -5.25: done in 2 min",
        "found: done: dispensed 0.000 -> 5.250 mL (pump)",
        "its run was broken off: the runtime was killed",
        "its run is continued by a new one, on the same sample",
        "step 2  set heater 60, sent again after an interruption: done",
        "step 10  trigger balance: failed after 10 s: balance: it is not stable",
        "step 10  trigger balance, tried again: done in 4 s",
        "completed: y 12.35 kg",
    ]
    at = -1
    for words in told:
        found = out.find(words, at + 1)
        assert found > at, f"no {words!r} after {out[:at][-80:]!r} in\n{out}"
        at = found
    assert "stage" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_every_step_is_told_on_request(bench: Path, capsys: Said):
    _, out, _ = sdl(capsys, "history", "snar/1", bench, "--steps")
    for words in ("step 1  stage heater: done", "step 5  wait 60 s: done", "step 8  read heater: "):
        assert words in out, out


def test_a_trial_in_doubt_says_what_is_not_known_and_who_decided(bench: Path, capsys: Said):
    _, out, _ = sdl(capsys, "history", 2, bench)
    assert "step 2  set pump -5.25: begun; nobody heard its end" in out
    assert "found: unknown: the counter was reset (pump)" in out
    assert "in doubt: step 2: the pump cannot say" in out
    sdl(capsys, "resolve", 2, bench, "--not-done", "--note", "the vial is empty")
    _, out, _ = sdl(capsys, "history", 2, bench)
    assert "step 2  set pump -5.25: was not done" in out
    assert "decided: not done: the vial is empty" in out
    assert "goes on: step 2 (set pump -5.25) was not done: the vial is empty" in " ".join(
        out.split()
    )


def test_notes_about_a_trial_are_in_its_history_and_no_others(bench: Path, capsys: Said):
    with Journal.open(bench / "journal.db") as journal:
        for text in ("trial 3 was paused by ada: lunch", "trial 33 was paused", "a fuse blew"):
            journal.note("info", "runtime", text, time=BEGAN + 7300, campaign="snar")
    _, out, _ = sdl(capsys, "history", 3, bench)
    assert "runtime: trial 3 was paused by ada: lunch" in out
    assert "33" not in out
    assert "fuse" not in out


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.123456, "0.1235"),
        ([1.5], "1.5"),
        ([1, 2.25], "[1, 2.25]"),
        ([[0.0] * 4] * 300, "[300 x 4 values]"),
        ({"value": True, "timestamp": 1.0}, "on"),
        ({"a": 1, "b": "x\ny"}, "a 1, b x y"),
        ([], "[]"),
    ],
)
def test_a_value_takes_one_short_line(value: object, said: str):
    assert short(value) == said


# -- verify ---------------------------------------------------------------------------------------


def test_a_whole_record_is_called_whole_and_leaves_an_anchor(bench: Path, capsys: Said):
    anchor = bench / "anchor.json"
    code, out, _ = sdl(capsys, "verify", bench, "--export", anchor)
    assert code == 0
    with Journal.open(bench / "journal.db", readonly=True) as journal:
        head = journal.audit_head()
    assert f"the head is {head.seq} {head.hash}" in out
    assert "The record is whole" in out
    assert json.loads(anchor.read_text())["hash"] == head.hash
    sdl(capsys, "inventory", bench, "--book", "waste", "+1", "--note", "more entries")
    code, out, _ = sdl(capsys, "verify", bench, "--anchor", anchor)
    assert code == 0
    assert "It contains the head in" in out


def test_a_changed_step_is_found_and_named(bench: Path, capsys: Said):
    with sqlite3.connect(bench / "journal.db") as database:
        database.execute("UPDATE steps SET argument = '-9.0' WHERE number = 2 AND n = 2")
    database.close()
    code, out, _ = sdl(capsys, "verify", bench)
    assert code == 1
    assert "The record is broken in one place" in out
    (line,) = [line for line in out.splitlines() if line.startswith("  ")]
    assert "step 2 of snar/2" in line


def test_a_record_without_the_anchors_head_is_broken(bench: Path, capsys: Said):
    anchor = bench / "anchor.json"
    sdl(capsys, "verify", bench, "--export", anchor)
    other = json.loads(anchor.read_text()) | {"hash": "0" * 64}
    anchor.write_text(json.dumps(other))
    code, out, _ = sdl(capsys, "verify", bench, "--anchor", anchor)
    assert code == 1
    assert "broken" in out


@pytest.mark.parametrize(("text", "says"), [("{", "is not JSON"), ("[]", "is no anchor")])
def test_what_is_no_anchor_is_refused(bench: Path, capsys: Said, text: str, says: str):
    file = bench / "anchor.json"
    file.write_text(text)
    code, _, err = sdl(capsys, "verify", bench, "--anchor", file)
    assert (code, says in err) == (2, True)
    assert sdl(capsys, "verify", bench, "--anchor", bench / "none.json")[0] == 2


# -- inventory ------------------------------------------------------------------------------------


def test_what_is_left_is_shown_with_what_there_was(bench: Path, capsys: Said):
    code, out, _ = sdl(capsys, "inventory", bench)
    assert code == 0
    assert out.splitlines() == ["substrate  239.5 of 250 mL", "waste      0 of 5000 mL"]


def test_a_refill_is_booked_in_the_name_of_who_did_it(bench: Path, capsys: Said):
    booking = ("inventory", bench, "--book", "substrate")
    code, out, _ = sdl(capsys, *booking, "-225", "--note", "spilled")
    assert (code, out) == (0, "substrate: 239.5 -> 14.5 mL\n")
    assert "(low: at 20 mL)" in sdl(capsys, "inventory", bench)[1]
    code, out, _ = sdl(capsys, *booking, "+100", "--note", "a new bottle")
    assert (code, out) == (0, "substrate: 14.5 -> 114.5 mL\n")
    with Journal.open(bench / "journal.db", readonly=True) as journal:
        line = journal.ledger("bench", "substrate")[-1]
    assert (line.change, line.note) == (100.0, "a new bottle")


@pytest.mark.parametrize(
    ("item", "change", "note", "says"),
    [
        ("gold", "+1", "x", "there is no such item in the inventory; has substrate, waste"),
        ("waste", "-2000", "x", "only 0 mL are there"),
        ("waste", "+5001", "x", "0 mL are there and it holds 5000 mL"),
        ("waste", "much", "x", "should be a number"),
        ("waste", "nan", "x", "should be a number"),
        ("waste", "+5", "", "--note: say what"),
    ],
)
def test_what_cannot_be_is_not_booked(
    bench: Path, capsys: Said, item: str, change: str, note: str, says: str
):
    before = sdl(capsys, "inventory", bench)
    code, _, err = sdl(capsys, "inventory", bench, "--book", item, change, "--note", note)
    assert (code, says in err) == (2, True), err
    assert sdl(capsys, "inventory", bench) == before


def test_before_the_first_run_the_lab_file_says_what_there_is(bench: Path, capsys: Said):
    with (bench / "lab.yaml").open("a") as file:
        file.write("  vials: {amount: 96}\n")
    out = sdl(capsys, "inventory", bench)[1]
    assert "vials      96 of 96  (nothing was booked yet)" in out
    assert sdl(capsys, "inventory", bench, "--book", "vials", "-6", "--note", "broken")[0] == 0
    assert "vials      90 of 96\n" in sdl(capsys, "inventory", bench)[1]
