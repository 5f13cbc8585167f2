"""HTTP wires: what each status leaves to assume, and that nothing is sent twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from sdl.clock import monotonic, new_loop
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.http import App, Receive, Scope, Send, memory_wire
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError, SdlError
from sdl.wires.http import HttpRefusedError, HttpWire, wire
from sdl.wires.urls import open_wire

URL = "http://10.0.0.10:31950"


class Told:
    """Answers as the path says: `/404/what` with status 404, and `what` in it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.seconds = 0.0
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def app(self) -> App:
        return self._answer

    async def serve(self) -> None:
        await asyncio.Event().wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        self.heard.append((f"{scope['method']} {scope['path']}", body))
        self.headers = scope["headers"]
        await asyncio.sleep(self.seconds)
        _, status, said = scope["path"].split("/", 2)
        headers = [(b"location", b"http://elsewhere/")] if status.startswith("3") else []
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": said.encode()})


def on_a_wire(
    story: Callable[[HttpWire, Told], Awaitable[Any]], *faults: Fault, timeout: float = 1.0
) -> Told:
    device = Told()

    async def run() -> None:
        async with memory_wire(URL, [Faulty(device, *faults)], timeout=timeout) as http:
            await story(http, device)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
    return device


def test_an_answer_is_read_as_json() -> None:
    async def story(http: HttpWire, device: Told) -> None:
        answer = await http.ask("POST", '/201/{"n": 7}', data={"x": 1})
        assert (answer.status, answer.json()) == (201, {"n": 7})
        assert device.heard == [('POST /201/{"n": 7}', b'{"x":1}')]
        assert next(entry.data for entry in http.log) == b'POST /201/{"n": 7} {"x":1}'
        assert http.health.exchanges == 1

    on_a_wire(story)


@pytest.mark.parametrize("said", ["{", '{"n": NaN}', "[" * 10_000, ""])
def test_what_is_no_json_is_garbled(said: str) -> None:
    async def story(http: HttpWire, device: Told) -> None:
        answer = await http.ask("GET", f"/200/{said}")
        with pytest.raises(GarbledError):
            answer.json()

    on_a_wire(story)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, RefusedError),
        (400, RefusedError),
        (404, RefusedError),
        (408, NoReplyError),
        (409, RefusedError),
        (422, RefusedError),
        (500, FaultError),
        (501, RefusedError),
        (502, NoReplyError),
        (503, NoReplyError),
        (504, NoReplyError),
        (507, FaultError),
    ],
)
def test_a_status_says_what_may_be_assumed(status: int, error: type[SdlError]) -> None:
    async def story(http: HttpWire, device: Told) -> None:
        with pytest.raises(error, match=f"POST /{status}/why: {status} why") as caught:
            await http.ask("POST", f"/{status}/why")
        assert type(caught.value).__mro__[0:2].count(error) == 1
        if isinstance(caught.value, HttpRefusedError):
            assert (caught.value.status, caught.value.body) == (status, b"why")

    assert len(on_a_wire(story).heard) == 1, "it was sent twice"


@pytest.mark.parametrize("kind", ["lost request", "lost reply", "late reply", "connection reset"])
def test_what_has_no_answer_is_an_error_and_is_not_sent_again(kind: str) -> None:
    async def story(http: HttpWire, device: Told) -> None:
        assert (await http.ask("POST", "/200/1")).json() == 1
        with pytest.raises(NoReplyError, match="POST /200/2"):
            await http.ask("POST", "/200/2")
        for n in (3, 4, 5):
            assert (await http.ask("POST", f"/200/{n}")).json() == n
        assert http.health.failures == 1

    paths = [path for path, _ in on_a_wire(story, Fault(kind, 2, seconds=1.5)).heard]
    never_came = kind in ("lost request", "connection reset")
    assert paths == [f"POST /200/{n}" for n in (1, 2, 3, 4, 5) if n != 2 or not never_came]


def test_requests_wait_for_their_turn() -> None:
    async def story(http: HttpWire, device: Told) -> None:
        device.seconds = 0.5
        began = monotonic()
        answers = await asyncio.gather(*(http.ask("GET", f"/200/{n}") for n in range(4)))
        assert [answer.json() for answer in answers] == [0, 1, 2, 3]
        assert monotonic() - began == pytest.approx(2.0)

    on_a_wire(story)


def test_a_caller_who_gives_up_leaves_the_wire_in_order() -> None:
    async def story(http: HttpWire, device: Told) -> None:
        device.seconds = 0.5
        first = asyncio.ensure_future(http.ask("POST", "/200/1"))
        waiting = asyncio.ensure_future(http.ask("POST", "/200/2"))
        await asyncio.sleep(0.1)
        for task in (first, waiting):
            task.cancel()
        assert (await http.ask("GET", "/200/3")).json() == 3
        assert [path for path, _ in device.heard] == ["POST /200/1", "GET /200/3"]

    on_a_wire(story)


def test_an_answer_may_have_its_own_time() -> None:
    async def story(http: HttpWire, device: Told) -> None:
        device.seconds = 5.0
        assert (await http.ask("GET", "/200/1", timeout=6.0)).json() == 1
        began = monotonic()
        with pytest.raises(NoReplyError, match="no answer in 1 s"):
            await http.ask("GET", "/200/1")
        assert monotonic() - began == pytest.approx(1.0)

    on_a_wire(story)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdl.wires.http.MOST_BYTES", 100)

    async def story(http: HttpWire, device: Told) -> None:
        with pytest.raises(NoReplyError, match="more than 100 bytes"):
            await http.ask("GET", "/200/" + "1" * 101)

    on_a_wire(story)


def test_the_password_is_sent_and_not_shown() -> None:
    device = Told()

    async def run() -> None:
        url = "https://lab:s3cret@10.0.0.10"
        found = open_wire(url)
        assert isinstance(found, HttpWire)
        assert "s3cret" not in repr(found)
        assert found._login == ("lab", "s3cret")
        async with memory_wire(url, [device]) as http:
            http._login = found._login
            await http.ask("GET", "/200/1")

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
    assert (b"authorization", b"Basic bGFiOnMzY3JldA==") in device.headers


def test_nobody_there_is_no_reply() -> None:
    async def run() -> None:
        for url in ("http://127.0.0.1:9", "https://127.0.0.1:9?verify=0"):
            http = wire(url, timeout=0.5)
            with pytest.raises(NoReplyError, match="cannot connect"):
                await http.connect()
            await http.close()

    with asyncio.Runner(loop_factory=lambda: new_loop(1)) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://", "no host"),
        ("http://10.0.0.10/path", "nothing but options"),
        ("http://10.0.0.10?verify=0", "unknown option 'verify'"),
        ("https://10.0.0.10?verify=maybe", "verify must be 1"),
    ],
)
def test_a_wrong_url_is_said_to_be(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        open_wire(url)


def test_a_url_may_leave_out_the_port() -> None:
    assert str(httpx.URL(wire("http://robot")._root)) == "http://robot"
    assert wire("https://[::1]")._root == "https://[::1]:443"
