"""The shelf as a lab: one of each instrument, on its twin and on real ports."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from sdl import Lab
from sdl.cli import main
from sdl.clock import new_loop
from sdl.instrument import Effect
from sdl.instrument import effect_of_command as measures
from sdl.plugins import load, names
from tests.simulating import simulating

SHELF = Path(__file__).parents[1] / "examples" / "shelf" / "lab.yaml"
NO_WIRE = {"sila2_feature", "opcua", "lads"} | {n for n in names("drivers") if "pylabrobot" in n}


def test_every_driver_of_ours_has_its_place_on_the_shelf() -> None:
    ours = {n for n in names("drivers") if not _is_foreign(n)}
    assert {str(entry.driver) for entry in Lab.load(SHELF).instruments.values()} >= ours


def _is_foreign(name: str) -> bool:
    if name in NO_WIRE:
        return True
    return not load("drivers", name).__module__.startswith("sdl.")


def test_each_is_read_and_made_safe_on_the_twin() -> None:
    async def story() -> dict[str, Any]:
        said = {}
        async with Lab.load(SHELF).twin().open() as bench:
            await asyncio.sleep(61)  # some say something only when they like
            for name, device in bench.instruments.items():
                if hasattr(device, "trigger") and measures(device, "trigger") is Effect.MEASURE:
                    await device.trigger()
                said[name] = await device.identify(), await device.read()
                await device.make_safe()
        return said

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        said = runner.run(story())
    assert len(said) == len(Lab.load(SHELF).instruments)
    assert all(who and reading for who, reading in said.values())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_each_answers_on_a_real_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = tmp_path / "lab.yaml"
    lab.write_text(SHELF.read_text("utf-8"), encoding="utf-8")
    simulated = tmp_path / "simulated.yaml"
    command = [sys.executable, "-m", "sdl.cli", "simulate", str(lab), "--write", str(simulated)]
    with simulating(command):
        assert main(["instruments", "--ping", "--lab", str(simulated)]) == 0, capsys.readouterr()
