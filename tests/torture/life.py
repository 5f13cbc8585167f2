"""A runtime that comes to grief by itself: `python life.py FOLDER`, for tests only.

`FOLDER/targets.json` says at which boundaries `[step, where]`: it kills itself at the first one of
`kill`; at the first one of `fill` no file can grow for `FULL` seconds; its clock is `clock` seconds
wrong. Each boundary that it reaches is a line of `FOLDER/boundaries.jsonl`, made to fit beforehand.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sdl import Campaign, Lab
from sdl.session import Session

FULL = 4.0  # s


def main(folder: Path) -> int:
    orders = json.loads((folder / "targets.json").read_text())
    kill, fill = ({(n, where) for n, where in orders[what]} for what in ("kill", "fill"))
    if orders["clock"]:
        _set_clock(orders["clock"])
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    log = os.open(folder / "boundaries.jsonl", flags, 0o600)
    filled = False

    def on_boundary(n: int, where: str) -> None:
        nonlocal filled
        killed, full = (n, where) in kill, (n, where) in fill and not filled
        if not filled:  # afterwards the line may not fit
            os.write(log, f"{json.dumps([n, where, killed or full])}\n".encode())
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if full:
            filled = True
            _fill_disk()

    campaign, lab = Campaign.load(folder / "campaign.yaml"), Lab.load(folder / "sim.yaml")
    with Session(campaign, lab, on_boundary=on_boundary) as session:
        ending = session.wait()
    return 1 if ending.gave_up else 0


def _fill_disk() -> None:
    """For this process no file can grow, until somebody has freed the disk."""
    was, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    freed = threading.Timer(FULL, resource.setrlimit, (resource.RLIMIT_FSIZE, (was, most)))
    freed.daemon = True
    freed.start()


def _set_clock(seconds: float) -> None:
    right = time.time
    time.time = lambda: right() + seconds


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
