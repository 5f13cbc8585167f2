"""Plans on engines: what the witness hears, pauses and aborts, many engines on one loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.utils import FailedStatus
from ophyd_async.core import AsyncStatus, Device

from sdl.clock import Loop, Speed
from sdl.engine import Engine, end_loop, start_loop
from sdl.errors import JournalError, StoppedError, explain
from sdl.instrument import Effect


class Plunger(Device):
    """Takes 10 s to move and remembers how far it came; stopping takes 1 s, like a real wire."""

    effect = Effect.RELATIVE

    def __init__(self, name: str = "") -> None:
        self.moves: list[str] = []
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self.moves.append(f"begin {value}")
        await asyncio.sleep(10)
        self.moves.append(f"end {value}")

    async def stop(self, success: bool = False) -> None:
        await asyncio.sleep(1)
        self.moves.append("stop")


class Heard:
    """A witness that remembers, or fails when it is told to."""

    def __init__(self) -> None:
        self.documents: list[str] = []
        self.waits: list[int] = []
        self.failing: Exception | None = None

    def document(self, name: str, doc: dict[str, Any]) -> None:
        if self.failing is not None:
            raise self.failing
        self.documents.append(name if name != "stop" else f"stop {doc['exit_status']}")

    def waiting(self, statuses: Any) -> None:
        self.waits.append(len(statuses or ()))


@contextmanager
def lab_loop(speed: Speed = "virtual") -> Iterator[Loop]:
    loop = start_loop(speed)
    try:
        yield loop
    finally:
        end_loop(loop)


def run(loop: Loop, plan: Callable[[], Any], witness: Heard | None = None) -> Any:
    async def main() -> Any:
        engine = await Engine.start(loop)
        try:
            return await engine.run(plan(), witness or Heard(), metadata={"trial": 1})
        finally:
            engine.close()

    return asyncio.run_coroutine_threadsafe(main(), loop).result(30)


def test_a_plan_returns_what_it_returns():
    def plan():
        yield from bps.sleep(86400)
        return {"y": 1.0}

    with lab_loop() as loop:
        assert run(loop, plan) == {"y": 1.0}


def test_the_witness_hears_of_documents_and_of_what_is_waited_for():
    plunger, other, heard = Plunger("p"), Plunger("q"), Heard()

    @bpp.run_decorator()
    def plan():
        yield from bps.mv(plunger, 1.0, other, 2.0)

    with lab_loop() as loop:
        run(loop, plan, heard)
    assert heard.documents == ["start", "stop success"]
    assert heard.waits == [2, 0]


def test_what_a_plan_moved_is_stopped_at_its_end():
    plunger = Plunger("p")
    with lab_loop() as loop:
        run(loop, lambda: bps.mv(plunger, 1.0))
    assert plunger.moves == ["begin 1.0", "end 1.0", "stop"]


def test_a_paused_engine_goes_on_in_the_same_call():
    engines: list[Engine] = []

    async def main(loop: Loop) -> Any:
        engine = await Engine.start(loop)
        engines.append(engine)

        def plan():
            yield from bps.checkpoint()
            yield from bps.sleep(3)
            return "done"

        return await engine.run(plan(), Heard(), metadata={})

    with lab_loop(speed=10) as loop:
        future = asyncio.run_coroutine_threadsafe(main(loop), loop)
        while not engines:
            time.sleep(0.01)
        time.sleep(0.1)
        engines[0].pause()
        time.sleep(0.1)
        assert not future.done()
        engines[0].resume()
        assert future.result(20) == "done"


def test_an_engine_that_is_paused_can_be_aborted():
    engines, cleaned = [], []

    async def main(loop: Loop) -> Any:
        engine = await Engine.start(loop)
        engines.append(engine)

        def plan():
            yield from bps.checkpoint()
            yield from bps.sleep(3)

        def clean():
            cleaned.append(True)
            yield from bps.null()

        whole = bpp.finalize_wrapper(plan(), clean)
        return await engine.run(whole, Heard(), metadata={})

    with lab_loop(speed=10) as loop:
        future = asyncio.run_coroutine_threadsafe(main(loop), loop)
        while not engines:
            time.sleep(0.01)
        time.sleep(0.1)
        engines[0].pause()
        engines[0].abort("enough")
        with pytest.raises(StoppedError, match="enough"):
            future.result(20)
    assert cleaned == [True]


def test_an_abort_does_not_wait_for_the_step():
    plunger, engines = Plunger("p"), []

    async def main(loop: Loop) -> None:
        engine = await Engine.start(loop)
        engines.append(engine)
        await engine.run(bps.mv(plunger, 1.0), Heard(), metadata={})

    with lab_loop(speed=1) as loop:
        future = asyncio.run_coroutine_threadsafe(main(loop), loop)
        while not plunger.moves:
            time.sleep(0.01)
        began = time.monotonic()
        threading.Thread(target=lambda: engines[0].abort("now")).start()
        with pytest.raises(StoppedError):
            future.result(20)
        assert time.monotonic() - began < 5
    assert "end 1.0" not in plunger.moves


def test_the_cause_of_a_failed_move_is_what_a_person_reads():
    class Broken(Plunger):
        @AsyncStatus.wrap
        async def set(self, value: float) -> None:
            raise RuntimeError("the plunger is stuck")

    with lab_loop() as loop, pytest.raises(FailedStatus) as caught:
        run(loop, lambda: bps.mv(Broken("p"), 1.0))
    assert explain(caught.value) == "RuntimeError: the plunger is stuck"


def test_a_plan_stops_when_its_record_cannot_be_kept():
    plunger, heard = Plunger("p"), Heard()
    heard.failing = JournalError("the disk is full")

    @bpp.run_decorator()
    def plan():
        yield from bps.mv(plunger, 1.0)

    with lab_loop() as loop, pytest.raises(JournalError, match="the disk is full"):
        run(loop, plan, heard)
    assert plunger.moves == []


def test_many_engines_on_one_virtual_loop_always_give_the_same_log():
    def once() -> list[tuple[float, int, int]]:
        log: list[tuple[float, int, int]] = []

        async def worker(loop: Loop, number: int) -> None:
            engine = await Engine.start(loop)
            for job in range(6):

                def plan(job: int = job):
                    yield from bps.mv(Plunger("p"), 1.0)
                    yield from bps.sleep(3 + number + job)
                    log.append((round(loop.time(), 6), number, job))

                await engine.run(plan(), Heard(), metadata={})
            engine.close()

        async def main(loop: Loop) -> None:
            await asyncio.gather(*(worker(loop, n) for n in range(4)))

        with lab_loop() as loop:
            asyncio.run_coroutine_threadsafe(main(loop), loop).result(60)
        return log

    first = once()
    assert len(first) == 24
    assert once() == first


class Slow(Device):
    """Is there at once, and takes its time to stop."""

    def __init__(self, name: str = "") -> None:
        self.stopping = threading.Event()
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None: ...

    async def stop(self, success: bool = False) -> None:
        self.stopping.set()
        await asyncio.sleep(1)


def test_an_abort_that_comes_when_the_plan_is_over_leaves_the_engine_usable():
    slow = Slow("slow")

    def plan() -> Any:
        yield from bps.mv(slow, 1.0)
        return "done"

    async def story(loop: Loop) -> tuple[Any, Any]:
        engine = await Engine.start(loop)
        first = asyncio.ensure_future(engine.run(plan(), Heard(), metadata={}))
        await asyncio.to_thread(slow.stopping.wait, 10)
        await asyncio.to_thread(engine.abort, "too late")
        returned = await first
        again = await engine.run(plan(), Heard(), metadata={})
        engine.close()
        return returned, again

    with lab_loop(speed=1) as loop:
        told = asyncio.run_coroutine_threadsafe(story(loop), loop).result(20)
    assert told == ("done", "done")
