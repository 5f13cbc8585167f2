"""Each benchmark runs, with settings too small to say anything about time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "optimizers": ["--trials", "12", "--batches", "1", "--rounds", "1", "--large", "0"],
    "library": ["--rows", "3000", "--trials", "20"],
    "transfer": ["--seeds", "0-0", "--trials", "4", "--functions", "branin", "--rounds", "1"],
    "demo_hypervolume": ["--seeds", "0-0", "--trials", "4", "--direct"],
    "signals": ["--signals", "3", "--rounds", "1", "--sets", "5"],
    "loop_stall": ["--suggestions", "1", "--trials", "4", "--documents", "3"],
    "journal": ["--count", "10", "--seconds", "1"],
    "twin_speed": ["--trials", "1"],
    "wires": ["20"],
    "torture": ["--kills", "1", "--mishaps", "1", "--only", "lost", "--no-others"],
    "stop": ["--rounds", "1", "--instruments", "3"],
    "fuzz": ["--cases", "30"],
    "shelf": ["--readings", "20", "--seconds", "1"],
}
BASELINE = {
    "optimizers": "baselines: BoTorch reference",
    "library": "torch float32 products",
    "transfer": "no transfer",
    "demo_hypervolume": "sobol",
    "signals": "raw exchange on a PTY",
    "loop_stall": "times the idle loop's",
    "journal": "sqlite3 INSERT",
    "twin_speed": "world alone",
    "wires": "raw throughput",
    "torture": "bar",
    "stop": "baseline: open connection",
    "fuzz": "the bar is none",
    "shelf": "raw library's throughput",
}


def test_every_script_is_among_those_tried() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == TINY.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and getrusage")
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs_and_names_its_baseline(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(BENCHMARKS / f"{name}.py"), *TINY[name]],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a bar was missed, which says nothing here
    assert "Traceback" not in done.stderr, done.stderr
    assert BASELINE[name] in done.stdout
