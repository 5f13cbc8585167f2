"""Jobs on a Ray cluster: the same processes, started by Ray on whichever node is free."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdl.errors import ConfigError
from sdl.leaderboard.slots import Slot

LOOK = 1.0  # s


def once(request: Mapping[str, Any], ask_timeout: float) -> dict[str, Any]:
    """Do one job in a process of its own; runs on a node."""
    slot = Slot(ask_timeout)
    try:
        return slot.do(request)
    finally:
        slot.close()


def spread(
    requests: Sequence[tuple[Any, dict[str, Any]]],
    ask_timeout: float,
    finish: Callable[[Any, dict[str, Any]], None],
) -> None:
    """Do jobs on the cluster that Ray finds, or on one of this machine.

    :raises ConfigError: Ray is not installed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ConfigError("--ray: Ray is not installed: pip install ray") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1, max_retries=2)(once)
        running = {remote.remote(request, ask_timeout): order for order, request in requests}
        while running:
            done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK)
            for one in done:
                finish(running.pop(one), _result(ray, one))
    finally:
        if ours:
            ray.shutdown()


def _result(ray: Any, one: Any) -> dict[str, Any]:
    try:
        return ray.get(one)
    except ray.exceptions.RayError as error:
        said = {"kind": type(error).__name__, "message": str(error)[:2000], "trials": 0}
        return {"trials": [], "error": said}
