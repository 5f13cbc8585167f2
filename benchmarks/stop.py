"""How soon a lab is safe: 20 instruments on TCP ports of this machine, one of which never answers.

    python benchmarks/stop.py [--rounds 3] [--instruments 20] [--timeout 2.0]

The runtime is a process of its own with its watchdog beside it; both have a full disk (RLIMIT_FSIZE
0: no file can grow). Each line is the time from the cause until the last instrument that can be
reached has heard its safe command, the longest of all rounds:

- STOP: from the start of the process `sdl stop` (Python's start included), and from the knock;
- dead loop: from the moment the runtime's loop begins to spin, `--timeout` s of silence included;
- killed: from `kill -9` of the runtime.

Baseline: the same instruments told from an open connection, by nobody but a loop of this process.
"""

import argparse
import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sdl.lab import Lab
from sdl.watchdog import control
from tests.watchdog import valves

BARS = {"sdl stop": 1.0, "knock": 1.0, "dead loop": 3.0}  # s
CODE = "import sys; from sdl.cli import main; sys.exit(main(sys.argv[1:]))"
LONGEST = 30.0  # s

Cause = Callable[["subprocess.Popen[str]", valves.Bench], object]


def stop_command(runtime: "subprocess.Popen[str]", bench: valves.Bench) -> object:
    command = [sys.executable, "-c", CODE, "stop", str(bench.folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def knock(runtime: "subprocess.Popen[str]", bench: valves.Bench) -> object:
    found = control.read(bench.control)
    assert found is not None
    return control.ask_to_stop(found, "benchmark", "measured")


def dead_loop(runtime: "subprocess.Popen[str]", bench: valves.Bench) -> object:
    return valves.tell(runtime, "spin")


def killed(runtime: "subprocess.Popen[str]", bench: valves.Bench) -> object:
    return runtime.kill()


CAUSES: dict[str, Cause] = {
    "sdl stop": stop_command,
    "knock": knock,
    "dead loop": dead_loop,
    "killed": killed,
}


def measure(cause: Cause, count: int, timeout: float) -> float:
    with (
        tempfile.TemporaryDirectory() as folder,
        valves.served(Path(folder), count, mute=[count // 2]) as bench,
        bench.runtime("wait", str(timeout)) as runtime,
    ):
        watchdog = int(valves.said(runtime))
        time.sleep(2.0)  # it has loaded its drivers
        for pid in (runtime.pid, watchdog):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
        began = time.monotonic()
        begun = cause(runtime, bench)
        took = bench.safe_after(began, LONGEST)
        os.kill(watchdog, signal.SIGKILL)  # or it would try the mute one again
        if isinstance(begun, subprocess.Popen):
            begun.kill()
            begun.wait(10)
        return took


def baseline(count: int) -> float:
    async def work(bench: valves.Bench) -> float:
        async with Lab.load(bench.lab).open(connect=False) as opened:
            await asyncio.gather(*(d.ask("?") for d in opened.instruments.values()))
            began = time.monotonic()
            await opened.make_safe()
            return max(valve.closed_at() or 0.0 for valve in bench.valves.values()) - began

    with tempfile.TemporaryDirectory() as folder, valves.served(Path(folder), count) as bench:
        return asyncio.run(work(bench))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--timeout", type=float, default=2.0, help="s of silence; default 2")
    given = parser.parse_args()
    bare = max(baseline(given.instruments) for _ in range(given.rounds))
    print(f"{'baseline: open connection':<26} {bare:7.3f} s")
    missed = 0
    for name, cause in CAUSES.items():
        took = max(measure(cause, given.instruments, given.timeout) for _ in range(given.rounds))
        bar = BARS.get(name)
        verdict = "" if bar is None else f"   {'meets' if took < bar else 'MISSES'} {bar:g} s"
        missed += bar is not None and took >= bar
        print(f"{name:<26} {took:7.3f} s{verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
