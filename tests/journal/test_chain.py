"""The chain by itself: whatever single thing is changed in it, it is found."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sdl.journal.chain import GENESIS, chained
from sdl.journal.verifying import Anchor, Chain

LENGTH = 6


def entries() -> list[dict[str, Any]]:
    rows, before = [], GENESIS
    for seq in range(1, LENGTH + 1):
        row = {"seq": seq, "time": seq / 7, "kind": "step", "who": "runtime", "subject": "c/1"}
        row["body"] = f'{{"n":{seq}}}'
        before = row["hash"] = chained(before, **row)
        rows.append(row)
    return rows


def breaks(rows: list[dict[str, Any]], anchor: Anchor | None = None) -> list[str]:
    chain = Chain(anchor)
    for row in rows:
        chain.follow(row)
    chain.end()
    return chain.breaks


def anchor_at(seq: int) -> Anchor:
    return Anchor(seq, entries()[seq - 1]["hash"])


def test_what_was_written_holds() -> None:
    assert breaks(entries()) == []
    assert breaks(entries(), Anchor(0, GENESIS)) == []
    assert [breaks(entries(), anchor_at(n)) for n in range(1, LENGTH + 1)] == [[]] * LENGTH


@given(
    st.integers(0, LENGTH - 1),
    st.sampled_from(["kind", "who", "subject", "body", "hash"]),
    st.integers(0, 200),
    st.characters(codec="utf-8"),
)
def test_any_changed_character_is_found_where_it_is(
    n: int, column: str, at: int, character: str
) -> None:
    rows = entries()
    text = rows[n][column]
    at %= len(text)
    rows[n][column] = text[:at] + character + text[at + 1 :]
    found = breaks(rows)
    if text == rows[n][column]:
        assert found == []
        return
    assert len(found) == 1
    assert found[0].startswith(f"entry {n + 1} (")
    assert found[0].endswith(f"the hash does not follow from entry {n}")


@given(st.integers(0, LENGTH - 1), st.floats(allow_nan=False))
def test_any_changed_time_is_found(n: int, time: float) -> None:
    rows = entries()
    same = repr(rows[n]["time"]) == repr(time)
    rows[n]["time"] = time
    assert len(breaks(rows)) == (0 if same else 1)


@given(st.integers(0, LENGTH - 2), st.integers(1, LENGTH))
def test_any_row_that_was_taken_out_is_found(first: int, count: int) -> None:
    rows = entries()
    last = min(first + count, LENGTH - 1)
    del rows[first:last]
    (found,) = breaks(rows)
    gap = f"entry {first + 1} is" if last == first + 1 else f"entry {first + 1} to {last} are"
    assert found.endswith(f"{gap} missing before it")


@given(st.integers(0, LENGTH - 1), st.integers(1, LENGTH))
def test_a_tail_cut_off_is_found_with_any_anchor_of_it(length: int, anchor: int) -> None:
    found = breaks(entries()[:length], anchor_at(anchor))
    if anchor <= length:
        assert found == []
    else:
        assert found[0].endswith("its tail was cut off")


@given(st.integers(0, LENGTH - 1))
def test_a_chain_written_anew_is_found_with_an_anchor(n: int) -> None:
    rows = entries()
    rows[n]["who"] = "mallory"
    before = rows[n - 1]["hash"] if n else GENESIS
    for row in rows[n:]:
        parts = {k: v for k, v in row.items() if k != "hash"}
        before = row["hash"] = chained(before, **parts)
    assert breaks(rows) == []
    (found,) = breaks(rows, anchor_at(LENGTH))
    assert found == (
        f"anchor: entry {LENGTH} had another hash: what is there now was written in its place"
    )
