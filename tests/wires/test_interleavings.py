"""Whatever is late, split or said twice: no wrong reply is ever accepted."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.line import Cable, Line
from sdl.endpoints.memory import memory
from sdl.errors import NoReplyError
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

CR = until(b"\r")
SYNC = Sync(b"?\r", CR, lambda reply: reply == b"!\r")

delays = st.one_of(st.just(0.0), st.floats(0, 0.9), st.floats(0.9, 5.0))
replies = st.tuples(delays, st.integers(0, 5), delays, st.integers(0, 2))  # see Numbered
between_asks = st.sampled_from([0.0, 0.3, 2.0])
SHARED = settings(max_examples=150, deadline=None)


class Numbered:
    """Answers `n CR` with `n CR`, in order: late, split, said again; the sync question at once."""

    def __init__(self, script: list[tuple[float, int, float, int]], *, again: bool) -> None:
        self._script, self._again = script, again

    async def serve(self, line: Line) -> None:
        waiting = b""
        while True:
            waiting += await line.read()
            while b"\r" in waiting:
                request, _, waiting = waiting.partition(b"\r")
                await self._answer(line, request)

    async def _answer(self, line: Line, request: bytes) -> None:
        if request == b"?":
            await asyncio.sleep(0.01)
            await line.write(b"!\r")
            return
        late, split, pause, more = self._script[int(request) % len(self._script)]
        reply = request.rjust(4, b"0") + b"\r"
        await asyncio.sleep(late)
        await line.write(reply[:split])
        await asyncio.sleep(pause)
        await line.write(reply[split:])
        for _ in range(more if self._again else 0):
            await asyncio.sleep(pause)
            await line.write(reply)


async def answered(device: Numbered, pauses: list[float], *, check: bool) -> int:
    cable = Cable([device])
    wire = StreamWire("memory", memory(cable), timeout=1.0)
    await cable.plug_in()
    right = 0
    for number, pause in enumerate(pauses):
        own = b"%04d\r" % number
        frame = answering(CR, lambda reply, own=own: reply == own) if check else CR
        try:
            reply = await wire.ask(b"%d\r" % number, frame, sync=SYNC)
        except NoReplyError:
            pass
        else:
            assert reply == own
            right += 1
        await asyncio.sleep(pause)
    await wire.close()
    await cable.pull_out()
    return right


def run(device: Numbered, pauses: list[float], *, check: bool) -> int:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(answered(device, pauses, check=check))


@SHARED
@given(st.lists(replies, min_size=1, max_size=6), st.lists(between_asks, min_size=2, max_size=12))
def test_late_and_split_replies_are_never_taken_for_anothers(script, pauses):
    run(Numbered(script, again=False), pauses, check=False)


@SHARED
@given(st.lists(replies, min_size=1, max_size=6), st.lists(between_asks, min_size=2, max_size=12))
def test_nor_are_repeated_ones_where_replies_say_what_they_answer(script, pauses):
    run(Numbered(script, again=True), pauses, check=True)


def test_an_instrument_in_good_order_is_always_answered():
    assert run(Numbered([(0.0, 2, 0.1, 0)], again=False), [0.0] * 12, check=False) == 12
