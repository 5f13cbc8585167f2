"""The witness of one trial: everything its plan does goes into the journal first."""

import time
from collections.abc import Iterable
from typing import Any

from bluesky import Msg

from sdl import clock
from sdl.data.callbacks import Callbacks
from sdl.errors import explain
from sdl.journal import Journal, Trial
from sdl.stamping import Stamper
from sdl.stopping import Stop

LIVE_PERIOD = 0.2  # s of real time between two notes of progress: a person reads no faster


class Recording:
    """Writes documents, steps and progress of one trial. All calls come in the loop's thread."""

    def __init__(self, journal: Journal, trial: Trial, callbacks: Callbacks, stop: Stop) -> None:
        self._journal, self._trial = journal, trial
        self._callbacks, self._stop = callbacks, stop
        self._stamper = Stamper(trial.id) if clock.simulated() else None
        self._runs: dict[str, str] = {}  # descriptor or resource → run
        self._newest = ""
        self._activity: dict[str, Any] = {}
        self._watched: set[int] = set()
        self._shown = 0.0

    @property
    def key(self) -> str:
        return f"trial/{self._trial.number}"

    def document(self, name: str, doc: dict[str, Any]) -> None:
        if self._stamper is not None:
            doc = self._stamper(doc, clock.now())
        self._journal.add_document(self._trial, self._run(name, doc), name, doc, time=clock.now())
        self._callbacks(name, doc)

    def _run(self, name: str, doc: dict[str, Any]) -> str:
        if name == "start":
            self._newest = doc["uid"]
            return doc["uid"]
        parent = doc.get("descriptor") or doc.get("resource") or ""
        run = doc.get("run_start") or self._runs.get(parent, self._newest)
        if name in ("descriptor", "resource", "stream_resource"):
            self._runs[doc["uid"]] = run
        return run

    def step(self, number: int, message: Msg) -> None:
        instrument = getattr(message.obj, "name", "") or ""
        argument = _plain(message.args[0]) if message.args else None
        self._journal.begin_step(
            self._trial, number, message.command, instrument, argument, time=clock.now()
        )
        words = (message.command, instrument, argument)
        doing = " ".join(_short(word) for word in words if word not in ("", None))
        self._show(step=number, doing=doing, since=clock.now(), fraction=None, now=None)
        if message.command == "sleep":
            self._show(duration=argument)
        else:
            self._activity.pop("duration", None)

    def step_ended(self, number: int, answer: Any, error: BaseException | None) -> None:
        said = None if error is None else explain(error)
        self._journal.end_step(self._trial, number, None, said, time=clock.now())

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
        now = f"{name} {_short(current)} of {_short(target)} {units}"
        if time.monotonic() - self._shown > LIVE_PERIOD:
            self._show(fraction=fraction, now=now.strip())

    def _show(self, **changes: Any) -> None:
        self._activity.update(changes)
        self._shown = time.monotonic()
        self._journal.set_activity(self.key, self._activity, time=clock.now())

    def close(self) -> None:
        """The trial has ended: nothing is going on any more."""
        self._journal.set_activity(self.key, None, time=clock.now())

    def stop_wanted(self) -> str | None:
        return self._stop.why


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Iterable):
        return [_plain(v) for v in value]
    return str(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
