"""Our JULABO driver and simulator with other people's, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.drivers.julabo import Julabo
from sdl.endpoints import tcp
from sdl.errors import NoReplyError
from sdl.simulators.julabo import SimulatedJulabo
from sdl.simulators.parts.bath import Bath
from sdl.simulators.world import World
from sdl.wires import StreamWire, until
from sdl.wires.tcp import wire as tcp_wire
from tests.peers.environment import Environment, environment

pytestmark = pytest.mark.peer
HERE = Path(__file__).parent


class Bench(World):
    def __init__(self) -> None:
        super().__init__(seed=1, clock=asyncio.get_running_loop().time)
        self.bath = Bath(self)
        self.parts = {"bath": self.bath}

    def step(self, t: float, dt: float) -> None:
        self.bath.step(dt, 22.0)


@asynccontextmanager
async def their_side(peer: Environment, script: str, *arguments: str) -> AsyncIterator[str]:
    """Run a script of theirs until the block ends; yield the first line that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(str(peer.python), str(HERE / script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def over_tcp(
    peer: Environment,
    script: str,
    story: Callable[[StreamWire], Awaitable[None]],
    port: int | None = None,
) -> None:
    async def session() -> None:
        arguments = () if port is None else (str(port),)
        async with their_side(peer, script, *arguments) as said:
            wire = tcp_wire(f"tcp://127.0.0.1:{port or said}", timeout=0.5)
            try:
                await _open(wire)
                await story(wire)
            finally:
                await wire.close()

    asyncio.run(session())


async def _open(wire: StreamWire) -> None:
    """Wait until they listen."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await wire.connect()
            except NoReplyError:
                await asyncio.sleep(0.05)


def test_julabo_2_tempers_our_circulator() -> None:
    peer = environment("julabo")

    async def session() -> None:
        part = Bench().bath
        bath = SimulatedJulabo(part, rng=np.random.default_rng(1), external=True)
        async with tcp.serve("tcp://any:1", [bath]) as url:
            parts = urlsplit(url)
            said = await peer.run("their_julabo.py", str(parts.hostname), str(parts.port))
        assert said.splitlines() == [
            "JULABO MAGIO MS-1000F VERSION 1.1.2",
            "02 REMOTE STOP False",
            "35.5",
            "03 REMOTE START True",
            *said.splitlines()[4:5],  # heating power
            "True True",
            "-11 VALUE TOO LARGE",
            "02 REMOTE STOP",
        ]
        assert part.aimed == 35.5

    asyncio.run(session())


def test_our_driver_tempers_the_circulator_of_sinstruments() -> None:
    async def story(wire: StreamWire) -> None:
        bath = Julabo(wire, external=True, settle=0.0, timeout=5.0, name="bath")
        await bath.connect()
        assert await bath.identify() == "JULABO CRYOCOMPACT CF31 VERSION 5.0"
        assert await bath.bath_temperature.get_value() == 29.45
        assert await bath.high_warning.get_value() == 300.01
        await bath.set(28.2)  # its external sensor stands at 28.22 for ever
        assert await bath.setpoint.get_value() == 28.2
        assert await bath.status.get_value() == "03 REMOTE START"
        await bath.pump_stage.set(3)
        assert await bath.pump_stage.get_value() == 3
        await bath.make_safe()
        assert await bath.running.get_value() is False

    over_tcp(environment("julabo"), "their_julabo_simulator.py", story)


def test_lewis_emulator_does_not_know_the_small_letters_of_the_manuals() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def story(wire: StreamWire) -> None:
        bath = Julabo(wire, name="bath")
        with pytest.raises(NoReplyError, match="version"):
            await bath.identify()
        await wire.close()
        assert await wire.ask(b"IN_SP_00\r", until(b"\r\n")) == b"24.0\r\n"
        assert await wire.ask(b"OUT_SP_00 40\r", until(b"\r\n")) == b"\r\n"  # no circulator does

    over_tcp(environment("lewis"), "their_lewis_julabo.py", story, port)
