"""A follower carries finished runs from the journal to somebody else's service.

It has a Journal of its own, in a process or a thread of its own, so nobody waits for the service:
the lab writes to the journal and knows no more. Runs go out whole, in the order in which they
ended; one whose runtime was killed goes out when the next runtime has closed it with a stop
document. How far the follower is stands in the journal and moves only after the service has
confirmed: whatever dies, every run is offered at least once, and the sink tells by its uid whether
it has it already.

What it does now is the activity `follower/<name>` in the journal: `to`, `behind` (documents, about)
and `runs` not confirmed yet, `sent` since it began, `error` and `failing_since` (real time), `pid`,
`host`, `real_time`.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sdl.errors import ConflictError, JournalError, SdlError, explain
from sdl.journal import Journal

POLL = 1.0  # s between two looks at the journal
LONGEST_PAUSE = 60.0  # s between two tries, once doubling has come so far
PATIENCE = 5  # times that a run is refused, others being taken, before it is set aside
IN_A_ROW = 3  # runs refused one after the other: more likely the service is ill; pause
PAGE = 500  # documents read at once
HEARTBEAT = 10.0  # s after which an unchanged activity is written again


@dataclass(frozen=True)
class Run:
    """One finished Bluesky run."""

    uid: str
    trial: str | None
    """`campaign/number`, or None for a run that belongs to no trial."""
    documents: Sequence[tuple[str, dict[str, Any]]]
    """(name, document), from start to stop, as the journal has them: arrays are lists."""

    @property
    def start(self) -> dict[str, Any]:
        return self.documents[0][1]

    @property
    def stop(self) -> dict[str, Any]:
        return self.documents[-1][1]


Sink = Callable[[Run], None]
"""Takes a run and returns when it is safely there; does nothing with one that is there already.

Raises OSError (ConnectionError, TimeoutError) when it cannot take any run now: tried for ever.
Any other error refuses this run: tried again, set aside with a note if others are taken meanwhile.
"""


@dataclass
class _Finished:
    """A run that has ended and that the sink has not confirmed."""

    uid: str
    cursor: int  # of its stop document
    time: float
    refusals: int = 0
    sent_before: int = 0  # when it was refused first


class Follower:
    """Carries runs to one sink. One follower per name and place at a time: a second one is told."""

    def __init__(
        self, journal_url: str, name: str, sink: Sink, *, to: str = "", pause: float = 1.0
    ) -> None:
        """:param to: where the sink is, for people; without passwords. Each place has its cursor.
        :param pause: s before the second try; doubles up to `LONGEST_PAUSE`.
        """
        self._url, self._name, self._sink, self._to = journal_url, name, sink, to
        self._key, self._first_pause = f"{name} {to}".strip(), pause
        self._waiting: dict[int, _Finished] = {}  # by cursor, rising
        self._head = self._kept = self._sent = self._failures = 0
        self._lab_time = 0.0
        self._error: str | None = None
        self._failing_since: float | None = None
        self._shown: tuple[dict[str, Any], float] = {}, 0.0

    def follow(
        self, stop: threading.Event | None = None, *, once: bool = False, again: bool = False
    ) -> int:
        """Carry runs until `stop` is set, and return how many the sink has taken.

        :param once: end when all that is finished now has been offered once.
        :param again: offer everything from the journal's beginning.
        :raises JournalError: there is no journal, or somebody follows it to this place already.
        :raises SdlError: with `once`, not everything was taken; the same call goes on.
        """
        stop = stop or threading.Event()
        Journal.open(self._url, readonly=True).close()  # one that is not there is not made
        with Journal.open(self._url) as journal, self._alone(journal):
            self._head = self._kept = 0 if again else journal.follower_cursor(self._key)
            try:
                while not stop.is_set():
                    pause = self._round(journal, stop)
                    if once:
                        break
                    stop.wait(pause)
            finally:
                with contextlib.suppress(JournalError):
                    journal.set_activity(f"follower/{self._name}", None, time=self._lab_time)
        if once and self._error is not None:
            left = len(self._waiting)
            raise SdlError(f"{self._key}: {left} runs are still to be taken: {self._error}")
        return self._sent

    @contextlib.contextmanager
    def _alone(self, journal: Journal) -> Iterator[None]:
        """Two at once would each take the other's half-written run for a leftover."""
        try:
            owned = journal.own(self._key, time=time.time())
        except JournalError as error:
            raise JournalError(f"{self._key}: one follower at a time: {error}") from error
        with owned:
            yield

    def _round(self, journal: Journal, stop: threading.Event) -> float:
        """Offer what is finished, once, and return the seconds to wait before the next round."""
        before, problem = self._sent, None
        try:
            self._read(journal, stop)
            self._show(journal)
            problem = self._offer(journal, stop)
        except ConflictError:
            raise
        except JournalError as error:  # another process is busy in it, or its server restarts
            problem = str(error)
        self._failures = 0 if problem is None or self._sent > before else self._failures + 1
        self._failing_since = (self._failing_since or time.time()) if problem else None
        self._error = problem
        with contextlib.suppress(JournalError):
            self._show(journal)
        if problem is None:
            return POLL
        return min(self._first_pause * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)

    def _read(self, journal: Journal, stop: threading.Event) -> None:
        """Look for stop documents up to the journal's end."""
        while page := journal.documents(after=self._head, limit=PAGE):
            for document in page:
                if document.name == "stop":
                    found = _Finished(document.run, document.cursor, document.time)
                    self._waiting[document.cursor] = found
            self._head, self._lab_time = page[-1].cursor, page[-1].time
            if stop.is_set():
                break

    def _offer(self, journal: Journal, stop: threading.Event) -> str | None:
        """Offer each finished run, those never refused first; return the last thing that failed."""
        problem, in_a_row = None, 0
        for finished in sorted(self._waiting.values(), key=lambda f: f.refusals):
            if stop.is_set() or in_a_row == IN_A_ROW:
                break
            run = _whole(journal, finished)
            try:
                self._sink(run)
            except OSError as error:
                return explain(error)
            except Exception as error:  # noqa: BLE001 (somebody else's code and service)
                in_a_row += 1
                why = explain(error).partition("\n")[0]
                problem = f"run {run.uid}: {why}"
                self._refused(journal, finished, run, why)
            else:
                in_a_row = 0
                self._sent += 1
                self._done_with(journal, finished)
                self._show(journal)
        return problem

    def _refused(self, journal: Journal, finished: _Finished, run: Run, why: str) -> None:
        if not finished.refusals:
            finished.sent_before = self._sent
        finished.refusals += 1
        if finished.refusals < PATIENCE or self._sent == finished.sent_before:
            return
        text = f"{self._to or self._name} does not take run {run.uid}, it was set aside: {why}"
        campaign = run.trial.rpartition("/")[0] if run.trial else None
        journal.note("error", self._name, text, time=finished.time, campaign=campaign)
        self._done_with(journal, finished)

    def _done_with(self, journal: Journal, finished: _Finished) -> None:
        del self._waiting[finished.cursor]
        first = next(iter(self._waiting), self._head + 1)
        if first - 1 > self._kept:
            journal.set_follower_cursor(self._key, first - 1, time=finished.time)
            self._kept = first - 1

    def _show(self, journal: Journal) -> None:
        now = time.time()
        doing = {
            "to": self._to,
            "behind": self._head - self._kept if self._waiting else 0,
            "runs": len(self._waiting),
            "sent": self._sent,
            "error": self._error,
            "failing_since": self._failing_since,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        last, at = self._shown
        if doing != last or now - at > HEARTBEAT:
            self._shown = doing, now
            value = {**doing, "real_time": now}
            journal.set_activity(f"follower/{self._name}", value, time=self._lab_time)


def _whole(journal: Journal, finished: _Finished) -> Run:
    """All documents of a run, up to the stop document that was seen."""
    documents, after, trial = list[tuple[str, dict[str, Any]]](), 0, None
    while page := journal.documents(after=after, run=finished.uid, limit=PAGE):
        documents += [(d.name, d.doc) for d in page if d.cursor <= finished.cursor]
        after, trial = page[-1].cursor, page[-1].trial
    return Run(finished.uid, trial, documents)
