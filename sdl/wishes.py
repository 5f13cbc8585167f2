"""Wishes that come through the journal: `sdl pause`, `resume`, `abort`, and an orderly `stop`."""

import threading
from collections.abc import Callable
from typing import Any, Protocol

from sdl.errors import JournalError, SdlError
from sdl.journal import Journal
from sdl.journal.records import Request

PERIOD = 0.2  # s of real time between two looks


class Obliging(Protocol):
    """Who fulfils wishes."""

    def stop(self, why: str) -> None: ...
    def pause(self, why: str) -> None: ...
    def resume(self) -> None: ...
    def abort_trial(self, number: int, why: str) -> None: ...


class Wishes:
    """A thread that looks for wishes while it is entered; real time, whatever the lab's clock."""

    def __init__(
        self, journal: Journal, lab: str, session: Obliging, now: Callable[[], float]
    ) -> None:
        self._journal, self._lab, self._session, self._now = journal, lab, session, now
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="wishes", daemon=True)

    def __enter__(self) -> "Wishes":
        for request in self._journal.open_requests(self._lab):  # of somebody who gave up waiting
            too_late = "no runtime was there; this one has just begun"
            self._journal.answer_request(request.id, False, too_late, time=self._now())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10 * PERIOD)

    def _look(self) -> None:
        while not self._over.wait(PERIOD):
            try:
                for request in self._journal.open_requests(self._lab):
                    ok, answer = self._fulfil(request)
                    self._journal.answer_request(request.id, ok, answer, time=self._now())
            except JournalError:  # whoever writes says so; STOP does not come this way
                continue

    def _fulfil(self, request: Request) -> tuple[bool, str]:
        """Do it; return whether it could be done, and what to tell who asked."""
        session, why = self._session, f"{request.why or request.kind} ({request.who})"
        acts: dict[str, Callable[[], Any]] = {
            "pause": lambda: session.pause(why),
            "resume": session.resume,
            "stop": lambda: session.stop(why),
            "abort": lambda: session.abort_trial(int(request.target.split("/")[-1]), why),
        }
        if request.kind not in acts:
            return False, f"the runtime knows no {request.kind!r}"
        try:
            acts[request.kind]()
        except (SdlError, TimeoutError, ValueError) as error:
            return False, str(error) or "the runtime is busy"
        return True, _DONE[request.kind]


_DONE = {
    "pause": "paused: no step begins until `sdl resume`; what is under way goes on",
    "resume": "it goes on",
    "stop": "it stops after the current step; `sdl run` goes on",
    "abort": "the trial ends; its clean-up and recovery run",
}
