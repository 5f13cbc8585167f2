"""Other people's Modbus programs on our simulated Eurotherm, and our wire on theirs."""

import asyncio
import re
import shutil
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pyModbusTCP.client import ModbusClient
from pyModbusTCP.server import ModbusServer

from sdl.endpoints.modbus import serve
from sdl.errors import RefusedError
from sdl.simulators.eurotherm3216 import SimulatedEurotherm3216
from sdl.wires.modbus import wire

pytestmark = pytest.mark.peer

TCP, RTU = "modbus+tcp://10.0.0.8:502", "modbus+rtu:///dev/ttyUSB0?baudrate=19200"


class Still:
    """A heater at 25.3 degC."""

    temperature = 25.3

    def attach_controller(self, control: Callable[[float, float], float]) -> None: ...


def eurotherm() -> SimulatedEurotherm3216:
    return SimulatedEurotherm3216(Still(), rng=np.random.default_rng(1), setpoint=20.0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_pymodbustcp_reads_and_writes_our_eurotherm() -> None:
    def use(port: int) -> list[Any]:
        client = ModbusClient("127.0.0.1", port, unit_id=1, timeout=5.0)
        try:
            return [
                client.read_holding_registers(1, 2),
                client.read_input_registers(12, 1),
                client.write_single_register(2, 655),
                client.write_multiple_registers(24, [301, 302]),
                client.read_holding_registers(24, 2),
                client.read_holding_registers(10, 1),
                client.last_except,
                client.write_single_register(2, 3000),
                client.last_except,
            ]
        finally:
            client.close()

    async def main() -> list[Any]:
        async with serve(TCP, [eurotherm()]) as url:
            return await asyncio.to_thread(use, int(url.rpartition(":")[2]))

    assert asyncio.run(main()) == [
        *([253, 200], [2000], True, True, [301, 302]),
        *(None, 2),  # not mapped: illegal data address
        *(False, 3),  # above the range: illegal data value
    ]


def test_our_wire_reads_and_writes_a_pymodbustcp_server() -> None:
    async def main(server: ModbusServer, port: int) -> None:
        bank = server.data_bank
        bank.set_holding_registers(100, [1, 65535, 3])
        bank.set_input_registers(7, [42])
        bank.set_coils(3, [True, False, True])
        bank.set_discrete_inputs(0, [False, True])
        modbus = wire(f"modbus+tcp://127.0.0.1:{port}", timeout=5.0)
        assert await modbus.read_holding(100, 3) == [1, 65535, 3]
        assert await modbus.read_input(7) == [42]
        assert await modbus.read_coils(3, 3) == [True, False, True]
        assert await modbus.read_discrete(0, 2) == [False, True]
        await modbus.write_register(5, 800)
        await modbus.write_registers(6, [7, 8])
        await modbus.write_coil(9, True)
        assert bank.get_holding_registers(5, 3) == [800, 7, 8]
        assert bank.get_coils(9) == [True]
        with pytest.raises(RefusedError, match="exception 2"):
            await modbus.read_holding(65535, 2)
        await modbus.close()

    port = free_port()
    server = ModbusServer("127.0.0.1", port, no_block=True)
    server.start()
    try:
        asyncio.run(main(server, port))
    finally:
        server.stop()


async def mbpoll(*arguments: str) -> str:
    """Run mbpoll once; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *("mbpoll", "-1", "-0", "-a", "1", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return output.decode()


def line_of(url: str) -> tuple[list[str], str]:
    """What mbpoll must be told to reach `url`: options, and where."""
    if url.startswith("modbus+tcp"):
        host, port = url.removeprefix("modbus+tcp://").split(":")
        return ["-m", "tcp", "-p", port], host
    device = url.removeprefix("modbus+rtu://").partition("?")[0]
    return ["-m", "rtu", "-b", "19200", "-P", "none"], device


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll (Debian) is not installed")
@pytest.mark.parametrize("url", [TCP, RTU])
def test_mbpoll_reads_and_writes_our_eurotherm(url: str) -> None:
    async def main() -> list[str]:
        async with serve(url, [eurotherm()]) as served:
            options, where = line_of(served)
            return [
                await mbpoll(*options, "-t", "4", "-r", "1", "-c", "5", where),
                await mbpoll(*options, "-t", "4", "-r", "2", where, "655"),
                await mbpoll(*options, "-t", "3", "-r", "2", where),
                await mbpoll(*options, "-t", "4:float", "-B", "-r", str(0x8000 + 4), where),
                await mbpoll(*options, "-t", "4", "-r", "10", where),
            ]

    block, written, again, as_float, unmapped = asyncio.run(main())
    assert re.findall(r"\[(\d+)\]:\s+(\d+)", block) == [
        *(("1", "253"), ("2", "200"), ("3", "0"), ("4", "0"), ("5", "200"))
    ]
    assert "Written 1 references." in written
    assert re.findall(r"\[2\]:\s+(\d+)", again) == ["655"]
    assert re.findall(r"\[32772\]:\s+(\S+)", as_float) == ["65.5"]
    assert "Illegal data address" in unmapped
