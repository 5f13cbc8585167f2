"""What goes wrong on purpose goes wrong once, where it was planned, and as it was said."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints import serve
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty, garbled
from sdl.endpoints.line import Cable, Line
from sdl.endpoints.modbus import Kind as Register
from sdl.endpoints.modbus import Station
from sdl.wires.urls import open_wire


class Counter:
    """Answers each byte with how many it has heard."""

    def __init__(self) -> None:
        self.heard = 0

    async def serve(self, line: Line) -> None:
        while True:
            self.heard += len(await line.read())
            await line.write(b"%03d." % self.heard)


def virtual(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(test)


def talk(fault: Fault, **more: Any) -> tuple[list[tuple[float, bytes]], int, Faulty]:
    """Ask four times, once a second; return what was heard when, and how many were heard."""
    told: list[tuple[float, bytes]] = []
    device = Counter()
    line = Faulty(device, fault, **more)

    async def test() -> None:
        cable = Cable([line])
        cable.to_host = lambda data: told.append((round(monotonic(), 3), data))
        await cable.plug_in()
        for _ in range(4):
            cable.from_host(b"?")
            await asyncio.sleep(1)
        await asyncio.sleep(10)
        await cable.pull_out()

    virtual(test())
    return told, device.heard, line


EXPECTED: dict[str, tuple[list[tuple[float, bytes]], int]] = {
    "lost request": ([(0, b"001."), (2, b"002."), (3, b"003.")], 3),
    "lost reply": ([(0, b"001."), (2, b"003."), (3, b"004.")], 4),
    "late reply": ([(0, b"001."), (2, b"003."), (2.5, b"002."), (3, b"004.")], 4),
    "double reply": ([(0, b"001."), (1, b"002.002."), (2, b"003."), (3, b"004.")], 4),
    "garbled reply": ([(0, b"001."), (1, garbled(b"002.")), (2, b"003."), (3, b"004.")], 4),
    "cut": ([(0, b"001."), (3, b"003.")], 3),
    "event": ([(0, b"001."), (1, b"002."), (2, b"003."), (3, b"004.")], 4),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_fault_happens_once_at_its_exchange(kind: Any) -> None:
    told, heard, line = talk(Fault(kind, at=2, seconds=1.5))
    assert (told, heard) == EXPECTED[kind]
    assert line.happened


def test_a_fault_at_an_exchange_that_never_comes_has_not_happened() -> None:
    told, _, line = talk(Fault("lost reply", at=5))
    assert len(told) == 4
    assert not line.happened


@pytest.mark.parametrize("before_request", [True, False])
def test_an_event_comes_before_the_request_is_heard_or_before_the_reply(
    before_request: bool,
) -> None:
    heard: list[int] = []

    def note() -> None:
        heard.append(line.device.heard)  # type: ignore[attr-defined]

    line = Faulty(Counter())
    line.plan(Fault("event", 2), event=note, before_request=before_request)

    async def test() -> None:
        cable = Cable([line])
        await cable.plug_in()
        for _ in range(3):
            cable.from_host(b"?")
            await asyncio.sleep(1)
        await cable.pull_out()

    virtual(test())
    assert heard == [1 if before_request else 2]


class Register7:
    unit = 1

    async def read(self, kind: Register, address: int, count: int) -> list[int]:
        return [7] * count

    async def write(self, kind: Register, address: int, values: list[int]) -> None: ...


def test_modbus_at_a_port_can_be_disturbed_too() -> None:
    async def test() -> None:
        line = Faulty(Station([Register7()], "tcp"), Fault("lost reply", at=2))
        async with serve("tcp://10.0.0.9:502", [line]) as url:
            wire: Any = open_wire("modbus+" + url, timeout=0.2)
            assert await wire.read_holding(0, 1, unit=1) == [7]
            with pytest.raises(Exception, match="no reply"):
                await wire.read_holding(0, 1, unit=1)
            assert await wire.read_holding(0, 1, unit=1) == [7]
            await wire.close()
        assert line.happened

    asyncio.run(test())
