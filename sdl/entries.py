"""What the steps of one trial leave in the journal: intents, marks, ends and findings."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sdl import clock, values
from sdl.errors import cause_of, explain
from sdl.journal import Journal, Trial
from sdl.journal.records import Booking
from sdl.journal.writer import Writer
from sdl.step import Call


class Recorder(Protocol):
    """Where entries go."""

    journal: Journal
    writer: Writer

    def boundary(self, n: int, where: str) -> None:
        """A step has come to a boundary: before or after its intent, after the act, when done."""


class Entries:
    """Writes them, in order; what is *posted* is not waited for."""

    def __init__(self, trial: Trial, around: Recorder, begun: set[int]) -> None:
        """:param begun: the steps that have an intent already; it grows."""
        self.trial, self.begun = trial, begun
        self._around, self._journal, self._writer = around, around.journal, around.writer

    async def begin(
        self, call: Call, *, again: bool, mark: Any = None, bookings: Sequence[Booking] = ()
    ) -> None:
        """Write the intent of a step; when this returns it outlives a power cut.

        :param again: another attempt of a step that was begun before.
        """
        self._around.boundary(call.n, "before intent")
        details = {"time": clock.now(), "again": again, "mark": mark, "bookings": bookings}
        await self._writer.write(self._journal.begin_step, *self._intent(call), **details)
        self.begun.add(call.n)

    def post_begin(self, call: Call, *, again: bool = False) -> None:
        """Write the intent of what may as well be done without it being there yet."""
        self._around.boundary(call.n, "before intent")
        begin = self._journal.begin_step
        self._writer.post(begin, *self._intent(call), time=clock.now(), again=again)
        self.begun.add(call.n)
        self._around.boundary(call.n, "after intent")

    async def end(
        self,
        call: Call,
        result: Any = None,
        error: BaseException | None = None,
        finding: Mapping[str, Any] | None = None,
    ) -> None:
        """Write how a step ended; what has happened is kept in memory if it cannot be now."""
        details = _ending(result, error, finding)
        await self._writer.write(self._journal.end_step, self.trial, call.n, **details, keep=True)

    def post_end(self, call: Call, result: Any = None, error: BaseException | None = None) -> None:
        details = _ending(result, error, None)
        self._writer.post(self._journal.end_step, self.trial, call.n, **details)

    async def not_performed(
        self, call: Call, error: BaseException, *, again: bool | None = None
    ) -> None:
        """Write intent and end in one go: a crash between them would leave a dose in doubt."""
        self._around.boundary(call.n, "before intent")
        journal, now = self._journal, clock.now()
        again = call.n in self.begun if again is None else again
        details = _ending(None, error, None)

        def both() -> None:
            with journal.batch():
                journal.begin_step(*self._intent(call), time=now, again=again)
                journal.end_step(self.trial, call.n, **details)

        await self._writer.write(both)
        self.begun.add(call.n)
        self._around.boundary(call.n, "done")

    async def found(self, call: Call, finding: Mapping[str, Any]) -> None:
        """Write what became of a step whose end nobody heard."""
        note = self._journal.note_finding
        await self._writer.write(note, self.trial, call.n, finding, time=clock.now(), keep=True)

    def heard(self, call: Call, at: int) -> None:
        """Note at which step the plan heard that another one had failed."""
        told = {"verdict": "failed", "at": at}
        note = self._journal.note_finding
        self._writer.post(note, self.trial, call.n, told, time=clock.now())

    def take_back(self, call: Call, note: str) -> None:
        """What the step would have taken from the inventory is there still."""
        reverse = self._journal.reverse_bookings
        self._writer.post(reverse, self.trial, call.n, time=clock.now(), note=note)

    def _intent(self, call: Call) -> tuple[Any, ...]:
        return self.trial, call.n, call.command, call.instrument, call.argument


def _ending(
    result: Any, error: BaseException | None, finding: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "result": values.to_json(result),
        "error": None if error is None else explain(error),
        "error_type": None if error is None else values.kind_of(cause_of(error)),
        "finding": finding,
        "time": clock.now(),
    }
