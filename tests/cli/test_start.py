import re
import subprocess
import sys
import time

import pytest

from sdl import __version__, cli

HEAVY = ("torch", "pandas", "bluesky", "sqlalchemy", "ophyd_async", "pydantic", "rich", "numpy")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("code", ["import sdl", "from sdl.cli import main; main(['--help'])"])
def test_neither_the_package_nor_its_help_loads_anything_heavy(code: str):
    asked = f"import sys\n{code}\nprint('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    assert python("-c", asked).stdout.splitlines()[-1] == "LOADED []"


def test_help_is_there_in_half_a_second_of_work():
    measured = (
        "import time, sys\nbegan = time.process_time()\nfrom sdl.cli import main\n"
        "main(['--help'])\nprint('TOOK', time.process_time() - began)"
    )
    took = re.search(r"TOOK ([\d.e-]+)", python("-c", measured).stdout)
    assert took is not None
    assert float(took[1]) < 0.3  # of the 0.5 s; the interpreter's own start is not ours


def test_the_script_says_its_version():
    began = time.monotonic()
    said = python("-m", "sdl.cli", "--version")
    assert said.stdout.strip() == f"sdl {__version__}"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bake"], "invalid choice"),
        ([], "required"),
        (["run"], "CAMPAIGN"),
        (["run", "c.yaml", "--speed", "fast"], "should be `virtual` or a positive number"),
        (["run", "c.yaml", "--speed", "-1"], "should be `virtual` or a positive number"),
        (["run", "c.yaml", "--speed", "10"], "give --twin too"),
        (["run", "c.yaml", "--fresh"], "only a twin can begin anew"),
        (["run", "c.yaml", "--twin", "--fresh", "--journal", "x.db"], "stays where it is"),
        (["simulate", "lab.yaml", "--seed", "x"], "whole number"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_mistake_of_ours_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(_: object) -> int:
        raise RuntimeError("ouch")

    monkeypatch.setattr("sdl.cli.instruments.run", fail)
    assert cli.main(["instruments"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "RuntimeError: ouch" in said
    file = re.search(r"stands in (\S+);", said)
    assert file is not None
    with open(file[1], encoding="utf-8") as written:
        assert 'raise RuntimeError("ouch")' in written.read()


def test_ctrl_c_before_anything_began_is_no_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sdl.cli.instruments.run", interrupt)
    assert cli.main(["instruments"]) == 130
    assert "nothing was begun" in capsys.readouterr().err
