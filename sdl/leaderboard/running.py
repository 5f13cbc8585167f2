"""All jobs of a bench, side by side; each is written as soon as it is done and not done again."""

import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl import filelock
from sdl.errors import ConfigError
from sdl.leaderboard.asked import Bench, StrategyEntry, TaskEntry
from sdl.leaderboard.job import strategy_class
from sdl.leaderboard.keys import key, versions
from sdl.leaderboard.problems import Problem
from sdl.leaderboard.slots import Slot
from sdl.leaderboard.storing import replace, tidy

LOOK = 0.2  # s between two looks at whether somebody pressed Ctrl-C


@dataclass(frozen=True)
class Order:
    """A job that is wanted."""

    task: TaskEntry
    strategy: StrategyEntry
    seed: int
    key: str

    def file(self, out: Path) -> Path:
        return out / "jobs" / f"{self.key}.json"


@dataclass(frozen=True)
class Progress:
    """What there is to tell after each job."""

    done: int
    total: int
    order: Order
    error: str
    """Empty where the job did not fail."""


Tell = Callable[[Progress], None]
Finish = Callable[[Order, dict[str, Any]], None]


def orders(bench: Bench, folder: Path) -> list[Order]:
    """Return all jobs, strategy after strategy, seed after seed.

    :param folder: whose `optimizers/` strategies may come from, besides those installed.
    :raises ConfigError: a strategy is not known.
    """
    return [
        Order(task, strategy, seed, key(task, strategy, seed, bench.batch, folder))
        for strategy in bench.compared
        for seed in bench.seeds
        for task in bench.tasks
    ]


def problems(bench: Bench, out: Path) -> dict[str, Problem]:
    """Return the problems by title.

    :raises ConfigError: one of them is wrong.
    """
    tables = out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    return {task.title: task.problem(tables) for task in bench.tasks}


def run(
    bench: Bench,
    out: Path,
    *,
    workers: int,
    folder: Path,
    tell: Tell = lambda _: None,
    retry: bool = False,
    ray: bool = False,
) -> None:
    """Do what has not been done yet. Ctrl-C (KeyboardInterrupt) leaves what is done, whole.

    :param out: where the jobs' files are.
    :param workers: processes side by side.
    :param retry: do failed jobs again.
    :param ray: hand the jobs to a Ray cluster; `out` must then be on a disk that all nodes share.
    :raises ConfigError: something is wrong with what is compared, or another bench runs in `out`.
    """
    with _alone(out):
        check(bench, problems(bench, out), folder)
        wanted = orders(bench, folder)
        done = {o.key for o in wanted if (found := read(o, out)) and not (retry and found["error"])}
        left = [order for order in wanted if order.key not in done]
        count = len(wanted) - len(left)

        def finish(order: Order, result: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            _write(order, out, result | {"versions": dict(versions(order.strategy.use, folder))})
            error = (result["error"] or {}).get("message", "")
            tell(Progress(count, len(wanted), order, error))

        requests = [(order, _request(order, bench, out, folder)) for order in left]
        if ray:
            from sdl.leaderboard.cluster import spread

            spread(requests, bench.ask_timeout, finish)
        elif requests:
            _side_by_side(requests, min(workers, len(requests)), bench.ask_timeout, finish)


def check(bench: Bench, found: Mapping[str, Problem], folder: Path) -> None:
    """:raises ConfigError: a strategy takes none of the tasks, because of its options say."""
    for strategy in bench.compared:
        made = strategy_class(strategy.use, folder)
        refusals = []
        for problem in found.values():
            try:
                made(problem.known.task, seed=0, **strategy.options)
            except ConfigError as error:
                refusals.append(error)
        if len(refusals) == len(found):
            raise ConfigError(f"strategy {strategy.title}: {refusals[0]}") from refusals[0]


def read(order: Order, out: Path) -> dict[str, Any] | None:
    """Return a job's result, or None where there is none that can be read."""
    try:
        found = json.loads(order.file(out).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == order.key else None


def _request(order: Order, bench: Bench, out: Path, folder: Path) -> dict[str, Any]:
    return {
        "task": order.task.model_dump(mode="json", exclude_none=True),
        "use": order.strategy.use,
        "options": order.strategy.options,
        "seed": order.seed,
        "batch": bench.batch,
        "folder": str(folder.resolve()),
        "tables": str((out / "tables").resolve()),
    }


def _write(order: Order, out: Path, result: dict[str, Any]) -> None:
    names = {"task": order.task.title, "strategy": order.strategy.title, "seed": order.seed}
    text = json.dumps({"schema": 1, "key": order.key, **names, **result}, allow_nan=False)
    replace(order.file(out), text.encode())


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Own a folder; tidy up what a killed bench left."""
    try:
        (out / "jobs").mkdir(parents=True, exist_ok=True)
        with (out / ".lock").open("a") as lock:
            if not filelock.lock(lock.fileno()):
                raise ConfigError(f"{out}: another `sdl bench` runs there; wait, or give --out")
            tidy(out / "jobs")
            tidy(out)
            yield
    except OSError as error:
        raise ConfigError.at(out, "", f"cannot be written: {error.strerror}") from error


def _side_by_side(
    requests: Sequence[tuple[Order, dict[str, Any]]], workers: int, timeout: float, finish: Finish
) -> None:
    """Do jobs in processes of this machine, a thread for each that waits for it."""
    left, finished = deque(requests), queue.SimpleQueue[tuple[Order, Any]]()
    slots = [Slot(timeout) for _ in range(workers)]

    def serve(slot: Slot) -> None:
        while True:
            try:
                order, request = left.popleft()
            except IndexError:
                return
            try:
                finished.put((order, slot.do(request)))
            except OSError as error:  # no process can be started
                finished.put((order, error))
                return

    threads = [threading.Thread(target=serve, args=(slot,), daemon=True) for slot in slots]
    for thread in threads:
        thread.start()
    try:
        for _ in requests:
            order, result = _next(finished)
            if isinstance(result, OSError):
                raise ConfigError(f"no worker process can be started: {result}") from result
            finish(order, result)
    finally:
        left.clear()
        for slot in slots:
            slot.close()
        for thread in threads:
            thread.join(timeout=10)


def _next(finished: "queue.SimpleQueue[tuple[Order, Any]]") -> tuple[Order, Any]:
    while True:
        try:
            return finished.get(timeout=LOOK)
        except queue.Empty:
            continue
