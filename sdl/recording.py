"""The documents of one trial: journaled before anybody else hears of them, and joined over crashes.

A plan that is entered again opens its runs again. A run that came to its end earlier is in the
journal whole, so the second one is dropped; one that did not is continued by a new run, which says
so (`continues`) and has all its events, those of before with their first readings.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from event_model import unpack_event_page

from sdl import clock
from sdl.data.callbacks import Callbacks
from sdl.journal import Journal, Trial
from sdl.journal.writer import Writer
from sdl.stamping import Stamper
from sdl.step import Call, short

LIVE_PERIOD = 0.2  # s of real time between two notes of progress: a person reads no faster


@dataclass(frozen=True)
class Earlier:
    """A run that the trial made before it was interrupted."""

    uid: str
    place: int
    """Which of the runs that the plan makes: 1, 2, …"""
    whole: bool
    """Whether the plan closed it; if not, the next run at this place continues it."""


class Recording:
    """Writes documents and progress of one trial. All calls come in the loop's thread."""

    def __init__(
        self,
        journal: Journal,
        writer: Writer,
        trial: Trial,
        callbacks: Callbacks,
        *,
        earlier: Sequence[Earlier] = (),
    ) -> None:
        """Take up a trial; `earlier` are its runs so far, oldest first."""
        self._journal, self._writer, self._trial = journal, writer, trial
        self._callbacks = callbacks
        life = f"{trial.id}+{len(earlier)}" if earlier else trial.id
        self._stamper = Stamper(life) if clock.simulated() else None
        self._earlier = {run.place: run for run in earlier}  # the newest of each
        self._opened = 0
        self._names: dict[str, str] = {}  # uid of a run as the RunEngine knows it → as recorded
        self._dropped: set[str] = set()
        self._seen: set[tuple[str, int]] = set()
        self._runs: dict[str, str] = {}  # descriptor or resource → run
        self._newest = ""
        self._activity: dict[str, Any] = {}
        self._watched: set[int] = set()
        self._shown = 0.0
        self.event_time: float | None = None
        """When the next event's readings were taken, if all of them come from the journal."""
        self.reason = ""
        """Why the trial is interrupted: for the stop documents."""

    @property
    def key(self) -> str:
        return f"trial/{self._trial.number}"

    def public_name(self, uid: str) -> str:
        """The name under which a run that was opened just now is on record."""
        return self._names.get(uid, uid)

    def document(self, name: str, doc: dict[str, Any]) -> None:
        """Journal a document, then hand it on; what is on record already goes no further."""
        if name == "event_page":  # of a flyer; each of its events is known or not by itself
            self.event_time = None
            for event in unpack_event_page(cast("Any", doc)):
                self.document("event", cast("dict[str, Any]", event))
            return
        given = doc.get("uid", "")
        run = self._run(name, doc)
        if name == "start":
            self._opened += 1
            before = self._earlier.get(self._opened)
            if before is not None and before.whole:
                self._dropped.add(run)
                self._names[given] = before.uid
                return
            doc = {**doc, "run_of_trial": self._opened}
            if before is not None:
                doc["continues"] = before.uid
        if run in self._dropped or self._again(name, doc):
            return
        if name == "stop" and self.reason and doc.get("exit_status") == "abort":
            doc = {**doc, "reason": self.reason}
        if self._stamper is not None:
            doc = self._stamper(doc, clock.now())
            run = self._stamper.name(run)
            self._names[given] = doc.get("uid", given)
        if name == "event" and self.event_time is not None:
            doc = {**doc, "time": self.event_time}
        self._writer.post(self._journal.add_document, self._trial, run, name, doc, time=clock.now())
        self._writer.post(self._callbacks, name, doc)

    def _again(self, name: str, doc: dict[str, Any]) -> bool:
        """Whether it is an event that a RunEngine makes once more after it was rewound."""
        if name != "event":
            return False
        key = doc["descriptor"], doc["seq_num"]
        known = key in self._seen
        self._seen.add(key)
        return known

    def _run(self, name: str, doc: dict[str, Any]) -> str:
        if name == "start":
            self._newest = doc["uid"]
            return doc["uid"]
        parent = doc.get("descriptor") or doc.get("resource") or ""
        run = doc.get("run_start") or self._runs.get(parent, self._newest)
        if name in ("descriptor", "resource", "stream_resource"):
            self._runs[doc["uid"]] = run
        return run

    # -- what the trial does now ------------------------------------------------------------------

    def show(self, call: Call) -> None:
        """A step is about to be performed."""
        self._put(step=call.n, doing=str(call), since=clock.now(), fraction=None, now=None)
        if call.command == "sleep":
            self._put(duration=call.argument)
        else:
            self._activity.pop("duration", None)

    def waiting(self, statuses: Any) -> None:
        for status in statuses or ():
            if id(status) not in self._watched and hasattr(status, "watch"):
                self._watched.add(id(status))
                status.watch(self._progress)

    def _progress(self, **update: Any) -> None:
        current, first, target = (update.get(k) for k in ("current", "initial", "target"))
        numbers = all(isinstance(x, int | float) for x in (current, first, target))
        fraction = None
        if numbers and target != first:
            done = (current - first) / (target - first)  # type: ignore[operator]
            fraction = min(max(done, 0.0), 1.0)
        name, units = update.get("name", ""), update.get("unit") or ""
        now = f"{name} {_brief(current)} of {_brief(target)} {units}"
        if time.monotonic() - self._shown > LIVE_PERIOD:
            self._put(fraction=fraction, now=now.strip())

    def _put(self, **changes: Any) -> None:
        self._activity.update(changes)
        self._shown = time.monotonic()
        self._writer.post(
            self._journal.set_activity, self.key, dict(self._activity), time=clock.now()
        )

    def close(self) -> None:
        """Nothing goes on any more, for now."""
        self._writer.post(self._journal.set_activity, self.key, None, time=clock.now())


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else short(value)
