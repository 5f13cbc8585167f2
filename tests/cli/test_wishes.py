import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdl import cli
from sdl.cli import wishes
from sdl.journal import Journal
from sdl.who import operator

Said = pytest.CaptureFixture[str]


@contextmanager
def runtime(bench: Path, *, ok: bool = True, answer: str = "as you wish") -> Iterator[list[object]]:
    """Somebody who owns the lab and answers the first wish; yields what was asked."""
    heard: list[object] = []
    end = threading.Event()

    def listen() -> None:
        with Journal.open(bench / "journal.db") as journal, journal.own("bench", time=0.0):
            while not end.wait(0.01):
                for wish in journal.open_requests("bench"):
                    heard.append((wish.kind, wish.target, wish.who, wish.why))
                    journal.answer_request(wish.id, ok, answer, time=0.0)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield heard
    finally:
        end.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (["pause"], ("pause", "")),
        (["resume"], ("resume", "")),
        (["abort", "snar/3"], ("abort", "3")),
        (["stop", "--after-step"], ("stop", "")),
    ],
)
def test_a_wish_says_who_and_why_and_its_answer_is_printed(
    bench: Path, capsys: Said, command: list[str], asked: tuple[str, str]
):
    with runtime(bench) as heard:
        arguments = [*command, str(bench), "--why", "lunch"]
        assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"{command[0]}: as you wish\n"
    assert heard == [(*asked, operator(), "lunch")]
    assert cli.main(["history", "3", str(bench)]) == 0
    assert f"{operator()} wished: {command[0]} (lunch): as you wish" in capsys.readouterr().out


def test_a_refused_wish_has_failed(bench: Path, capsys: Said):
    with runtime(bench, ok=False, answer="nothing is paused"):
        assert cli.main(["resume", str(bench)]) == 1
    assert "resume: nothing is paused" in capsys.readouterr().out


def test_a_wish_that_nobody_hears_is_withdrawn(
    bench: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wishes, "PATIENCE", 0.1)
    began = time.monotonic()
    assert cli.main(["pause", str(bench)]) == 1
    assert time.monotonic() - began < 3
    said = capsys.readouterr().out
    assert "nobody answered" in said
    assert "no runtime seems to be at work" in said
    with Journal.open(bench / "journal.db") as journal:
        assert journal.open_requests("bench") == []  # else the next `sdl run` would pause


def test_only_a_trial_that_runs_can_be_aborted(bench: Path, capsys: Said):
    assert cli.main(["abort", "1", str(bench)]) == 1
    assert "trial snar/1 is not running: it is completed" in capsys.readouterr().out
    assert cli.main(["abort", "9", str(bench)]) == 2
    with Journal.open(bench / "journal.db") as journal:
        assert journal.open_requests("bench") == []
