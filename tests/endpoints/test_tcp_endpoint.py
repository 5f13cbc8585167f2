"""Simulators behind a TCP port."""

import asyncio

import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints import tcp
from sdl.endpoints.line import Line
from sdl.errors import ConfigError, NoReplyError
from sdl.wires import tcp as tcp_wire
from sdl.wires import until
from sdl.wires.urls import parse

CR = until(b"\r")
ELSEWHERE = "tcp://10.0.0.7:4001"


class Echo:
    async def serve(self, line: Line) -> None:
        while True:
            request = await line.read()
            if request == b"die\r":
                raise ZeroDivisionError("the simulator has a bug")
            await line.write(b"<" + request[:-1] + b">\r")


def test_a_driver_can_connect_leave_and_come_again():
    async def test() -> None:
        async with tcp.serve(ELSEWHERE, [Echo()]) as url:
            wire = tcp_wire.wire(url)
            for _ in range(3):
                assert await wire.ask(b"a\r", CR) == b"<a>\r"
                await wire.close()
                await asyncio.sleep(0.01)

    asyncio.run(test())


def test_a_second_client_is_turned_away_and_the_first_does_not_notice():
    async def test() -> None:
        async with tcp.serve(ELSEWHERE, [Echo()]) as url:
            first, second = tcp_wire.wire(url), tcp_wire.wire(url)
            assert await first.ask(b"a\r", CR) == b"<a>\r"
            with pytest.raises(NoReplyError, match="the connection broke"):
                await second.ask(b"b\r", CR)
            assert await first.ask(b"c\r", CR) == b"<c>\r"
            await first.close()
            await second.close()

    asyncio.run(test())


def test_an_instrument_may_take_several_clients():
    async def test() -> None:
        async with tcp.serve(ELSEWHERE, [Echo()], most_clients=2) as url:
            first, second = tcp_wire.wire(url), tcp_wire.wire(url)
            assert await first.ask(b"a\r", CR) == b"<a>\r"
            assert await second.ask(b"b\r", CR) == b"<b>\r"
            await first.close()
            await second.close()

    asyncio.run(test())


def test_a_port_of_this_machine_is_kept_and_any_other_is_chosen():
    async def test() -> None:
        async with tcp.serve(ELSEWHERE, []) as chosen:
            assert parse(chosen, "tcp").host == "127.0.0.1"
            with pytest.raises(ConfigError, match="cannot serve there"):
                async with tcp.serve(chosen, []):
                    pass
        async with tcp.serve(chosen, []) as kept:
            assert kept == chosen

    asyncio.run(test())


def test_leaving_hangs_up_and_the_driver_sees_it():
    async def test() -> None:
        async with tcp.serve(ELSEWHERE, [Echo()]) as url:
            wire = tcp_wire.wire(url)
            await wire.connect()
        async with asyncio.timeout(5):
            while wire.health.connected:
                await asyncio.sleep(0.01)
        with pytest.raises(NoReplyError, match="nobody listens"):
            await wire.ask(b"a\r", CR)
        await wire.close()

    asyncio.run(test())


def test_what_a_simulator_died_of_is_raised_on_leaving():
    async def test() -> None:
        async with tcp.serve(ELSEWHERE, [Echo()]) as url:
            wire = tcp_wire.wire(url, timeout=0.05)
            with pytest.raises(NoReplyError):
                await wire.ask(b"die\r", CR)
            await wire.close()

    with pytest.raises(ZeroDivisionError, match="has a bug"):
        asyncio.run(test())


def test_in_memory_the_same_line_takes_no_time():
    async def test() -> float:
        async with tcp.memory_wire(ELSEWHERE, [Echo()]) as wire:
            assert await wire.ask(b"a\r", CR) == b"<a>\r"
            return monotonic()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        assert runner.run(test()) == 0
