"""Modbus over TCP and over a serial line (RTU): pymodbus reads and builds frames, `StreamWire`
carries them, so that wires in memory, on a socket and on a port differ only in the bytes' way.

How a reply is known to be the right one (Modbus Messaging on TCP/IP 1.0b; over Serial Line 1.02):
on TCP by its transaction id; a late reply is passed over. RTU frames have no id: after a lost
reply the line is drained until quiet, then asked something whose answer has another length or
function than the next request's (not the echo of function 8: instruments are free to leave it out,
and some are silent then). No request is ever sent twice by the wire.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from sdl.errors import ConfigError, GarbledError, NoReplyError, RefusedError
from sdl.wires.serial import SerialConnector, SerialSettings
from sdl.wires.stream import Connector, StreamWire, Sync
from sdl.wires.tcp import TcpConnector
from sdl.wires.urls import SERIAL_OPTIONS, WireUrl, parse

Framing = Literal["tcp", "rtu"]

DEFAULT_PORT = 502
MEANINGS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still at work",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not respond",
}
UNSURE = (4, 5, 11)  # the request may have been acted upon, wholly or in part


def wire(url: str, *, timeout: float = 1.0) -> "ModbusWire":
    """Return the wire to `modbus+tcp://host[:502]` or `modbus+rtu:///dev/ttyUSB1?baudrate=9600`.

    :raises ConfigError: the URL is wrong.
    """
    parts, framing = parts_of(url)
    if framing == "tcp":
        return ModbusWire(url, TcpConnector(parts.host, parts.port), framing, timeout=timeout)
    settings = SerialSettings(parts.path, **parts.options)
    return ModbusWire(url, SerialConnector(settings), framing, timeout=timeout)


def parts_of(url: str) -> tuple[WireUrl, Framing]:
    """Take apart a Modbus URL. Serial settings that are not given are 9600 8N1.

    :raises ConfigError: it is wrong.
    """
    if url.startswith("modbus+rtu:"):
        parts = parse(url, "modbus+rtu", allowed_options=SERIAL_OPTIONS, leads_to="path")
        return parts, "rtu"
    return parse(url, "modbus+tcp", default_port=DEFAULT_PORT), "tcp"


class ModbusWire(StreamWire):
    """Registers and coils of the units on one connection. Addresses count from 0."""

    def __init__(
        self,
        url: str,
        connect: Connector,
        framing: Framing,
        *,
        timeout: float = 1.0,
        quiet: float | None = None,
    ) -> None:
        """Describe a wire; nothing is opened yet. Parameters: see `StreamWire`."""
        super().__init__(url, connect, timeout=timeout, quiet=quiet)
        self._framer = framer(framing, server=False)
        self._framing: Framing = framing
        self._ids = itertools.cycle(range(1, 0x10000))

    async def read_holding(self, address: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Return `count` (1 to 125) holding registers, 0 to 65535 each.

        :raises RefusedError: the instrument answered with an exception; it has done nothing.
        :raises NoReplyError: nothing whole came in time, or an exception that leaves open what was
            done (4, 5, 11).
        :raises GarbledError: what came is no reply to this request.
        """
        request = ReadHoldingRegistersRequest(address=address, count=count)
        return list((await self._call(request, unit, "holding register")).registers)

    async def read_input(self, address: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Return `count` (1 to 125) input registers. Errors: see `read_holding`."""
        request = ReadInputRegistersRequest(address=address, count=count)
        return list((await self._call(request, unit, "input register")).registers)

    async def read_coils(self, address: int, count: int = 1, *, unit: int = 1) -> list[bool]:
        """Return `count` (1 to 2000) coils. Errors: see `read_holding`."""
        request = ReadCoilsRequest(address=address, count=count)
        return list((await self._call(request, unit, "coil")).bits[:count])

    async def read_discrete(self, address: int, count: int = 1, *, unit: int = 1) -> list[bool]:
        """Return `count` (1 to 2000) discrete inputs. Errors: see `read_holding`."""
        request = ReadDiscreteInputsRequest(address=address, count=count)
        return list((await self._call(request, unit, "discrete input")).bits[:count])

    async def write_register(
        self, address: int, value: int, *, unit: int = 1, urgent: bool = False
    ) -> None:
        """Write one holding register, 0 to 65535 (function 6), once.

        :param urgent: send it even on a line that is out of step; see `StreamWire.ask`.
        Errors: see `read_holding`.
        """
        request = WriteSingleRegisterRequest(address=address, registers=_words([value]))
        await self._call(request, unit, "holding register", urgent=urgent)

    async def write_registers(self, address: int, values: Sequence[int], *, unit: int = 1) -> None:
        """Write 1 to 123 holding registers (function 16), once. Errors: see `read_holding`."""
        request = WriteMultipleRegistersRequest(address=address, registers=_words(values))
        request.verifyAddress()
        request.verifyCount(123)
        await self._call(request, unit, "holding register")

    async def write_coil(
        self, address: int, value: bool, *, unit: int = 1, urgent: bool = False
    ) -> None:
        """Switch one coil (function 5), once. See `write_register`."""
        request = WriteSingleCoilRequest(address=address, bits=[value])
        await self._call(request, unit, "coil", urgent=urgent)

    async def _call(
        self, request: ModbusPDU, unit: int, what: str, *, urgent: bool = False
    ) -> ModbusPDU:
        self._check(unit)
        request.dev_id = unit
        request.transaction_id = next(self._ids) if self._framing == "tcp" else 0
        asked = f"unit {unit}, {what} {request.address}{_written(request)}"
        reply, sync = _Reply(self._framer, request, self.url), self._probe(request)
        try:
            await self.ask(self._framer.buildFrame(request), reply, sync=sync, urgent=urgent)
        except NoReplyError as error:
            reason = str(error).removeprefix(f"{self.url}: ")
            raise type(error)(self.url, f"{asked}: {reason}") from error
        if reply.pdu.isError():
            raise _refusal(self.url, asked, reply.pdu.exception_code)
        return reply.pdu

    def _check(self, unit: int) -> None:
        low, high = (1, 247) if self._framing == "rtu" else (0, 255)
        if not low <= unit <= high:
            raise ConfigError(f"{self.url}: unit {unit} does not exist: {low} to {high}")

    def _probe(self, request: ModbusPDU) -> Sync | None:
        """A question to the same unit whose answer cannot be taken for the one to `request`."""
        if self._framing == "tcp":
            return None
        probe, unit = _another(request), request.dev_id
        probe.dev_id = unit

        def frame(received: bytes) -> int | None:
            used, _, _, body = self._framer.decode(received)
            if used and not body:
                raise GarbledError(self.url, f"wrong checksum: {received.hex(' ')}")
            return used or None

        def accept(reply: bytes) -> bool:
            _, answering, _, body = self._framer.decode(reply)
            length = 2 if body[0] & 0x80 else _length(probe)
            return (answering, body[0] & 0x7F, len(body)) == (unit, probe.function_code, length)

        return Sync(self._framer.buildFrame(probe), frame, accept, who=unit)

    async def _find_place(self) -> None:
        """On TCP the transaction id keeps late replies away; half a frame needs a new start."""
        if self._framing == "rtu":
            await super()._find_place()
        elif _rest(self._framer, bytes(self._inbox.data)):
            await self._shut()
            await self._reopen()
        self._lost = False


class _Reply:
    """Finds the frame that answers `request`, as a `Frame`, and keeps what it says in `pdu`."""

    pdu: ModbusPDU

    def __init__(self, framer: FramerBase, request: ModbusPDU, url: str) -> None:
        self._framer, self._request, self._url = framer, request, url

    def __call__(self, received: bytes) -> int | None:
        at = 0
        while at < len(received):
            used, unit, transaction, body = self._framer.decode(received[at:])
            if not used:
                return None
            at += used
            if transaction != self._request.transaction_id:
                continue  # the late answer to an earlier request
            self.pdu = self._accept(unit, body, received)
            return at
        return None

    def _accept(self, unit: int, body: bytes, received: bytes) -> ModbusPDU:
        request = self._request
        if not body:
            raise self._garbled("a frame that is empty or has a wrong checksum", received)
        if unit != request.dev_id:
            raise self._garbled(f"an answer of unit {unit}", received)
        if body[0] & 0x7F != request.function_code:
            raise self._garbled(f"an answer to function {body[0] & 0x7F}", received)
        pdu = self._framer.decoder.decode(body)
        if pdu is None or len(body) != (2 if pdu.isError() else _length(request)):
            raise self._garbled("an answer of another length", received)
        if not pdu.isError() and not _fits(request, pdu):
            raise self._garbled("an answer to another request", received)
        return pdu

    def _garbled(self, what: str, received: bytes) -> GarbledError:
        return GarbledError(self._url, f"{what} came: {received.hex(' ')}")


def framer(framing: Framing, *, server: bool) -> FramerBase:
    """Return what builds and takes apart frames, on the instrument's side or on the host's."""
    return (FramerRTU if framing == "rtu" else FramerSocket)(DecodePDU(server))


def _another(request: ModbusPDU) -> ModbusPDU:
    """Return a read of the same place, with another function or another length of its reply."""
    at, count = request.address, request.count
    match request.function_code:
        case 1 | 2:
            return type(request)(address=at, count=count - 8 if count > 8 else count + 8)
        case 3 | 4:
            return type(request)(address=at, count=count - 1 if count > 1 else 2)
        case 5:
            return ReadCoilsRequest(address=at, count=1)
        case _:
            return ReadHoldingRegistersRequest(address=at, count=1)


def _length(request: ModbusPDU) -> int:
    """Bytes of a reply from the function code on, without a checksum."""
    if request.function_code in (1, 2):
        return 2 + (request.count + 7) // 8
    return 2 + 2 * request.count if request.function_code in (3, 4) else 5


def _fits(request: ModbusPDU, reply: ModbusPDU) -> bool:
    match request.function_code:
        case 1 | 2:
            return len(reply.bits) >= request.count
        case 3 | 4:
            return len(reply.registers) == request.count
        case 5:
            return (reply.address, reply.bits) == (request.address, request.bits)
        case 6:
            return (reply.address, reply.registers) == (request.address, request.registers)
        case _:
            return (reply.address, reply.count) == (request.address, request.count)


def _refusal(url: str, asked: str, code: int) -> RefusedError | NoReplyError:
    kind = NoReplyError if code in UNSURE else RefusedError
    return kind(url, f"{asked}: exception {code} ({MEANINGS.get(code, 'not in the standard')})")


def _rest(framer: FramerBase, received: bytes) -> bytes:
    """What is left behind the last whole frame."""
    while received and (used := framer.decode(received)[0]):
        received = received[used:]
    return received


def _written(request: ModbusPDU) -> str:
    if request.function_code in (5, 6, 16):
        return f" <- {', '.join(str(int(v)) for v in [*request.bits, *request.registers])}"
    return f" to {request.address + request.count - 1}" if request.count > 1 else ""


def _words(values: Sequence[int]) -> list[int]:
    for value in values:
        if not 0 <= value <= 0xFFFF:
            raise ValueError(f"a register holds 0 to 65535, not {value}; nothing was sent")
    return list(values)
