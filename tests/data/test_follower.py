import threading
from collections.abc import Callable
from typing import Any

import pytest

from sdl.data.follower import LONGEST_PAUSE, POLL, Follower, Run, Sink
from sdl.errors import JournalError, SdlError
from sdl.journal import Journal, Trial
from tests.data.conftest import add_run, compose, uid, write

PLACE = "http://there"


class Service:
    """A sink that can be down, and that refuses some runs."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.refused: set[str] = set()
        self.offered: list[str] = []
        self.down = False

    def __call__(self, run: Run) -> None:
        self.offered.append(run.uid)
        if self.down:
            raise ConnectionError("nobody listens")
        if run.uid in self.refused:
            raise ValueError("too wide")
        self.runs.append(run)

    @property
    def uids(self) -> list[str]:
        return [run.uid for run in self.runs]


class Rounds(threading.Event):
    """A stop that comes after some rounds, and does not really wait between them."""

    def __init__(self, rounds: int, between: Callable[[int], Any] = lambda n: None) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self._rounds, self._between = rounds, between

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self._between(len(self.pauses))
        if len(self.pauses) >= self._rounds:
            self.set()
        return self.is_set()


@pytest.fixture
def service() -> Service:
    return Service()


def follower(url: str, sink: Sink) -> Follower:
    return Follower(url, "test", sink, to=PLACE)


def cursor(journal: Journal) -> int:
    return journal.follower_cursor(f"test {PLACE}")


def activity(journal: Journal) -> dict[str, Any]:
    return journal.activities()["follower/test"].value


def test_a_run_comes_whole_with_its_trial(
    url: str, journal: Journal, trial: Trial, service: Service
) -> None:
    documents = compose(events=2, keys={})
    write(journal, documents, uid(documents), trial)
    assert follower(url, service).follow(once=True) == 1
    (run,) = service.runs
    assert (run.uid, run.trial) == (uid(documents), "screen/1")
    assert list(run.documents) == documents
    assert run.start == documents[0][1]
    assert run.stop == documents[-1][1]


def test_a_run_of_more_documents_than_a_page_comes_whole(
    url: str, journal: Journal, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdl.data.follower.PAGE", 3)
    documents = compose(events=10, keys={})
    write(journal, documents, uid(documents))
    follower(url, service).follow(once=True)
    assert list(service.runs[0].documents) == documents


def test_interleaved_runs_come_apart_in_the_order_they_ended(
    url: str, journal: Journal, service: Service
) -> None:
    a, b = compose(events=1), compose(events=1)
    write(journal, a[:2], uid(a))
    write(journal, b, uid(b))
    write(journal, a[2:], uid(a))
    follower(url, service).follow(once=True)
    assert service.uids == [uid(b), uid(a)]
    assert [len(run.documents) for run in service.runs] == [4, 4]


def test_a_run_goes_out_when_it_has_ended_and_holds_up_no_other(
    url: str, journal: Journal, service: Service
) -> None:
    killed, later = compose(events=1), compose(events=1)
    write(journal, killed[:3], uid(killed))
    write(journal, later, uid(later))
    follower(url, service).follow(once=True)
    assert service.uids == [uid(later)]
    write(journal, killed[3:], uid(killed))  # the next runtime closes it
    follower(url, service).follow(once=True)
    assert service.uids == [uid(later), uid(killed)]


def test_the_cursor_moves_only_after_the_sink_has_confirmed(
    url: str, journal: Journal, service: Service
) -> None:
    first, second = add_run(journal), add_run(journal)
    at_call = []

    def sink(run: Run) -> None:
        at_call.append(cursor(journal))
        service(run)

    follower(url, sink).follow(once=True)
    assert service.uids == [first, second]
    assert at_call == [0, 11]  # six documents to a run; all but the second's stop are done with
    assert cursor(journal) == 12


def test_a_follower_that_died_before_the_cursor_moved_offers_the_run_again(
    url: str, journal: Journal, service: Service
) -> None:
    first, second = add_run(journal), add_run(journal)

    def die(run: Run) -> None:
        service(run)
        if run.uid == second:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follower(url, die).follow(once=True)
    follower(url, service).follow(once=True)
    assert service.uids == [first, second, second]


def test_when_the_service_is_back_everything_arrives_once(
    url: str, journal: Journal, service: Service
) -> None:
    written, service.down = [add_run(journal)], True

    def between(n: int) -> None:
        if n < 20:
            written.append(add_run(journal, events=0))
        else:
            service.down = False

    follower(url, service).follow(Rounds(22, between))
    assert service.uids == written


def test_tries_come_ever_more_seldom_and_at_once_again_after_success(
    url: str, journal: Journal, service: Service
) -> None:
    add_run(journal)
    service.down = True
    stop = Rounds(12, lambda n: setattr(service, "down", n < 10))
    follower(url, service).follow(stop)
    assert stop.pauses[:7] == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE]
    assert max(stop.pauses) == LONGEST_PAUSE
    assert stop.pauses[10:] == [POLL, POLL]


def test_one_try_a_round_while_the_service_is_down(
    url: str, journal: Journal, service: Service
) -> None:
    for _ in range(5):
        add_run(journal, events=0)
    service.down = True
    follower(url, service).follow(Rounds(3))
    assert len(service.offered) == 3


def test_the_activity_says_how_it_goes_and_goes_with_the_follower(
    url: str, journal: Journal, service: Service
) -> None:
    add_run(journal)
    service.down = True
    seen: list[dict[str, Any]] = []

    def between(n: int) -> None:
        seen.append(activity(journal))
        service.down = False

    follower(url, service).follow(Rounds(2, between))
    down, up = seen
    assert (down["to"], down["behind"], down["runs"]) == (PLACE, 6, 1)
    assert "nobody listens" in down["error"]
    assert down["failing_since"] == pytest.approx(down["real_time"], abs=20)
    assert (up["behind"], up["runs"], up["sent"]) == (0, 0, 1)
    assert up["error"] is None
    assert up["failing_since"] is None
    assert journal.activities() == {}


def test_the_activity_has_the_labs_time(url: str, journal: Journal, service: Service) -> None:
    """A twin's clock is far behind ours, and whoever watches takes the newest time for now."""
    add_run(journal)
    times = []
    follower(url, service).follow(
        Rounds(1, lambda n: times.append(journal.activities()["follower/test"].time))
    )
    assert times == [105.0]


def test_a_refused_run_holds_up_no_other_and_is_set_aside_with_a_note(
    url: str, journal: Journal, trial: Trial, service: Service
) -> None:
    bad, good = add_run(journal, trial), add_run(journal)
    service.refused.add(bad)
    follower(url, service).follow(Rounds(1))
    assert service.uids == [good]
    assert cursor(journal) == 5  # before the bad one's stop document: it is not done with
    more: list[str] = []
    follower(url, service).follow(Rounds(8, lambda n: more.append(add_run(journal, events=0))))
    assert set(service.uids) >= {good, *more[:5]}
    (note,) = journal.notes()
    assert (note.level, note.campaign) == ("error", "screen")
    assert bad in note.text
    assert "too wide" in note.text
    assert cursor(journal) > 5


def test_a_service_that_refuses_everything_for_a_while_costs_no_run(
    url: str, journal: Journal, service: Service
) -> None:
    runs = [add_run(journal, events=0) for _ in range(7)]
    service.refused = set(runs)
    stop = Rounds(30, lambda n: service.refused.clear() if n == 25 else None)
    follower(url, service).follow(stop)
    assert sorted(service.uids) == sorted(runs)
    assert journal.notes() == []
    assert len(service.offered) <= 25 * 3 + 7


def test_once_says_what_is_left_and_the_same_call_goes_on(
    url: str, journal: Journal, service: Service
) -> None:
    run = add_run(journal)
    service.down = True
    with pytest.raises(SdlError, match=r"1 runs are still to be taken: .*nobody listens"):
        follower(url, service).follow(once=True)
    service.down = False
    assert follower(url, service).follow(once=True) == 1
    assert service.uids == [run]


def test_again_offers_everything_again(url: str, journal: Journal, service: Service) -> None:
    run = add_run(journal)
    follower(url, service).follow(once=True)
    follower(url, service).follow(once=True)
    assert service.uids == [run]
    follower(url, service).follow(once=True, again=True)
    assert service.uids == [run, run]


def test_an_idle_follower_writes_nothing_durable(
    url: str, journal: Journal, service: Service
) -> None:
    """Every durable write waits for the disk, and the runtime may wait behind it."""
    written: list[int] = []
    real = Journal.set_follower_cursor

    def count(self: Journal, name: str, cursor: int, *, time: float) -> None:
        written.append(cursor)
        real(self, name, cursor, time=time)

    add_run(journal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "set_follower_cursor", count)
        unfinished = compose(events=0)[:1]
        stop = Rounds(5, lambda n: write(journal, unfinished, f"run {n}"))
        follower(url, service).follow(stop)
    assert written == [6]


def test_another_place_has_a_cursor_of_its_own(
    url: str, journal: Journal, service: Service
) -> None:
    run = add_run(journal)
    for place in ("http://here", "http://there"):
        Follower(url, "test", service, to=place).follow(once=True)
    assert service.uids == [run, run]


def test_a_second_follower_to_the_same_place_is_told_so(
    url: str, journal: Journal, service: Service
) -> None:
    add_run(journal)

    def sink(run: Run) -> None:
        with pytest.raises(JournalError, match="one follower at a time"):
            follower(url, service).follow(once=True)

    assert follower(url, sink).follow(once=True) == 1
    assert service.runs == []


def test_a_journal_that_is_not_there_is_not_made(tmp_path: Any, service: Service) -> None:
    file = tmp_path / "none.db"
    with pytest.raises(JournalError):
        follower(str(file), service).follow(once=True)
    assert not file.exists()


def test_a_busy_journal_is_tried_again(
    url: str, journal: Journal, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add_run(journal)
    real, failures = Journal.set_follower_cursor, [JournalError("locked for too long")]

    def sometimes(self: Journal, *args: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()
        real(self, *args, **kwargs)

    monkeypatch.setattr(Journal, "set_follower_cursor", sometimes)
    follower(url, service).follow(Rounds(3))
    assert set(service.uids) == {run}
    add_run(journal)
    follower(url, service).follow(once=True)
    assert cursor(journal) == 12
