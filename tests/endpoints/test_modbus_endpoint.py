"""Simulated Modbus instruments behind TCP, a PTY and memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints.line import Cable
from sdl.endpoints.memory import memory
from sdl.endpoints.modbus import Kind, ModbusRefusal, Station, memory_wire, serve
from sdl.errors import ConfigError, NoReplyError, RefusedError
from sdl.wires.modbus import ModbusWire, wire

TCP, RTU = "modbus+tcp://10.0.0.8:502", "modbus+rtu:///dev/ttyUSB0?baudrate=9600"


class Memory:
    """Ten of each kind, all writable but the inputs."""

    def __init__(self, unit: int = 1) -> None:
        self.unit = unit
        self.values: dict[str, list[int]] = {
            kind: [0] * 10 for kind in ("coil", "discrete", "holding", "input")
        }

    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        if address + count > 10:
            raise ModbusRefusal(2)
        return self.values[kind][address : address + count]

    async def write(self, kind: Kind, address: int, values: list[int]) -> None:
        if address + len(values) > 10:
            raise ModbusRefusal(2)
        self.values[kind][address : address + len(values)] = values


@asynccontextmanager
async def served(url: str, *devices: Memory) -> AsyncIterator[ModbusWire]:
    async with serve(url, devices) as address:
        modbus = wire(address)
        try:
            yield modbus
        finally:
            await modbus.close()


@asynccontextmanager
async def in_memory(url: str, *devices: Memory) -> AsyncIterator[ModbusWire]:
    async with memory_wire(url, devices) as modbus:
        yield modbus


def virtual(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(main)


async def use_everything(modbus: ModbusWire, device: Memory) -> None:
    device.values["discrete"][3] = device.values["input"][9] = 1
    await modbus.write_register(2, 0xFFFE)
    await modbus.write_registers(3, [5, 6, 7])
    await modbus.write_coil(4, True)
    assert await modbus.read_holding(1, 5) == [0, 0xFFFE, 5, 6, 7]
    assert await modbus.read_coils(3, 3) == [False, True, False]
    assert await modbus.read_discrete(0, 10) == [n == 3 for n in range(10)]
    assert await modbus.read_input(9) == [1]
    with pytest.raises(RefusedError, match="unit 1, holding register 8 to 12: exception 2"):
        await modbus.read_holding(8, 5)
    with pytest.raises(RefusedError, match="exception 2"):
        await modbus.write_registers(9, [1, 2])


@pytest.mark.parametrize("url", [TCP, RTU])
@pytest.mark.parametrize("join", [served, in_memory])
def test_all_kinds_are_read_and_written(url: str, join: Callable[..., Any]) -> None:
    async def main() -> None:
        device = Memory()
        async with join(url, device) as modbus:
            await use_everything(modbus, device)

    (asyncio.run if join is served else virtual)(main())


@pytest.mark.parametrize("url", [TCP, RTU])
def test_units_on_one_line_are_told_apart(url: str) -> None:
    async def main() -> None:
        one, seven = Memory(1), Memory(7)
        async with memory_wire(url, [one, seven]) as modbus:
            await modbus.write_register(0, 11, unit=1)
            await modbus.write_register(0, 77, unit=7)
            assert await modbus.read_holding(0, unit=1) == [11]
            assert await modbus.read_holding(0, unit=7) == [77]

    virtual(main())


def test_an_unknown_unit_is_silent_on_rtu_and_refused_by_the_gateway_on_tcp() -> None:
    async def main() -> None:
        async with memory_wire(RTU, [Memory()]) as modbus:
            with pytest.raises(NoReplyError, match="no reply"):
                await modbus.read_holding(0, unit=2)
        async with memory_wire(TCP, [Memory()]) as modbus:
            with pytest.raises(NoReplyError, match="exception 11"):
                await modbus.read_holding(0, unit=2)

    virtual(main())


def test_two_instruments_with_one_unit_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="unit of its own"):
        Station([Memory(3), Memory(3)], "rtu")


def test_a_broadcast_reaches_all_and_nobody_answers() -> None:
    async def main() -> list[int]:
        devices = [Memory(1), Memory(2)]
        async with memory_wire(RTU, devices) as modbus:
            await modbus.send(bytes.fromhex("00 06 00 00 00 2A 09 C4"))
            await asyncio.sleep(0.5)
            assert not [e for e in modbus.log if e.direction == "received"]  # type: ignore[attr-defined]
        return [device.values["holding"][0] for device in devices]

    assert virtual(main()) == [42, 42]


async def say(framing: Any, *pieces: str, pause: float = 0.0) -> bytes:
    """What a station with one `Memory` answers to bytes, in hex, sent in pieces."""
    heard = bytearray()
    cable = Cable([Station([Memory()], framing)])
    cable.to_host = heard.extend
    await cable.plug_in()
    for piece in pieces:
        cable.from_host(bytes.fromhex(piece))
        await asyncio.sleep(pause)
    await asyncio.sleep(1.0)
    await cable.pull_out()
    return bytes(heard)


READ = "01 03 00 00 00 01 84 0A"  # RTU: read holding register 0
ZERO = bytes.fromhex("01 03 02 00 00 B8 44")


def test_a_request_may_come_in_pieces() -> None:
    assert virtual(say("rtu", READ[:8], READ[8:11], READ[11:], pause=0.01)) == ZERO
    assert virtual(say("tcp", "00 07 00 00 00", "06 01 03 00 00 00 01")) == bytes.fromhex(
        "00 07 00 00 00 05 01 03 02 00 00"
    )


def test_several_requests_may_come_at_once_on_tcp() -> None:
    request = "00 0{} 00 00 00 06 01 03 00 00 00 01"
    replies = virtual(say("tcp", request.format(1) + request.format(2)))
    assert [replies[:2], replies[11:13]] == [b"\0\1", b"\0\2"]


def test_on_rtu_half_a_request_is_forgotten_after_a_silence() -> None:
    assert virtual(say("rtu", READ[:8], READ, pause=0.5)) == ZERO


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("11", 1),  # report server id
        ("63 00", 1),  # no such function
        ("03 00 00 00 00", 3),  # no registers
        ("03 00 00 00 7E", 3),  # 126 registers
        ("03 FF FF 00 02", 2),  # beyond the last address
        ("10 00 00 00 02 02 00 01", 3),  # two registers announced, one sent
    ],
)
def test_what_cannot_be_asked_is_answered_with_an_exception(body: str, code: int) -> None:
    length = len(bytes.fromhex(body)) + 1
    reply = virtual(say("tcp", f"00 01 00 00 00 {length:02x} 01 {body}"))
    assert reply[7:] == bytes((int(body[:2], 16) | 0x80, code))


def test_bytes_in_memory_take_the_time_they_would_on_the_line() -> None:
    async def main() -> float:
        async with memory_wire("modbus+rtu:///dev/ttyUSB0?parity=E", [Memory()]) as modbus:
            await modbus.read_holding(0)
            return monotonic()

    assert virtual(main()) == pytest.approx((8 + 7) * 11 / 9600)  # with parity: 11 bits a byte


def test_tcp_serves_several_hosts_at_once_and_outlives_each() -> None:
    async def main() -> None:
        async with serve(TCP, [Memory()]) as url:
            first, second = wire(url), wire(url)
            await first.write_register(0, 5)
            assert await asyncio.gather(first.read_holding(0), second.read_holding(0)) == [[5], [5]]
            await first.close()
            assert await second.read_holding(0) == [5]
            await second.close()

    asyncio.run(main())


def test_a_port_here_is_kept_and_a_taken_one_is_a_mistake() -> None:
    async def main() -> None:
        async with serve(TCP, [Memory()]) as url:
            assert url.startswith("modbus+tcp://127.0.0.1:")
            with pytest.raises(ConfigError, match="cannot serve there"):
                async with serve(url, [Memory()]):
                    pass
        async with serve(url, [Memory()]) as again:
            assert again == url

    asyncio.run(main())


def test_serial_settings_are_kept_in_the_served_url() -> None:
    async def main() -> None:
        async with serve("modbus+rtu:///dev/ttyS9?baudrate=19200&parity=E", [Memory()]) as url:
            assert url.startswith("modbus+rtu:///dev/pts/")
            assert url.endswith("?baudrate=19200&parity=E")
            modbus = wire(url)  # parity on a PTY: opened all the same
            assert await modbus.read_holding(0) == [0]
            await modbus.close()

    asyncio.run(main())


class Broken(Memory):
    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        raise ZeroDivisionError("a bug in a simulator")


@pytest.mark.parametrize("url", [TCP, RTU])
@pytest.mark.parametrize("join", [served, in_memory])
def test_what_a_simulator_died_of_is_raised_on_leaving(url: str, join: Callable[..., Any]) -> None:
    async def ask_broken() -> None:
        async with join(url, Broken()) as modbus:
            with pytest.raises(NoReplyError):
                await modbus.read_holding(0)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await ask_broken()
        assert len(asyncio.all_tasks()) == 1

    (asyncio.run if join is served else virtual)(main())


def test_a_wire_in_memory_may_be_closed_and_used_again() -> None:
    async def main() -> None:
        cable = Cable([Station([Memory()], "tcp")])
        await cable.plug_in()
        modbus = ModbusWire(TCP, memory(cable), "tcp")
        for _ in range(2):
            assert await modbus.read_holding(0) == [0]
            await modbus.close()
        await cable.pull_out()

    virtual(main())
