"""The optimizer's own process: `python -m sdl.suggest.worker`, JSON lines in and out.

Every request carries all that its answer depends on, so a worker started a moment ago answers like
one that has run for weeks. The worker ends when its parent does (its input ends), leaves Ctrl-C to
the parent, and lets the instruments' process go first.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from sdl.plugins import load
from sdl.space import Objective, Space
from sdl.suggest import Optimizer, Predicts, WarmsUp


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what one request asks."""
    optimizer = _optimizer(request)
    match request["ask"]:
        case "warm_up":
            if isinstance(optimizer, WarmsUp):
                optimizer.warm_up()
            return {}
        case "leave_one_out":
            if not isinstance(optimizer, Predicts):
                return {"predictions": []}
            optimizer.ingest(request["history"])
            return {"predictions": optimizer.leave_one_out()}
        case "suggest":
            optimizer.ingest(request["history"])
            points = optimizer.suggest(request["n"])
            return {"points": points, "provenance": optimizer.provenance}
        case other:
            raise ValueError(f"the optimizer's process knows no request {other!r}")


def _optimizer(request: Mapping[str, Any]) -> Optimizer:
    folder = Path(request["folder"]) if request["folder"] is not None else None
    return load("optimizers", request["optimizer"], folder)(
        Space.model_validate(request["space"]),
        {name: Objective.model_validate(o) for name, o in request["objectives"].items()},
        seed=request["seed"],
        **request["options"],
    )


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests until there are no more; never returns."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            lines.put(line)
        os._exit(0)  # the parent is gone, and with it whoever wanted the answer being computed

    threading.Thread(target=read, daemon=True, name="requests").start()
    while True:
        request = json.loads(lines.get())
        try:
            reply = answer(request)
            text = json.dumps({"id": request["id"], **reply}, allow_nan=False)
        except Exception as error:  # noqa: BLE001 (plug-ins raise anything; the parent is told)
            traceback.print_exc()
            message = str(error) or repr(error)
            text = json.dumps({"id": request["id"], "error": message, "kind": type(error).__name__})
        replies.write(text.encode() + b"\n")
        replies.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
    # what a plug-in prints, in C too, must not get between the replies, nor may it read requests
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(requests, replies)


if __name__ == "__main__":
    main()
