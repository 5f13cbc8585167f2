"""dev.py: what it says to people whose machine is not as it should be, and that it works once."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = (ROOT / "dev.py").read_text("utf-8")


@pytest.fixture
def dev(tmp_path: Path) -> Any:
    """dev.py in a checkout of its own, which has no .venv."""
    for name in ("dev.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for room in ("drivers", "simulators", "plans", "optimizers"):
        (tmp_path / room).mkdir()
        (tmp_path / "sdl").mkdir(exist_ok=True)
        (tmp_path / "sdl" / room).symlink_to(f"../{room}")
    return _module(tmp_path / "dev.py")


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pip(dev: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What pip is asked for; nothing is installed, and .venv is taken for a good one."""
    asked: list[tuple[str, ...]] = []
    dev.VENV.mkdir()
    monkeypatch.setattr(dev, "usable", lambda: True)
    monkeypatch.setattr(dev, "pip", lambda title, *arguments: asked.append(arguments))
    return asked


# ---- on which Python


def test_it_can_be_read_by_python_3_8() -> None:
    ast.parse(SOURCE, feature_version=(3, 8))


def test_it_needs_nothing_but_python() -> None:
    nodes = list(ast.walk(ast.parse(SOURCE)))
    imported = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_an_old_python_is_told_what_is_needed() -> None:
    older = "import sys; sys.version_info = (3, 8, 10); sys.version = '3.8.10 (default)'"
    code = f"{older}; exec(compile({SOURCE!r}, 'dev.py', 'exec'), {{'__name__': '__main__'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; this is 3.8.10" in done.stderr
    assert "Traceback" not in done.stderr


# ---- once


def test_what_was_installed_is_not_installed_again(dev: Any, pip: list[Any]) -> None:
    dev.set_up(dev=True)
    assert [asked[-1] for asked in pip] == [dev.pin("setuptools"), ".[dev]"]
    pip.clear()
    dev.set_up(dev=True)
    dev.set_up(dev=False)
    assert pip == []


def test_tests_need_more_than_the_demo(dev: Any, pip: list[Any]) -> None:
    dev.set_up(dev=False)
    assert pip[-1][-1] == "."
    dev.set_up(dev=True)
    assert pip[-1][-1] == ".[dev]"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("constraints.txt", "numpy==", "numpy==9"),
        ("pyproject.toml", '"numpy>=2"', '"numpy>=2.1"'),
    ],
)
def test_a_change_of_what_is_needed_is_installed(
    dev: Any, pip: list[Any], file: str, old: str, new: str
) -> None:
    dev.set_up(dev=True)
    pip.clear()
    text = (dev.ROOT / file).read_text("utf-8")
    assert old in text
    (dev.ROOT / file).write_text(text.replace(old, new), encoding="utf-8")
    dev.set_up(dev=False)
    assert pip[-1][-1] == ".[dev]"  # what developers need is kept up too


def test_a_change_of_a_tools_options_installs_nothing(dev: Any, pip: list[Any]) -> None:
    dev.set_up(dev=True)
    pip.clear()
    file = dev.ROOT / "pyproject.toml"
    file.write_text(file.read_text("utf-8").replace("line-length = 100", "line-length = 99"))
    dev.set_up(dev=True)
    assert pip == []


def test_what_failed_is_tried_again(
    dev: Any, pip: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(title: str, *arguments: str) -> None:
        raise dev.SetupError("no network")

    dev.set_up(dev=False)
    with monkeypatch.context() as failing:
        failing.setattr(dev, "pip", fail)
        assert dev.main(["setup"]) == 1
    pip.clear()
    dev.set_up(dev=False)
    assert pip != []


# ---- a checkout or a machine that is not as it should be


@pytest.mark.skipif(sys.platform == "win32", reason="there the links become junctions")
def test_links_that_git_wrote_as_text_are_made(
    dev: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    link = dev.ROOT / "sdl" / "drivers"
    link.unlink()
    link.write_text("../drivers")
    dev.link_rooms()
    assert os.readlink(link) == "../drivers"
    assert "sdl/drivers now leads to drivers/" in capsys.readouterr().out
    dev.link_rooms()
    assert capsys.readouterr().out == ""


def test_a_folder_in_a_links_place_is_not_removed(dev: Any) -> None:
    link = dev.ROOT / "sdl" / "drivers"
    link.unlink()
    link.mkdir()
    (link / "mine.py").touch()
    with pytest.raises(dev.SetupError, match="should lead to"):
        dev.link_rooms()
    assert (link / "mine.py").exists()


def test_a_python_without_venv_is_told_which_package_has_it(
    dev: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda name: None)
    assert dev.main(["setup"]) == 1
    version = "{}.{}".format(*sys.version_info[:2])
    assert f"sudo apt install python{version}-venv" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["setup", "clean"])
def test_a_folder_called_venv_that_is_none_is_kept(
    dev: Any, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dev.VENV.mkdir()
    (dev.VENV / "notes.txt").touch()
    assert dev.main([command]) == 1
    assert "is no virtual environment" in capsys.readouterr().err
    assert (dev.VENV / "notes.txt").exists()


def test_without_a_network_it_says_so_and_shows_the_last_words_of_pip(
    dev: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev.VENV.mkdir()
    monkeypatch.setattr(dev, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(dev, "environment", lambda: {**os.environ, "PIP_CONFIG_FILE": os.devnull})
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(dev.SetupError) as caught:
        dev.pip("installing", "a-package-of-nobody")
    assert "a-package-of-nobody" in str(caught.value)
    assert "The package index was not reached. Is there a network?" in str(caught.value)
    assert "a-package-of-nobody" in dev.LOG.read_text("utf-8")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0", "no build of that package"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", "PIP_CERT"),
        ("OSError: [WinError 206] The filename or extension is too long", "long paths"),
        ("PermissionError: [Errno 13] Permission denied", "could not be written"),
        ("Segmentation fault", "dev.py clean"),
    ],
)
def test_a_failure_of_pip_comes_with_advice(dev: Any, said: str, advice: str) -> None:
    assert advice in dev.hint(said)


@pytest.mark.parametrize("arguments", [["tset"], ["demo", "--fast"]])
def test_a_wrong_command_is_told(
    dev: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev.main(arguments) == 2
    assert "it is one of demo, test, check" in capsys.readouterr().out


# ---- on CI


@pytest.mark.parametrize(
    ("ci", "outcome"), [("1", "1 xfailed, 3 errors"), ("0", "3 skipped, 1 xfailed")]
)
def test_on_ci_a_skipped_test_fails(tmp_path: Path, ci: str, outcome: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_skips.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def server():\n    pytest.skip('no server')\n"
        "def test_one(server):\n    pass\n"
        "@pytest.mark.skipif(True, reason='no program')\n"
        "def test_two():\n    pass\n"
        "@pytest.mark.xfail\n"
        "def test_three():\n    assert False\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such')\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors"]
    done = subprocess.run(
        [*command, "--rootdir", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "SDL_CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome in done.stdout
    assert ("takes for a failure: " in done.stdout) == (ci == "1")
