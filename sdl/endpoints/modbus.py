"""The instrument's side of Modbus: simulated instruments behind a TCP port, a PTY, or in memory.

Frames are read and built by pymodbus; what a request means is in `Station`. On an RTU line an
unknown unit is silent; a TCP server answers for it with exception 11, as gateways do, and serves
several hosts at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from pymodbus.pdu import ExceptionResponse, ModbusPDU, bit_message, register_message

from sdl.endpoints import pty
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.line import BITS_PER_BYTE, Cable, Line
from sdl.endpoints.memory import memory
from sdl.errors import ConfigError
from sdl.wires.modbus import Framing, ModbusWire, framer, parts_of
from sdl.wires.serial import SerialSettings

Kind = Literal["coil", "discrete", "holding", "input"]

LOOPBACK = ("127.0.0.1", "localhost")
SILENCE = (
    0.1  # s after which half an RTU frame is dropped; real lines: 3.5 characters, a PTY is slower
)
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_UNIT = 1, 2, 3, 11

READS: Mapping[int, tuple[Kind, type[ModbusPDU]]] = {
    1: ("coil", bit_message.ReadCoilsResponse),
    2: ("discrete", bit_message.ReadDiscreteInputsResponse),
    3: ("holding", register_message.ReadHoldingRegistersResponse),
    4: ("input", register_message.ReadInputRegistersResponse),
}
WRITES: Mapping[int, tuple[Kind, type[ModbusPDU]]] = {
    5: ("coil", bit_message.WriteSingleCoilResponse),
    6: ("holding", register_message.WriteSingleRegisterResponse),
    15: ("coil", bit_message.WriteMultipleCoilsResponse),
    16: ("holding", register_message.WriteMultipleRegistersResponse),
}


class ModbusRefusal(Exception):  # noqa: N818 (the instrument's word to its host, no error of ours)
    """A simulated instrument answers with this exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class RegisterDevice(Protocol):
    """A simulated Modbus instrument. Addresses count from 0; what it does not have it refuses."""

    @property
    def unit(self) -> int: ...

    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        """Return `count` values: 0 to 65535, or 0 and 1. Raise ModbusRefusal."""
        ...

    async def write(self, kind: Kind, address: int, values: list[int]) -> None:
        """Take all values or none. Raise ModbusRefusal."""
        ...


@asynccontextmanager
async def serve(url: str, devices: Sequence[RegisterDevice | Faulty]) -> AsyncIterator[str]:
    """Serve instruments on a port of this machine or a new PTY; yield the URL to connect to.

    :param url: as the lab file has it. A port is kept where the host is this machine, else a free
        one is chosen; a device path is not used; serial settings are kept.
    :raises ConfigError: the URL is wrong, two instruments have one unit, or the port is not free.
    :raises Exception: on leaving, what a simulator died of.
    """
    parts, framing = parts_of(url)
    station = Station(devices, framing)
    if framing == "rtu":
        async with pty.serve("serial" + url.removeprefix("modbus+rtu"), [station]) as serial_url:
            yield "modbus+rtu" + serial_url.removeprefix("serial")
        return
    connections = _Connections(station)
    port = parts.port if parts.host in LOOPBACK else 0
    try:
        server = await asyncio.start_server(connections.come, LOOPBACK[0], port)
    except OSError as error:
        raise ConfigError(f"{url}: cannot serve there: {error.strerror or error}") from error
    try:
        yield f"modbus+tcp://{LOOPBACK[0]}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await connections.hang_up()
        await server.wait_closed()
        connections.report()


@asynccontextmanager
async def memory_wire(
    url: str, devices: Sequence[RegisterDevice | Faulty], *, timeout: float = 1.0
) -> AsyncIterator[ModbusWire]:
    """Join instruments to a wire in memory, RTU at the URL's baud rate; virtual time works.

    :raises ConfigError: the URL is wrong, or two instruments have one unit.
    :raises Exception: on leaving, what a simulator died of.
    """
    parts, framing = parts_of(url)
    baudrate = None
    if framing == "rtu":
        settings = SerialSettings(parts.path, **parts.options)
        baudrate = settings.baudrate * BITS_PER_BYTE / settings.bits
    cable = Cable([Station(devices, framing)], baudrate=baudrate)
    wire = ModbusWire(url, memory(cable, network=framing == "tcp"), framing, timeout=timeout)
    await cable.plug_in()
    try:
        yield wire
    finally:
        await wire.close()
        await cable.pull_out()


class Station:
    """All units on one line, as a `LineDevice`: takes requests apart, asks the unit, answers."""

    def __init__(self, devices: Sequence[RegisterDevice | Faulty], framing: Framing) -> None:
        """Describe a line. All units on it have the line's faults of the first that is `Faulty`.

        :raises ConfigError: two instruments have one unit.
        """
        self._faulty = next((each for each in devices if isinstance(each, Faulty)), None)
        units = [each.device if isinstance(each, Faulty) else each for each in devices]
        self._devices = {device.unit: device for device in units}
        if len(self._devices) < len(devices):
            numbers = sorted(device.unit for device in units)
            raise ConfigError(
                f"each instrument on a Modbus line needs a unit of its own, not {numbers}"
            )
        self._framing: Framing = framing

    async def serve(self, line: Line) -> None:
        """Answer all requests on the line until cancelled."""
        if self._faulty is None:
            await self._serve(line)
        else:
            await self._faulty.serve_for(_Plain(self._serve), line)

    async def _serve(self, line: Line) -> None:
        frames = framer(self._framing, server=True)
        received = b""
        while True:
            received = await self._more(line, received)
            while received:
                used, unit, transaction, body = frames.decode(received)
                if not used:
                    break
                received = received[used:]
                reply = (
                    await self._answer(unit, body, frames.decoder.decode(body)) if body else None
                )
                if reply is not None:
                    reply.dev_id, reply.transaction_id = unit, transaction
                    await line.write(frames.buildFrame(reply))

    async def _more(self, line: Line, received: bytes) -> bytes:
        try:
            async with asyncio.timeout(SILENCE if received and self._framing == "rtu" else None):
                return received + await line.read()
        except TimeoutError:
            return b""

    async def _answer(self, unit: int, body: bytes, request: ModbusPDU | None) -> ModbusPDU | None:
        if unit == 0 and self._framing == "rtu":  # to all, and none of them answers
            for device in self._devices.values():
                await _execute(device, body[0], request)
            return None
        if unit in self._devices:
            return await _execute(self._devices[unit], body[0], request)
        return None if self._framing == "rtu" else ExceptionResponse(body[0], NO_UNIT)


@dataclass(frozen=True)
class _Plain:
    """The station without its faults."""

    serve: Callable[[Line], Awaitable[None]]


async def _execute(device: RegisterDevice, function: int, request: ModbusPDU | None) -> ModbusPDU:
    try:
        if function in READS:
            return await _read(device, function, request)
        if function in WRITES:
            return await _write(device, function, request)
        raise ModbusRefusal(ILLEGAL_FUNCTION)
    except ModbusRefusal as refusal:
        return ExceptionResponse(function, refusal.code)


async def _read(device: RegisterDevice, function: int, request: ModbusPDU | None) -> ModbusPDU:
    if request is None:  # pymodbus could not read it: a count that is not allowed
        raise ModbusRefusal(ILLEGAL_VALUE)
    kind, reply = READS[function]
    if request.address + request.count > 0x10000:
        raise ModbusRefusal(ILLEGAL_ADDRESS)
    values = await device.read(kind, request.address, request.count)
    if kind in ("coil", "discrete"):
        return reply(bits=[bool(value) for value in values])
    return reply(registers=values)


async def _write(device: RegisterDevice, function: int, request: ModbusPDU | None) -> ModbusPDU:
    if request is None:
        raise ModbusRefusal(ILLEGAL_VALUE)
    kind, reply = WRITES[function]
    count = 1 if function in (5, 6) else request.count
    values = [int(bit) for bit in request.bits[:count]] if kind == "coil" else request.registers
    if not count == len(values) > 0:
        raise ModbusRefusal(ILLEGAL_VALUE)
    await device.write(kind, request.address, list(values))
    return reply(
        address=request.address, count=count, bits=request.bits, registers=request.registers
    )


class _Connections:
    """The hosts connected to one station over TCP, each served by a task."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._tasks: set[asyncio.Task[None]] = set()
        self._died: list[BaseException] = []
        self._taken_until = 0.0

    def come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._gone)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        try:
            if not self.is_taken:
                await self._station.serve(connection)
        except ConnectionError:
            return  # the host has gone
        finally:
            writer.close()

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._died.append(error)

    @property
    def is_taken(self) -> bool:
        return asyncio.get_running_loop().time() < self._taken_until

    def take(self, seconds: float) -> None:
        """Let nobody connect for so long."""
        self._taken_until = asyncio.get_running_loop().time() + seconds

    async def hang_up(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop

    def report(self) -> None:
        """Raise what a simulator died of, if one did."""
        if self._died:
            raise self._died[0]


class _Connection:
    """A `Line` over a socket."""

    def __init__(
        self, all_: _Connections, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._all, self._reader, self._writer = all_, reader, writer

    def hang_up(self, seconds: float = 0.0) -> None:
        self._all.take(seconds)
        self._writer.transport.abort()

    async def read(self) -> bytes:
        if data := await self._reader.read(4096):
            return data
        raise ConnectionResetError("the host has gone")

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
