"""`sdl bench`: compare optimizers; every job is kept, so that it can be interrupted."""

import os
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sdl.errors import ConfigError

if TYPE_CHECKING:
    from sdl.leaderboard.asked import Bench
    from sdl.leaderboard.running import Progress

DEFAULT_STRATEGIES = ("sobol", "botorch")
INTERRUPTED = 130


def run(options: Namespace) -> int:
    from sdl import leaderboard
    from sdl.leaderboard import running

    bench, folder = _asked(options)
    out = options.out or folder / "leaderboard"
    count = len(bench.tasks) * len(bench.compared) * len(bench.seeds)
    print(
        f"{len(bench.tasks)} tasks x {len(bench.compared)} strategies x {len(bench.seeds)} seeds: "
        f"{count} jobs in {out}",
        flush=True,
    )
    lines = _Lines()
    try:
        running.run(
            bench,
            out,
            workers=options.workers or os.cpu_count() or 1,
            folder=folder,
            tell=lines.tell,
            retry=options.retry,
            ray=options.ray,
        )
    except KeyboardInterrupt:
        lines.end()
        print("interrupted: what is done is kept; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    finally:
        lines.end()
    page = leaderboard.write(bench, out, folder)
    print(_places(page.with_suffix(".json")))
    print(f"The leaderboard is {page}, as data {page.with_suffix('.json').name}")
    return 0


def _asked(options: Namespace) -> "tuple[Bench, Path]":
    from sdl.leaderboard import asked

    if options.file is not None:
        if options.task or options.strategy:
            raise ConfigError("bench: give either a file or --task and --strategy, not both")
        bench, folder = asked.load(options.file), options.file.parent
    elif options.task:
        bench, folder = asked.named(options.task, options.strategy or DEFAULT_STRATEGIES), Path()
    else:
        raise ConfigError("bench: give a bench file, or --task (and --strategy)")
    if options.seeds is not None:
        bench = bench.model_copy(update={"seeds": tuple(options.seeds)})
    if options.batch is not None:
        bench = bench.model_copy(update={"batch": options.batch})
    return bench, folder


class _Lines:
    """Says what is done: one line that is written over on a terminal, else a line each."""

    def __init__(self) -> None:
        self._began, self._first = time.monotonic(), 0
        self._live = sys.stdout.isatty()
        self._open = False

    def tell(self, progress: "Progress") -> None:
        order = progress.order
        what = f"{order.task.title}, {order.strategy.title}, seed {order.seed}"
        said = f": failed: {progress.error.splitlines()[0][:160]}" if progress.error else ""
        line = f"{progress.done} of {progress.total}: {what}{said}"
        if not self._live:
            print(line, flush=True)
            return
        self._first = self._first or progress.done
        left = self._left(progress)
        print(f"\r\033[K{line[:90]}{left}", end="\n" if said else "", flush=True)
        self._open = not said

    def _left(self, progress: "Progress") -> str:
        """How long the rest takes, if jobs go on as they did since the first."""
        from sdl.report.words import duration

        done = progress.done - self._first
        if done <= 0:
            return ""
        seconds = (time.monotonic() - self._began) / (done + 1) * (progress.total - progress.done)
        return f"; about {duration(seconds)} left"

    def end(self) -> None:
        if self._open:
            print(flush=True)
        self._open = False


def _places(file: Path) -> str:
    """The strategies by mean rank, from what was written."""
    import json

    from sdl.report.words import number

    lines = []
    for row in json.loads(file.read_text("utf-8"))["overall"]:
        rank = number(row["rank"]["mean"], 3) if row["rank"] else "none"
        failed = f", {row['failed']} of {row['done']} jobs failed" if row["failed"] else ""
        lines.append(f"  {row['name']}: mean rank {rank}{failed}")
    return "\n".join(lines)
