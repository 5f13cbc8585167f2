"""A process that does jobs: `python -m sdl.leaderboard.worker`, JSON lines in and out.

It ends when its parent does (its input ends) and leaves Ctrl-C to the parent. Before anything that
may take long it says what (`{"doing": ...}`); the parent kills it when that takes too long.
"""

import json
import math
import os
import queue
import signal
import sys
import threading
import warnings
from typing import IO, Any


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Do jobs until there are no more; never returns."""
    from sdl.leaderboard import job

    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            lines.put(line)
        os._exit(0)  # the parent is gone: nobody wants what is being computed

    def say(what: dict[str, Any]) -> None:
        replies.write(json.dumps(finite(what), allow_nan=False, default=_number).encode() + b"\n")
        replies.flush()

    threading.Thread(target=read, daemon=True, name="requests").start()
    say({"doing": "waiting"})
    while True:
        order = json.loads(lines.get())
        say({"result": job.run(order, lambda doing: say({"doing": doing}))})


def finite(value: Any) -> Any:
    """Return JSON without NaN and infinities: null stands for them."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    """Make plain numbers of numpy's."""
    if hasattr(value, "item"):
        return finite(value.item())
    raise TypeError(f"{value!r} is not JSON")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # strategies' own; thousands of them tell nobody anything
    # what a strategy prints must not get between the replies, nor may it read requests
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(requests, replies)


if __name__ == "__main__":
    main()
