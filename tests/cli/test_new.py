"""`sdl new driver`: what it writes is as good as the shelf, for every kind of wire."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdl.cli import main
from sdl.cli.new import LONGEST, TEMPLATES
from sdl.cli.parser import WIRES

ROOT = Path(__file__).parents[2]
LAB = "bath_serial_lab.yaml"


def named(wire: str) -> str:
    return f"bath_{wire.replace('+', '_')}"


def new(name: str, wire: str, folder: Path) -> int:
    return main(["new", "driver", name, "--wire", wire, "--into", str(folder)])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one for every kind of wire."""
    folder = tmp_path_factory.mktemp("shelf")
    for wire in WIRES:
        assert new(named(wire), wire, folder) == 0
    return folder


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def pytest_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *words, cwd=folder)


def test_every_kind_of_wire_can_be_had() -> None:
    assert set(WIRES) == set(TEMPLATES)


@pytest.mark.slow
def test_what_is_written_passes_its_own_tests_at_once(shelf: Path) -> None:
    done = pytest_in(shelf, "tests")
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 70 * len(WIRES)


def test_a_driver_that_is_wrong_does_not_pass(shelf: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(shelf, tmp_path / "broken")
    driver = broken / "drivers" / "bath_serial.py"
    right = "if (holds := await get()) == wanted:"
    text = driver.read_text("utf-8")
    assert right in text
    driver.write_text(text.replace(right, "if True:"), "utf-8")
    done = pytest_in(broken, "tests/test_bath_serial.py", "-k", "takes_effect")
    assert done.returncode == 1
    assert "it says that 12.34 is set" in done.stdout


def test_it_is_in_a_lab_that_works(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instruments", "--lab", str(shelf / LAB), "--ping", "--twin"]) == 0
    assert "TB-20, firmware 1.40" in capsys.readouterr().out


@pytest.mark.parametrize("length", [1, 12, LONGEST])
def test_what_is_written_is_in_good_style_whatever_its_name(length: int, tmp_path: Path) -> None:
    for wire in WIRES:
        (tmp_path / wire).mkdir()
        assert new("b" * length, wire, tmp_path / wire) == 0
    style = ["--config", str(ROOT / "pyproject.toml")]
    ours = ["--config", 'lint.isort.known-first-party=["sdl"]']
    checked = run("ruff", "check", "--no-cache", *style, *ours, ".", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    formatted = run("ruff", "format", "--no-cache", "--check", *style, ".", cwd=tmp_path)
    assert formatted.returncode == 0, formatted.stdout


@pytest.mark.parametrize("wire", WIRES)
def test_every_mark_is_listed_with_its_place_and_numbered_in_order(
    wire: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new("bath9", wire, tmp_path) == 0
    listed = re.findall(r"^ +(\d+)  (\S+):(\d+) +(\S.*)$", capsys.readouterr().out, re.MULTILINE)
    assert [int(number) for number, *_ in listed] == list(range(1, len(listed) + 1))
    for number, file, line, what in listed:
        there = (tmp_path / file).read_text("utf-8").splitlines()[int(line) - 1]
        assert f"FILL IN {number}: {what}" in there
    texts = [path.read_text("utf-8") for path in tmp_path.rglob("*.*")]
    assert sum(text.count("FILL IN ") for text in texts) == len(listed) >= 12
    assert not [text for text in texts if "newname" in text.lower()]


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "simulators").mkdir()
    mine = tmp_path / "simulators" / "bath9.py"
    mine.write_text("mine", "utf-8")
    assert new("bath9", "serial", tmp_path) == 2
    assert "has simulators/bath9.py already; nothing is overwritten" in capsys.readouterr().err
    assert mine.read_text("utf-8") == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My-Bath", "small letters, digits and _"),
        ("9bath", "small letters, digits and _"),
        ("_bath", "small letters, digits and _"),
        ("bäd", "small letters, digits and _"),
        ("../bath", "small letters, digits and _"),
        ("b" * (LONGEST + 1), f"at most {LONGEST} in all"),
        ("yield", "is a word of Python; take another name, for example my_yield"),
        ("none", "is a word of Python"),
        ("ne1000", "is on the shelf already"),
        ("instrument", "is a word that the files need themselves; for example my_instrument"),
        ("asyncio", "is a word that the files need themselves"),
        ("print", "is a word that the files need themselves"),
    ],
)
def test_a_name_that_would_be_trouble_is_refused(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new(name, "serial", tmp_path) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new("bath9", "serial", tmp_path / "mylbb") == 2
    assert "no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_kind_of_wire_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new("bath9", "usb", tmp_path) == 2
    assert "modbus+rtu" in capsys.readouterr().err
