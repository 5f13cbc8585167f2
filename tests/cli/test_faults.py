"""Faults from the command line: the catalogue, scripts of them, and chaos."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdl import cli
from sdl.endpoints.faults import CATALOGUE

Said = pytest.CaptureFixture[str]
LAB = """\
lab: oven
wires:
  heater: modbus+rtu:///dev/ttyUSB1?baudrate=9600
  bench: mqtt://192.168.0.10
instruments:
  heater: {driver: eurotherm3216, wire: heater, twin: {part: reactor}}
  air: {driver: tasmota, wire: bench, topic: bench, twin: {part: bench}}
world: {use: snar_flow}
"""
PLAN = """\
from bluesky import plan_stubs as bps


def warm(heater, temperature: float):
    yield from bps.abs_set(heater, temperature, wait=True)
    reading = yield from bps.rd(heater.temperature)
    return {"miss": abs(reading - temperature)}
"""
CAMPAIGN = """\
campaign: warming
plan: warm
instruments: {heater: heater}
parameters: {temperature: {low: 30, high: 40, units: degC}}
objectives: {miss: {direction: minimize}}
optimizer: sobol
budget: {trials: 1}
"""
WRONG = """\
seed: 1
faults:
  - {instrument: oven, kind: lost reply}
  - {instrument: heater, kind: sneeze}
  - {instrument: air, kind: echo, at: 0}
chance: {rate: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "warm.py").write_text(PLAN)
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    return tmp_path


def sdl(capsys: Said, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def script(folder: Path, text: str) -> Path:
    file = folder / "faults.yaml"
    file.write_text(text)
    return file


def test_the_catalogue_is_shown_whole_to_people_and_programs(capsys: Said):
    code, out, _ = sdl(capsys, "faults")
    assert code == 0
    assert all(f"\n{name} " in out for name in CATALOGUE)
    assert "9600 baud" in out
    code, out, _ = sdl(capsys, "faults", "--json")
    assert list(json.loads(out)) == list(CATALOGUE)
    assert json.loads(out)["late reply"]["size"] == 3.0


def test_what_can_happen_to_each_instrument_depends_on_wire_and_simulator(
    folder: Path, capsys: Said
):
    code, out, _ = sdl(capsys, "faults", "--lab", folder / "lab.yaml", "--json")
    assert code == 0
    can = json.loads(out)
    assert {"echo", "dropped byte", "drift"} <= {*can["heater"]}
    assert "connection reset" not in can["heater"]
    assert "connection reset" in can["air"]
    assert not {"echo", "dropped byte"} & {*can["air"]}
    code, out, _ = sdl(capsys, "faults", "--lab", folder / "lab.yaml")
    assert re.search(r"^heater .*lost reply", out, re.MULTILINE)


def test_every_mistake_of_a_script_is_said_with_its_line(folder: Path, capsys: Said):
    file = script(folder, WRONG)
    campaign = folder / "campaign.yaml"
    code, _, err = sdl(capsys, "run", campaign, "--twin", "--faults", file)
    assert code == 2
    assert f"{file}:5: faults.2.at: should be greater than or equal to 1" in err
    assert f"{file}:6: chance.rate: should be less than or equal to 1" in err
    file = script(folder, WRONG.replace("at: 0", "at: 1").replace("rate: 2", "rate: 0.5"))
    for command in (("run", campaign, "--twin"), ("simulate", folder / "lab.yaml")):
        code, _, err = sdl(capsys, *command, "--faults", file)
        assert code == 2
        assert f"{file}:3: faults.0.instrument: there is no instrument 'oven'" in err
        assert f"{file}:4: faults.1.kind: there is no fault 'sneeze'" in err
        assert f"{file}:5: faults.2.kind: echo cannot happen to air; what can: " in err
    assert not (folder / "twin.db").exists()


def test_faults_happen_to_simulators_only(folder: Path, capsys: Said):
    file = script(folder, "faults: [{instrument: heater, kind: lost reply}]")
    code, _, err = sdl(capsys, "run", folder / "campaign.yaml", "--faults", file)
    assert code == 2
    assert "--twin" in err


def test_a_script_s_faults_happen_on_the_twin_and_are_told(folder: Path, capsys: Said):
    file = script(folder, "faults: [{instrument: heater, kind: lost reply, at: 30}]")
    campaign = folder / "campaign.yaml"
    code, out, _ = sdl(capsys, "run", campaign, "--twin", "--faults", file, "--plain")
    assert code == 0
    assert "fault: heater: lost reply (exchange 30)" in out
    assert "trial 1 completed" in out


def test_a_script_s_faults_happen_on_real_ports(folder: Path):
    file = script(folder, "faults: [{instrument: heater, kind: cut, at: 1, seconds: 60}]")
    modbus = LAB.replace("modbus+rtu:///dev/ttyUSB1?baudrate=9600", "modbus+tcp://192.168.0.20")
    one = "".join(line for line in modbus.splitlines(True) if "bench" not in line)
    (folder / "lab.yaml").write_text(one)
    command = [sys.executable, "-u", "-m", "sdl.cli", "simulate", "lab.yaml"]
    command += ["--write", "sim.yaml", "--faults", str(file)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = iter(process.stdout)
            assert any(line.startswith("ready") for line in said)
            assert cli.main(["instruments", "--lab", str(folder / "sim.yaml"), "--ping"]) == 1
            assert next(said) == "fault: heater: cut for 60 s (exchange 1)\n"
        finally:
            process.terminate()
            process.wait(20)


def test_chaos_tells_people_and_programs_and_keeps_its_journal_on_request(
    folder: Path, capsys: Said
):
    campaign, report = folder / "campaign.yaml", folder / "report.json"
    options = ("--seed", 4, "--rate", 0.05, "--trials", 2, "--json", report, "--keep")
    code, out, _ = sdl(capsys, "chaos", campaign, *options, "--kinds", "lost reply, garbled reply")
    assert code == 0
    assert "All promises were kept." in out
    assert re.search(r"^faults +\d+: \d+ ", out, re.MULTILINE)
    assert (folder / "chaos-4.db").is_file()
    assert not (folder / "twin.db").exists()
    told = json.loads(report.read_text())
    assert told["faults"]
    assert {fault["kind"] for fault in told["faults"]} == {"lost reply", "garbled reply"}
    assert told["trials"] == {"completed": 2}
    assert told["broken"] == []
    code, _, _ = sdl(capsys, "chaos", campaign, *options[:4], "--keep")
    assert code == 0
    assert (folder / "chaos-4-1.db").is_file()  # nothing is overwritten


def test_chaos_that_broke_a_promise_has_failed(
    folder: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
):
    from sdl import chaos

    def lied(outcome: chaos.Outcome, *_: object) -> None:
        outcome.wrong.append("trial 1, step 2: heater-temperature was 30, and in truth 99")

    monkeypatch.setattr(chaos, "_judge_values", lied)
    code, out, _ = sdl(capsys, "chaos", folder / "campaign.yaml")
    assert code == 1
    assert "in truth 99" in out
    assert "Promises were broken" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--kinds", "sneeze"), "no fault 'sneeze'"),
        (("--rate", "1.5"), "at most 1"),
        (("--trials", "0"), "from 1"),
    ],
)
def test_wrong_options_of_chaos_are_refused(
    folder: Path, capsys: Said, options: tuple[str, str], says: str
):
    code, _, err = sdl(capsys, "chaos", folder / "campaign.yaml", *options)
    assert code == 2
    assert says in err
