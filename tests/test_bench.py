"""Instruments that are connected although an answer was lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from ophyd_async.core import StandardReadable, StandardReadableFormat

from sdl.bench import CONNECT_TRIES, Bench
from sdl.clock import new_loop
from sdl.errors import ConfigError, InstrumentError, NoReplyError
from sdl.instrument import poll_r


class Probe(StandardReadable):
    """Says nothing to the first `lost` questions; then it is what `wrong` says."""

    def __init__(self, lost: int, wrong: str = "") -> None:
        self.asked, self._lost, self._wrong = 0, lost, wrong
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.level = poll_r(float, self._get, source="probe")
        super().__init__(name="probe")

    async def _get(self) -> float:
        self.asked += 1
        if self.asked <= self._lost:
            raise NoReplyError("probe", "no reply")
        if self._wrong:
            raise ConfigError(self._wrong)
        return 1.0


def on_virtual_time(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def test_one_answer_that_is_lost_while_connecting_is_asked_for_again_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        probe = Probe(lost=1)
        with caplog.at_level(logging.WARNING):
            await Bench("bench", {}, {"probe": probe}).connect()
        assert await probe.level.get_value() == 1.0
        assert "probe: no reply; it is tried again" in caplog.text

    on_virtual_time(story)


def test_one_that_never_answers_is_given_up_after_a_few_times() -> None:
    async def story() -> None:
        probe = Probe(lost=1000)
        with pytest.raises(
            InstrumentError, match=r"1 of 1 .* nothing has moved\n  probe: no reply"
        ):
            await Bench("bench", {}, {"probe": probe}).connect()
        assert probe.asked == CONNECT_TRIES

    on_virtual_time(story)


def test_one_that_is_another_than_was_described_is_not_tried_again() -> None:
    async def story() -> None:
        probe = Probe(lost=0, wrong="probe: it is a pump")
        with pytest.raises(InstrumentError, match="it is a pump"):
            await Bench("bench", {}, {"probe": probe}).connect()
        assert probe.asked == 1

    on_virtual_time(story)
