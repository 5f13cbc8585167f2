"""The cable between a host and its simulators."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints.line import Cable, Line
from sdl.endpoints.memory import memory
from sdl.wires import StreamWire, exactly, until


def virtual(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(test)


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []

    async def serve(self, line: Line) -> None:
        while True:
            data = await line.read()
            self.heard.append((monotonic(), data))


class Addressed:
    """Answers requests that begin with its address."""

    def __init__(self, address: bytes) -> None:
        self.address = address

    async def serve(self, line: Line) -> None:
        while True:
            data = await line.read()
            if data.startswith(self.address):
                await line.write(data)


class Dying:
    async def serve(self, line: Line) -> None:
        await line.read()
        raise ZeroDivisionError("the simulator has a bug")


def test_bytes_take_the_time_that_the_baud_rate_says():
    device, told = Listener(), []

    async def test() -> None:
        cable = Cable([device], baudrate=1000)  # 10 ms a byte
        cable.to_host = lambda data: told.append((monotonic(), data))
        await cable.plug_in()
        cable.from_host(b"12345")
        cable.from_host(b"67890")  # waits for the line
        await cable.say(b"abc")
        await asyncio.sleep(1)
        await cable.pull_out()

    virtual(test())
    assert [data for _, data in device.heard] == [b"12345", b"67890"]
    assert [when for when, _ in device.heard] == pytest.approx([0.05, 0.1])
    assert told == [(pytest.approx(0.03), b"abc")]


def test_a_long_message_arrives_in_pieces_at_the_baud_rate():
    told: list[tuple[float, int]] = []

    async def test() -> None:
        cable = Cable([], baudrate=10_000)
        cable.to_host = lambda data: told.append((monotonic(), len(data)))
        await cable.say(bytes(1000))

    virtual(test())
    assert len(told) > 1
    assert sum(length for _, length in told) == 1000
    assert told[-1][0] == pytest.approx(1.0)


def test_two_speakers_do_not_mix():
    told: list[bytes] = []

    async def test() -> None:
        cable = Cable([], baudrate=10_000)
        cable.to_host = told.append
        await asyncio.gather(cable.say(b"a" * 600), cable.say(b"b" * 600))

    virtual(test())
    assert b"".join(told) == b"a" * 600 + b"b" * 600


def test_all_instruments_on_a_cable_hear_the_same_and_one_answers():
    async def test() -> None:
        listener = Listener()
        cable = Cable([Addressed(b"1"), listener, Addressed(b"2")])
        wire = StreamWire("bus", memory(cable))
        await cable.plug_in()
        assert await wire.ask(b"2?\r", until(b"\r")) == b"2?\r"
        assert await wire.ask(b"1?\r", until(b"\r")) == b"1?\r"
        assert [data for _, data in listener.heard] == [b"2?\r", b"1?\r"]
        await wire.close()
        await cable.pull_out()

    virtual(test())


def test_what_a_simulator_died_of_is_raised_when_its_power_is_cut():
    async def test() -> None:
        cable = Cable([Listener(), Dying()])
        await cable.plug_in()
        cable.from_host(b"x")
        await asyncio.sleep(0.1)
        with pytest.raises(ZeroDivisionError, match="has a bug"):
            await cable.pull_out()

    virtual(test())


def test_a_cable_without_power_hears_nothing_and_can_have_it_again():
    device = Listener()

    async def test() -> None:
        cable = Cable([device], baudrate=1000)
        await cable.plug_in()
        cable.from_host(b"lost")
        await cable.pull_out()
        await asyncio.sleep(1)
        await cable.plug_in()
        cable.from_host(b"a")
        await asyncio.sleep(1)
        await cable.pull_out()

    virtual(test())
    assert [data for _, data in device.heard] == [b"a"]


def test_what_is_said_when_no_host_is_there_is_lost():
    async def test() -> None:
        cable = Cable([])
        await cable.say(b"old")
        wire = StreamWire("memory", memory(cable))
        await wire.connect()
        await cable.say(b"new")
        assert await wire.ask(b"x", exactly(0)) == b""
        assert [entry.data for entry in wire.log if entry.direction == "discarded"] == [b"new"]
        await wire.close()

    virtual(test())
