"""Requests and replies: what a stream promises, against a scripted instrument in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints.line import Cable, Line
from sdl.endpoints.memory import memory
from sdl.errors import GarbledError, NoReplyError
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

T = TypeVar("T")
CR = until(b"\r")
SYNC = Sync(b"who\r", CR, lambda reply: reply == b"me\r")
Said = Sequence[tuple[float, bytes]]  # s to wait, then what to say


class Scripted:
    """Answers requests in the order they come, each as `answer` says; one at a time."""

    def __init__(self, answer: Callable[[bytes], Said]) -> None:
        self.answer = answer
        self.heard: list[bytes] = []

    async def serve(self, line: Line) -> None:
        waiting = b""
        while True:
            waiting += await line.read()
            while b"\r" in waiting:
                request, _, waiting = waiting.partition(b"\r")
                self.heard.append(request)
                for delay, data in self.answer(request):
                    await asyncio.sleep(delay)
                    await line.write(data)


def echo(request: bytes) -> Said:
    return [(0.01, b"me\r" if request == b"who" else b"<" + request + b">\r")]


def slow(answers: dict[bytes, Said]) -> Callable[[bytes], Said]:
    return lambda request: answers[request] if request in answers else echo(request)


def on_wire(
    device: Scripted, test: Callable[[StreamWire, Cable], Coroutine[Any, Any, T]], **options: float
) -> T:
    async def session() -> T:
        cable = Cable([device])
        wire = StreamWire("memory", memory(cable), **options)
        await cable.plug_in()
        try:
            async with asyncio.timeout(1000):
                return await test(wire, cable)
        finally:
            await wire.close()
            await cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(session())


@pytest.mark.parametrize("sync", [None, SYNC])
@pytest.mark.parametrize("late", [1.001, 1.5, 1.999], ids=lambda s: f"{s} s late")
def test_a_late_reply_never_answers_the_next_request(late: float, sync: Sync | None):
    device = Scripted(slow({b"a": [(late, b"<a>\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        with pytest.raises(NoReplyError, match="no reply to b'a"):
            await wire.ask(b"a\r", CR, sync=sync)
        assert await wire.ask(b"b\r", CR, sync=sync) == b"<b>\r"
        assert (b"discarded", b"<a>\r") in [(e.direction.encode(), e.data) for e in wire.log]

    on_wire(device, test)


@pytest.mark.parametrize("late", [2.005, 2.5, 3.5, 30.0], ids=lambda s: f"{s} s late")
def test_with_a_sync_question_a_reply_may_be_as_late_as_it_likes(late: float):
    """It comes while the sync question is out, or while the next caller waits, or much later."""
    device = Scripted(slow({b"a": [(late, b"<a>\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        with pytest.raises(NoReplyError):
            await wire.ask(b"a\r", CR, sync=SYNC)
        replies = []
        while not replies:
            with suppress(NoReplyError):
                replies.append(await wire.ask(b"b\r", CR, sync=SYNC))
            assert device.heard.count(b"b") == len(replies), "only who is in step is asked"
        assert replies == [b"<b>\r"]
        assert await wire.ask(b"c\r", CR, sync=SYNC) == b"<c>\r"

    on_wire(device, test)


def test_a_late_reply_between_two_uses_is_thrown_away():
    device = Scripted(slow({b"a": [(1.5, b"<a>\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        with pytest.raises(NoReplyError):
            await wire.ask(b"a\r", CR)
        await asyncio.sleep(10)
        assert await wire.ask(b"b\r", CR) == b"<b>\r"

    on_wire(device, test)


def test_a_reply_may_be_split_at_every_byte():
    device = Scripted(lambda request: [(0.01, bytes([byte])) for byte in b"<" + request + b">\r"])

    async def test(wire: StreamWire, _: Cable) -> None:
        assert await wire.ask(b"abc\r", CR) == b"<abc>\r"
        assert await wire.ask(b"def\r", CR) == b"<def>\r"

    on_wire(device, test)


def test_half_a_reply_is_garbled_and_its_other_half_answers_nobody():
    device = Scripted(slow({b"a": [(0.1, b"<a"), (1.5, b">\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        with pytest.raises(GarbledError, match=r"only b'<a' of a reply to b'a\\r' in 1 s"):
            await wire.ask(b"a\r", CR)
        assert await wire.ask(b"b\r", CR) == b"<b>\r"

    on_wire(device, test)


def test_a_reply_to_something_else_is_garbled_before_the_next_in_the_queue_is_served():
    device = Scripted(slow({b"a": [(0.1, b"<z>\r"), (0.5, b"<a>\r")]}))

    def own(request: bytes):
        return answering(CR, lambda reply: reply == b"<" + request + b">\r")

    async def test(wire: StreamWire, _: Cable) -> None:
        first, second = await asyncio.gather(
            wire.ask(b"a\r", own(b"a")), wire.ask(b"b\r", CR), return_exceptions=True
        )
        assert isinstance(first, GarbledError)
        assert "memory: b'a\\r': b'<z>\\r' is no answer" in str(first)
        assert second == b"<b>\r"

    on_wire(device, test)


def test_a_driver_can_say_that_the_place_is_lost():
    device = Scripted(slow({b"a": [(0.1, b"<z>\r"), (0.5, b"<a>\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        assert await wire.ask(b"a\r", CR) == b"<z>\r"
        wire.lost_place()
        assert await wire.ask(b"b\r", CR) == b"<b>\r"

    on_wire(device, test)


def test_bytes_that_nobody_asked_for_are_thrown_away_and_logged():
    device = Scripted(echo)

    async def test(wire: StreamWire, cable: Cable) -> None:
        await wire.connect()
        await cable.say(b"ALARM\r")
        assert await wire.ask(b"a\r", CR) == b"<a>\r"
        assert [(entry.direction, entry.data) for entry in wire.log] == [
            ("discarded", b"ALARM\r"),
            ("sent", b"a\r"),
            ("received", b"<a>\r"),
        ]

    on_wire(device, test)


def test_a_reply_said_twice_before_the_next_request_answers_once():
    device = Scripted(slow({b"a": [(0.1, b"<a>\r<a>\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        assert await wire.ask(b"a\r", CR) == b"<a>\r"
        assert await wire.ask(b"b\r", CR) == b"<b>\r"

    on_wire(device, test)


def test_a_reply_said_again_after_the_next_request_is_known_by_the_frame_only():
    """No wire can tell it otherwise: `frames.answering` is what makes the difference."""
    device = Scripted(slow({b"a": [(0.1, b"<a>\r"), (0.2, b"<a>\r")], b"b": [(0.5, b"<b>\r")]}))
    own = answering(CR, lambda reply: reply == b"<b>\r")

    async def test(wire: StreamWire, _: Cable) -> None:
        await wire.ask(b"a\r", CR, sync=SYNC)
        with pytest.raises(GarbledError):
            await wire.ask(b"b\r", own, sync=SYNC)
        assert await wire.ask(b"b\r", own, sync=SYNC) == b"<b>\r"

    on_wire(device, test)


def test_a_silent_instrument_does_not_stop_the_others_on_its_line():
    device = Scripted(lambda request: [] if request.startswith(b"1") else echo(request))
    dead = Sync(b"1who\r", CR, lambda reply: reply == b"1me\r")

    async def test(wire: StreamWire, _: Cable) -> None:
        for _again in range(3):
            with pytest.raises(NoReplyError):
                await wire.ask(b"1a\r", CR, sync=dead)
            assert await wire.ask(b"b\r", CR, sync=SYNC) == b"<b>\r"
        assert device.heard.count(b"1a") == 1, "who does not answer is not asked"

    on_wire(device, test)


def test_an_instrument_that_comes_back_is_asked_again():
    device = Scripted(lambda _: [])

    async def test(wire: StreamWire, _: Cable) -> None:
        for _again in range(2):
            with pytest.raises(NoReplyError):
                await wire.ask(b"a\r", CR, sync=SYNC)
        device.answer = echo
        assert await wire.ask(b"b\r", CR, sync=SYNC) == b"<b>\r"

    on_wire(device, test)


def test_an_urgent_request_is_sent_even_to_an_instrument_that_seems_deaf():
    device = Scripted(lambda _: [])

    async def test(wire: StreamWire, _: Cable) -> None:
        for request in (b"a\r", b"b\r"):
            with pytest.raises(NoReplyError):
                await wire.ask(request, CR, sync=SYNC)
        with pytest.raises(NoReplyError):
            await wire.ask(b"STP\r", CR, sync=SYNC, urgent=True)
        await asyncio.sleep(0.1)
        assert device.heard.count(b"STP") == 1
        assert b"b" not in device.heard

    on_wire(device, test)


def test_a_line_that_never_falls_silent_is_given_up_after_a_while():
    device = Scripted(slow({b"a": [(1.1, b"")] + [(0.5, b"noise\r")] * 100}))

    async def test(wire: StreamWire, _: Cable) -> float:
        with pytest.raises(NoReplyError):
            await wire.ask(b"a\r", CR)
        start = monotonic()
        with pytest.raises(NoReplyError, match="did not fall silent in 10 s"):
            await wire.ask(b"b\r", CR)
        return monotonic() - start

    assert 10 <= on_wire(device, test) <= 12


def test_an_instrument_that_never_answers_the_sync_question_rightly_is_given_up():
    device = Scripted(lambda request: [(0.01, b"you\r")] if request == b"who" else [])

    async def test(wire: StreamWire, _: Cable) -> None:
        with pytest.raises(NoReplyError):
            await wire.ask(b"a\r", CR, sync=SYNC)
        with pytest.raises(NoReplyError, match="out of step"):
            await wire.ask(b"b\r", CR, sync=SYNC)
        assert b"b" not in device.heard

    on_wire(device, test)


def test_a_request_may_wait_longer_than_the_others():
    device = Scripted(slow({b"a": [(5.0, b"<a>\r")]}))

    async def test(wire: StreamWire, _: Cable) -> None:
        assert await wire.ask(b"a\r", CR, timeout=6) == b"<a>\r"

    on_wire(device, test)


def test_what_has_no_reply_is_only_sent():
    device = Scripted(slow({b"stop": []}))

    async def test(wire: StreamWire, _: Cable) -> None:
        await wire.send(b"stop\r")
        assert await wire.ask(b"a\r", CR) == b"<a>\r"

    on_wire(device, test)
    assert device.heard == [b"stop", b"a"]
