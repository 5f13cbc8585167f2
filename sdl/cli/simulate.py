"""`sdl simulate`: a lab's simulators on real ports, for anybody's driver to connect to."""

import asyncio
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError

if TYPE_CHECKING:
    from sdl.lab import Lab

Told = Callable[[dict[str, Any]], None]

OWN_ROOMS = ("drivers", "simulators", "worlds", "plans", "optimizers")


def run(options: Namespace) -> int:
    from sdl.cli import logs
    from sdl.clock import new_loop
    from sdl.lab import Lab

    lab = Lab.load(options.lab)
    if options.write is not None:
        _refuse_elsewhere(options.write, options.lab)
    if not lab.wires:
        raise ConfigError(lab.document.problem((), "has no wires, so there is nothing to serve"))
    if options.seed is not None and lab.world is not None:
        world = lab.world.model_copy(update={"seed": options.seed})
        lab = lab.model_copy(update={"world": world})
    if getattr(options, "faults", None) is not None:
        lab = _with_faults(lab, options.faults)
    actions: Path | None = getattr(options, "actions", None)
    if actions is not None and lab.world is None:
        raise ConfigError(f"--actions {actions}: the lab has no world, so nothing happens")
    with (
        logs.nowhere(),
        _record(actions, lab) as told,
        asyncio.Runner(loop_factory=lambda: new_loop(options.speed)) as runner,
    ):
        runner.run(_serve(lab, options.write, options.speed, told))
    return 0


def _with_faults(lab: "Lab", file: Path) -> "Lab":
    from sdl.disturbing import Disturbance, FaultScript

    def tell(happening: object) -> None:
        print(f"fault: {happening}", flush=True)

    return lab.with_faults(Disturbance(FaultScript.load(file), tell=tell))


@contextmanager
def _record(file: Path | None, lab: "Lab") -> Iterator[Told | None]:
    """What writes the actions of the simulated world: one JSON line each, on disk at once.

    An instrument whose action cannot be written dies: the file is taken for the truth.
    """
    import json

    if file is None:
        yield None
        return
    names = {entry.twin.part or name: name for name, entry in lab.instruments.items()}
    try:
        lines = file.open("a", buffering=1, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--actions {file}: cannot be written: {error.strerror}") from error
    with lines:

        def tell(action: dict[str, Any]) -> None:
            whose = {"t": action["t"], "instrument": names.get(action["part"])}
            lines.write(json.dumps({**whose, **action}) + "\n")

        yield tell


def _refuse_elsewhere(file: Path, lab: Path) -> None:
    """A lab file leads to the plug-ins beside it, and only to those."""
    home = lab.resolve().parent
    own = [room for room in OWN_ROOMS if (home / room).is_dir()]
    if file.resolve() == lab.resolve():
        raise ConfigError(f"--write {file}: that is the lab file itself; name another")
    if own and file.resolve().parent != home:
        raise ConfigError(
            f"--write {file}: write it into {home}: the lab has its own {', '.join(own)} there, "
            "which are looked for beside the lab file"
        )


async def _serve(lab: "Lab", write: Path | None, speed: float, told: Told | None) -> None:
    from sdl import assembly, clock, endpoints

    ended = _ended()
    async with AsyncExitStack() as stack:
        simulated = assembly.simulators(lab, clock.monotonic, told)
        urls = {}
        for name, devices in simulated.items():
            served = endpoints.serve(lab.wires[name].url, devices)
            urls[name] = await stack.enter_async_context(served)
        width = max(map(len, urls), default=0)
        for name, url in urls.items():
            print(f"{name:<{width}}  {url}")
        if write is not None:
            _write(lab, urls, write)
            print(f"written: {write}; `sdl run CAMPAIGN --lab {write}` uses these simulators")
        faster = "" if speed == 1 else f", {speed:g} times as fast as real time"
        print(f"ready: {lab.lab}, {len(urls)} wires{faster}; Ctrl-C ends it", flush=True)
        await ended.wait()
    print("ended")


def _ended() -> asyncio.Event:
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(*_: Any) -> None:
        loop.call_soon_threadsafe(event.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return event


def _write(lab: "Lab", urls: dict[str, str], file: Path) -> None:
    """The lab file with the simulators' URLs, and a journal of its own: this is no real lab."""
    import yaml

    words = {**lab.document.data, "wires": {}}
    for name, given in lab.document.data.get("wires", {}).items():
        url = urls[name]
        words["wires"][name] = {**given, "url": url} if isinstance(given, dict) else url
    words["journal"] = f"{file.stem}.db"
    text = yaml.safe_dump(words, sort_keys=False, allow_unicode=True, width=100)
    head = f"# Written by `sdl simulate {lab.document.path.name}`; good for as long as that runs.\n"
    file.write_text(head + text, encoding="utf-8")
