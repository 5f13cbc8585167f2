"""`Bench.make_safe` and `confirm`: in parallel, each in its time, connected or not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from ophyd_async.core import DEFAULT_TIMEOUT

from sdl.bench import Bench
from sdl.clock import new_loop
from sdl.errors import NoReplyError
from sdl.instrument import Instrument
from sdl.wires.tcp import wire

Deed = Callable[[], Awaitable[None]]


async def nothing() -> None: ...


class Thing(Instrument):
    """Does what it is told to do when it is connected, and when it is made safe."""

    def __init__(self, name: str, safe: Deed = nothing, connect: Deed = nothing) -> None:
        self.safe, self.joining, self.told = safe, connect, list[str]()
        super().__init__(wire("tcp://127.0.0.1:9"), name=name)

    async def connect(
        self, mock: Any = False, timeout: float = DEFAULT_TIMEOUT, force_reconnect: bool = False
    ) -> None:
        self.told.append("connect")
        await self.joining()

    async def identify(self) -> str:
        return "a thing"

    async def make_safe(self) -> None:
        self.told.append("safe")
        await self.safe()


def virtual(work: Awaitable[Any]) -> Any:
    async def run() -> Any:
        return await work

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(run())


def bench_of(*things: Any) -> Bench:
    return Bench("bench", {}, {thing.name: thing for thing in things})


async def silence() -> None:
    raise NoReplyError("", "nobody answers")


async def forever() -> None:
    await asyncio.sleep(1e6)


def test_one_that_never_answers_takes_its_own_time_only() -> None:
    async def work() -> None:
        good, mute = Thing("good"), Thing("mute", forever)
        bench = bench_of(mute, good)
        await bench.connect()
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await bench.confirm(timeout=2.0)
        assert loop.time() - began == 2.0
        assert answers["good"] is None
        assert "2 s" in str(answers["mute"])
        assert list(await bench.make_safe(timeout=2.0)) == ["mute"]

    virtual(work())


def test_one_that_does_not_listen_when_it_is_cancelled_holds_up_nobody() -> None:
    ended: list[bool] = []

    async def work() -> None:
        over = False

        async def deaf() -> None:
            while not over:
                try:
                    await asyncio.sleep(1e6 if not over else 0)
                except asyncio.CancelledError:
                    if over:
                        raise

        thing = Thing("deaf", deaf)
        bench = bench_of(thing)
        await bench.connect()
        answers = await asyncio.wait_for(bench.confirm(timeout=1.0), 5.0)
        assert answers["deaf"] is not None
        over = True
        ended.append(True)

    virtual(work())
    assert ended


def test_a_connection_that_fails_does_not_keep_the_safe_command_from_being_tried() -> None:
    async def work() -> None:
        thing = Thing("thing", connect=silence)
        assert await bench_of(thing).confirm() == {"thing": None}
        assert thing.told == ["safe"]

    virtual(work())


def test_one_that_must_be_connected_first_is_connected_and_told_again() -> None:
    async def work() -> None:
        connected: list[bool] = []

        async def safe() -> None:
            if not connected:
                raise NoReplyError("", "not connected")

        async def connect() -> None:
            connected.append(True)

        thing = Thing("thing", safe, connect)
        assert await bench_of(thing).confirm() == {"thing": None}
        assert thing.told == ["safe", "connect", "safe"]

    virtual(work())


def test_a_slow_connection_is_no_other_instruments_affair() -> None:
    async def work() -> None:
        slow, quick = Thing("slow", silence, forever), Thing("quick")
        answers = await bench_of(slow, quick).confirm(timeout=3.0)
        assert answers["quick"] is None
        assert "3 s" in str(answers["slow"])

    virtual(work())


def test_classic_devices_that_block_do_not_hold_up_each_other_or_the_loop() -> None:
    stuck = threading.Event()

    class Classic:
        """As classic Ophyd has them: all its methods block."""

        def __init__(self, name: str, *, hangs: bool) -> None:
            self.name, self.hangs, self.stopped = name, hangs, False

        def wait_for_connection(self, timeout: float) -> None: ...

        def stop(self) -> None:
            if self.hangs:
                stuck.wait(20)
            self.stopped = True

    async def work() -> None:
        hung = [Classic(f"hung_{i}", hangs=True) for i in range(40)]  # more than any pool has
        good = Classic("good", hangs=False)
        answers = await bench_of(*hung, good).confirm(timeout=1.0)
        assert answers.pop("good") is None
        assert good.stopped
        assert all(answers.values())

    try:
        asyncio.run(work())
    finally:
        stuck.set()


def test_only_those_asked_for_are_made_safe_and_strangers_are_named() -> None:
    async def work() -> None:
        one, other = Thing("one"), Thing("other")
        answers = await bench_of(one, other).confirm({"one", "ghost"})
        assert answers["one"] is None
        assert "no such instrument" in str(answers["ghost"])
        assert other.told == []

    virtual(work())


def test_instruments_with_a_watchdog_of_their_own_are_armed() -> None:
    class Armed(Thing):
        async def arm_watchdog(self, seconds: float) -> None:
            self.told.append(f"arm {seconds:g}")

    class Refusing(Thing):
        async def arm_watchdog(self, seconds: float) -> None:
            await silence()

    async def work() -> None:
        armed, without, refusing = Armed("armed"), Thing("without"), Refusing("refusing")
        failed = await bench_of(armed, without, refusing).arm(30.0)
        assert armed.told == ["arm 30"]
        assert without.told == []
        assert list(failed) == ["refusing"]

    virtual(work())
