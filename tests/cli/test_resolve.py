from collections.abc import Callable
from pathlib import Path

import pytest

from sdl import cli
from sdl.journal import Journal, Trial, TrialState
from sdl.who import operator

Said = pytest.CaptureFixture[str]
Resolve = Callable[..., tuple[int, str, str]]


@pytest.fixture
def resolve(bench: Path, capsys: Said) -> Resolve:
    def act(trial: str, *options: str, note: str = "seen on the balance") -> tuple[int, str, str]:
        code = cli.main(["resolve", trial, str(bench), *options, "--note", note])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def read(bench: Path, number: int) -> Trial:
    with Journal.open(bench / "journal.db", readonly=True) as journal:
        return journal.trial("snar", number)


def test_done_settles_the_dose_and_the_trial_goes_on(bench: Path, resolve: Resolve):
    code, out, _ = resolve("2", "--done")
    assert code == 0
    for words in (
        "trial snar/2 is in doubt: step 2: the pump cannot say",
        "step 2 (set pump -5.25) began; nobody heard its end",
        "unknown: the counter was reset (pump)",
        "counts as done and is not repeated",
        "The next `sdl run` goes on with the trial",
        "optimizer is told nothing of it until the trial ends",
    ):
        assert words in out, out
    with Journal.open(bench / "journal.db") as journal:
        trial = journal.trial("snar", 2)
        assert trial.state is TrialState.RUNNING
        setpoint, dose = journal.steps(trial)
        assert (setpoint.done, dose.done) == (False, True)
        assert dose.findings[-1] == {
            "verdict": "done",
            "evidence": "seen on the balance",
            "who": operator(),
        }
        assert journal.history(trial)[-1].who == operator()
        assert journal.balances("bench")["substrate"] == 250 - 2 * 5.25


def test_not_done_lets_the_dose_be_given_again_and_books_it_back(bench: Path, resolve: Resolve):
    code, out, _ = resolve("snar/2", "--not-done")
    assert code == 0
    assert "counts as not done: all of it is done again" in out
    with Journal.open(bench / "journal.db") as journal:
        dose = journal.steps(journal.trial("snar", 2))[-1]
        assert dose.not_done
        assert journal.balances("bench")["substrate"] == 250 - 5.25


def test_retry_settles_nothing(bench: Path, resolve: Resolve):
    code, out, _ = resolve("2", "--retry", note="the cable is back")
    assert code == 0
    assert "Its instruments are asked again" in out
    with Journal.open(bench / "journal.db") as journal:
        trial = journal.trial("snar", 2)
        assert trial.state is TrialState.RUNNING
        assert not any(step.done or step.not_done for step in journal.steps(trial))


@pytest.mark.parametrize(("number", "freed"), [(2, {"heater", "pump"}), (3, {"balance"})])
def test_abandon_frees_the_instruments_and_closes_the_runs(
    bench: Path, resolve: Resolve, number: int, freed: set[str]
):
    code, out, _ = resolve(str(number), "--abandon", note="thrown away")
    assert code == 0
    assert "optimizer is told nothing of it, ever" in out
    with Journal.open(bench / "journal.db") as journal:
        trial = journal.trial("snar", number)
        assert trial.state is TrialState.ABANDONED
        assert trial.cause == f"given up by {operator()}: thrown away"
        assert not freed & journal.claims("bench").keys()
        assert journal.claims("bench")["valve"].quarantined
        assert [run.stop for run in journal.runs(trial)] == ["abort"]


def test_an_interrupted_trial_is_not_given_up_under_a_runtime(bench: Path, resolve: Resolve):
    with Journal.open(bench / "journal.db") as journal, journal.own("bench", time=0.0):
        code, _, err = resolve("3", "--abandon")
        assert code == 1
        assert "`sdl abort snar/3`" in err
        # a trial in doubt is nobody's: it can be settled while a runtime is at work
        assert resolve("2", "--done")[0] == 0
    assert read(bench, 3).state is TrialState.RUNNING
    assert read(bench, 2).state is TrialState.RUNNING


def test_of_two_doses_in_question_each_is_settled_by_itself(bench: Path, resolve: Resolve):
    with Journal.open(bench / "journal.db") as journal:
        trial = journal.move(journal.trial("snar", 2), TrialState.RUNNING, time=0.0, who="test")
        journal.begin_step(trial, 3, "set", "other_pump", 2.0, time=0.0)
        journal.note_finding(trial, 3, {"verdict": "unknown", "evidence": "mute"}, time=0.0)
        journal.move(trial, TrialState.IN_DOUBT, time=0.0, who="test")
    code, _, err = resolve("2", "--done")
    assert code == 2
    assert "step 2 (set pump -5.25), step 3 (set other_pump 2); say which with --step" in err
    assert resolve("2", "--done", "--step", "1")[0] == 2  # a setpoint is sent again in any case
    code, out, _ = resolve("2", "--done", "--step", "3")
    assert code == 0
    assert "stays in doubt until this is settled too: step 2 (set pump -5.25)" in out
    assert read(bench, 2).state is TrialState.IN_DOUBT
    assert resolve("2", "--not-done")[0] == 0
    assert read(bench, 2).state is TrialState.RUNNING


@pytest.mark.parametrize("verdict", ["--done", "--not-done"])
def test_where_no_step_is_in_question_none_is_settled(bench: Path, resolve: Resolve, verdict: str):
    """A plan that is not repeatable puts its trial in doubt, too."""
    with Journal.open(bench / "journal.db") as journal:
        trial = journal.trial("snar", 3)
        journal.end_step(trial, 1, None, None, time=0.0)
        journal.move(trial, TrialState.IN_DOUBT, time=0.0, who="test", cause="the plan differs")
    code, _, err = resolve("3", verdict)
    assert code == 2
    assert "no step of it is in question; --retry lets it go on" in err
    assert read(bench, 3).state is TrialState.IN_DOUBT
    assert resolve("3", "--retry")[0] == 0


@pytest.mark.parametrize(
    ("trial", "options", "says"),
    [
        ("7", ["--done"], "campaign snar has no trial 7; it has trials 1 to 3; in doubt: snar/2"),
        ("x/2", ["--done"], "there is no campaign 'x'"),
        ("two", ["--done"], "should be a number, such as 7"),
        ("1", ["--done"], "is completed: nothing is to be settled; in doubt: snar/2"),
        ("3", ["--done"], "is not in doubt, it is running: `sdl run` goes on with it"),
        ("2", [], "one of the arguments --done --not-done --retry --abandon is required"),
        ("2", ["--done", "--abandon"], "not allowed with"),
    ],
)
def test_what_cannot_be_settled_is_told_and_nothing_is_written(
    bench: Path, resolve: Resolve, trial: str, options: list[str], says: str
):
    before = [read(bench, n) for n in (1, 2, 3)]
    code, _, err = resolve(trial, *options)
    assert code == 2
    assert says in " ".join(err.split())
    assert [read(bench, n) for n in (1, 2, 3)] == before


def test_a_decision_without_a_reason_is_not_taken(bench: Path, resolve: Resolve, capsys: Said):
    code, _, err = resolve("2", "--done", note=" ")
    assert (code, "--note" in err) == (2, True)
    assert cli.main(["resolve", "2", str(bench), "--done"]) == 2
    assert "--note" in capsys.readouterr().err
    assert read(bench, 2).state is TrialState.IN_DOUBT


def test_no_journal_is_made_where_there_is_none(tmp_path: Path, capsys: Said):
    other = tmp_path / "typo.db"
    arguments = ["resolve", "2", str(tmp_path), "--journal", str(other), "--done", "--note", "x"]
    assert cli.main(arguments) == 1
    assert "there is no journal" in capsys.readouterr().err
    assert not other.exists()


def test_a_quarantine_is_lifted_with_a_note(bench: Path, capsys: Said):
    assert cli.main(["release", "pump", str(bench), "--note", "x"]) == 2
    assert "pump: is not in quarantine in lab bench; these are: valve" in capsys.readouterr().err
    assert cli.main(["release", "valve", str(bench), "--note", "greased"]) == 0
    assert "valve was in quarantine: it did not turn" in capsys.readouterr().out
    with Journal.open(bench / "journal.db") as journal:
        assert "valve" not in journal.claims("bench")


def test_status_says_what_waits_for_whom(
    bench: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["status", str(bench)]) == 0
    said = capsys.readouterr().out
    for words in (
        "trial 2 is in doubt; it holds heater, pump",
        "step 2 (set pump -5.25): unknown: the counter was reset",
        "sdl resolve 2 --done|--not-done|--retry|--abandon --note",
        "trial 3 was interrupted; it waits for `sdl run`",
        "valve is in quarantine: it did not turn",
        "sdl release valve --note",
        "inventory: substrate 239.5 of 250 mL, waste 0 of 5000 mL",
        "1 completed, 1 in doubt, 1 running",
    ):
        assert words in said, said
    assert max(map(len, said.splitlines()[1:])) <= 100
