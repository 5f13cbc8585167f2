"""`sdl bench`: what may be asked for, and what is said."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sdl.cli import main
from sdl.leaderboard import asked

EXAMPLE = Path(__file__).parents[2] / "examples" / "bench" / "bench.yaml"

WRONG = {
    "tasks: [hartman6]\nstrategies: [sobol]\n": "there is no problem 'hartman6'",
    "tasks: [{dimension: 3}]\nstrategies: [sobol]\n": "one of `analytic`, `table` and `twin`",
    "tasks: [{table: no.csv}]\nstrategies: [sobol]\n": "no.csv",
    "tasks: [branin]\nstrategies: [nobody]\n": "there is no optimizer 'nobody'",
    "tasks: [branin]\nstrategies: [{use: sobol, depth: 3}]\n": "unknown option depth",
    "tasks: [branin, branin]\nstrategies: [sobol]\n": "branin is there twice",
    "tasks: [branin]\nstrategies: [sobol]\nseeds: 1-x\n": "seeds should be as 0-9",
    "tasks: [{analytic: branin, dimension: 3}]\nstrategies: [sobol]\n": "has the dimension 2",
    "tasks: [{analytic: branin, budgets: 3}]\nstrategies: [sobol]\n": "budgets",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_what_is_wrong_is_said_before_anything_runs(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.yaml"
    file.write_text(text)
    assert main(["bench", str(file)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("leaderboard/jobs/*"))


@pytest.mark.parametrize("arguments", [[], ["bench.yaml", "--task", "branin"]])
def test_a_file_or_tasks_are_needed_not_both(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert "--task" in capsys.readouterr().err


def test_tasks_and_strategies_can_be_named_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{k},{-k}\n" for k in range(9)))
    command = "bench --task table:t.csv:y:maximize --strategy random --seeds 0,2 --out found"
    assert main([*command.split(), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 tasks x 1 strategies x 2 seeds: 2 jobs in found" in said
    assert "2 of 2: t, random, seed 2\n" in said
    page = (tmp_path / "found" / "leaderboard.html").read_text("utf-8")
    charts = page.split("<figure>")[1:]
    for chart in charts:
        ElementTree.fromstring(chart.partition("</figure>")[0])
    assert len(charts) == 2  # regret, and the share of the best rows
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_example_can_be_read() -> None:
    found = asked.load(EXAMPLE)
    assert {task.title for task in found.tasks} >= {"hartmann6", "levy-10", "titration"}
    assert [s.title for s in found.compared] == ["sobol", "botorch", "botorch-quick", "random"]
    assert len(found.seeds) == 20


def test_ray_is_asked_for_only_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--task", "yarn", "--strategy", "random", "--seeds", "0", "--ray"]) == 2
    assert "pip install ray" in capsys.readouterr().err
