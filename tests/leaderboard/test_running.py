"""Jobs: none is done twice, none is lost, none ends the others."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdl import filelock, leaderboard
from sdl.errors import ConfigError
from sdl.leaderboard import running
from sdl.leaderboard.asked import Bench
from sdl.leaderboard.board import TIMES, assemble
from sdl.leaderboard.running import Progress

EXAMPLES = Path(__file__).parents[2] / "examples"
OWN = {"use": "own:Own"}
TABLE = {"table": "t.csv", "objective": {"loss": "minimize"}, "budget": 6, "initial": 2}
TIMED = {*TIMES}


def bench(*strategies: Any, tasks: Any = None, **more: Any) -> Bench:
    given = {
        "tasks": tasks or [TABLE],
        "strategies": strategies,
        "seeds": 2,
        "baseline": False,
        **more,
    }
    return Bench.model_validate(given)


def run(wanted: Bench, folder: Path, out: str = "out", **more: Any) -> list[Progress]:
    told: list[Progress] = []
    wanted = wanted.beside(folder)
    running.run(wanted, folder / out, workers=2, folder=folder, tell=told.append, **more)
    return told


def board(wanted: Bench, folder: Path, out: str = "out") -> Any:
    return assemble(wanted.beside(folder), folder / out, folder)


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in TIMED}
    return [untimed(v) for v in value] if isinstance(value, list) else value


def job_files(folder: Path) -> dict[str, int]:
    files = (folder / "out" / "jobs").glob("*.json")
    return {file.name: file.stat().st_mtime_ns for file in files}


def test_the_same_bench_gives_the_same_board_but_for_times(folder: Path) -> None:
    wanted = bench("random", OWN)
    assert len(run(wanted, folder)) == len(run(wanted, folder, "again")) == 4
    one, two = board(wanted, folder), board(wanted, folder, "again")
    assert untimed(one) == untimed(two)
    assert one["jobs_failed"] == 0
    random = next(s for s in one["tasks"][0]["strategies"] if s["name"] == "random")
    assert [job["trials"] for job in random["jobs"]] == [6, 6]
    jobs = [s["jobs"][0]["trace"][:2] for s in one["tasks"][0]["strategies"]]
    assert jobs[0] == jobs[1]  # the same start for both
    page = leaderboard.write(wanted.beside(folder), folder / "out", folder)
    first = page.read_bytes()
    assert leaderboard.write(wanted.beside(folder), folder / "out", folder).read_bytes() == first


def test_what_is_done_is_not_done_again_and_what_has_changed_is(folder: Path) -> None:
    run(bench("random", OWN), folder)
    before = job_files(folder)
    renamed = bench("random", {**OWN, "name": "mine"}, tasks=[{**TABLE, "name": "losses"}])
    assert run(renamed, folder) == []
    assert len(run(bench("random", OWN, seeds=[0, 1, 5]), folder)) == 2
    assert len(run(bench({**OWN, "how": "strays"}), folder)) == 2
    assert len(run(bench("random", batch=2), folder)) == 2
    source = folder / "optimizers" / "own.py"
    source.write_text(source.read_text().replace("SHIFT = 0", "SHIFT = 5  # moved"))
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.leaderboard.test_running import OWN, bench, run\n"
        "print(len(run(bench('random', OWN), Path(sys.argv[1]))))"
    )
    again = subprocess.run(  # in a new process: this one has the old program
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert again.stdout == "2\n", again.stderr  # the others stand
    assert before.items() <= job_files(folder).items()


def test_a_bad_strategy_is_a_failed_job_and_the_others_go_on(folder: Path) -> None:
    bad = [{**OWN, "name": how, "how": how} for how in ("raises", "dies", "hangs", "strays")]
    wanted = bench(*bad, "random", seeds=1, ask_timeout=2.0)
    told = run(wanted, folder)
    assert sorted(bool(progress.error) for progress in told) == [False, True, True, True, True]
    found = board(wanted, folder)
    (task,) = found["tasks"]
    errors = {s["name"]: next(iter(s["errors"]), "") for s in task["strategies"]}
    assert errors["random"] == ""
    assert errors["raises"] == "ValueError: the matrix is singular"
    assert "exit code 3" in errors["dies"]
    assert "a last word" in errors["dies"]
    assert errors["hangs"] == "it gave no answer within 2 s"
    assert "should be between" in errors["strays"] or "1000000000" in errors["strays"]
    assert task["strategies"][0]["name"] == "random"  # the others rank last
    assert task["strategies"][0]["rank"]["mean"] == 1.0
    assert "the matrix is singular" in leaderboard.write(
        wanted.beside(folder), folder / "out", folder
    ).read_text("utf-8")
    assert run(wanted, folder) == []
    assert len(run(bench(bad[0], "random", seeds=1), folder, retry=True)) == 1


def test_a_bench_that_was_killed_goes_on_where_it_was(folder: Path) -> None:
    (folder / "bench.yaml").write_text(
        "tasks: [{table: t.csv, budget: 6, initial: 2}]\n"
        "strategies: [random]\nbaseline: false\nseeds: 12\n"
    )
    command = [sys.executable, "-m", "sdl.cli", "bench", "bench.yaml", "--out", "out"]
    first = subprocess.Popen(
        [*command, "--workers", "1"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    with first:
        for line in first.stdout:
            if line.startswith("3 of 12"):
                first.send_signal(signal.SIGKILL)
    before = job_files(folder)
    assert 3 <= len(before) < 12
    assert all(json.loads((folder / "out/jobs" / name).read_text())["key"] for name in before)
    (folder / "out" / "jobs" / ".half-x").write_text('{"key": ')
    done = subprocess.run(
        [*command, "--workers", "2"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(before) + 1} of 12" in done.stdout
    assert "3 of 12" not in done.stdout
    after = job_files(folder)
    assert len(after) == 12
    assert before.items() <= after.items()
    assert list((folder / "out").rglob(".half-*")) == []


def test_ctrl_c_leaves_a_whole_state_and_no_process(folder: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    wanted = bench("random", seeds=5).beside(folder)
    with pytest.raises(KeyboardInterrupt):
        running.run(wanted, folder / "out", workers=1, folder=folder, tell=interrupt)
    assert len(job_files(folder)) == 1
    if sys.platform == "linux":
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        names = [Path(f"/proc/{pid}/cmdline").read_text() for pid in children]
        assert not any("sdl.leaderboard.worker" in name for name in names)
    assert len(run(wanted, folder)) == 4


def test_two_benches_do_not_share_a_folder(folder: Path) -> None:
    (folder / "out").mkdir()
    with (folder / "out" / ".lock").open("a") as lock:
        assert filelock.lock(lock.fileno())
        with pytest.raises(ConfigError, match="another `sdl bench` runs there"):
            run(bench("random"), folder)


def test_a_table_and_a_lab_s_twin_are_tasks(folder: Path) -> None:
    tasks = [
        TABLE,
        {"twin": str(EXAMPLES / "titration" / "campaign.yaml"), "budget": 3, "initial": 2},
    ]
    wanted = bench("random", tasks=tasks, seeds=1)
    told = run(wanted, folder)
    assert [progress.error for progress in told] == ["", ""]
    table, twin = board(wanted, folder)["tasks"]
    (job,) = table["strategies"][0]["jobs"]
    assert (table["optimum"], table["rows"], job["trials"]) == (0.0, 40, 6)
    assert job["regret"] == job["final"] >= 0
    assert job["duplicates"] == 0
    (job,) = twin["strategies"][0]["jobs"]
    assert (twin["measure"], job["trials"], job["failures"]) == ("hypervolume", 3, 0)
    assert job["trace"] == sorted(job["trace"])
    (kept,) = [
        json.loads(file.read_text())
        for file in (folder / "out" / "jobs").glob("*.json")
        if "titration" in file.read_text()
    ]
    assert set(kept["trials"][0]["outcomes"]) == {"error", "duration"}
