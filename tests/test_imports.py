"""`import sdl` and `sdl --help` are quick and bring nothing heavy."""

import subprocess
import sys
import time

import pytest

HEAVY = {
    *("torch", "botorch", "gpytorch", "pandas", "bluesky", "ophyd", "ophyd_async", "tiled"),
    *("uvicorn", "fastapi", "starlette", "aiohttp", "http.server", "amqtt", "paho", "sqlalchemy"),
}
IMPORT = "import sdl"
HELP = "from sdl.cli import main; main(['--help'])"


@pytest.mark.parametrize("code", [IMPORT, HELP], ids=["import sdl", "sdl --help"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    said = _python(f"{code}\nimport sys; print('modules:', *sys.modules)")
    loaded = set(said.rpartition("modules:")[2].split())
    assert "sdl" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    ("code", "limit"), [(IMPORT, 0.3), (HELP, 0.5)], ids=["import sdl", "sdl --help"]
)
def test_it_is_quick(code: str, limit: float) -> None:
    _python(code)  # compiles
    bare, ours = [], []
    for _ in range(7):  # in turns, so that both see the same neighbours; the quickest counts
        bare.append(_seconds("pass"))
        ours.append(_seconds(code))
    # on a machine where an empty program takes longer than 50 ms, everything takes longer
    assert min(ours) < limit * max(1, min(bare) / 0.05), f"bare Python takes {min(bare):.3f} s"


def _seconds(code: str) -> float:
    began = time.perf_counter()
    _python(code)
    return time.perf_counter() - began


def _python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
