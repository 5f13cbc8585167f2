"""The optimizer in its own process, so that the instruments' loop never stalls."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sdl.clock import held
from sdl.errors import OptimizerError
from sdl.suggest import Suggestion
from sdl.suggest._child import Child, ChildError
from sdl.task import Task

RESTARTS = 3
BACK_OFF = 0.2  # s before the first restart, in real time; doubles with each


class OptimizerProcess:
    """Asks an optimizer that runs in a process of its own; restarts that when it dies or hangs.

    :param name: as a campaign file names it (see `sdl.plugins`).
    :param folder: the lab folder, whose own `optimizers/` are looked in too.
    :param timeout: real seconds that one answer may take; the process is killed then.
    :param on_restart: called in the loop, with the reason, whenever the process is started again.

    Use it as an async context manager. Requests are answered one after the other.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        *,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path | None = None,
        timeout: float = 120.0,
        on_restart: Callable[[str], object] | None = None,
    ) -> None:
        self._name, self._space, self._timeout = name, task.space, timeout
        self._on_restart = on_restart
        self._request = {
            "optimizer": name,
            "folder": None if folder is None else str(folder.resolve()),
            "task": task.model_dump(mode="json"),
            "options": dict(options or {}),
            "seed": seed,
        }
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"optimizer {name}")
        self._child: Child | None = None
        self._told: Mapping[Any, Mapping[str, Any]] | None = None  # by the child that lives now
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True  # before the kill, or the thread would start another
        if self._child is not None:
            self._child.kill()
        with held():
            await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    @property
    def pid(self) -> int | None:
        """The process's id, once it runs."""
        return None if self._child is None else self._child.pid

    async def warm_up(self) -> None:
        """Start the process and let it import what it needs.

        :raises OptimizerError: the optimizer's options are wrong, or its process does not live.
        """
        await self._ask({"ask": "warm_up"})

    async def suggest(
        self,
        n: int,
        history: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        *,
        forecast: Mapping[str, Any] | None = None,
    ) -> list[Suggestion]:
        """Return `n` suggestions, given all points so far, pending ones included.

        :param context: the present values of the task's contexts.
        :param forecast: what one wants to know of the trials to come (see `Forecasts`): it stands
            in the provenance under `forecast`, if the optimizer can say it.
        :raises OptimizerError: the optimizer gives none, or one outside the space; or its process
            died or hung `RESTARTS` times in a row.
        """
        question: dict[str, Any] = {"ask": "suggest", "n": n, "context": dict(context or {})}
        if forecast is not None:
            question["forecast"] = dict(forecast)
        reply = await self._ask(question, history)
        points, provenance = reply.get("points"), reply.get("provenance", {})
        if not isinstance(points, list) or len(points) != n:
            raise OptimizerError(f"{self._name}: asked for {n} points: it returned {points!r}")
        for point in points:
            mistakes = (
                self._space.check(point) if isinstance(point, dict) else ["it is not a mapping"]
            )
            if mistakes:
                raise OptimizerError(
                    f"{self._name}: suggested {point!r}, which is outside the space: "
                    + "; ".join(mistakes)
                )
        return [
            Suggestion(self._space.round(point), _own_why(provenance, place))
            for place, point in enumerate(points)
        ]

    async def leave_one_out(self, history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the model's leave-one-out predictions (see `Predicts`); none if it has no model.

        :raises OptimizerError: as `suggest`.
        """
        reply = await self._ask({"ask": "leave_one_out"}, history)
        return reply["predictions"]

    async def judge(self, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return how far the model can be trusted (see `Judges`); empty if it cannot say.

        :raises OptimizerError: as `suggest`.
        """
        reply = await self._ask({"ask": "judge"}, history)
        judgement = reply["judgement"]
        if not isinstance(judgement, dict):
            raise OptimizerError(f"{self._name}: judged its model as {judgement!r}, no mapping")
        return judgement

    async def _ask(
        self, question: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        given_up = threading.Event()

        def tell(reason: str) -> None:
            if self._on_restart is not None:
                loop.call_soon_threadsafe(self._on_restart, reason)

        request = {**self._request, **question}
        points = {point["_id"]: point for point in history}
        with held():
            work = loop.run_in_executor(
                self._thread, self._exchange, request, points, given_up, tell
            )
            try:
                reply = await asyncio.shield(work)
            except asyncio.CancelledError:
                given_up.set()  # before the kill, or the thread would start another
                if self._child is not None:
                    self._child.kill()
                work.add_done_callback(lambda done: done.cancelled() or done.exception())
                raise
        if "error" in reply:
            raise OptimizerError(f"{self._name}: {reply['error']}")
        return reply

    def _exchange(
        self,
        request: dict[str, Any],
        points: Mapping[Any, Mapping[str, Any]],
        given_up: threading.Event,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Ask until there is an answer; runs in the thread."""
        reason = ""
        for attempt in range(RESTARTS + 1):
            if attempt and not given_up.wait(BACK_OFF * 2 ** (attempt - 1)):
                tell(f"{reason}\n(started again, {attempt} of {RESTARTS})")
            try:
                child = self._child = self._child or Child()
                if self._closed or given_up.is_set():
                    raise OptimizerError(f"{self._name}: nobody waits for the answer any more")
                reply = child.exchange(request | self._news(points), self._timeout)
                self._told = None if "error" in reply else points
                return reply
            except ChildError as error:
                self._child = None
                self._told = None
                reason = f"{self._name}: the optimizer's process failed: {error}"
            except (TypeError, ValueError) as error:  # before anything was sent
                raise OptimizerError(f"{self._name}: cannot be asked: {error}") from error
            except OSError as error:
                raise OptimizerError(
                    f"{self._name}: its process does not start: {error}"
                ) from error
        raise OptimizerError(f"{reason}\n(gave up after {RESTARTS} restarts)")

    def _news(self, points: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
        """What the present child does not know yet of the history; all of it where it is new."""
        known = self._told
        if known is None or not known.keys() <= points.keys():
            return {"history": list(points.values()), "known": 0}
        new = [point for number, point in points.items() if known.get(number) != point]
        return {"history": new, "known": len(known)}

    def _drop(self) -> None:
        self._told = None
        if self._child is not None:
            self._child.close()
            self._child = None


def _own_why(provenance: Mapping[str, Any], place: int) -> Mapping[str, Any]:
    """Of a batch's reasons, keep those of one of its points."""
    reasons = provenance.get("why")
    if not isinstance(reasons, list):
        return provenance
    rest = {key: value for key, value in provenance.items() if key != "why"}
    return {**rest, "why": reasons[place]} if place < len(reasons) else rest
