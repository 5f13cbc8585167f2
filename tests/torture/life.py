"""A runtime that kills itself: `python life.py FOLDER`, for tests only.

`FOLDER/targets.json` has the boundaries `[step, where]` at the first of which it dies. Each boundary
that it reaches is a line of `FOLDER/boundaries.jsonl`.
"""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sdl import Campaign, Lab
from sdl.session import Session


def main(folder: Path) -> int:
    targets = {(n, where) for n, where in json.loads((folder / "targets.json").read_text())}
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    log = os.open(folder / "boundaries.jsonl", flags, 0o600)

    def on_boundary(n: int, where: str) -> None:
        killed = (n, where) in targets
        os.write(log, f"{json.dumps([n, where, killed])}\n".encode())
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)

    campaign, lab = Campaign.load(folder / "campaign.yaml"), Lab.load(folder / "sim.yaml")
    with Session(campaign, lab, on_boundary=on_boundary) as session:
        ending = session.wait()
    print(f"ended: {ending}", flush=True)
    return 1 if ending.gave_up else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
