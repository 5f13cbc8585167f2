"""`sdl instruments --catalogue`: the shelf as data and for people."""

import json
import subprocess
import sys
from typing import Any

import pytest

from sdl.cli import main
from sdl.plugins import names


def shelf(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["instruments", "--catalogue", "--json"]) == 0
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def test_every_registered_driver_stands_in_it_and_can_be_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = shelf(capsys)
    assert set(found) == set(names("drivers"))
    extras = {"sila2", "opcua", "pylabrobot"}  # what needs an extra says so
    assert not {name for name, each in found.items() if each["problem"]} - extras


def test_every_driver_of_ours_says_what_it_is_for_and_has_a_simulator_with_faults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = [each for each in shelf(capsys).values() if each["package"] == "sdl"]
    assert [each["name"] for each in ours if not each["title"]] == []
    wired = [each for each in ours if each["wire"] != "none of ours"]
    assert [each["name"] for each in wired if not each["faults"]] == []


def test_a_pump_is_told_from_a_sensor(capsys: pytest.CaptureFixture[str]) -> None:
    found = shelf(capsys)
    assert {"set (relative)", "reconcile", "watchdog"} <= set(found["ne1000"]["does"])
    assert not [word for word in found["tasmota"]["does"] if word.startswith("set")]
    assert found["ika"]["wire"] == "serial baudrate=9600 bytesize=7 parity=E"


def test_looking_at_the_shelf_loads_no_torch() -> None:
    code = "from sdl.cli import main; main(['instruments', '--catalogue']); import sys; "
    said = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert said.rstrip().endswith("False")
    assert "Tecan Cavro" in said
