import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.errors import JournalError
from sdl.journal import Journal, Trial
from sdl.journal.jsontext import decode, encode


def test_documents_come_back_in_order_with_run_and_trial(journal: Journal, running: Trial) -> None:
    first = journal.add_document(running, "r1", "start", {"uid": "r1"}, time=1.0)
    second = journal.add_document(None, "r2", "start", {"uid": "r2"}, time=2.0)
    third = journal.add_document(running, "r1", "stop", {"exit_status": "success"}, time=3.0)
    assert first < second < third
    found = journal.documents()
    assert [(d.cursor, d.run, d.trial, d.name, d.time) for d in found] == [
        (first, "r1", "screen/1", "start", 1.0),
        (second, "r2", None, "start", 2.0),
        (third, "r1", "screen/1", "stop", 3.0),
    ]
    assert found[2].doc == {"exit_status": "success"}
    assert [d.cursor for d in journal.documents(after=first)] == [second, third]
    assert [d.cursor for d in journal.documents(limit=1)] == [first]
    assert [d.cursor for d in journal.documents(run="r2")] == [second]
    assert [d.cursor for d in journal.documents(trial=running)] == [first, third]


def test_the_runs_of_a_trial_and_how_they_ended(journal: Journal, running: Trial) -> None:
    begun = [journal.add_document(running, r, "start", {}, time=1.0) for r in ("r1", "r2")]
    journal.add_document(None, "r3", "start", {}, time=2.0)
    journal.add_document(running, "r1", "event", {}, time=2.0)
    journal.add_document(running, "r1", "stop", {"exit_status": "abort"}, time=3.0)
    found = [(r.uid, r.started, r.stop) for r in journal.runs(running)]
    assert found == [("r1", begun[0], "abort"), ("r2", begun[1], None)]


def test_what_numpy_and_tuples_hold_comes_back_as_lists_and_kinds_are_kept(
    journal: Journal,
) -> None:
    doc = {
        "array": np.array([[1.5, np.nan], [np.inf, -np.inf]]),
        "ints": np.arange(3, dtype=np.uint8),
        "flags": np.array([True, False]),
        "words": np.array(["a", "b"]),
        "point": np.float32(0.5),
        "whole": np.int64(2**40),
        "flag": np.bool_(True),
        "none": np.array(3.0),
        "pair": (1, 1.0, (True, None)),
        "mixed": [np.float64(2.0), {"deep": np.int8(-1)}],
        "big": 2**70,
        "text": "µ \0 \udcff 😀",
    }
    journal.add_document(None, "r", "event", doc, time=0.0)
    (found,) = journal.documents()
    array = found.doc.pop("array")
    assert array[0][0] == 1.5
    assert math.isnan(array[0][1])
    assert array[1] == [math.inf, -math.inf]
    expected = {
        "ints": [0, 1, 2],
        "flags": [True, False],
        "words": ["a", "b"],
        "point": 0.5,
        "whole": 2**40,
        "flag": True,
        "none": 3.0,
        "pair": [1, 1.0, [True, None]],
        "mixed": [2.0, {"deep": -1}],
        "big": 2**70,
        "text": "µ \0 \udcff 😀",
    }
    assert found.doc == expected
    assert repr(found.doc) == repr(expected)  # 1 is not 1.0 is not True


@pytest.mark.parametrize(
    ("doc", "told"),
    [
        ({"data": {"y": [1.0, object()]}}, r"data\.y\.1: object"),
        ({"z": 1j}, r"z: complex 1j"),
        ({"z": np.array([1j])}, r"z\.0: complex"),
        ({"b": b"raw"}, r"b: bytes b'raw'"),
        ({"a": {1: "x"}}, r"a\.1: the key is of type int, not text"),
        ({"s": {1, 2}}, r"s: set"),
    ],
)
def test_what_json_cannot_hold_is_named_by_document_and_key(
    journal: Journal, doc: dict[str, Any], told: str
) -> None:
    with pytest.raises(JournalError, match=rf"document event of run r1: {told}.*JSON"):
        journal.add_document(None, "r1", "event", doc, time=0.0)
    assert journal.documents() == []


def test_a_document_within_itself_is_refused() -> None:
    doc: dict[str, Any] = {}
    doc["self"] = doc
    with pytest.raises(JournalError, match="within itself"):
        encode(doc, "document")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert repr(decode(encode(value, "value"))) == repr(value)


def test_a_cursor_is_never_used_again(journal: Journal) -> None:
    last = [journal.add_document(None, "r", "event", {}, time=0.0) for _ in range(3)][-1]
    with journal._write("deletion by hand") as connection:
        connection.exec_driver_sql("DELETE FROM documents")
    assert journal.add_document(None, "r", "event", {}, time=0.0) > last


def test_a_follower_misses_nothing_while_many_write(journal: Journal, other: Journal) -> None:
    """PostgreSQL gives out a lower number and may commit it after a higher one."""
    each, writers = 40, 4

    def write(n: int) -> list[int]:
        to = (journal, other)[n % 2]
        return [to.add_document(None, f"r{n}", "event", {}, time=i) for i in range(each)]

    seen: list[int] = []
    with ThreadPoolExecutor(writers) as pool:
        written = [pool.submit(write, n) for n in range(writers)]
        while len(seen) < each * writers:
            done = all(w.done() for w in written)
            seen += [d.cursor for d in other.documents(after=seen[-1] if seen else 0)]
            if done and len(seen) < each * writers:
                break
    assert sorted(c for w in written for c in w.result()) == seen


def test_a_higher_cursor_waits_until_the_lower_one_is_committed(postgresql_database: str) -> None:
    with (
        Journal.open(postgresql_database) as slow,
        Journal.open(postgresql_database) as quick,
        ThreadPoolExecutor(1) as pool,
    ):
        with slow._write("half a document") as connection:
            slow._in_order(connection)
            connection.exec_driver_sql("SELECT nextval('documents_cursor_seq')")
            later = pool.submit(quick.add_document, None, "r", "event", {}, time=0.0)
            with pytest.raises(TimeoutError):
                later.result(timeout=0.3)
        assert later.result(timeout=10) == 2


def test_a_follower_goes_on_where_it_was(journal: Journal, other: Journal) -> None:
    assert journal.follower_cursor("tiled") == 0
    journal.set_follower_cursor("tiled", 17, time=1.0)
    journal.set_follower_cursor("tiled", 23, time=2.0)
    journal.set_follower_cursor("mqtt", 5, time=2.0)
    assert (other.follower_cursor("tiled"), other.follower_cursor("mqtt")) == (23, 5)
