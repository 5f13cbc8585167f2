"""Simulators behind HTTP, on a port and in memory: for clients that know nothing of us."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdl import endpoints
from sdl.clock import new_loop
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.http import App, memory_wire, serve
from sdl.errors import ConfigError, InstrumentError
from sdl.wires.http import HttpWire, wire

ANYWHERE = "http://10.0.0.10:80"  # not this machine: a free port is taken
TIMEOUT = 0.15


class Counter:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.heard = 0
        self.app: App = Starlette(
            routes=[Route("/count", self._count, methods=["GET", "POST"]), Route("/bug", self._bug)]
        )

    async def serve(self) -> None:
        await asyncio.Event().wait()

    async def _count(self, request: Request) -> Response:
        self.heard += 1
        said = (await request.body()).decode()
        return JSONResponse({"count": self.heard, "said": said})

    async def _bug(self, request: Request) -> Response:
        raise ZeroDivisionError("a mistake in a simulator")


def real(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await story()

    with asyncio.Runner(loop_factory=lambda: new_loop(1)) as runner:
        runner.run(run())


def test_a_stranger_s_client_is_answered() -> None:
    async def story() -> None:
        async with endpoints.serve(ANYWHERE, [Counter()]) as url:
            assert url.startswith("http://127.0.0.1:")

            def work() -> None:
                with requests.Session() as session:
                    answers = [session.post(f"{url}/count", data="x").json() for _ in range(3)]
                    assert answers == [{"count": n, "said": "x"} for n in (1, 2, 3)]
                    assert session.get(f"{url}/other").status_code == 404

            await asyncio.to_thread(work)

    real(story)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_is_answered() -> None:
    async def story() -> None:
        async with serve(ANYWHERE, [Counter()]) as url:
            asked = ["curl", "-s", "--max-time", "5", "-d", "hello", f"{url}/count"]
            said = await asyncio.to_thread(subprocess.check_output, asked)
            assert said == b'{"count":1,"said":"hello"}'

    real(story)


@asynccontextmanager
async def on_a_port(device: Any) -> AsyncIterator[HttpWire]:
    async with serve(ANYWHERE, [device]) as url:
        http = wire(url, timeout=TIMEOUT)
        try:
            yield http
        finally:
            await http.close()


def in_memory(device: Any) -> AbstractAsyncContextManager[HttpWire]:
    return memory_wire(ANYWHERE, [device], timeout=TIMEOUT)


# what is answered to four requests, 0 for an error, and how many were heard
EXPECTED: dict[str, tuple[list[int], int]] = {
    "lost request": ([1, 0, 2, 3], 3),
    "lost reply": ([1, 0, 3, 4], 4),
    "late reply": ([1, 0, 3, 4], 4),
    "stale reply": ([1, 0, 3, 4], 4),
    "double reply": ([1, 2, 3, 4], 4),
    "garbled reply": ([1, 0, 3, 4], 4),
    "dropped byte": ([1, 0, 3, 4], 4),
    "split reply": ([1, 2, 3, 4], 4),
    "connection reset": ([1, 0, 2, 3], 3),
    "second client": ([1, 0, 0, 0], 1),
    "cut": ([1, 0, 0, 0], 2),
    "silence": ([1, 0, 0, 0], 4),
    "think time": ([1, 2, 3, 4], 4),
    "pacing": ([1, 2, 3, 4], 4),
}


AT_ONCE = ("dropped byte", "connection reset", "second client")


@pytest.mark.parametrize("where", [in_memory, on_a_port])
@pytest.mark.parametrize("kind", EXPECTED)
def test_a_fault_is_the_same_in_memory_and_on_a_port(kind: str, where: Any) -> None:
    device = Counter()
    faulty = Faulty(
        device, Fault(kind, 2, seconds=1.0, size=0.05 if kind == "think time" else None)
    )
    got: list[int] = []
    told: list[bool] = []  # whether an error was known at once

    async def story() -> None:
        async with where(faulty) as http:
            for _ in range(4):
                try:
                    got.append((await http.ask("POST", "/count", data=1)).json()["count"])
                except InstrumentError as error:
                    got.append(0)
                    told.append("no whole answer came" in str(error))
            assert faulty.happened

    if where is in_memory:
        with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
            runner.run(story())
    else:
        real(story)
    assert (got, device.heard) == EXPECTED[kind]
    assert all(told) if kind in AT_ONCE else not any(told)


def test_a_mistake_in_a_simulator_is_raised_when_the_wire_is_left() -> None:
    async def story() -> None:
        async with memory_wire(ANYWHERE, [Counter()]) as http:
            with pytest.raises(InstrumentError, match="500"):
                await http.ask("GET", "/bug")

    with (
        pytest.raises(ZeroDivisionError),
        asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner,
    ):
        runner.run(story())


def test_a_port_that_is_taken_is_said_to_be() -> None:
    async def story() -> None:
        async with serve(ANYWHERE, [Counter()]) as url:
            with pytest.raises(ConfigError, match="cannot serve there"):
                async with serve(url, [Counter()]):
                    pass

    real(story)


def test_behind_a_url_is_one_instrument() -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match="one instrument, not 2"):
            async with memory_wire(ANYWHERE, [Counter(), Counter()]):
                pass

    real(story)
