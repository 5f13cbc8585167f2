import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from sdl import clock
from sdl.clock import VirtualLoop, new_loop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], speed: clock.Speed = "virtual", start: float = 0.0) -> T:
    with asyncio.Runner(loop_factory=lambda: new_loop(speed, start)) as runner:
        return runner.run(main)


def test_a_simulated_week_takes_no_time():
    async def week():
        await asyncio.sleep(7 * 86400)
        return clock.monotonic()

    began = time.perf_counter()
    assert run(week()) == 7 * 86400
    assert time.perf_counter() - began < 1


def test_timers_fire_in_order_at_their_times():
    heard = []

    async def late(delay):
        await asyncio.sleep(delay)
        heard.append((delay, clock.monotonic()))

    async def main():
        await asyncio.gather(*(late(d) for d in (3.0, 1.0, 2.0, 1e6)))

    run(main())
    assert heard == [(d, d) for d in (1.0, 2.0, 3.0, 1e6)]


def test_the_clock_stands_still_while_work_outside_goes_on():
    async def main():
        ticks = []

        async def tick():
            while True:
                await asyncio.sleep(1)
                ticks.append(clock.monotonic())

        ticking = asyncio.create_task(tick())
        await clock.outside(time.sleep, 0.05)
        ticking.cancel()
        return clock.monotonic(), ticks

    assert run(main()) == (0.0, [])


def test_time_moves_on_however_far_it_has_come():
    """At 1e9 s a step of 1e-8 s is less than one bit: it must not make the loop spin for ever."""

    async def main():
        for _ in range(100):
            await asyncio.sleep(1e-8)

    worker = threading.Thread(target=lambda: run(main(), start=1e9), daemon=True)
    worker.start()
    worker.join(5)
    assert not worker.is_alive()


def test_a_scaled_loop_runs_faster():
    async def main():
        await asyncio.sleep(10)
        return clock.monotonic()

    began = time.perf_counter()
    assert 10 <= run(main(), speed=200.0) < 60
    assert 0.05 <= time.perf_counter() - began < 0.3


def test_no_timeout_is_missed_while_a_scaled_loop_computes():
    """A pause of this process is no time of the lab's, or a busy machine would fail its trials."""

    async def main():
        async def instrument() -> str:
            await asyncio.sleep(0.4)
            time.sleep(0.05)  # noqa: ASYNC251 (this process is busy: 50 s of scaled time)
            await asyncio.sleep(0.05)
            return "reply"

        async with asyncio.timeout(0.5):
            return await instrument()

    assert run(main(), speed=1000.0) == "reply"


def test_a_timeout_is_a_time_on_the_loop():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return clock.monotonic()

    assert run(main()) == 3600


def test_simulated_time_stamps_cannot_be_taken_for_real_ones():
    async def main():
        return clock.now()

    assert run(main()) == clock.SIMULATED_EPOCH
    assert abs(run(main(), speed=1) - time.time()) < 60


@pytest.mark.parametrize("speed", [0, -1])
def test_time_does_not_run_backwards(speed):
    with pytest.raises(ValueError, match="positive"):
        new_loop(speed)


def test_holds_are_counted():
    async def main():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)

        async def work(duration):
            await clock.outside(time.sleep, duration)
            return loop.time()

        return await asyncio.gather(work(0.02), work(0.06))

    assert run(main()) == [0.0, 0.0]
