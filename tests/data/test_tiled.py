"""Against a Tiled server of our own, in a process that is killed and started again."""

import gc
import math
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# read when Tiled's client is imported, which here is before `sdl.data.tiled` can set it
os.environ["TILED_RETRY_ATTEMPTS"] = "1"
pytest.importorskip("tiled.server", reason="the Tiled server (extra `dev`) is missing")
pytest.importorskip("bluesky_tiled_plugins", reason="bluesky-tiled-plugins is missing")

import httpx
import pyarrow
from bluesky_tiled_plugins import TiledWriter
from tiled.client import from_uri

from sdl.data import tiled
from sdl.data.follower import Run
from sdl.data.tiled import TiledSink, follow
from sdl.errors import ConfigError, SdlError
from sdl.journal import Journal
from tests.data.conftest import KEYS, Documents, add_run, compose, readings, uid, write

pytestmark = pytest.mark.peer

KEY = "secret"
PATIENCE = 30.0  # s, of a loaded machine


class Server:
    """Starts in two seconds, dies at once; its port and its data stay."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = (folder / "log").open("w")
        program = [sys.executable, Path(__file__).with_name("tiled_server.py"), folder]
        self._process = subprocess.Popen(
            [*program, str(self.port)], stdin=-1, stdout=-1, stderr=self._log, text=True
        )
        assert self._answer() == "ready", (folder / "log").read_text()
        self.running = False

    def start(self) -> None:
        if not self.running:
            self._tell("start")
            self.running = True
        for _ in range(int(PATIENCE / 0.05)):
            try:
                urllib.request.urlopen(f"{self.uri}/healthz", timeout=PATIENCE).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail(f"Tiled did not start:\n{Path(self._log.name).read_text()}")

    def kill(self) -> None:
        if self.running:
            self._tell("kill")
            self.running = False

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()
        self._log.close()

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def the_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("tiled"))
    yield server
    server.close()


@pytest.fixture
def server(the_server: Server) -> Server:
    the_server.start()
    return the_server


@pytest.fixture
def catalog(server: Server) -> Iterator[Any]:
    client = from_uri(server.uri, api_key=KEY)
    yield client
    client.context.close()


def send(url: str, server: Server) -> int:
    return follow(url, server.uri, api_key=KEY, once=True)


def event_numbers(catalog: Any, run: str, stream: str = "primary") -> list[int]:
    return catalog[run][stream].base["internal"].read(["seq_num"])["seq_num"].tolist()


def is_whole(catalog: Any, documents: Documents) -> bool:
    """Whether Tiled has the start, the stop and every event once."""
    run = catalog[uid(documents)]
    events = sum(name == "event" for name, _ in documents)
    return (
        run.metadata["start"] == documents[0][1]
        and run.metadata["stop"] == documents[-1][1]
        and event_numbers(catalog, uid(documents)) == list(range(1, events + 1))
    )


def wait_until(what: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_read_back_equals_what_was_measured(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    documents = compose(events=3)
    write(journal, documents, uid(documents))
    assert send(url, server) == 1
    run = catalog[uid(documents)]
    assert is_whole(catalog, documents)
    stream = run["primary"]
    assert stream.metadata["data_keys"]["temperature"] == KEYS["temperature"]
    wanted = [readings(n) for n in range(3)]
    for key in ("spectrum", "both", "small"):
        found = stream[key].read()
        np.testing.assert_array_equal(found, [w[key] for w in wanted])
        assert found.dtype == KEYS[key]["dtype_numpy"]
    for key in ("temperature", "counts", "status"):
        assert list(stream[key].read()) == [w[key] for w in wanted]


def test_what_a_run_engine_emits_reads_back(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    from bluesky import RunEngine
    from bluesky import plans as bp

    class Spectrometer:
        name, parent = "uv", None
        hints: dict[str, Any] = {}

        def describe(self) -> dict[str, Any]:
            return {"uv-intensity": KEYS["spectrum"]}

        def read(self) -> dict[str, Any]:
            return {"uv-intensity": {"value": readings(1)["spectrum"], "timestamp": 1.0}}

        def describe_configuration(self) -> dict[str, Any]:
            return {"uv-axis": KEYS["spectrum"]}

        def read_configuration(self) -> dict[str, Any]:
            return {"uv-axis": {"value": readings(1)["both"][0], "timestamp": 1.0}}

    engine, heard = RunEngine({}, context_managers=[]), Documents()
    engine(bp.count([Spectrometer()], num=2), lambda name, doc: heard.append((name, dict(doc))))
    write(journal, heard, uid(heard))
    send(url, server)
    stream = catalog[uid(heard)]["primary"]
    np.testing.assert_array_equal(
        stream["uv-intensity"].read(), [readings(1)["spectrum"], readings(1)["spectrum"]]
    )
    axis = stream.metadata["configuration"]["uv"]["data"]["uv-axis"]
    assert axis == readings(1)["both"][0].tolist()


def test_a_server_down_from_the_start_stalls_nobody_and_misses_nothing(
    url: str, journal: Journal, the_server: Server
) -> None:
    the_server.kill()
    stop, sent, longest = threading.Event(), list[int](), 0.0
    address = the_server.uri
    thread = threading.Thread(
        target=lambda: sent.append(follow(url, address, api_key=KEY, stop=stop))
    )
    thread.start()
    runs = [compose(events=2) for _ in range(4)]
    try:
        for run in runs:
            for name, doc in run:
                began = time.monotonic()
                journal.add_document(None, uid(run), name, doc, time=1.0)
                longest = max(longest, time.monotonic() - began)

        def health() -> dict[str, Any]:
            found = journal.activities().get("follower/tiled")
            return found.value if found else {}

        wait_until(lambda: health().get("error"))
        assert address in health()["error"]
        assert health()["to"] == address
        assert health()["behind"] > 0
        the_server.start()
        wait_until(lambda: health()["runs"] == 0)
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert sent == [4]
    assert longest < 1.0  # a subscriber that speaks to Tiled itself would have waited for 25 s
    client = from_uri(address, api_key=KEY)
    assert all(is_whole(client, run) for run in runs)
    client.context.close()


@pytest.mark.parametrize("moment", ["start", "stop"])
def test_a_server_killed_within_a_run_gets_it_whole_when_it_is_back(
    moment: str, url: str, journal: Journal, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, real, killed = compose(events=2), tiled._writer, list[str]()
    write(journal, documents, uid(documents))

    def fragile(catalog: Any) -> Any:
        writer = real(catalog)

        def write_on(name: str, doc: Any) -> None:
            if name == moment and not killed:
                server.kill()
                killed.append(name)
            writer(name, doc)

        return write_on

    monkeypatch.setattr(tiled, "_writer", fragile)
    with pytest.raises(SdlError, match=r"1 runs are still to be taken: ConnectionError"):
        send(url, server)
    assert killed == [moment]
    server.start()
    assert send(url, server) == 1
    client = from_uri(server.uri, api_key=KEY)
    assert is_whole(client, documents)
    client.context.close()


def test_a_run_left_with_events_but_no_stop_is_written_anew(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    documents = compose(events=3)
    write(journal, documents, uid(documents))
    writer = TiledWriter(catalog, batch_size=1, max_array_size=0)
    for name, doc in journal_documents(journal)[:-2]:
        writer(name, doc)
    assert event_numbers(catalog, uid(documents)) == [1, 2]
    assert send(url, server) == 1
    assert is_whole(catalog, documents)


def test_events_written_twice_are_put_right(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    """The writer tries a lost append again, which may double its rows."""
    documents = compose(events=2)
    write(journal, documents, uid(documents))
    send(url, server)
    table = catalog[uid(documents)]["primary"].base["internal"]
    table.append_partition(0, pyarrow.Table.from_pandas(table.read(), preserve_index=False))
    assert event_numbers(catalog, uid(documents)) == [1, 2, 1, 2]
    assert follow(url, server.uri, api_key=KEY, once=True, again=True) == 1
    assert is_whole(catalog, documents)


def test_a_follower_killed_before_its_cursor_moved_does_not_write_the_run_twice(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    documents = compose(events=2)
    write(journal, documents, uid(documents))
    script = f"""
        import os
        from sdl.data.tiled import follow
        from sdl.journal import Journal
        Journal.set_follower_cursor = lambda *_, **__: os.kill(os.getpid(), 9)
        follow({url!r}, {server.uri!r}, api_key={KEY!r}, once=True)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=2 * PATIENCE, check=False
    )
    assert ended.returncode == -9
    node = catalog[uid(documents)]
    written = node.item["attributes"]["metadata"], node["primary"].item
    assert send(url, server) == 1
    node = catalog[uid(documents)]
    assert (node.item["attributes"]["metadata"], node["primary"].item) == written
    assert is_whole(catalog, documents)
    assert list(catalog).count(uid(documents)) == 1
    assert journal.follower_cursor(f"tiled {server.uri}") == len(documents)


def test_a_run_whose_runtime_was_killed_arrives_once_it_is_closed(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    documents = compose(events=2)
    run = uid(documents)
    write(journal, documents[:-1], run)
    assert send(url, server) == 0
    assert run not in catalog
    stop = {"uid": f"{run[:-4]}stop", "run_start": run, "time": 9.0, "exit_status": "abort"}
    closed = ("stop", {**stop, "reason": "the runtime ended while it ran", "num_events": {}})
    write(journal, [closed], run)
    assert send(url, server) == 1
    assert is_whole(catalog, [*documents[:-1], closed])


def test_a_run_without_events_arrives(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    documents = compose(events=0)
    bare = [documents[0], documents[-1]]
    write(journal, bare, uid(bare))
    assert send(url, server) == 1
    assert catalog[uid(bare)].metadata["stop"] == bare[-1][1]


def test_metadata_that_json_cannot_hold_does_not_make_it_another_run(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    documents = compose(events=1, guess=math.nan, limit=math.inf, serial=2**60, one=1.0)
    documents[-1][1].update(yields={"x": math.nan, "y": math.inf, "n": 2**60})
    write(journal, documents, uid(documents))
    assert send(url, server) == 1
    assert follow(url, server.uri, api_key=KEY, once=True, again=True) == 1
    assert catalog[uid(documents)].metadata["start"]["guess"] is None


def test_another_run_of_the_same_uid_is_left_alone(
    url: str, journal: Journal, server: Server, catalog: Any
) -> None:
    theirs = compose(events=2)
    write(journal, theirs, uid(theirs))
    send(url, server)
    ours = [(name, dict(doc)) for name, doc in theirs]
    ours[0][1]["temperature"] = 99.0
    sink = TiledSink(server.uri, api_key=KEY)
    with pytest.raises(SdlError, match="another run of this uid"):
        sink(Run(uid(ours), None, ours))
    sink.close()
    assert is_whole(catalog, theirs)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Tiled's client, when it is not let in
def test_a_wrong_key_is_no_fault_of_the_run_and_is_told_nobody(
    url: str, journal: Journal, server: Server
) -> None:
    add_run(journal)
    with pytest.raises(SdlError, match=r"ConnectionError.*401") as caught:
        follow(url, server.uri, api_key="0bad0bad", once=True)
    assert "0bad" not in str(caught.value)
    with pytest.raises(SdlError, match="ConnectionError") as caught:
        follow(url, f"{server.uri}?api_key=0bad0bad", once=True)
    assert "0bad" not in str(caught.value)
    gc.collect()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(s, ConnectionError) for s in (401, 403, 429, 502, 503, 504)]
    + [(s, SdlError) for s in (404, 409, 422, 500)],
)
def test_a_status_is_either_about_the_service_or_about_the_run(
    status: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = httpx.Request("POST", "http://tiled")
    answer = httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(status, request=request)
    )

    def refuse(name: str, doc: Any) -> None:
        raise answer

    monkeypatch.setattr(tiled, "_holds", lambda *_: False)
    monkeypatch.setattr(tiled, "_writer", lambda _: refuse)
    sink = TiledSink("http://tiled")
    monkeypatch.setattr(sink, "_catalog", object())
    with pytest.raises(kind):
        sink(Run("uid", None, compose(events=0)))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_server_that_is_no_tiled_is_said_to_be_none(url: str, journal: Journal) -> None:
    import http.server

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    add_run(journal)
    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(SdlError, match="ConnectionError"):
            follow(url, f"http://127.0.0.1:{other.server_port}", api_key=KEY, once=True)
        other.shutdown()
    gc.collect()


@pytest.mark.parametrize("uri", ["", "localhost:8000", "tiled://x", "http://", "http://h:x"])
def test_a_url_that_is_none_is_said_at_once(uri: str, url: str) -> None:
    with pytest.raises(ConfigError, match="should be like http://localhost:8000"):
        follow(url, uri, once=True)
    assert not os.path.exists(url)


def test_places_are_named_without_secrets() -> None:
    sink = TiledSink("https://me:pw@tiled.lab:8443/api/v1/metadata/raw/?api_key=hush")
    assert sink.place == "https://tiled.lab:8443/api/v1/metadata/raw"


def journal_documents(journal: Journal) -> Documents:
    return [(d.name, d.doc) for d in journal.documents()]
