"""Plans on engines: what the witness hears, where a stop ends a plan, many engines on one loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import Msg
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
    """A witness that remembers, and wants a stop when it is told to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.documents: list[str] = []
        self.why: str | None = None
        self.stop_after = 10**9
        self.failing: Exception | None = None

    def document(self, name: str, doc: dict[str, Any]) -> None:
        if self.failing is not None:
            raise self.failing
        self.documents.append(name if name != "stop" else f"stop {doc['exit_status']}")

    def step(self, number: int, message: Msg) -> None:
        self.steps.append(f"{number} {message.command}")
        if number >= self.stop_after:
            self.why = "a person said so"

    def step_ended(self, number: int, answer: Any, error: BaseException | None) -> None:
        self.steps.append(f"{number} {'failed' if error else 'ended'}")

    def waiting(self, statuses: Any) -> None: ...

    def stop_wanted(self) -> str | None:
        return self.why


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


def test_steps_are_numbered_in_the_order_of_the_plan():
    plunger, heard = Plunger("p"), Heard()

    @bpp.run_decorator()
    def plan():
        yield from bps.checkpoint()
        yield from bps.mv(plunger, 1.0)
        yield from bps.sleep(5)

    with lab_loop() as loop:
        run(loop, plan, heard)
    assert heard.steps == ["1 set", "1 ended", "2 sleep", "2 ended"]
    assert heard.documents == ["start", "stop success"]


def test_a_stop_lets_what_has_begun_come_to_its_end():
    plunger, other, heard, cleaned = Plunger("p"), Plunger("q"), Heard(), []
    heard.stop_after = 1

    def clean_up():
        cleaned.append(True)
        yield from bps.mv(plunger, 0.0)

    @bpp.run_decorator()
    def plan():
        yield from bpp.finalize_wrapper(bps.mv(plunger, 1.0, other, 2.0), clean_up)
        yield from bps.mv(plunger, 3.0)

    with lab_loop() as loop, pytest.raises(StoppedError, match="a person said so"):
        run(loop, plan, heard)
    assert cleaned == [True]
    assert plunger.moves[:4] == ["begin 1.0", "end 1.0", "begin 0.0", "end 0.0"]
    assert other.moves[:2] == ["begin 2.0", "end 2.0"]
    assert "begin 3.0" not in plunger.moves
    assert heard.documents[-1] == "stop abort"


def test_a_stop_does_not_wait_for_a_furnace():
    class Furnace(Plunger):
        effect = Effect.ABSOLUTE

    furnace, heard = Furnace("f"), Heard()
    heard.stop_after = 1

    @bpp.run_decorator()
    def plan():
        yield from bps.abs_set(furnace, 900.0, group="heat")
        yield from bps.sleep(86400)
        yield from bps.wait("heat")

    with lab_loop() as loop, pytest.raises(StoppedError):
        run(loop, plan, heard)
    assert heard.steps == ["1 set", "1 ended"]


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
