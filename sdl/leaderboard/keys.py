"""What a job depends on, as one number: a job whose key is known is not done again."""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from sdl.leaderboard.asked import AnalyticTask, StrategyEntry, TableTask, TaskEntry
from sdl.leaderboard.job import strategy_class
from sdl.program import imported, modules_of

DEFINITIONS = 1
"""Counts changes of problems, or of how a job is done, that change its result."""

ROOMS = ("drivers", "plans", "simulators", "optimizers")


def key(task: TaskEntry, strategy: StrategyEntry, seed: int, batch: int, folder: Path) -> str:
    """Return the key of a job: 16 hexadecimal digits.

    It changes with the task (of a file its content, not its place), the strategy, its options and
    program text, the versions of what it imports, the seed and the batch; not with names.
    """
    text = json.dumps(
        {
            "definitions": DEFINITIONS,
            "task": _task(task),
            "use": strategy.use,
            "options": strategy.options,
            "program": program(strategy.use, folder),
            "versions": versions(strategy.use, folder),
            "seed": seed,
            "batch": batch,
        },
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _task(task: TaskEntry) -> dict[str, Any]:
    said = task.model_dump(mode="json", exclude={"name", "target"}, exclude_none=True)
    if isinstance(task, AnalyticTask):
        return said
    if isinstance(task, TableTask):
        return said | {"table": _digest(Path(task.table))}
    folder = Path(task.twin).parent
    own = [file for room in ROOMS for file in sorted((folder / room).glob("*.py"))]
    files = [Path(task.twin), *sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.csv")), *own]
    return said | {"twin": [_digest(file) for file in files]}


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return "it cannot be read"  # which the job will say


@cache
def program(use: str, folder: Path) -> str:
    """Return a digest of a strategy's program: its module and all that this imports of ours.

    Comments and layout do not count. Foreign packages count by their version.
    """
    trees = modules_of(strategy_class(use, folder))
    parts = [f"{name}:{ast.dump(tree)}" for name, tree in sorted(trees.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def versions(use: str, folder: Path) -> Mapping[str, str]:
    """Return the versions of the packages that a strategy's program imports, and of sdl."""
    owners = packages_distributions()
    tops = {top for tree in modules_of(strategy_class(use, folder)).values() for top in _tops(tree)}
    names = {owner for top in tops | {"sdl"} for owner in owners.get(top, ())} | {"sdl"}
    found = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _tops(tree: ast.Module) -> Iterator[str]:
    yield from (name.partition(".")[0] for name in imported(tree))
