"""`ModbusWire` against instruments that misbehave: in memory on virtual time, and on sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints.line import Cable, Line
from sdl.endpoints.memory import memory
from sdl.errors import ConfigError, GarbledError, NoReplyError, RefusedError
from sdl.wires.modbus import Framing, ModbusWire, wire

Answer = Callable[[bytes, Line], Awaitable[None]]
FRAMINGS: tuple[Framing, Framing] = ("tcp", "rtu")


def crc(data: bytes) -> bytes:
    """Modbus over Serial Line 1.02, 6.2.2"""
    c = 0xFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = (c >> 1) ^ 0xA001 if c & 1 else c >> 1
    return data + bytes((c & 0xFF, c >> 8))


def framed(request: bytes, framing: Framing, body: str, *, unit: int = 1) -> bytes:
    """The reply to `request` with `body`, in hex from the function code on."""
    content = bytes((unit,)) + bytes.fromhex(body)
    if framing == "rtu":
        return crc(content)
    return request[:2] + b"\0\0" + len(content).to_bytes(2, "big") + content


def body_of(request: bytes, framing: Framing) -> bytes:
    return request[1:-2] if framing == "rtu" else request[7:]


class Instrument:
    """Answers each request as it is told to; keeps what it was asked, from the function code on."""

    def __init__(self, framing: Framing, *answers: Answer | str) -> None:
        self.framing: Framing = framing
        self._answers = list(answers)
        self.asked: list[bytes] = []

    async def serve(self, line: Line) -> None:
        while True:
            request = await line.read()
            self.asked.append(body_of(request, self.framing))
            answer = self._answers.pop(0)
            if isinstance(answer, str):
                await line.write(framed(request, self.framing, answer))
            else:
                await answer(request, line)


def talk(
    instrument: Instrument, host: Callable[[ModbusWire], Coroutine[Any, Any, Any]]
) -> ModbusWire:
    """Run `host` with a wire to `instrument` on virtual time."""

    async def main() -> ModbusWire:
        cable = Cable([instrument])
        wire = ModbusWire("modbus+test://bench", memory(cable), instrument.framing, timeout=1.0)
        await cable.plug_in()
        try:
            await host(wire)
        finally:
            await wire.close()
            await cable.pull_out()
        return wire

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(main())


async def silence(request: bytes, line: Line) -> None: ...


def late(seconds: float, body: str, framing: Framing) -> Answer:
    """Answer after `seconds`, while the instrument goes on."""

    async def answer(request: bytes, line: Line) -> None:
        await asyncio.sleep(seconds)
        await line.write(framed(request, framing, body))

    return answer


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_function_returns_what_the_reply_says(framing: Framing) -> None:
    answers = [
        "030400010002",
        "04021234",
        "01020503",
        "020101",
        "060005000a",
        "1000030002",
    ]
    instrument = Instrument(framing, *answers, "05000aff00")

    async def host(wire: ModbusWire) -> None:
        assert await wire.read_holding(7, 2) == [1, 2]
        assert await wire.read_input(0) == [0x1234]
        assert await wire.read_coils(0, 10) == [True, False, True, *[False] * 5, True, True]
        assert await wire.read_discrete(4) == [True]
        await wire.write_register(5, 10)
        await wire.write_registers(3, [7, 8])
        await wire.write_coil(10, True)

    talk(instrument, host)
    asked = [body.hex() for body in instrument.asked]
    assert asked == [
        "0300070002",
        "0400000001",
        "010000000a",
        "0200040001",
        "060005000a",
        "10000300020400070008",
        "05000aff00",
    ]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_silence_is_no_reply_and_names_unit_and_register(framing: Framing) -> None:
    async def host(wire: ModbusWire) -> None:
        with pytest.raises(NoReplyError, match="unit 1, holding register 26 <- 800: no reply"):
            await wire.write_register(26, 800)
        assert monotonic() == pytest.approx(1.0)

    talk(Instrument(framing, silence), host)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    ("code", "meaning", "kind"),
    [
        (2, "illegal data address", RefusedError),
        (3, "illegal data value", RefusedError),
        (6, "device busy", RefusedError),
        (4, "device failure", NoReplyError),
        (5, "still at work", NoReplyError),
        (11, "did not respond", NoReplyError),
        (99, "not in the standard", RefusedError),
    ],
)
def test_an_exception_says_what_may_be_assumed(
    framing: Framing, code: int, meaning: str, kind: type[Exception]
) -> None:
    async def host(wire: ModbusWire) -> None:
        with pytest.raises(kind, match=rf"register 5 <- 10: exception {code} \(.*{meaning}"):
            await wire.write_register(5, 10)
        assert await wire.read_holding(0) == [9]  # and the line is in order: nothing was drained

    instrument = Instrument(framing, f"86{code:02x}", "03020009")
    talk(instrument, host)
    assert len(instrument.asked) == 2


BAD = {
    "another unit": lambda request, framing: framed(request, framing, "03020001", unit=2),
    "another function": lambda request, framing: framed(request, framing, "04020001"),
    "two registers for one": lambda request, framing: framed(request, framing, "030400010002"),
    "half a frame": lambda request, framing: framed(request, framing, "03020001")[:-3],
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("what", BAD)
def test_a_reply_of_the_wrong_shape_is_garbled_and_never_a_value(
    framing: Framing, what: str
) -> None:
    async def bad(request: bytes, line: Line) -> None:
        await line.write(BAD[what](request, framing))

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(GarbledError, match="unit 1, holding register 1"):
            await wire.read_holding(1)
        assert await wire.read_holding(2) == [7]

    found_place = ["030400010002"] if framing == "rtu" else []
    talk(Instrument(framing, bad, *found_place, "03020007"), host)


def test_a_wrong_checksum_is_garbled() -> None:
    async def bad(request: bytes, line: Line) -> None:
        reply = bytearray(framed(request, "rtu", "03020001"))
        reply[4] ^= 1
        await line.write(bytes(reply))

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(GarbledError, match="wrong checksum"):
            await wire.read_holding(1)

    talk(Instrument("rtu", bad), host)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_echo_of_another_value_is_not_a_confirmed_write(framing: Framing) -> None:
    async def host(wire: ModbusWire) -> None:
        with pytest.raises(GarbledError, match="answer to another request"):
            await wire.write_register(2, 800)

    talk(Instrument(framing, "060002031f"), host)


def test_on_tcp_a_late_reply_is_passed_over_at_no_cost() -> None:
    instrument = Instrument("tcp", late(1.5, "0302006f", "tcp"), "030200de")

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(NoReplyError):
            await wire.read_holding(1)
        assert await wire.read_holding(1) == [222]  # 111 arrives first, at 1.5 s
        assert monotonic() == pytest.approx(1.5)
        assert wire.health.connections == 1

    talk(instrument, host)


def test_on_tcp_a_reply_with_another_transaction_id_is_passed_over() -> None:
    async def wrong_then_right(request: bytes, line: Line) -> None:
        other = (int.from_bytes(request[:2], "big") + 7).to_bytes(2, "big")
        await line.write(framed(other, "tcp", "0302006f") + framed(request, "tcp", "030200de"))

    async def host(wire: ModbusWire) -> None:
        assert await wire.read_holding(1) == [222]

    talk(Instrument("tcp", wrong_then_right), host)


def test_on_tcp_the_rest_of_a_broken_frame_makes_a_new_connection() -> None:
    async def half(request: bytes, line: Line) -> None:
        await line.write(framed(request, "tcp", "0302006f")[:9])

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(GarbledError):
            await wire.read_holding(1)
        assert await wire.read_holding(1) == [222]
        assert wire.health.connections == 2

    talk(Instrument("tcp", half, "030200de"), host)


PROBE_ANSWERS = {"two registers": "0304006f0070", "refusal": "8302"}


@pytest.mark.parametrize("probe", PROBE_ANSWERS)
@pytest.mark.parametrize("delay", [1.2, 1.9, 2.5, 2.9, 3.5, 4.5, 6.0])
def test_on_rtu_a_late_reply_never_answers_the_next_request(delay: float, probe: str) -> None:
    class Slow(Instrument):
        async def serve(self, line: Line) -> None:
            """Answer 111 to the first request, after `delay`, and 222 to later ones."""
            value = "0302006f"
            while True:
                request = await line.read()
                if value == "0302006f":
                    await asyncio.sleep(delay)
                one = body_of(request, "rtu")[3:] == b"\0\1"
                await line.write(framed(request, "rtu", value if one else PROBE_ANSWERS[probe]))
                value = "030200de"

    async def host(wire: ModbusWire) -> None:
        values: list[int] = []
        for _ in range(8):
            try:
                values += await wire.read_holding(1)
            except NoReplyError:  # honest; 111 would not be
                continue
        assert set(values) == {222}

    talk(Slow("rtu"), host)


@pytest.mark.parametrize(
    ("ask", "probe"),
    [
        (lambda w: w.read_holding(5), "0300050002"),
        (lambda w: w.read_holding(5, 9), "0300050008"),
        (lambda w: w.read_input(5), "0400050002"),
        (lambda w: w.read_coils(5, 3), "010005000b"),
        (lambda w: w.read_discrete(5, 20), "020005000c"),
        (lambda w: w.write_register(5, 1), "0300050001"),
        (lambda w: w.write_registers(5, [1, 2]), "0300050001"),
        (lambda w: w.write_coil(5, True), "0100050001"),
    ],
)
def test_on_rtu_the_probe_after_a_loss_only_reads_and_has_another_reply(
    ask: Callable[[ModbusWire], Coroutine[Any, Any, Any]], probe: str
) -> None:
    instrument = Instrument("rtu", silence, silence)

    async def host(wire: ModbusWire) -> None:
        for _ in range(2):
            with pytest.raises(NoReplyError):
                await ask(wire)

    talk(instrument, host)
    assert [body.hex() for body in instrument.asked[1:]] == [probe]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_write_whose_reply_is_lost_is_sent_once(framing: Framing) -> None:
    instrument = Instrument(framing, silence, "030400010002" if framing == "rtu" else "03020001")

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(NoReplyError):
            await wire.write_register(2, 800)
        await asyncio.sleep(60)

    talk(instrument, host)
    assert [body.hex() for body in instrument.asked] == ["0600020320"]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_cancelled_caller_leaves_the_line_in_order(framing: Framing) -> None:
    instrument = Instrument(framing, late(0.5, "0302006f", framing), "030200de")

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await wire.read_holding(1)
        assert await wire.read_holding(1) == [222]

    talk(instrument, host)


@pytest.mark.parametrize(("unit", "framing"), [(0, "rtu"), (248, "rtu"), (256, "tcp"), (-1, "tcp")])
def test_a_unit_that_cannot_exist_is_refused_before_anything_is_sent(
    unit: int, framing: Framing
) -> None:
    instrument = Instrument(framing)

    async def host(wire: ModbusWire) -> None:
        with pytest.raises(ConfigError, match=f"unit {unit} does not exist"):
            await wire.read_holding(1, unit=unit)

    talk(instrument, host)
    assert not instrument.asked


def test_a_number_that_no_register_holds_is_not_sent() -> None:
    instrument = Instrument("tcp")

    async def host(wire: ModbusWire) -> None:
        for value in (-1, 65536):
            with pytest.raises(ValueError, match="0 to 65535"):
                await wire.write_register(1, value)
        with pytest.raises(ValueError, match="126"):
            await wire.read_holding(1, 126)
        with pytest.raises(ValueError, match="124"):
            await wire.write_registers(1, [0] * 124)

    talk(instrument, host)
    assert not instrument.asked


def test_the_log_holds_the_frames_as_they_went() -> None:
    wire = talk(Instrument("rtu", "03020007"), lambda wire: wire.read_holding(1))
    entries = [(entry.direction, entry.data) for entry in wire.log]  # type: ignore[attr-defined]
    sent, received = crc(bytes.fromhex("010300010001")), crc(bytes.fromhex("0103020007"))
    assert entries == [("sent", sent), ("received", received)]


# On sockets, in real time


async def _serve_on_socket(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> tuple[asyncio.Server, str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, f"modbus+tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("said", [b"", b"\x00\x01\x00\x00\x00\x05\x01\x03"])
def test_a_connection_closed_in_the_middle_is_noticed_at_once_and_opened_again(
    said: bytes,
) -> None:
    closings = [True, False]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(260):
            if closings.pop(0):
                writer.write(said)
                break
            writer.write(framed(request, "tcp", "03020007"))
        writer.close()

    async def main() -> None:
        server, url = await _serve_on_socket(answer)
        modbus = wire(url, timeout=5.0)
        began = monotonic()
        with pytest.raises(NoReplyError, match="connection broke"):
            await modbus.read_holding(1)
        assert await modbus.read_holding(1) == [7]
        assert monotonic() - began < 2.0
        assert modbus.health.connections == 2
        await modbus.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_nobody_there_is_no_reply() -> None:
    async def main() -> None:
        server, url = await _serve_on_socket(lambda r, w: asyncio.sleep(0))
        server.close()
        await server.wait_closed()
        with pytest.raises(NoReplyError, match="cannot connect"):
            await wire(url).read_holding(1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("modbus+tcp://", "no host"),
        ("modbus+tcp://host:70000", "port '70000'"),
        ("modbus+tcp://host?baudrate=9600", "unknown option 'baudrate'"),
        ("modbus+rtu://ttyUSB0", "three slashes"),
        ("modbus+rtu:///dev/ttyUSB0?parity=X", "parity must be one of"),
        ("modbus://host", "must begin with modbus"),
    ],
)
def test_a_wrong_url_is_explained(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wire(url)


def test_the_standard_port_is_the_default() -> None:
    assert wire("modbus+tcp://10.0.0.8").url == "modbus+tcp://10.0.0.8"
