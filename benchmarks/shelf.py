"""What a driver's reading costs: against the raw client library, for each wire, in the same run.

    python benchmarks/shelf.py [--readings 2000] [--seconds 20]

A reading is one signal of a driver (no RunEngine) over a real transport; the baseline sends the
same request with the library below our wire, waits for the reply, with a time-out, and reads the
number in it. What answers is a process of its own that knows its replies by heart (for MQTT:
mosquitto, and a simulated board). Both sides take turns in blocks; the medians count.

Then a hundred pumps on one loop are read once a second, each over a TCP connection of its own: the
processor's time of this process, all of it.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import select
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import numpy as np
import serial_asyncio_fast
import zmq
import zmq.asyncio
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from sdl.drivers.eurotherm3216 import Eurotherm3216
from sdl.drivers.ne1000 import NE1000
from sdl.drivers.opentrons import Opentrons
from sdl.drivers.spectrometer import Spectrometer
from sdl.drivers.tasmota import TasmotaSensor
from sdl.endpoints import mqtt
from sdl.simulators.parts.air import BenchAir
from sdl.simulators.tasmota import SimulatedTasmota
from sdl.testing import StillWorld
from sdl.wires.http import wire as http_wire
from sdl.wires.modbus import wire as modbus_wire
from sdl.wires.mqtt import wire as mqtt_wire
from sdl.wires.serial import wire as serial_wire
from sdl.wires.tcp import wire as tcp_wire
from sdl.wires.zmq import wire as zmq_wire

BLOCKS = 10
TARGET, MOST = 0.6, 10.0  # of the raw throughput; % of one core
PUMPS = 100

RATE = re.compile(rb"\x0200S([\d.]+)MM\x03")
PUMP: Mapping[bytes, bytes] = {
    b"0RAT\r": b"\x0200S5.000MM\x03",
    b"0DIS\r": b"\x0200SI1.234W0.000ML\x03",
    b"0\r": b"\x0200S\x03",
    b"0DIA\r": b"\x0200S26.59\x03",
}
SETPOINT = bytes.fromhex("01 03 00 05 00 01")  # read register 5 of unit 1
RTU: Mapping[bytes, bytes] = {SETPOINT + b"\x94\x0b": bytes.fromhex("01 03 02 00 C8 B9 D2")}
MBAP: Mapping[bytes, bytes] = {
    b"\0\0\0\x06" + SETPOINT: b"\0\0\0\x05" + bytes.fromhex("01 03 02 00 C8")
}
HELLO = {
    "protocol": 1,
    "status": "ok",
    "session": "s",
    "t": 0.0,
    "model": "spectrometer",
    "serial": "1",
    "firmware": "1",
    "kind": "spectrometer",
    "stream": None,
}
LIGHTS = b'{"on": true}'
HTTP = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"

Exchange = Callable[[], Awaitable[object]]


# What answers, in a process of its own


def answer(kind: str, given: list[str]) -> None:
    """Be an instrument; say first where."""
    if kind in ("pump", "rtu"):
        _by_heart(PUMP if kind == "pump" else RTU, [int(fd) for fd in given])
    elif kind in ("pumps", "mbap"):
        _on_tcp(kind)
    elif kind == "zmq":
        _on_zmq()
    elif kind == "http":
        asyncio.run(_on_http())
    else:
        asyncio.run(_on_mqtt(given[0]))


def _by_heart(known: Mapping[bytes, bytes], fds: list[int]) -> None:
    heard = dict.fromkeys(fds, b"")
    print("ready", flush=True)
    while fds:
        for fd in select.select(fds, [], [])[0]:
            heard[fd] += os.read(fd, 4096)
            if heard[fd] in known:
                os.write(fd, known[heard[fd]])
                heard[fd] = b""


def _on_tcp(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * PUMPS) as server:
        print(server.getsockname()[1], flush=True)
        clients: list[socket.socket] = []
        while True:
            for ready in select.select([server, *clients], [], [])[0]:
                if ready is server:
                    client, _ = server.accept()
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    clients.append(client)
                elif request := ready.recv(4096):
                    mbap = kind == "mbap"
                    reply = request[:2] + MBAP[request[2:]] if mbap else PUMP[request]
                    ready.sendall(reply)
                else:
                    clients.remove(ready)


def _on_zmq() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        said = json.dumps(HELLO).encode()
        while True:
            client, ident, *_ = router.recv_multipart()
            router.send_multipart([client, ident, said])


async def _on_http() -> None:
    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(HTTP % (len(LIGHTS), LIGHTS))
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _on_mqtt(port: str) -> None:
    rng, air = np.random.default_rng(1), BenchAir(StillWorld(), np.random.default_rng(1))
    boards = [SimulatedTasmota(air, rng=rng, topic=topic) for topic in ("raw", "ours")]
    async with mqtt.serve(f"mqtt://127.0.0.1:{port}", boards):
        print("ready", flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def answering(kind: str, *given: object, fds: tuple[int, ...] = ()) -> AsyncIterator[str]:
    """Have something answer; give what it said first."""
    command = [sys.executable, __file__, "--answer", kind, *map(str, (*fds, *given))]
    process = await asyncio.create_subprocess_exec(
        *command, pass_fds=fds, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = await process.stdout.readline()
        assert said, f"{kind} does not answer"
        yield said.decode().strip()
    finally:
        process.kill()
        await process.wait()


# A reading, and the same with the raw library


async def compare(name: str, bare: Exchange, ours: Exchange, readings: int) -> float:
    took: dict[Exchange, list[float]] = {bare: [], ours: []}
    for exchange in took:
        await exchange()  # connects
    for _ in range(BLOCKS):
        for exchange, times in took.items():
            for _ in range(max(1, readings // BLOCKS)):
                start = time.perf_counter()
                await exchange()
                times.append(time.perf_counter() - start)
    plain, read = (statistics.median(times) * 1e6 for times in took.values())
    ratio = plain / read
    verdict = "meets" if ratio >= TARGET else "MISSES"
    print(
        f"{name:36} raw {plain:7.1f} us  reading {read:7.1f} us  {ratio:.2f} ({verdict} {TARGET})"
    )
    return ratio


def streamed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    async def exchange() -> float:
        async with asyncio.timeout(1.0):  # as every client must, and those of other wires do
            writer.write(b"0RAT\r")
            match = RATE.fullmatch(await reader.readuntil(b"\x03"))
        assert match is not None
        return float(match[1])

    return exchange


async def on_pty(readings: int) -> float:
    ptys = [os.openpty(), os.openpty()]
    for _, slave in ptys:
        tty.setraw(slave)
    paths = [os.ttyname(slave) for _, slave in ptys]
    async with answering("pump", fds=tuple(master for master, _ in ptys)):
        reader, writer = await serial_asyncio_fast.open_serial_connection(url=paths[0])
        wire = serial_wire(f"serial://{paths[1]}?baudrate=19200")
        pump = NE1000(wire, diameter=26.59, name="pump")
        try:
            bare = streamed(reader, writer)
            name = "serial (PTY), pyserial-asyncio-fast"
            return await compare(name, bare, pump.rate.get_value, readings)
        finally:
            await wire.close()
            writer.close()
            await asyncio.sleep(0.1)


async def on_tcp(readings: int) -> float:
    async with answering("pumps") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        wire = tcp_wire(f"tcp://127.0.0.1:{port}")
        pump = NE1000(wire, diameter=26.59, name="pump")
        try:
            bare = streamed(reader, writer)
            return await compare("TCP, asyncio streams", bare, pump.rate.get_value, readings)
        finally:
            await wire.close()
            writer.close()


async def on_modbus_tcp(readings: int) -> float:
    async with answering("mbap") as port:
        client = AsyncModbusTcpClient("127.0.0.1", port=int(port), retries=0)
        await client.connect()
        return await _on_modbus(f"modbus+tcp://127.0.0.1:{port}", client, "TCP", readings)


async def on_modbus_rtu(readings: int) -> float:
    ptys = [os.openpty(), os.openpty()]
    for _, slave in ptys:
        tty.setraw(slave)
    paths = [os.ttyname(slave) for _, slave in ptys]
    async with answering("rtu", fds=tuple(master for master, _ in ptys)):
        client = AsyncModbusSerialClient(paths[0], baudrate=115200, retries=0)
        await client.connect()
        url = f"modbus+rtu://{paths[1]}?baudrate=115200"
        return await _on_modbus(url, client, "RTU (PTY)", readings)


async def _on_modbus(url: str, client: Any, name: str, readings: int) -> float:
    async def bare() -> float:
        reply = await client.read_holding_registers(5, count=1, device_id=1)
        return struct.unpack(">h", struct.pack(">H", reply.registers[0]))[0] / 10

    wire = modbus_wire(url)
    heater = Eurotherm3216(wire, name="heater")
    try:
        return await compare(f"Modbus {name}, pymodbus", bare, heater.setpoint.get_value, readings)
    finally:
        await wire.close()
        client.close()


async def on_zmq(readings: int) -> float:
    async with answering("zmq") as port:
        wire = zmq_wire(f"zmq+tcp://127.0.0.1:{port}")
        detector = Spectrometer(wire, name="spectrometer")
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(f"tcp://127.0.0.1:{port}")
            hello = json.dumps({"protocol": 1, "command": "hello"}).encode()

            async def bare() -> str:
                await dealer.send_multipart([b"1", hello])
                return json.loads((await dealer.recv_multipart())[1])["model"]

            try:
                return await compare("0MQ, pyzmq", bare, detector.identify, readings)
            finally:
                await wire.close()


async def on_http(readings: int) -> float:
    async with answering("http") as port, httpx.AsyncClient(trust_env=False) as client:
        root = f"http://127.0.0.1:{port}"
        wire = http_wire(root)
        robot = Opentrons(wire, name="robot")

        async def bare() -> bool:
            return (await client.get(f"{root}/robot/lights")).json()["on"]

        try:
            return await compare("HTTP, httpx", bare, robot.lights.get_value, readings // 2)
        finally:
            await wire.close()


async def on_mqtt(readings: int) -> float | None:
    if shutil.which("mosquitto") is None:
        print("MQTT: there is no mosquitto here")
        return None
    nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    async with broker() as port, answering("mqtt", port):
        wire = mqtt_wire(f"mqtt://127.0.0.1:{port}")
        sensor = TasmotaSensor(wire, topic="ours", name="air")
        async with aiomqtt.Client("127.0.0.1", port, socket_options=nodelay) as client:
            await client.subscribe("stat/raw/STATUS2", qos=1)
            messages = client.messages

            async def bare() -> str:
                await client.publish("cmnd/raw/Status", b"2", qos=1)
                return json.loads((await anext(messages)).payload)["StatusFWR"]["Version"]

            try:
                return await compare("MQTT, aiomqtt", bare, sensor.identify, readings // 4)
            finally:
                await wire.close()


@asynccontextmanager
async def broker() -> AsyncIterator[int]:
    """A mosquitto of our own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        listener = f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        settings.write_text(listener, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            "mosquitto", "-c", str(settings), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await asyncio.sleep(1.0)
            yield port
        finally:
            process.kill()
            await process.wait()


# A hundred on one loop


async def hundred(seconds: float) -> float:
    """Print what a hundred pumps cost that are read once a second; return the % of one core."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(answering("pumps"))
        pumps = []
        for number in range(PUMPS):
            wire = tcp_wire(f"tcp://127.0.0.1:{port}")
            stack.push_async_callback(wire.close)
            pumps.append(NE1000(wire, diameter=26.59, name=f"pump{number}"))
        one = await _polled([pump.dispensed.get_value for pump in pumps], seconds)
        whole = await _polled([pump.read for pump in pumps], seconds / 2)
    verdict = "meets" if one < MOST else "MISSES"
    print(
        f"{PUMPS} pumps, one signal of each at 1 Hz: {one:.1f} % of one core ({verdict} {MOST:g})"
    )
    print(f"{PUMPS} pumps, all that is readable (4 questions) at 1 Hz: {whole:.1f} % of one core")
    return one


async def _polled(reads: list[Callable[[], Awaitable[object]]], seconds: float) -> float:
    async def poll(number: int, read: Callable[[], Awaitable[object]]) -> int:
        due, count = asyncio.get_running_loop().time() + number / PUMPS, 0
        until = due + seconds
        while due < until:
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await read()
            due, count = due + 1.0, count + 1
        return count

    await asyncio.gather(*(read() for read in reads))  # connects
    used, began = time.process_time(), time.perf_counter()
    done = await asyncio.gather(*(poll(number, read) for number, read in enumerate(reads)))
    took = time.perf_counter() - began
    assert sum(done) >= 0.9 * PUMPS * seconds, f"only {sum(done)} readings in {took:.0f} s"
    return 100 * (time.process_time() - used) / took


async def measure(readings: int, seconds: float) -> int:
    print(f"{platform.node()}: {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M')}", end=", ")
    print(f"load {os.getloadavg()[0]:.1f}; the ratio is of the raw library's throughput")
    kinds = (on_pty, on_tcp, on_modbus_rtu, on_modbus_tcp, on_zmq, on_http, on_mqtt)
    ratios = [await kind(readings) for kind in kinds]
    share = await hundred(seconds)
    met = all(ratio is None or ratio >= TARGET for ratio in ratios) and share < MOST
    return 0 if met else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--readings", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--answer", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer(given.answer[0], given.answer[1:])
        return 0
    return asyncio.run(measure(given.readings, given.seconds))


if __name__ == "__main__":
    sys.exit(main())
