"""One step: what the plan wants of a device, how it is called, and the status that is given out."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sdl import values
from sdl.instrument import Effect


@dataclass(frozen=True)
class Call:
    """One step as the plan wants it."""

    n: int
    command: str
    device: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    effect: Effect = Effect.MEASURE

    @property
    def instrument(self) -> str:
        return getattr(self.device, "name", "") or ""

    @property
    def argument(self) -> Any:
        """What the record shows: one argument as it is, more as a list, named ones as a mapping."""
        listed = [values.plain(a) for a in self.args]
        if self.kwargs:
            listed.append(values.plain(dict(self.kwargs)))
        return None if not listed else listed[0] if len(listed) == 1 else listed

    def __str__(self) -> str:
        return in_words(self.command, self.instrument, self.argument)


class Progress:
    """Joins those who watch a step with what there is to watch, whichever comes first."""

    def __init__(self) -> None:
        self._watchers: list[Callable[..., Any]] = []
        self._status: Any = None

    def watch(self, watcher: Callable[..., Any]) -> None:
        self._watchers.append(watcher)
        if self._status is not None:
            self._status.watch(watcher)

    def follow(self, status: Any) -> None:
        """Pass on what a device's own status says, if it says anything."""
        if hasattr(status, "watch"):
            self._status = status
            for watcher in self._watchers:
                status.watch(watcher)


class StepStatus:
    """The status of a step (Bluesky's protocol `Status`); it passes on the device's progress."""

    def __init__(self, task: "asyncio.Task[Any]", progress: Progress, call: Call) -> None:
        self.call, self._task, self._progress = call, task, progress

    def add_callback(self, callback: Callable[["StepStatus"], None]) -> None:
        if self._task.done():
            callback(self)
        else:
            self._task.add_done_callback(lambda _: callback(self))

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """What went wrong; None also as long as it is not done."""
        if not self._task.done():
            return None
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()

    @property
    def done(self) -> bool:
        return self._task.done()

    @property
    def success(self) -> bool:
        return self._task.done() and self.exception() is None

    def watch(self, watcher: Callable[..., Any]) -> None:
        self._progress.watch(watcher)

    def __repr__(self) -> str:
        return f"<status of step {self.call.n}, {self.call}>"


async def perform(call: Call, progress: Progress | None = None) -> Any:
    """Call the device; wait for its status or its coroutine, or take its answer.

    :returns: the answer; of a `collect` all that was collected; of a status None.
    """
    if call.command == "collect":
        collect = getattr(call.device, "collect_pages", None) or call.device.collect
        return [item async for item in _iterate(collect())]
    answer = getattr(call.device, call.command)(*call.args, **call.kwargs)
    if progress is not None:
        progress.follow(answer)
    if inspect.isawaitable(answer):
        return await answer
    if hasattr(answer, "add_callback"):  # a status of classic ophyd
        return await _status_of_thread(answer)
    return answer


def in_words(command: str, instrument: str, argument: Any) -> str:
    """A step as a person reads it: "set substrate_pump -5.25"."""
    words = (command, instrument, argument)
    return " ".join(short(word) for word in words if word not in ("", None))


def short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


async def _iterate(items: Any) -> AsyncIterator[Any]:
    items = await items if inspect.isawaitable(items) else items
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _status_of_thread(status: Any) -> None:
    """Wait for a status that is set in a thread of its own, as classic ophyd's are."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def ended(_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: done.done() or done.set_result(None))

    status.add_callback(ended)
    await done
    error = status.exception(timeout=0)
    if error is not None:
        raise error
