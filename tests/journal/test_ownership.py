import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from sdl.errors import ConflictError, JournalError
from sdl.journal import Journal, Ownership, Trial, TrialState

OWN = """
import sys
from sdl.journal import Journal
journal = Journal.open(sys.argv[1])
owner = journal.own("bench", time=946684860.0)
print(owner.epoch, flush=True)
sys.stdin.read()
"""
Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start_owner(journal_url: str) -> Iterator[Start]:
    """Start another process that owns the lab `bench` until it is killed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", OWN, journal_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def _first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_owner_is_told_who_owns_the_lab(journal: Journal, start_owner: Start) -> None:
    process = start_owner()
    assert _first_line(process) == "1"
    told = f"lab bench is owned by process {process.pid} on {socket.gethostname()} since 2000-01-01"
    with pytest.raises(JournalError, match=told):
        journal.own("bench", time=1.0)
    owner = journal.owner("bench")
    assert owner is not None
    assert (owner.pid, owner.since, owner.held) == (process.pid, 946684860.0, True)


def test_the_lock_goes_with_a_killed_process(journal: Journal, start_owner: Start) -> None:
    process = start_owner()
    assert _first_line(process) == "1"
    process.kill()  # SIGKILL: nothing of it runs any more
    process.wait(timeout=10)
    owned = _until_free(journal)
    assert owned.epoch == 2


def _until_free(journal: Journal) -> Ownership:
    """PostgreSQL needs a moment to see that the other end of the connection is gone."""
    for _ in range(50):
        try:
            return journal.own("bench", time=2.0)
        except JournalError:
            Event().wait(0.1)
    return journal.own("bench", time=2.0)


def test_two_owners_in_one_process_shut_each_other_out_too(
    journal: Journal, other: Journal
) -> None:
    with journal.own("bench", time=1.0):
        with pytest.raises(JournalError, match=f"owned by process {os.getpid()}"):
            other.own("bench", time=2.0)
        with pytest.raises(JournalError, match="owned already by us"):
            journal.own("bench", time=2.0)
    with other.own("bench", time=3.0) as second:
        assert second.epoch == 2


def test_two_labs_in_one_journal_have_an_owner_each(journal: Journal, other: Journal) -> None:
    with journal.own("bench", time=1.0), other.own("bench/2 é", time=1.0) as second:
        assert second.epoch == 1


def test_closing_the_journal_releases_the_lab(journal_url: str, journal: Journal) -> None:
    with Journal.open(journal_url) as first:
        first.own("bench", time=1.0)
    owner = journal.owner("bench")
    assert owner is not None
    assert not owner.held
    assert journal.own("bench", time=2.0).epoch == 2
    assert journal.owner("never") is None


def test_a_stale_owner_writes_nothing_any_more(
    journal: Journal, other: Journal, trial: Trial
) -> None:
    owned = journal.own("bench", time=1.0)
    approved = journal.move(trial, TrialState.APPROVED, time=2.0, who="runtime")
    assert approved.epoch == owned.epoch == 1
    owned.release()
    approved = journal.move(
        approved, TrialState.RUNNING, time=2.0, who="runtime"
    )  # nobody else yet
    other.own("bench", time=3.0)
    before = len(journal.history(trial))
    writes: list[Callable[[], object]] = [
        lambda: journal.move(approved, TrialState.FAILED, time=4.0, who="runtime"),
        lambda: journal.suggest("screen", [({"x": 1.0}, {})], time=4.0),
        lambda: journal.begin_step(approved, 1, "set", "pump", 1.0, time=4.0),
        lambda: journal.add_document(None, "r", "start", {}, time=4.0),
        lambda: journal.note("info", "runtime", "still here", time=4.0),
        lambda: journal.set_activity("runtime", {}, time=4.0),
        lambda: journal.put_readings({"t": (1.0, "K", 4.0)}),
        lambda: journal.set_follower_cursor("tiled", 1, time=4.0),
    ]
    for write in writes:
        with pytest.raises(ConflictError, match=r"taken over by process .*\(epoch 2, ours was 1\)"):
            write()
    assert len(journal.history(trial)) == before
    assert (journal.documents(), journal.notes(), journal.readings()) == ([], [], {})
    other.add_document(None, "r", "start", {}, time=5.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_keep_the_lock(tmp_path: object) -> None:
    """The worker of a killed runtime must not hold its lab."""
    script = """
import os, sys, time
from sdl.journal import Journal
journal = Journal.open(sys.argv[1])
journal.own("bench", time=1.0)
child = os.fork()
if child == 0:
    sys.stdin.read()
    os._exit(0)
print(child, flush=True)
os.kill(os.getpid(), 9)
"""
    path = f"{tmp_path}/journal.db"
    process = subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert process.wait(timeout=10) == -9
    os.kill(child, 0)  # it still lives
    with Journal.open(path) as journal:
        assert journal.own("bench", time=2.0).epoch == 2
    process.communicate(timeout=10)


def test_the_next_owner_waits_for_a_write_of_the_last_one(journal: Journal, other: Journal) -> None:
    """A write that passed the fence is in the journal before another epoch begins."""
    journal.own("bench", time=1.0).release()
    with ThreadPoolExecutor(1) as pool:
        with journal._write("something slow"):
            taking = pool.submit(other.own, "bench", time=2.0)
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.3)
        assert taking.result(timeout=10).epoch == 2
