import threading
import time
from typing import Any

import pytest

from sdl.data import callbacks as module
from sdl.data.callbacks import Callbacks

PATIENCE = 20.0  # s, of a loaded machine

Heard = list[tuple[str, int]]


def into(heard: Heard) -> module.DocumentCallback:
    return lambda name, doc: heard.append((name, doc["n"]))


def test_every_callback_hears_every_document_in_order() -> None:
    first, second, errors = Heard(), Heard(), list[str]()
    callbacks = Callbacks([into(first), into(second)], errors.append)
    sent = [("start", 0), *(("event", n) for n in range(1, 200)), ("stop", 200)]
    for name, n in sent:
        callbacks(name, {"n": n})
    callbacks.close()
    assert first == second == sent
    assert errors == []


def test_a_slow_callback_delays_neither_who_sends_nor_the_others() -> None:
    go_on, done = threading.Event(), threading.Event()
    slow, quick = Heard(), Heard()

    def wait(name: str, doc: dict[str, Any]) -> None:
        assert go_on.wait(PATIENCE)
        slow.append((name, doc["n"]))

    def note(name: str, doc: dict[str, Any]) -> None:
        quick.append((name, doc["n"]))
        if name == "stop":
            done.set()

    callbacks = Callbacks([wait, note], pytest.fail)
    callbacks("start", {"n": 0})
    callbacks("stop", {"n": 1})
    assert done.wait(PATIENCE)
    assert slow == []
    go_on.set()
    callbacks.close()
    assert slow == quick == [("start", 0), ("stop", 1)]


def test_a_callback_that_raises_is_told_of_once_and_not_called_again() -> None:
    good, calls, errors = Heard(), list[str](), list[str]()

    def broken(name: str, doc: dict[str, Any]) -> None:
        calls.append(name)
        raise ValueError("no such axis")

    callbacks = Callbacks([broken, into(good)], errors.append)
    for n, name in enumerate(["start", "event", "stop"]):
        callbacks(name, {"n": n})
    callbacks.close()
    assert calls == ["start"]
    assert good == [("start", 0), ("event", 1), ("stop", 2)]
    assert len(errors) == 1
    assert "broken" in errors[0]
    assert "ValueError: no such axis" in errors[0]


def test_what_a_callback_does_to_a_document_nobody_else_sees() -> None:
    seen = list[Any]()
    both = threading.Barrier(2, timeout=PATIENCE)

    def spoil(name: str, doc: dict[str, Any]) -> None:
        doc["data"].clear()
        both.wait()

    def look(name: str, doc: dict[str, Any]) -> None:
        both.wait()
        seen.append(doc)

    ours = {"data": {"t": 1.0}}
    callbacks = Callbacks([spoil, look], pytest.fail)
    callbacks("event", ours)
    callbacks.close()
    assert seen == [{"data": {"t": 1.0}}]
    assert ours == {"data": {"t": 1.0}}


def test_close_waits_until_the_last_document_was_heard() -> None:
    heard = Heard()

    def slow(name: str, doc: dict[str, Any]) -> None:
        time.sleep(0.05)
        heard.append((name, doc["n"]))

    callbacks = Callbacks([slow], pytest.fail)
    for n in range(4):
        callbacks("event", {"n": n})
    callbacks.close()
    assert len(heard) == 4


def test_close_gives_up_a_callback_that_hangs_and_says_so() -> None:
    go_on, errors = threading.Event(), list[str]()
    callbacks = Callbacks([lambda name, doc: go_on.wait(PATIENCE)], errors.append)
    for n in range(3):
        callbacks("event", {"n": n})
    began = time.monotonic()
    callbacks.close(timeout=0.1)
    assert time.monotonic() - began < PATIENCE / 2
    assert len(errors) == 1
    assert "not heard all documents" in errors[0]
    go_on.set()


def test_a_callback_far_behind_is_given_up_before_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 5)
    go_on, calls, errors = threading.Event(), list[int](), list[str]()

    def hang(name: str, doc: dict[str, Any]) -> None:
        go_on.wait(PATIENCE)
        calls.append(doc["n"])

    callbacks = Callbacks([hang], errors.append)
    for n in range(50):
        callbacks("event", {"n": n})
    go_on.set()
    callbacks.close()
    assert len(errors) == 1
    assert "behind" in errors[0]
    assert len(calls) <= 1


def test_without_callbacks_there_is_no_thread() -> None:
    before = threading.active_count()
    callbacks = Callbacks([], pytest.fail)
    callbacks("start", {})
    callbacks.close()
    assert threading.active_count() == before
