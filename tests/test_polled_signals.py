"""Signals that are polled: how long a reading may take, whatever the driver does."""

import asyncio

import pytest

from sdl.clock import monotonic, new_loop
from sdl.errors import NoReplyError
from sdl.instrument import poll_r, poll_rw


async def never() -> float:
    await asyncio.sleep(1e6)
    return 1.0


async def forget(value: float) -> None: ...


@pytest.mark.parametrize("settable", [False, True])
def test_a_reading_that_does_not_end_is_no_reply(settable: bool) -> None:
    async def main() -> None:
        if settable:
            signal = poll_rw(float, never, forget, source="bath temperature")
        else:
            signal = poll_r(float, never, source="bath temperature")
        with pytest.raises(NoReplyError, match="bath temperature: no value came in 30 s"):
            await signal.get_value()
        assert monotonic() == pytest.approx(30.0, abs=0.1)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


def test_a_time_out_of_the_drivers_own_is_left_to_it() -> None:
    async def at_once() -> float:
        raise TimeoutError

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await poll_r(float, at_once, source="bath").get_value()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())
