"""The writer: order, group commit, and what happens while the disk is full."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdl.clock import new_loop
from sdl.errors import ConflictError, JournalError
from sdl.journal import Journal, Trial, TrialState
from sdl.journal.writer import Writer

BIG = {"y": [1.0] * 200_000}
modes = pytest.mark.parametrize("inline", [True, False], ids=["inline", "thread"])


class Told:
    """What the writer called back, in order."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.threads: set[int] = set()

    def failure(self, error: JournalError) -> None:
        self.all.append(error)
        self.threads.add(threading.get_ident())

    def recovery(self) -> None:
        self.all.append("recovered")
        self.threads.add(threading.get_ident())


@pytest.fixture
def told() -> Told:
    return Told()


def with_writer(journal: Journal, inline: bool, told: Told, test: Callable[[Writer], Any]) -> int:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        writer = Writer(
            journal, inline=inline, loop=loop, on_failure=told.failure, on_recovery=told.recovery
        )
        try:
            await asyncio.wait_for(test(writer), 20)
        finally:
            lost = writer.close()
        await asyncio.sleep(0.01)
        return lost

    return asyncio.run(main())


@contextlib.contextmanager
def full_disk(journal: Journal) -> Iterator[None]:
    _pages(journal, 1)
    try:
        yield
    finally:
        _pages(journal, 1_000_000)


def _pages(journal: Journal, limit: int) -> None:
    """Every connection that writes: `max_page_count` holds for the connection that set it."""
    for durable in (True, False):
        with journal._database.write(durable=durable) as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={limit}")  # 1: as it is now


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
def step(sqlite: Journal) -> Trial:
    sqlite.add_campaign("screen", {}, lab="bench", twin=True, versions={}, time=0.0)
    (trial,) = sqlite.suggest("screen", [({"x": 1.0}, {})], time=1.0)
    trial = sqlite.move(trial, TrialState.APPROVED, time=2.0, who="x")
    return sqlite.move(trial, TrialState.RUNNING, time=2.0, who="x")


@modes
def test_writes_come_in_the_order_they_were_asked(
    journal: Journal, running: Trial, told: Told, inline: bool
) -> None:
    heard: list[int] = []

    async def test(writer: Writer) -> None:
        for n in range(1, 60):
            writer.post(journal.begin_step, running, n, "set", "pump", n, time=n)
            writer.post(journal.add_document, running, "r", "event", {"n": n}, time=n)
            writer.post(lambda n=n: heard.append(len(journal.documents()) >= n))
            writer.post(journal.end_step, running, n, None, None, time=n)
        attempt = await writer.write(journal.begin_step, running, 60, "set", "pump", 1, time=60.0)
        assert attempt == 1
        assert await writer.flush(10)

    assert with_writer(journal, inline, told, test) == 0
    assert [s.n for s in journal.steps(running) if s.done] == list(range(1, 60))
    assert [d.doc["n"] for d in journal.documents()] == list(range(1, 60))
    assert heard == [True] * 59  # nobody hears of a document before it is written
    assert told.all == []


@modes
def test_only_the_bad_one_of_many_raises(
    journal: Journal, running: Trial, told: Told, inline: bool
) -> None:
    async def test(writer: Writer) -> None:
        writer.post(journal.add_document, running, "r", "start", {}, time=1.0)
        writer.post(journal.end_step, running, 9, None, None, time=1.0)
        bad = writer.write(journal.add_document, None, "r", "event", {"x": object()}, time=2.0)
        good = writer.write(journal.add_document, None, "r", "stop", {}, time=2.0)
        first, second = await asyncio.gather(bad, good, return_exceptions=True)
        assert isinstance(first, JournalError)
        assert "JSON cannot hold" in str(first)
        assert isinstance(second, int)
        assert writer.failed is None

    with_writer(journal, inline, told, test)
    assert [d.name for d in journal.documents()] == ["start", "stop"]
    (error,) = told.all  # of the post, for which nobody waited
    assert isinstance(error, ConflictError)


@modes
def test_while_the_disk_is_full_what_has_happened_is_kept_and_written_later(
    sqlite: Journal, step: Trial, told: Told, inline: bool
) -> None:
    async def test(writer: Writer) -> None:
        await writer.write(sqlite.begin_step, step, 1, "trigger", "camera", None, time=3.0)
        with full_disk(sqlite):
            ended = await writer.write(sqlite.end_step, step, 1, BIG, None, time=4.0, keep=True)
            assert ended is None
            writer.post(sqlite.add_document, step, "r", "event", BIG, time=4.0)
            with pytest.raises(JournalError, match=r"nothing can be begun .* the disk is full"):
                await writer.write(sqlite.begin_step, step, 2, "set", "pump", 1.0, time=5.0)
            assert not await writer.flush(0.1)
            assert writer.backlog == 2
            assert "the disk is full" in str(writer.failed)
            await asyncio.sleep(0)
            assert len(told.all) == 1
        assert not sqlite.steps(step)[0].done
        await asyncio.sleep(1.2)
        writer.post(sqlite.add_document, step, "r", "stop", {}, time=6.0)
        assert await writer.flush(10)
        await asyncio.sleep(0)
        assert (writer.failed, writer.backlog) == (None, 0)
        await writer.write(sqlite.begin_step, step, 2, "set", "pump", 1.0, time=7.0)

    assert with_writer(sqlite, inline, told, test) == 0
    assert told.all[1:] == ["recovered"]
    assert told.threads == {threading.get_ident()}  # in the loop
    assert [s.result for s in sqlite.steps(step)] == [BIG, None]
    assert [d.name for d in sqlite.documents()] == ["event", "stop"]
    assert sqlite.verify().breaks == []


@modes
def test_a_refused_begin_alone_is_no_end_of_it(
    sqlite: Journal, step: Trial, told: Told, inline: bool
) -> None:
    """Nothing is kept that could be tried again: the writer looks by itself."""

    async def test(writer: Writer) -> None:
        with full_disk(sqlite):
            with pytest.raises(JournalError, match="the disk is full"):
                await writer.write(sqlite.begin_step, step, 1, "set", "pump", BIG, time=3.0)
            assert writer.failed is not None
        await asyncio.sleep(2.2)
        await writer.flush(5)
        await writer.write(sqlite.begin_step, step, 1, "set", "pump", BIG, time=4.0)

    with_writer(sqlite, inline, told, test)
    assert told.all[1:] == ["recovered"]
    assert sqlite.activities() == {}  # the look leaves nothing


@modes
def test_closing_says_how_much_was_lost(sqlite: Journal, told: Told, inline: bool) -> None:
    async def test(writer: Writer) -> None:
        _pages(sqlite, 1)
        for n in range(3):
            writer.post(sqlite.add_document, None, "r", "event", BIG, time=n)

    assert with_writer(sqlite, inline, told, test) == 3


def test_a_closed_writer_takes_nothing(sqlite: Journal, told: Told) -> None:
    kept: list[Writer] = []

    async def test(writer: Writer) -> None:
        kept.append(writer)

    with_writer(sqlite, False, told, test)
    with pytest.raises(JournalError, match="its writer was closed"):
        kept[0].post(sqlite.note, "info", "x", "late", time=1.0)


def test_a_callback_that_fails_is_told_to_the_loop(sqlite: Journal, told: Told) -> None:
    async def test(writer: Writer) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.all.append(context["exception"]))
        writer.post(lambda: 1 / 0)
        await writer.write(sqlite.note, "info", "x", "goes on", time=1.0)
        await asyncio.sleep(0)

    with_writer(sqlite, False, told, test)
    assert [type(error) for error in told.all] == [ZeroDivisionError]


def test_an_end_is_written_even_if_who_waits_is_cancelled(
    sqlite: Journal, step: Trial, told: Told
) -> None:
    async def test(writer: Writer) -> None:
        sqlite._database._lock.acquire()  # a disk that takes its time
        writer.post(sqlite.begin_step, step, 1, "set", "pump", 1.0, time=3.0)
        ending = writer.write(sqlite.end_step, step, 1, None, None, time=4.0, keep=True)
        begin = writer.write(sqlite.begin_step, step, 2, "set", "pump", 1.0, time=5.0)
        tasks = [asyncio.ensure_future(ending), asyncio.ensure_future(begin)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        sqlite._database._lock.release()
        assert await writer.flush(10)

    with_writer(sqlite, False, told, test)
    assert [(s.n, s.done) for s in sqlite.steps(step)] == [(1, True)]  # and nothing new began


def test_a_virtual_clock_stands_still_while_the_thread_writes(sqlite: Journal, told: Told) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        writer = Writer(
            sqlite, inline=False, loop=loop, on_failure=told.failure, on_recovery=told.recovery
        )
        waiting = asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0)
        began = loop.time()
        writer.post(threading.Event().wait, 0.1)
        await writer.write(sqlite.note, "info", "x", "hello", time=1.0)
        went = loop.time() - began
        await waiting
        writer.close()
        return went

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        assert runner.run(main()) == 0.0
