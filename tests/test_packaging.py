"""What the repository promises to those who install it."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, get_args

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sdl import plugins

ROOT = Path(__file__).parent.parent
ROOMS = ("drivers", "optimizers", "plans", "simulators")
EXTRAS = (
    *("ax", "baybe", "blop", "dev", "epics", "gest", "library", "molecules", "notify", "opcua"),
    *("optuna", "pandas", "parquet", "postgresql", "pylabrobot", "ray", "sila2", "spreadsheet"),
    "tiled",
)
NAMES = [(room, name) for room in get_args(plugins.Room) for name in plugins.names(room)]

FOREIGN = {
    "a path of one machine": r"(?<![\w.:])/(?:work|root|opt/wheels|opt/pypi)/",
    "a registry's address": r"pypi\.org|pythonhosted\.org|download\.pytorch\.org"
    r"|registry\.npmjs|deb\.debian\.org|conda\.anaconda\.org",
}


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def _requirements() -> list[str]:
    project = _project()
    extras = project["optional-dependencies"]
    assert set(extras) == set(EXTRAS)
    return project["dependencies"] + [one for extra in EXTRAS for one in extras[extra]]


@cache
def _files_in_git() -> list[tuple[str, str]]:
    """Mode and path of each."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "--stage", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    entries = (line.split("\t") for line in listed.split("\0") if line)
    return [(left.split()[0], path) for left, path in entries]


@pytest.mark.parametrize(("room", "name"), NAMES, ids=[f"{r}-{n}" for r, n in NAMES])
def test_every_registered_name_loads(room: plugins.Room, name: str) -> None:
    assert callable(plugins.load(room, name))


def test_every_room_has_a_registered_name() -> None:
    assert {room for room, _ in NAMES} == set(get_args(plugins.Room))


def test_the_command_is_registered() -> None:
    assert _project()["scripts"] == {"sdl": "sdl.cli:main"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_plugins_are_relative_links(room: str) -> None:
    assert ("120000", f"sdl/{room}") in _files_in_git()
    blob = subprocess.run(
        ["git", "-c", "safe.directory=*", "show", f":sdl/{room}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert blob == f"../{room}"
    assert (ROOT / "sdl" / room).samefile(ROOT / room)


@pytest.mark.parametrize("requirement", _requirements())
def test_every_requirement_has_a_pin_that_fits(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(_pins()[canonicalize_name(wanted.name)])


def test_pins_are_written_one_way() -> None:
    pins = _pins()
    assert list(pins) == sorted(pins)
    assert [name for name in pins if name != canonicalize_name(name)] == []
    assert [version for version in pins.values() if not re.fullmatch(r"[\w.]+", version)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the pins were made on Linux")
def test_all_that_an_install_brings_is_pinned() -> None:
    brought = _brought_by(_requirements())
    cuda = {name for name in brought if re.match(r"nvidia-|cuda-|triton$", name)}
    assert brought - cuda - set(_pins()) == set()


def _brought_by(requirements: list[str]) -> set[str]:
    """Names of the installed packages that these lead to."""
    found: set[tuple[str, str]] = set()
    ahead = [Requirement(one) for one in requirements]
    while ahead:
        wanted = ahead.pop()
        for extra in ("", *wanted.extras):
            package = (canonicalize_name(wanted.name), extra)
            if package in found:
                continue
            try:
                further = [Requirement(one) for one in requires(wanted.name) or []]
            except PackageNotFoundError:  # an extra of another one's that is not installed
                continue
            found.add(package)
            ahead += [f for f in further if f.marker is None or f.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_names_a_machine_or_a_registry(what: str) -> None:
    found = []
    for mode, path in _files_in_git():
        if mode == "120000" or not (ROOT / path).is_file():
            continue
        text = (ROOT / path).read_text("utf-8", errors="replace")
        found += [f"{path}: {hit[0]}" for hit in re.finditer(FOREIGN[what], text)]
    assert found == []


def test_the_documents_of_a_repository_are_there() -> None:
    for name in ("README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert (ROOT / name).read_text("utf-8").strip()
    assert "python3 dev.py test" in (ROOT / "README.md").read_text("utf-8")
