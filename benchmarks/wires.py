"""How much of the raw line a wire leaves: StreamWire.ask against the bare transport, one run.

    python benchmarks/wires.py [exchanges]

An echo in a process of its own stands behind a pseudo-terminal and a TCP port on loopback. Raw and
wire take turns in blocks, so that both meet the same machine; the median exchange of each counts.
32 bytes there, 17 back.
"""

import asyncio
import contextlib
import os
import socket
import statistics
import sys
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Callable

import serial_asyncio_fast

from sdl.wires import until
from sdl.wires.serial import wire as serial_wire
from sdl.wires.tcp import wire as tcp_wire

REQUEST, REPLY, END = b"q" * 31 + b"\r", b"r" * 16 + b"\r", b"\r"
BLOCKS = 10
TARGET = 0.6

ECHO = f"""
import os, sys
fd = int(sys.argv[1])
waiting = b""
while data := os.read(fd, 4096):
    waiting += data
    while {END!r} in waiting:
        _, _, waiting = waiting.partition({END!r})
        os.write(fd, {REPLY!r})
"""

Exchange = Callable[[], Awaitable[object]]


@contextlib.asynccontextmanager
async def echo(fd: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ECHO, str(fd), pass_fds=[fd]
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    async def exchange() -> bytes:
        writer.write(REQUEST)
        return await reader.readuntil(END)

    return exchange


async def compare(name: str, bare: Exchange, wired: Exchange, exchanges: int) -> float:
    took: dict[Exchange, list[float]] = {bare: [], wired: []}
    for _ in range(BLOCKS):
        for exchange, times in took.items():
            for _ in range(exchanges // BLOCKS):
                start = time.perf_counter()
                await exchange()
                times.append(time.perf_counter() - start)
    plain, ours = (statistics.median(times) * 1e6 for times in took.values())
    ratio = plain / ours
    verdict = "meets" if ratio >= TARGET else "MISSES"
    print(
        f"{name:4}  raw {plain:6.1f} us  wire {ours:6.1f} us  "
        f"{ratio:.2f} of the raw throughput ({verdict} the target of {TARGET})"
    )
    return ratio


async def over_pty(exchanges: int) -> float:
    (master, slave), (master2, slave2) = os.openpty(), os.openpty()
    for fd in (slave, slave2):
        tty.setraw(fd)
    reader, writer = await serial_asyncio_fast.open_serial_connection(url=os.ttyname(slave))
    wire = serial_wire(f"serial://{os.ttyname(slave2)}?baudrate=115200")
    try:
        async with echo(master), echo(master2):
            return await compare(
                "PTY",
                raw(reader, writer),
                lambda: wire.ask(REQUEST, until(END)),
                exchanges,
            )
    finally:
        await wire.close()
        writer.close()
        await asyncio.sleep(0.1)


async def over_tcp(exchanges: int) -> float:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        theirs, _ = server.accept()
        wire = tcp_wire(f"tcp://127.0.0.1:{port}")
        await wire.connect()
        theirs2, _ = server.accept()
    with theirs, theirs2:
        for connected in (theirs, theirs2):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with echo(theirs.fileno()), echo(theirs2.fileno()):
                return await compare(
                    "TCP",
                    raw(reader, writer),
                    lambda: wire.ask(REQUEST, until(END)),
                    exchanges,
                )
        finally:
            await wire.close()
            writer.close()


async def main() -> int:
    exchanges = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    ratios = [await over_pty(exchanges), await over_tcp(exchanges)]
    return 0 if min(ratios) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
