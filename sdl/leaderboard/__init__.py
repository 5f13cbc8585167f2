"""Strategies compared on tasks: jobs (task x strategy x seed), scores, a page.

    bench = load(Path("bench.yaml"))
    run(bench, Path("leaderboard"), workers=2, folder=Path())
    write(bench, Path("leaderboard"), Path())

Every job is a file of its own, written whole as soon as it is done: what is there is not done
again.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sdl.errors import ConfigError

if TYPE_CHECKING:
    from sdl.leaderboard.asked import Bench

__all__ = ["write"]


def write(bench: "Bench", out: Path, folder: Path) -> Path:
    """Write `leaderboard.json` and `leaderboard.html` of what has been done; return the page.

    The same jobs give the same files.

    :param out: where the jobs are; `folder` is whose `optimizers/` may be used.
    :raises ConfigError: the files cannot be written, or something is wrong with what is compared.
    """
    from sdl.leaderboard.board import assemble
    from sdl.leaderboard.page import render

    board = assemble(bench, out, folder)
    page = out / "leaderboard.html"
    _replace(out / "leaderboard.json", json.dumps(board, indent=1, allow_nan=False) + "\n")
    _replace(page, render(board))
    return page


def _replace(file: Path, text: str) -> None:
    from sdl.leaderboard.storing import replace

    try:
        replace(file, text.encode())
    except OSError as error:
        raise ConfigError.at(file, "", f"cannot be written: {error.strerror}") from error
