"""A blocking library has one thread, which nobody enters twice, and which may hang."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdl import clock
from sdl.clock import Speed, monotonic, new_loop
from sdl.errors import FaultError, NoReplyError, RefusedError
from sdl.instrument.blocking import Blocking


class StuckError(Exception):
    """One of the vendor's."""


class GoneError(Exception):
    """Another."""


class Sdk:
    """A vendor's library that notices whatever is done wrong to it."""

    made: int = 0

    def __init__(self) -> None:
        Sdk.made += 1
        self.thread, self.inside, self.calls, self.closed = threading.get_ident(), 0, [], False
        self.released = threading.Event()

    def work(self, name: str, seconds: float = 0.0) -> str:
        assert threading.get_ident() == self.thread, "another thread"
        assert self.inside == 0, "entered twice"
        self.inside += 1
        self.calls.append(name)
        time.sleep(seconds)
        self.inside -= 1
        return name

    def hang(self) -> None:
        self.calls.append("hang")
        assert self.released.wait(20)

    def close(self) -> None:
        self.closed = True


def run(
    story: Callable[[Blocking[Sdk], Sdk], Awaitable[Any]], speed: Speed = 1.0, **options: Any
) -> None:
    sdk = Sdk()

    async def live() -> None:
        Sdk.made, sdk.thread = 0, -1

        def make() -> Sdk:
            Sdk.made += 1
            sdk.thread = threading.get_ident()
            return sdk

        blocking = Blocking("pump", make, close=Sdk.close, **{"timeout": 5.0, **options})
        try:
            await story(blocking, sdk)
        finally:
            sdk.released.set()
            await blocking.close()

    with asyncio.Runner(loop_factory=lambda: new_loop(speed)) as runner:
        runner.run(live())


def test_calls_are_made_one_after_the_other_in_the_thread_that_opened_it() -> None:
    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        names = [f"call {n}" for n in range(20)]
        asked = (pump.call(n, lambda s, n=n: s.work(n, 0.002)) for n in names)
        assert await asyncio.gather(*asked) == names
        assert sdk.calls == names

    run(story)


def test_the_loop_goes_on_meanwhile() -> None:
    async def story(pump: Blocking[Sdk], _: Sdk) -> None:
        call = asyncio.create_task(pump.call("work", lambda s: s.work("long", 0.3)))
        await asyncio.sleep(0.05)
        assert not call.done()
        assert await call == "long"

    run(story)


@pytest.mark.parametrize("speed", [1.0, "virtual"])
def test_while_a_call_hangs_nothing_else_is_sent(speed: Speed) -> None:
    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        with pytest.raises(NoReplyError, match=r"pump: move: has not returned in 0\.1 s"):
            await pump.call("move", Sdk.hang, timeout=0.1)
        with pytest.raises(NoReplyError, match="ask: nothing was sent: `move` has not returned"):
            await pump.call("ask", lambda s: s.work("ask"))
        assert sdk.calls == ["hang"]
        sdk.released.set()
        for _ in range(100):
            try:
                assert await pump.call("ask", lambda s: s.work("ask")) == "ask"
                break
            except NoReplyError:
                await clock.outside(time.sleep, 0.01)  # its thread knows real time only
        assert sdk.calls == ["hang", "ask"]

    run(story, speed)


def test_a_virtual_clock_stands_still_while_a_library_works() -> None:
    async def story(pump: Blocking[Sdk], _: Sdk) -> None:
        before, jump = monotonic(), asyncio.create_task(asyncio.sleep(60.0))
        await pump.call("work", lambda s: s.work("long", 0.1))
        assert monotonic() == before
        jump.cancel()

    run(story, "virtual")


def test_who_is_cancelled_leaves_and_the_call_is_finished_before_the_next() -> None:
    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        first = asyncio.create_task(pump.call("first", lambda s: s.work("first", 0.2)))
        await asyncio.sleep(0.05)
        first.cancel()
        waiting = asyncio.create_task(pump.call("never", lambda s: s.work("never")))
        await asyncio.sleep(0.05)
        waiting.cancel()  # it had not begun, so it must not be sent
        assert await pump.call("second", lambda s: s.work("second")) == "second"
        assert sdk.calls == ["first", "second"]

    run(story)


def test_exceptions_mean_what_the_driver_says_and_the_unknown_means_unknown() -> None:
    def fail(error: Exception) -> Callable[[Sdk], None]:
        def work(_: Sdk) -> None:
            raise error

        return work

    async def story(pump: Blocking[Sdk], _: Sdk) -> None:
        with pytest.raises(FaultError, match="pump: go: it does not turn"):
            await pump.call("go", fail(StuckError("it does not turn")))
        with pytest.raises(RefusedError, match="too much"):
            await pump.call("go", fail(ValueError("too much")))
        with pytest.raises(NoReplyError, match="go: KeyError: 'x'"):
            await pump.call("go", fail(KeyError("x")))

    run(story, errors={StuckError: FaultError, ValueError: RefusedError})


def test_a_lost_connection_is_closed_and_made_anew() -> None:
    def lose(_: Sdk) -> None:
        raise GoneError("USB unplugged")

    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        with pytest.raises(NoReplyError, match="lost: GoneError: USB unplugged"):
            await pump.call("go", lose)
        assert sdk.closed
        assert await pump.call("ask", lambda s: s.work("ask")) == "ask"
        assert Sdk.made == 2

    run(story, lost=(GoneError,))


def test_a_stop_that_the_vendor_allows_overtakes() -> None:
    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        moving = asyncio.create_task(pump.call("move", Sdk.hang))
        await asyncio.sleep(0.05)
        await pump.aside("stop", lambda s: s.released.set())
        await moving
        assert sdk.calls == ["hang"]

    run(story)


def test_it_can_be_closed_while_a_call_hangs() -> None:
    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        with pytest.raises(NoReplyError):
            await pump.call("move", Sdk.hang, timeout=0.05)
        await pump.close()
        assert not sdk.closed

    run(story)


def test_signals_read_and_set_through_it() -> None:
    async def story(pump: Blocking[Sdk], sdk: Sdk) -> None:
        sdk.rate = 2.0  # type: ignore[attr-defined]
        signal = pump.poll_rw(
            float,
            "rate",
            lambda s: s.rate,  # type: ignore[attr-defined]
            lambda s, value: setattr(s, "rate", value),
            units="mL/min",
            limits=(0.0, 10.0),
        )
        signal.set_name("pump-rate")
        await signal.connect()
        await signal.set(3.0)
        assert await signal.get_value() == 3.0
        with pytest.raises(RefusedError, match="11 is outside 0 to 10 mL/min"):
            await signal.set(11.0)
        assert (await signal.describe())["pump-rate"].get("units") == "mL/min"

    run(story)
