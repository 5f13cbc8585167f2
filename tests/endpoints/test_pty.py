"""Simulators behind a pseudo-terminal: any program can open it, close it, and open it again."""

import asyncio
import os
import time

import pytest
import serial as pyserial

from sdl.clock import monotonic, new_loop
from sdl.endpoints import pty
from sdl.endpoints.line import Line
from sdl.errors import ConfigError
from sdl.wires import serial, until

CR = until(b"\r")
FAST = "serial:///dev/ttyUSB0?baudrate=1000000"
has_ptys = pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")


class Echo:
    async def serve(self, line: Line) -> None:
        waiting = b""
        while True:
            waiting += await line.read()
            while b"\r" in waiting:
                request, _, waiting = waiting.partition(b"\r")
                if request == b"die":
                    raise ZeroDivisionError("the simulator has a bug")
                await line.write(b"<" + request + b">\r")


class Chatter:
    async def serve(self, line: Line) -> None:
        while True:
            await line.write(bytes(1000))


def somebody(device: str, *requests: bytes) -> list[bytes]:
    """A program that knows nothing of us: plain pyserial."""
    with pyserial.Serial(device, 1_000_000, timeout=5) as port:
        replies = []
        for request in requests:
            port.write(request)
            replies.append(port.read_until(b"\r"))
        return replies


@has_ptys
def test_any_program_can_talk_to_the_simulator_and_come_again():
    async def test() -> None:
        async with pty.serve(FAST, [Echo()]) as url:
            device = serial.settings_of(url).device
            for _ in range(3):
                assert await asyncio.to_thread(somebody, device, b"a\r", b"b\r") == [
                    b"<a>\r",
                    b"<b>\r",
                ]

    asyncio.run(test())


@has_ptys
def test_a_host_that_left_in_the_middle_leaves_nothing_for_the_next():
    async def test() -> None:
        async with pty.serve(FAST, [Echo()]) as url:
            first = os.open(serial.settings_of(url).device, os.O_RDWR | os.O_NOCTTY)
            os.write(first, b"a\r")
            os.close(first)
            await asyncio.sleep(0.05)
            wire = serial.wire(url)
            assert await wire.ask(b"b\r", CR) == b"<b>\r"
            await wire.close()

    asyncio.run(test())


@has_ptys
def test_every_byte_goes_through_as_it_is():
    everything = bytes(byte for byte in range(256) if byte != 0x0D) + b"\r"

    async def test() -> None:
        async with pty.serve(FAST, [Echo()]) as url:
            wire = serial.wire(url)
            assert await wire.ask(everything, until(b">\r")) == b"<" + everything[:-1] + b">\r"
            await wire.close()

    asyncio.run(test())


@has_ptys
def test_the_url_keeps_its_options():
    async def test() -> None:
        async with pty.serve("serial:///dev/ttyUSB0?baudrate=19200&parity=E", []) as url:
            assert url.startswith("serial:///dev/pts/")
            assert url.endswith("?baudrate=19200&parity=E")
        async with pty.serve("serial:///dev/ttyUSB0", []) as url:
            assert "?" not in url

    asyncio.run(test())


@has_ptys
def test_bytes_are_paced_at_the_baud_rate():
    async def test() -> float:
        async with pty.serve("serial:///dev/ttyUSB0?baudrate=4800", [Echo()]) as url:
            wire = serial.wire(url)
            await wire.connect()
            start = time.monotonic()
            await wire.ask(b"x" * 19 + b"\r", CR)
            took = time.monotonic() - start
            await wire.close()
            return took

    assert 42 * 10 / 4800 <= asyncio.run(test()) < 1  # 20 bytes there, 22 back


@has_ptys
def test_a_simulator_that_nobody_listens_to_stops_neither_itself_nor_the_loop():
    async def test() -> None:
        async with pty.serve("serial:///dev/ttyUSB0?baudrate=4000000", [Chatter()]):
            await asyncio.sleep(0.3)  # 120 kB: far more than the terminal holds

    asyncio.run(test())


@has_ptys
def test_what_a_simulator_died_of_is_raised_on_leaving_and_nothing_stays_open():
    async def test() -> None:
        async with pty.serve(FAST, [Echo()]) as url:
            wire = serial.wire(url)
            await wire.send(b"die\r")
            await wire.close()
            await asyncio.sleep(0.05)

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(ZeroDivisionError, match="has a bug"):
        asyncio.run(test())
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before


def test_in_memory_the_same_line_is_paced_the_same_in_virtual_time():
    async def test() -> float:
        url = "serial:///dev/ttyUSB0?baudrate=1200&parity=E&stopbits=2"  # 12 bits a byte
        async with pty.memory_wire(url, [Echo()], timeout=60) as wire:
            assert await wire.ask(b"a" * 119 + b"\r", CR) == b"<" + b"a" * 119 + b">\r"
            return monotonic()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        assert runner.run(test()) == pytest.approx((120 + 122) * 12 / 1200)


def test_a_line_without_a_baud_rate_has_pyserials():
    async def test() -> float:
        async with pty.memory_wire("serial:///dev/ttyUSB0", [Echo()]) as wire:
            await wire.ask(b"a\r", CR)
            return monotonic()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        assert runner.run(test()) == pytest.approx(6 * 10 / 9600)


def test_a_wrong_url_serves_nothing():
    async def test() -> None:
        with pytest.raises(ConfigError, match="three slashes"):
            async with pty.memory_wire("serial://ttyUSB0", [Echo()]):
                pass
        with pytest.raises(ConfigError, match="three slashes"):
            async with pty.serve("serial://ttyUSB0", [Echo()]):
                pass

    asyncio.run(test())
