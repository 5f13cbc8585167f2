"""One job: a strategy solves a task once, from one seed.

What it proposes is told nothing but points and outcomes. Initial points are those of the problem;
the strategy hears of them before its first answer.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sdl import plugins
from sdl.errors import ConfigError, OptimizerError, SdlError
from sdl.leaderboard.asked import TaskEntry
from sdl.leaderboard.baseline import NAME as BASELINE
from sdl.leaderboard.baseline import Random
from sdl.leaderboard.memory import forget_peak, peak
from sdl.leaderboard.problems import Tried
from sdl.space import Point
from sdl.suggest import Optimizer, WarmsUp
from sdl.task import Task

ENTRY: TypeAdapter[TaskEntry] = TypeAdapter(TaskEntry)
Beat = Callable[[str], None]
"""Told what is being done: "asking" and "trial"; whoever listens kills what takes too long."""


class Asker:
    """Asks a strategy for points, and measures what that costs."""

    def __init__(
        self, task: Task, starts: Sequence[Point], optimizer: Optimizer, beat: Beat
    ) -> None:
        self._space, self._optimizer, self._beat = task.space, optimizer, beat
        self._starts = list(starts)
        self._told: dict[Any, Mapping[str, Any]] = {}
        self._seen: set[tuple[Any, ...]] = set()
        self.asks: list[dict[str, float]] = []
        self.tells: list[float] = []
        """CPU s of telling one point, where one was told alone."""
        self.duplicates = 0

    def next(
        self, n: int, points: Sequence[Mapping[str, Any]], context: Mapping[str, Any]
    ) -> list[Point]:
        """Return the next points: the problem's own first.

        :raises OptimizerError: the strategy gives too few, or one outside the space.
        """
        if self._starts:
            found, self._starts = self._starts[:n], self._starts[n:]
        else:
            self._beat("asking")
            self._tell(points)
            found = self._ask(n, context)
            self._beat("trial")
        rounded = [self._space.round(point) for point in found]
        for point in rounded:
            key = tuple(point.values())
            self.duplicates += key in self._seen
            self._seen.add(key)
        return rounded

    def _tell(self, points: Sequence[Mapping[str, Any]]) -> None:
        new = [dict(p) for p in points if self._told.get(p["_id"]) != p]
        began = _cpu()
        if new:
            self._optimizer.ingest(new)
        if len(new) == 1:
            self.tells.append(_cpu() - began)
        self._told |= {p["_id"]: p for p in new}

    def _ask(self, n: int, context: Mapping[str, Any]) -> list[Point]:
        cpu, wall = _cpu(), time.perf_counter()
        found = self._optimizer.suggest(n, **context)
        took = {"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall}
        self.asks.append({"n": n, "known": len(self._told), **took})
        if not isinstance(found, list) or len(found) != n:
            raise OptimizerError(f"asked for {n} points: it returned {found!r}")
        for point in found:
            wrong = self._space.check(point) if isinstance(point, dict) else ["it is no mapping"]
            if wrong:
                raise OptimizerError(f"it suggested {point!r}: {'; '.join(wrong)}")
        return found


def run(order: Mapping[str, Any], beat: Beat = lambda _: None) -> dict[str, Any]:
    """Do a job and return what came of it, as JSON.

    :param order: `task` (as `asked.TaskEntry`), `use`, `options`, `seed`, `batch`, `folder` (of
        strategies of one's own, or None), `tables` (a folder that may be written).
    :return: `trials`, `asks`, `tells`, `duplicates`, `warm_up`, `peak_mb` and `error` (None, or its
        `kind`, `message` and the number of trials before it).
    """
    result: dict[str, Any] = {"trials": [], "error": None}
    asker: Asker | None = None
    measures_peak = forget_peak()

    def record(tried: Tried) -> None:
        result["trials"].append(_plain(tried))

    try:
        Path(order["tables"]).mkdir(parents=True, exist_ok=True)
        problem = ENTRY.validate_python(order["task"]).problem(Path(order["tables"]))
        optimizer = _strategy(order, problem.known.task)
        result["warm_up"] = _warm(optimizer, order["seed"], beat)
        asker = Asker(problem.known.task, problem.starts(order["seed"]), optimizer, beat)
        problem.run(asker.next, seed=order["seed"], batch=order["batch"], record=record)
    except Exception as error:  # noqa: BLE001 (plug-ins raise anything; it stands in the result)
        result["error"] = _said(error, len(result["trials"]))
    if asker is not None:
        result |= {"asks": asker.asks, "tells": asker.tells, "duplicates": asker.duplicates}
    result["peak_mb"] = peak() if measures_peak else None
    return result


def strategy_class(use: str, folder: Path | None) -> Any:
    """Return the class of a strategy.

    :raises ConfigError: nothing is called so.
    """
    if use == BASELINE and BASELINE not in plugins.names("optimizers", folder):
        return Random
    try:
        return plugins.load("optimizers", use, folder)
    except plugins.PluginError as error:
        raise ConfigError(str(error)) from error


def _strategy(order: Mapping[str, Any], task: Task) -> Optimizer:
    folder = Path(order["folder"]) if order["folder"] else None
    return strategy_class(order["use"], folder)(task, seed=order["seed"], **order["options"])


def _warm(optimizer: Optimizer, seed: int, beat: Beat) -> float:
    """Import what the strategy needs, then seed what it might use beside its own generator."""
    began = _cpu()
    beat("asking")
    if isinstance(optimizer, WarmsUp):
        optimizer.warm_up()
    took = _cpu() - began
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)
    beat("trial")
    return took


def _plain(tried: Tried) -> dict[str, Any]:
    return {
        "parameters": dict(tried.parameters),
        "outcomes": None if tried.outcomes is None else dict(tried.outcomes),
        "truth": None if tried.truth is None else dict(tried.truth),
        **({"cause": tried.cause} if tried.cause else {}),
        **({"top": tried.top} if tried.top is not None else {}),
    }


def _said(error: Exception, trials: int) -> dict[str, Any]:
    kind = "" if isinstance(error, SdlError) else f"{type(error).__name__}: "
    message = f"{kind}{error}" if str(error) else repr(error)
    return {"kind": type(error).__name__, "message": message[:2000], "trials": trials}


def _cpu() -> float:
    """CPU seconds of this process, its threads and the processes that it waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
