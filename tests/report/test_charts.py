"""Axes and charts, read as XML: what is where, and that nothing breaks out of the markup."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.report.axes import bounded, fitted, levels, named, nice_ticks
from sdl.report.charts import Chart


def chart() -> Chart:
    axes = bounded("x", 0, 10), bounded("y", 0, 100)
    return Chart(*axes, name="c", title="a title", description="what it shows")


def parsed(drawn: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(str(drawn.svg()))


def marks(drawn: Chart, kind: str) -> list[ElementTree.Element]:
    return [e for e in parsed(drawn).iter() if kind in (e.get("class") or "").split()]


def test_ticks_are_round_numbers_within_the_range() -> None:
    assert nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0.13, 0.42, 3) == [0.2, 0.3, 0.4]
    assert nice_ticks(-3, 3, 3) == [-2, 0, 2]
    assert nice_ticks(0.5, 3.5, 8, whole=True) == [1, 2, 3]


@given(
    st.floats(-1e9, 1e9), st.floats(1e-6, 1e9).filter(lambda span: span > 1e-6), st.integers(2, 10)
)
def test_there_are_about_as_many_ticks_as_wanted(low: float, span: float, most: int) -> None:
    if low + span - low < span / 2 or abs(low) > 1e6 * span:
        return  # the range is below what floats resolve
    ticks = nice_ticks(low, low + span, most)
    assert most // 3 <= len(ticks) <= 2 * most + 1
    assert all(a < b for a, b in pairwise(ticks))
    assert all(low - span * 1e-6 <= t <= low + span * (1 + 1e-6) for t in ticks)


def test_labels_of_ticks_have_the_same_decimals_and_no_needless_ones() -> None:
    assert [t for _, t in bounded("", 0.09, 0.51).ticks] == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    assert [t for _, t in bounded("", 0, 2, ticks=4).ticks] == ["0.0", "0.5", "1.0", "1.5", "2.0"]


def test_a_log_axis_gives_equal_ratios_equal_room() -> None:
    axis = bounded("", 0.001, 10, log=True)
    assert axis.place(0.01) == pytest.approx(0.25)
    assert axis.place(0.1) == pytest.approx(0.5)
    assert [text for _, text in axis.ticks] == ["0.001", "0.01", "0.1", "1", "10"]
    assert len(bounded("", 2, 9, log=True).ticks) >= 2


def test_equal_values_still_make_an_axis() -> None:
    for values in ([5.0, 5.0], [0.0], [], [float("nan"), 2.0]):
        axis = fitted("", values)
        assert axis.low < axis.high
        assert axis.ticks


def test_choices_and_levels_have_a_tick_each() -> None:
    assert [t for _, t in named("", ["a", "b"]).ticks] == ["a", "b"]
    assert [t for _, t in levels("", [0.5, 1, 5]).ticks] == ["0.5", "1", "5"]


def test_larger_values_stand_further_right_and_higher() -> None:
    drawn = chart()
    drawn.dot(1, 10, "model")
    drawn.dot(9, 90, "model")
    low, high = marks(drawn, "dot")
    assert float(low.get("cx", "")) < float(high.get("cx", ""))
    assert float(low.get("cy", "")) > float(high.get("cy", ""))


def test_a_line_of_steps_keeps_its_value_until_the_next() -> None:
    drawn = chart()
    drawn.line([(0, 0), (5, 0), (10, 100)], "best", steps=True)
    (line,) = marks(drawn, "line")
    path = line.get("d", "")
    assert path.count("H") == 2
    assert path.count("V") == 1
    assert "L" not in path


def test_a_rule_beyond_the_axis_is_not_drawn() -> None:
    drawn = chart()
    drawn.level(50)
    drawn.level(5000)
    drawn.border(-1)
    assert len(marks(drawn, "rule")) == 1


def test_a_chart_says_what_it_shows_in_text() -> None:
    root = parsed(chart())
    said = {e.get("id"): e.text for e in root if e.get("id")}
    assert [said[i] for i in (root.get("aria-labelledby") or "").split()] == [
        "a title",
        "what it shows",
    ]
    assert root.get("role") == "img"


def test_text_from_outside_stays_text() -> None:
    evil = '<script>alert(1)</script>"&'
    drawn = Chart(
        named(evil, [evil, "b"]), bounded(evil, 0, 1), name=evil, title=evil, description=evil
    )
    drawn.dot(0, 0.5, evil, evil)
    drawn.level(0.5, evil)
    assert "<script" not in drawn.svg()
    assert parsed(drawn).find("title").text == evil  # type: ignore[union-attr]
