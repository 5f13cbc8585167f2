"""The optimizer's own process: `python -m sdl.suggest.worker`, JSON lines in and out.

An answer depends on nothing but task, options, seed and history, so a worker started a moment ago
answers like one that has run for weeks. Only what is new of the history is sent, to a worker that
has the rest. The worker ends when its parent does (its input ends), leaves Ctrl-C to
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
from sdl.suggest import Forecasts, Judges, Optimizer, Predicts, WarmsUp
from sdl.task import Task


class Memory:
    """The history as it was sent so far, and the optimizer that was told of it."""

    def __init__(self) -> None:
        self._points: dict[Any, Any] = {}
        self._optimizer: Optimizer | None = None

    def optimizer(self, request: Mapping[str, Any]) -> Optimizer:
        """Return the optimizer with all of the history; one that is `incremental` is kept."""
        new: list[Any] = request["history"]
        if request["known"] != len(self._points) or request["known"] == 0:
            self._points, self._optimizer = {}, None
        self._points |= {point["_id"]: point for point in new}
        if self._optimizer is None or not getattr(self._optimizer, "incremental", False):
            self._optimizer = _optimizer(request)
            new = list(self._points.values())
        if new:
            self._optimizer.ingest(new)
        return self._optimizer


def answer(request: Mapping[str, Any], memory: Memory) -> dict[str, Any]:
    """Do what one request asks."""
    optimizer = memory.optimizer(request)
    match request["ask"]:
        case "warm_up":
            if isinstance(optimizer, WarmsUp):
                optimizer.warm_up()
            return {}
        case "leave_one_out":
            if not isinstance(optimizer, Predicts):
                return {"predictions": []}
            return {"predictions": optimizer.leave_one_out()}
        case "judge":
            return {"judgement": _judgement(optimizer)}
        case "suggest":
            points = optimizer.suggest(request["n"], **request["context"])
            provenance = dict(optimizer.provenance)
            if request.get("forecast") is not None and isinstance(optimizer, Forecasts):
                provenance["forecast"] = optimizer.forecast(points, request["forecast"])
            return {"points": points, "provenance": provenance}
        case other:
            raise ValueError(f"the optimizer's process knows no request {other!r}")


def _judgement(optimizer: Optimizer) -> dict[str, Any]:
    """All that an optimizer can say of its model; of one without, that is nothing."""
    if isinstance(optimizer, Judges):
        return optimizer.judge()
    if isinstance(optimizer, Predicts) and (found := optimizer.leave_one_out()):
        return {"predictions": found}
    return {}


def _optimizer(request: Mapping[str, Any]) -> Optimizer:
    folder = Path(request["folder"]) if request["folder"] is not None else None
    return load("optimizers", request["optimizer"], folder)(
        Task.model_validate(request["task"]),
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
    memory = Memory()
    while True:
        request = json.loads(lines.get())
        try:
            reply = answer(request, memory)
            text = json.dumps({"id": request["id"], **reply}, allow_nan=False)
        except Exception as error:  # noqa: BLE001 (plug-ins raise anything; the parent is told)
            traceback.print_exc()
            memory = Memory()  # the parent sends all of it again
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
