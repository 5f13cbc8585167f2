"""A stand-in for the runtime: opens a lab's valves under a watchdog, then does what it is told.

    python runtime.py LAB MODE [TIMEOUT]

Modes: `wait`, `disk` (the main thread hangs in a write that never ends), `deaf` (a STOP is never
reported), `slow` (it takes a second), `refuse` (obeying it fails). On standard input: `spin` (the
loop computes for ever), `block` (the loop hangs in a write), `down` (the watchdog stands down, and
we end).
"""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack

from sdl.bench import Bench
from sdl.engine import end_loop, start_loop
from sdl.errors import InstrumentError, NoReplyError
from sdl.lab import Lab
from sdl.watchdog.client import Watchdog


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (to the test)


def main(file: str, mode: str, timeout: float = 1.5) -> None:
    lab, loop = Lab.load(file), start_loop()
    stack = AsyncExitStack()
    found: list[Bench] = []

    async def open_all() -> None:
        bench = await stack.enter_async_context(lab.open(connect=False))
        found.append(bench)
        names = list(bench.instruments)
        opening = (bench.instruments[name].ask("OPEN") for name in names)
        for answer in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, NoReplyError):
                raise answer

    async def on_stop(who: str, why: str) -> dict[str, str]:
        if mode == "deaf":
            await asyncio.sleep(3600)
        if mode == "slow":
            say(f"stopping for {who}")
            await asyncio.sleep(1.0)
        if mode == "refuse":
            raise InstrumentError("", "no")
        return await found[0].make_safe()

    watchdog = Watchdog.start(
        lab,
        lab.journal_url,
        timeout=timeout,
        beat=0.1,
        on_stop=on_stop,
        loop=loop,
        tell=lambda text: say(f"told: {text}"),
    )
    asyncio.run_coroutine_threadsafe(open_all(), loop).result(30)
    say("open")
    say(str(watchdog.pid))
    if mode == "disk":
        _write_for_ever()
    for line in sys.stdin:
        if line.strip() == "spin":
            loop.call_soon_threadsafe(_spin)
        elif line.strip() == "block":
            loop.call_soon_threadsafe(_write_for_ever)
        elif line.strip() == "down":
            break
    watchdog.stand_down()
    asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(10)
    end_loop(loop)
    say("down")


def _spin() -> None:
    while True:
        pass


def _write_for_ever() -> None:
    """What a disk that hangs looks like to who writes: the call does not come back."""
    _, pipe = os.pipe()
    while True:
        os.write(pipe, b"x" * 65536)
        time.sleep(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
