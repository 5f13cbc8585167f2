"""A lab of valves on real ports, and a runtime to be killed: for tests and benchmarks of STOP.

A valve hears `OPEN`, `CLOSE` and `?`, and answers `OK`; closed is its safe state. As behind most
device servers, each port takes one host at a time. A mute valve hears, and never answers.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sdl import endpoints
from sdl.endpoints.line import Line

DRIVER = '''
from sdl.errors import GarbledError
from sdl.instrument import Instrument
from sdl.wires.frames import until


class valve(Instrument):
    """Opens and closes."""

    async def connect(self, *arguments, **options):
        await self.ask("?")
        await super().connect(*arguments, **options)

    async def identify(self):
        return "valve"

    async def make_safe(self):
        await self.ask("CLOSE")

    async def ask(self, word):
        reply = await self.wire.ask(f"{word}\\n".encode(), until(b"\\n"))
        if reply != b"OK\\n":
            raise GarbledError(self.name, f"{word}: {reply!r}")
'''

RUNTIME = Path(__file__).with_name("runtime.py")


@dataclass
class Valve:
    """A simulated valve, and what it has heard when (`time.monotonic`)."""

    mute: bool = False
    heard: list[tuple[float, str]] = field(default_factory=list)

    async def serve(self, line: Line) -> None:
        received = b""
        while True:
            received += await line.read()
            while b"\n" in received:
                word, _, received = received.partition(b"\n")
                self.heard.append((time.monotonic(), word.decode()))
                if not self.mute:
                    await line.write(b"OK\n")

    def closed_at(self) -> float | None:
        """When it was closed after it was last opened; None if it is open."""
        moves = [(at, word) for at, word in self.heard if word in ("OPEN", "CLOSE")]
        closed = None
        for at, word in moves:
            closed = None if word == "OPEN" else closed or at
        return closed


@dataclass
class Bench:
    folder: Path
    valves: dict[str, Valve]

    @property
    def lab(self) -> Path:
        return self.folder / "lab.yaml"

    @property
    def control(self) -> Path:
        return self.folder / "journal.db.valves.control"

    @property
    def sound(self) -> dict[str, Valve]:
        return {name: valve for name, valve in self.valves.items() if not valve.mute}

    def is_safe(self) -> bool:
        return all(valve.closed_at() is not None for valve in self.sound.values())

    def safe_after(self, moment: float, timeout: float) -> float:
        """Wait until all that can be are closed; return how long after `moment` the last was."""
        while not self.is_safe():
            if time.monotonic() > moment + timeout:
                still = [n for n, valve in self.sound.items() if valve.closed_at() is None]
                raise TimeoutError(f"open after {timeout:g} s: {still}")
            time.sleep(0.01)
        return max(valve.closed_at() or 0.0 for valve in self.sound.values()) - moment

    @contextmanager
    def runtime(self, mode: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """The stand-in of a runtime (`runtime.py`), its valves open."""
        command = [sys.executable, str(RUNTIME), str(self.lab), mode, *words]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.folder
        )
        try:
            assert said(process) == "open"
            yield process
        finally:
            process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


@contextmanager
def served(folder: Path, count: int = 3, mute: Collection[int] = ()) -> Iterator[Bench]:
    """A lab folder whose valves are served on ports of this machine."""
    valves = {f"valve_{i}": Valve(mute=i in mute) for i in range(count)}
    loop, ready, end = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    urls: dict[str, str] = {}

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            for name, valve in valves.items():
                place = endpoints.serve("tcp://0.0.0.0:1", [valve])
                urls[name] = await stack.enter_async_context(place)
            ready.set()
            await end.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(10)
    _write(folder, urls)
    try:
        yield Bench(folder, valves)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


def _write(folder: Path, urls: dict[str, str]) -> None:
    (folder / "drivers").mkdir(exist_ok=True)
    (folder / "drivers" / "valve.py").write_text(DRIVER)
    lines = ["lab: valves", "wires:"]
    lines += [f"  {name}: {url}" for name, url in urls.items()]
    lines += ["instruments:"]
    lines += [f"  {name}: {{driver: valve, wire: {name}}}" for name in urls]
    (folder / "lab.yaml").write_text("\n".join(lines) + "\n")
