"""Turns, shield, connection: what every wire promises, shown on a stream in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from sdl.clock import SIMULATED_EPOCH, monotonic, new_loop
from sdl.endpoints.line import Cable, Line
from sdl.endpoints.memory import MemoryTransport
from sdl.errors import NoReplyError
from sdl.wires import StreamWire, until

T = TypeVar("T")
CR = until(b"\r")


class Echo:
    """Answers `<request>` after `delay` s; counts what is on the way at once."""

    def __init__(self, delay: float = 0.1) -> None:
        self.delay, self.heard = delay, list[bytes]()

    async def serve(self, line: Line) -> None:
        waiting = b""
        while True:
            waiting += await line.read()
            assert waiting.count(b"\r") <= 1, "a request came while another was on its way"
            while b"\r" in waiting:
                request, _, waiting = waiting.partition(b"\r")
                self.heard.append(request)
                await asyncio.sleep(self.delay)
                await line.write(b"<" + request + b">\r")


class Plug:
    """A connector that can be pulled out of its socket; notes when it was tried."""

    def __init__(self, cable: Cable) -> None:
        self.cable, self.tried, self.error = cable, list[float](), None
        self.hangs, self.kind = False, MemoryTransport

    error: OSError | None
    transport: MemoryTransport

    async def __call__(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        self.tried.append(monotonic())
        if self.hangs:
            await asyncio.sleep(1000)
        if self.error is not None:
            raise self.error
        self.transport = self.kind(self.cable, protocol)
        return self.transport

    def pull(self) -> None:
        self.error = OSError("pulled")
        self.transport.lose(self.error)


Test = Callable[[StreamWire, Plug], Coroutine[Any, Any, T]]


def on_wire(device: Echo, test: Test[T], *, timeout: float = 1.0) -> T:
    async def session() -> T:
        cable = Cable([device])
        plug = Plug(cable)
        wire = StreamWire("plug", plug, timeout=timeout)
        await cable.plug_in()
        try:
            async with asyncio.timeout(10_000):
                return await test(wire, plug)
        finally:
            await wire.close()
            await cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(session())


def test_fifty_askers_are_served_one_at_a_time_in_order():
    device = Echo()
    served: list[int] = []

    async def test(wire: StreamWire, _: Plug) -> None:
        async def ask(number: int) -> None:
            assert await wire.ask(b"%d\r" % number, CR) == b"<%d>\r" % number
            served.append(number)

        await asyncio.gather(*map(ask, range(50)))
        assert monotonic() == pytest.approx(50 * device.delay)

    on_wire(device, test)
    assert served == list(range(50))
    assert device.heard == [b"%d" % number for number in range(50)]


def test_a_caller_cancelled_in_the_middle_leaves_the_line_in_order():
    device = Echo(0.5)

    async def test(wire: StreamWire, _: Plug) -> None:
        first = asyncio.create_task(wire.ask(b"a\r", CR))
        await asyncio.sleep(0.2)
        first.cancel()
        assert await wire.ask(b"b\r", CR) == b"<b>\r"
        assert first.cancelled()
        assert monotonic() == pytest.approx(1.0), "the line was in order, nothing had to be drained"

    on_wire(device, test)


def test_a_caller_that_ran_out_of_time_leaves_the_line_in_order():
    device = Echo(0.5)

    async def test(wire: StreamWire, _: Plug) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await wire.ask(b"a\r", CR)
        assert await wire.ask(b"b\r", CR) == b"<b>\r"
        assert wire.health.exchanges == 2

    on_wire(device, test)


def test_a_caller_cancelled_before_its_turn_sends_nothing():
    device = Echo(0.5)

    async def test(wire: StreamWire, _: Plug) -> None:
        first = asyncio.create_task(wire.ask(b"a\r", CR))
        second = asyncio.create_task(wire.ask(b"dose\r", CR))
        third = asyncio.create_task(wire.ask(b"c\r", CR))
        await asyncio.sleep(0.2)
        second.cancel()
        assert await first == b"<a>\r"
        assert await third == b"<c>\r"

    on_wire(device, test)
    assert device.heard == [b"a", b"c"]


def test_a_caller_cancelled_while_the_wire_connects_sends_nothing():
    device = Echo()

    async def test(wire: StreamWire, plug: Plug) -> None:
        plug.error = OSError("off")
        with pytest.raises(NoReplyError):
            await wire.connect()
        dose = asyncio.create_task(wire.ask(b"dose\r", CR))  # waits for the second attempt
        await asyncio.sleep(0.05)
        dose.cancel()
        plug.error = None
        assert await wire.ask(b"b\r", CR) == b"<b>\r"

    on_wire(device, test)
    assert device.heard == [b"b"]


def test_a_connection_lost_in_the_middle_is_an_unknown_state_and_nothing_is_sent_twice():
    device = Echo(0.5)

    async def test(wire: StreamWire, plug: Plug) -> None:
        dose = asyncio.create_task(wire.ask(b"dose\r", CR))
        await asyncio.sleep(0.1)
        plug.pull()
        with pytest.raises(NoReplyError, match="plug: the connection broke: pulled"):
            await dose
        assert monotonic() == pytest.approx(0.1), "it is known at once"
        assert not wire.health.connected
        plug.error = None
        await asyncio.sleep(5)
        assert await wire.ask(b"b\r", CR) == b"<b>\r"

    on_wire(device, test)
    assert device.heard == [b"dose", b"b"]


def test_a_connection_lost_after_half_a_reply_is_known_at_once():
    class Half(Echo):
        async def serve(self, line: Line) -> None:
            await line.read()
            await line.write(b"<a")

    async def test(wire: StreamWire, plug: Plug) -> None:
        ask = asyncio.create_task(wire.ask(b"a\r", CR))
        await asyncio.sleep(0.1)
        plug.pull()
        with pytest.raises(NoReplyError, match="pulled"):
            await ask
        assert [entry.data for entry in wire.log if entry.direction == "discarded"] == [b"<a"]

    on_wire(Half(), test)


def test_the_health_says_at_once_that_an_idle_connection_is_lost():
    async def test(wire: StreamWire, plug: Plug) -> None:
        await wire.connect()
        assert wire.health.connected
        plug.pull()
        await asyncio.sleep(0)
        assert not wire.health.connected
        plug.error = None
        assert await wire.ask(b"a\r", CR) == b"<a>\r"
        assert wire.health.connections == 2

    on_wire(Echo(), test)


def test_attempts_to_connect_are_made_ever_less_often():
    async def test(wire: StreamWire, plug: Plug) -> list[float]:
        plug.error = OSError("off")
        while monotonic() < 45:
            with pytest.raises(NoReplyError, match="off"):
                await wire.ask(b"a\r", CR)
            await asyncio.sleep(0.05)
        return [after - before for before, after in zip(plug.tried, plug.tried[1:], strict=False)]

    spaces = on_wire(Echo(), test)
    assert spaces[:8] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0], abs=0.06)
    assert max(spaces) < 10.1


def test_a_caller_is_told_at_once_when_the_next_attempt_is_too_far_away():
    async def test(wire: StreamWire, plug: Plug) -> None:
        plug.error = OSError("off")
        for _ in range(5):  # the sixth attempt comes 1.6 s after the fifth
            with pytest.raises(NoReplyError, match="plug: cannot connect: off"):
                await wire.connect()
        start = monotonic()
        for _ in range(3):
            with pytest.raises(NoReplyError) as refused:
                await wire.ask(b"a\r", CR)
            assert str(refused.value) == "plug: not connected (off); next attempt in 1.6 s"
        assert monotonic() == start

    on_wire(Echo(), test)


def test_after_the_other_side_is_back_the_wire_works_and_starts_anew():
    async def test(wire: StreamWire, plug: Plug) -> None:
        plug.error = OSError("off")
        for _ in range(5):
            with pytest.raises(NoReplyError):
                await wire.connect()
        plug.error = None
        await asyncio.sleep(2)
        assert await wire.ask(b"a\r", CR) == b"<a>\r"
        plug.pull()
        await asyncio.sleep(0)
        with pytest.raises(NoReplyError, match="cannot connect: pulled"):
            await wire.ask(b"b\r", CR)
        lost = monotonic()
        with pytest.raises(NoReplyError):
            await wire.ask(b"b\r", CR)
        assert monotonic() - lost == pytest.approx(0.1)

    on_wire(Echo(), test)


def test_connecting_takes_no_longer_than_the_time_out():
    async def test(wire: StreamWire, plug: Plug) -> None:
        plug.hangs = True
        with pytest.raises(NoReplyError, match="nobody answered in 2 s"):
            await wire.connect()
        assert monotonic() == pytest.approx(2)

    on_wire(Echo(), test, timeout=2)


def test_a_closed_wire_is_opened_again_by_its_next_use():
    async def test(wire: StreamWire, plug: Plug) -> None:
        assert await wire.ask(b"a\r", CR) == b"<a>\r"
        await wire.close()
        await wire.close()
        assert not wire.health.connected
        assert plug.transport.is_closing()
        assert await wire.ask(b"b\r", CR) == b"<b>\r"
        assert wire.health.connections == 2

    on_wire(Echo(), test)


def test_closing_waits_for_the_exchange_of_a_caller_that_was_cancelled():
    async def test(wire: StreamWire, _: Plug) -> None:
        ask = asyncio.create_task(wire.ask(b"a\r", CR))
        await asyncio.sleep(0.2)
        ask.cancel()
        await wire.close()
        assert monotonic() == pytest.approx(0.5)
        assert wire.health.exchanges == 1

    on_wire(Echo(0.5), test)


@pytest.mark.parametrize(("takes", "waited"), [(0.3, 0.3), (1000.0, 1.0)])
def test_closing_waits_a_while_until_the_connection_has_ended(takes: float, waited: float):
    """Else a port that is opened again at once would still be in use: by ourselves."""

    class Slow(MemoryTransport):
        def close(self) -> None:
            asyncio.get_running_loop().call_later(takes, self.abort)

    async def test(wire: StreamWire, plug: Plug) -> None:
        plug.kind = Slow
        await wire.connect()
        await wire.close()
        assert monotonic() == pytest.approx(waited)
        assert plug.transport.is_closing(), "by force, if it must be"

    on_wire(Echo(), test)


def test_the_health_counts_and_the_log_shows_what_happened_when():
    async def test(wire: StreamWire, plug: Plug) -> None:
        await wire.ask(b"a\r", CR)
        assert (wire.health.exchanges, wire.health.failures) == (1, 0)
        assert wire.health.last_reply == pytest.approx(SIMULATED_EPOCH + 0.1)
        plug.pull()
        await asyncio.sleep(0)
        with pytest.raises(NoReplyError):
            await wire.ask(b"b\r", CR)
        assert (wire.health.exchanges, wire.health.failures) == (1, 1)
        assert wire.health.last_error == "cannot connect: pulled"
        sent, received = wire.log
        assert (sent.time, sent.direction, sent.data) == (SIMULATED_EPOCH, "sent", b"a\r")
        assert received.time == pytest.approx(SIMULATED_EPOCH + 0.1)

    on_wire(Echo(), test)
