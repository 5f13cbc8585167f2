import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest

from sdl import notify
from sdl.errors import ConfigError, JournalError
from sdl.notify import Notifier, problems

DEAD = "json://robot:hunter2@127.0.0.1:9/hidden-path"  # port 9: nobody listens


@dataclass
class Service:
    """A server that people read."""

    url: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    goes_on: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[str]:
        return [message["message"] for message in self.got]


@contextmanager
def listening() -> Iterator[Service]:
    service = Service()
    service.goes_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert service.goes_on.wait(60)
            service.got.append(json.loads(body))
            self.send_response(service.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    service.url = f"json://robot:hunter2@127.0.0.1:{server.server_port}/hidden-path"
    try:
        yield service
    finally:
        service.goes_on.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    with listening() as service:
        yield service


@pytest.fixture
def told() -> list[str]:
    return []


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_message_reaches_people_with_its_title_level_and_text(service: Service, told: list[str]):
    notifier = Notifier([service.url], title="flow-bench", tell=told.append)
    notifier.send("error", "trial 7 is in doubt: 3 < 4 mL & stopped")
    notifier.close()
    (message,) = service.got
    assert message["title"] == "flow-bench: error"
    assert message["message"] == "trial 7 is in doubt: 3 < 4 mL & stopped"
    assert message["type"] == "failure"
    assert told == []


def test_messages_arrive_in_order_and_close_waits_for_them(service: Service, told: list[str]):
    notifier = Notifier([service.url], title="lab", tell=told.append)
    for n in range(20):
        notifier.send("info", f"trial {n} completed")
    notifier.close(timeout=20)
    assert service.texts == [f"trial {n} completed" for n in range(20)]


def test_the_same_text_is_sent_once_within_a_minute(
    service: Service, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    notifier = Notifier([service.url], title="lab", tell=told.append)
    for level in ("warning", "warning", "error"):
        notifier.send(level, "the disk is full")
    notifier.send("warning", "the disk is fuller")
    until(lambda: len(service.got) == 2)
    monkeypatch.setattr(notify, "REPEAT", 0.0)
    notifier.send("warning", "the disk is full")
    notifier.close()
    assert service.texts == ["the disk is full", "the disk is fuller", "the disk is full"]


def test_a_dead_service_is_told_once_without_its_password(told: list[str]):
    notifier = Notifier([DEAD], title="lab", tell=told.append)
    notifier.send("error", "one")
    notifier.send("error", "two")
    notifier.close()
    (text,) = told
    assert text.startswith("a notification to json://127.0.0.1:9 was not sent: ")
    assert not any(secret in text for secret in ("robot", "hunter2", "hidden"))


def test_what_a_service_s_code_raises_is_told_without_the_password(
    told: list[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"cannot reach {DEAD}")

    monkeypatch.setattr("apprise.Apprise.notify", fail)
    notifier = Notifier([DEAD], title="lab", tell=told.append)
    notifier.send("error", "one")
    notifier.close()
    assert "RuntimeError: cannot reach json://…:…@127.0.0.1:9/…" in told[0]


def test_a_service_that_says_no_is_told(service: Service, told: list[str]):
    service.status = 403
    notifier = Notifier([service.url], title="lab", tell=told.append)
    notifier.send("error", "one")
    notifier.close()
    assert len(told) == 1
    assert "403" in told[0]


def test_a_dead_service_keeps_no_other_from_its_messages(service: Service, told: list[str]):
    notifier = Notifier([DEAD, service.url], title="lab", tell=told.append)
    notifier.send("error", "one")
    notifier.close()
    assert service.texts == ["one"]


def test_send_does_not_wait_for_a_service_that_hangs(service: Service, told: list[str]):
    with listening() as other:
        service.goes_on.clear()
        notifier = Notifier([service.url, other.url], title="lab", tell=told.append)
        began = time.monotonic()
        for n in range(50):
            notifier.send("error", f"{n}")
        assert time.monotonic() - began < 1.0
        until(lambda: len(other.got) == 50)
        notifier.close(timeout=0.05)
    assert told[0].endswith("not all was sent before the end, 50 were waiting")


def test_a_send_ends_after_its_time_and_the_next_message_is_tried(
    service: Service, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notify, "TIMEOUT", 0.1)
    service.goes_on.clear()
    notifier = Notifier([service.url], title="lab", tell=told.append)
    notifier.send("error", "one")
    until(lambda: told)
    assert told[0].endswith("no answer in 0.1 s")
    service.goes_on.set()
    until(lambda: service.got)
    monkeypatch.setattr(notify, "TIMEOUT", 10.0)
    more = count()  # the answer to "one" may be under way still
    until(lambda: notifier.send("error", f"more {next(more)}") or len(service.got) > 1)
    notifier.close()


def test_what_is_too_much_for_a_slow_service_is_dropped_and_told(
    service: Service, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notify, "MOST_WAITING", 3)
    service.goes_on.clear()
    notifier = Notifier([service.url], title="lab", tell=told.append)
    for n in range(10):
        notifier.send("info", f"{n}")
    service.goes_on.set()
    notifier.close(timeout=20)
    assert 3 <= len(service.got) <= 4
    assert "3 messages behind" in told[0]


def test_a_listener_that_cannot_note_a_failure_ends_nothing(service: Service):
    service.status = 500

    def tell(text: str) -> None:
        raise JournalError("disk full")

    notifier = Notifier([service.url], title="lab", tell=tell)
    notifier.send("error", "one")
    notifier.send("error", "two")
    notifier.close()
    assert service.texts == ["one", "two"]


def test_nothing_is_sent_after_the_end(service: Service, told: list[str]):
    notifier = Notifier([service.url], title="lab", tell=told.append)
    notifier.close()
    notifier.close()
    notifier.send("error", "late")
    assert service.got == told == []


def test_without_services_every_message_is_dropped(told: list[str]):
    notifier = Notifier([], title="lab", tell=told.append)
    notifier.send("error", "one")
    notifier.close()
    assert told == []


def test_urls_come_from_the_environment_several_at_once(
    service: Service, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    with listening() as other:
        monkeypatch.setenv("SDL_TEST_NOTIFY", f"{service.url}  {other.url}")
        assert problems(["env:SDL_TEST_NOTIFY"]) == []
        notifier = Notifier(["env:SDL_TEST_NOTIFY"], title="lab", tell=told.append)
        notifier.send("info", "one")
        notifier.close()
        assert service.texts == other.texts == ["one"]


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SDL_TEST_NOTIFY", raising=False)
    with pytest.raises(ConfigError, match="notify: env:SDL_TEST_NOTIFY: the environment has no"):
        Notifier(["env:SDL_TEST_NOTIFY"], title="lab", tell=print)
    monkeypatch.setenv("SDL_TEST_NOTIFY", "  ")
    assert len(problems(["env:SDL_TEST_NOTIFY"])) == 1


def test_every_entry_that_is_no_service_is_said_without_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("SDL_TEST_NOTIFY", "slack://hunter2")
    wrong = problems(["nonsense://hunter2@b", "hunter2", DEAD, "env:SDL_TEST_NOTIFY"])
    assert [text.partition(": apprise")[0] for text in wrong] == [
        "entry 1, nonsense://…",
        "entry 2, text without ://",
        "entry 4, env:SDL_TEST_NOTIFY (slack://…)",
    ]
    assert not any("hunter2" in text for text in wrong)


def test_without_apprise_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r'pip install "sdl\[notify\]"'):
        Notifier([DEAD], title="lab", tell=print)
    assert problems([]) == []


SCRIPT = """
import sys
from sdl.notify import Notifier, problems
problems(["nonsense://b"])
notifier = Notifier(sys.argv[1:], title="lab", tell=lambda text: None)
notifier.send("error", "one")
notifier.close(timeout=0.5)
"""


def test_a_process_ends_though_a_service_hangs_and_nothing_is_written_to_the_screen(
    service: Service,
):
    service.goes_on.clear()
    began = time.monotonic()
    command = [sys.executable, "-c", SCRIPT, f"{service.url}?rto=60", DEAD]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert time.monotonic() - began < 15
    assert not service.got
