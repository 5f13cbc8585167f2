"""Expressions of interlocks: what is printed means the same, and is worth what Python says."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.errors import UnsafeError
from sdl.safety.evaluation import Meaning, Value, holds, mistakes
from sdl.safety.expression import (
    Binary,
    Comparison,
    Expression,
    Negative,
    Not,
    Number,
    Rule,
    Signal,
    Text,
    Truth,
    signals,
)
from sdl.safety.grammar import LONGEST, parse_expression, parse_rule

NUMBERS, TRUTHS, TEXTS = ("a.x", "b.y", "c"), ("a.ok", "d.e.ok"), ("a.mode", "state")

# -- random expressions whose types fit

units = st.sampled_from([None, None, "degC", "m/s", "%", "mL/min", "1e", "µL", "cm²", "kg/m3/h"])
units = units.filter(lambda u: u is None or not u[0].isdigit())
literals = st.builds(Number, st.floats(0, 1e300), units)
texts = st.one_of(
    st.builds(Signal, st.sampled_from(TEXTS)),
    st.text(st.characters(blacklist_characters="\n\"'", codec="utf-8"), max_size=5).map(Text),
    st.sampled_from([Text('say "no"'), Text("it's")]),
)


def numbers(depth: int) -> st.SearchStrategy[Expression]:
    leaves = st.one_of(st.builds(Signal, st.sampled_from(NUMBERS)), literals)
    if depth == 0:
        return leaves
    inner = numbers(depth - 1)
    arithmetic: Any = st.sampled_from(["+", "-", "*", "/"])
    return st.one_of(
        leaves, st.builds(Negative, inner), st.builds(Binary, arithmetic, inner, inner)
    )


def truths(depth: int) -> st.SearchStrategy[Expression]:
    relations: Any = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    same: Any = st.sampled_from(["==", "!="])
    leaves = st.one_of(st.builds(Signal, st.sampled_from(TRUTHS)), st.builds(Truth, st.booleans()))
    if depth == 0:
        return leaves
    inner, sums = truths(depth - 1), numbers(depth - 1)

    def compared(of: Any, by: Any, most: int) -> Any:
        pairs = st.lists(st.tuples(by, of), min_size=1, max_size=most).map(tuple)
        return st.builds(Comparison, of, pairs)

    logic: Any = st.sampled_from(["and", "or"])
    return st.one_of(
        leaves,
        compared(sums, relations, 3),
        compared(texts, same, 1),
        compared(inner, same, 2),
        st.builds(Not, inner),
        st.builds(Binary, logic, inner, inner),
    )


expressions = truths(3).filter(lambda e: len(str(e)) < LONGEST - 20)
values = st.fixed_dictionaries(
    {name: st.sampled_from([-1.5, 0.0, 0.5, 2.0, 1e200]) for name in NUMBERS}
    | {name: st.booleans() for name in TRUTHS}
    | {name: st.sampled_from(["auto", "", "it's"]) for name in TEXTS}
)


@given(expressions)
def test_an_expression_printed_and_parsed_again_is_the_same(expression: Expression) -> None:
    assert parse_expression(str(expression)) == expression
    assert parse_rule(f"heater.x needs {expression}") == Rule("heater.x", expression)


def as_python(expression: Expression) -> str:
    """The same in Python's words, where `&` and `|` evaluate both sides as we do."""
    match expression:
        case Number(value) | Truth(value) | Text(value):
            return repr(value)
        case Signal(path):
            return f"v[{path!r}]"
        case Negative(inner):
            return f"fine(-{as_python(inner)})"
        case Not(inner):
            return f"(not {as_python(inner)})"
        case Binary(symbol, left, right):
            word = {"and": "&", "or": "|"}.get(symbol, symbol)
            return f"fine(({as_python(left)}) {word} ({as_python(right)}))"
        case Comparison(first, rest):
            # all operands first: Python would leave out those behind a pair that is not so
            parts = [first, *(e for _, e in rest)]
            names = [f"p{i}" for i in range(len(parts))]
            chain = names[0] + "".join(
                f" {r} {n}" for (r, _), n in zip(rest, names[1:], strict=True)
            )
            given_ = ", ".join(as_python(part) for part in parts)
            return f"(lambda {', '.join(names)}: {chain})({given_})"


def fine(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    return value


@given(expressions, values)
def test_it_is_worth_what_python_says(expression: Expression, found: dict[str, Value]) -> None:
    try:
        wanted: Any = eval(as_python(expression), {"v": found, "fine": fine})
    except (ZeroDivisionError, OverflowError):
        wanted = UnsafeError
    try:
        worth: Any = holds(expression, found)
    except UnsafeError:
        worth = UnsafeError
    assert worth is wanted


@given(expressions, values, st.data())
def test_it_never_passes_when_a_signal_has_no_value(
    expression: Expression, found: dict[str, Value], data: st.DataObject
) -> None:
    paths = signals(expression)
    if not paths:
        return
    gone = data.draw(st.sampled_from(paths))
    with pytest.raises(UnsafeError):
        holds(expression, {k: v for k, v in found.items() if k != gone})


@given(expressions, values, st.data())
def test_it_never_passes_when_a_signal_has_a_value_of_another_kind(
    expression: Expression, found: dict[str, Value], data: st.DataObject
) -> None:
    paths = [p for p in signals(expression) if p in NUMBERS]
    if not paths:
        return
    wrong = data.draw(st.sampled_from(["1.0", True, math.nan, math.inf]))
    found = {**found, data.draw(st.sampled_from(paths)): wrong}
    try:
        holds(expression, found)
    except UnsafeError:
        return
    # what is left are comparisons for equality of whole kinds: "a.x == b.y" with both texts
    assert not isinstance(wrong, float)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.ok or a.x", "a.x should be true or false, but is a number"),
        ("a.ok or gone", "gone has no value"),
        ("not a.ok and gone", "gone has no value"),
        ("a.x * a.x > 1", "too large"),
        ("a.x / (a.x - a.x) > 1", "divides by zero"),
        ("a.mode < 3", "a.mode is text and 3 is a number"),
        ("a.mode < 'b'", "a.mode should be a number, but is text"),
    ],
)
def test_what_cannot_be_evaluated_says_why(text: str, says: str) -> None:
    with pytest.raises(UnsafeError) as caught:
        holds(parse_expression(text), {"a.x": 1e200, "a.ok": True, "a.mode": "auto"})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e+16", Number(1e16)),
        ("1e5 m/s", Number(1e5, "m/s")),
        (".5%", Number(0.5, "%")),
        ("2eV", Number(2.0, "eV")),
        ("3. mL/min", Number(3.0, "mL/min")),
    ],
)
def test_units_stand_behind_a_number(text: str, number: Number) -> None:
    assert parse_expression(text) == number
    assert parse_expression(f"{text} and b.y").left == number  # type: ignore[union-attr]


@given(st.text(max_size=60))
def test_whatever_is_written_is_a_rule_or_a_message_with_a_column(text: str) -> None:
    said = ": column 1: expected nothing; found "
    try:
        parse_rule(f"oven needs {text}")
    except ValueError as error:
        said = str(error)
    assert re.search(r": column \d+: expected .+; found |too large", said)


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("oven needs", 11, "a signal (instrument.signal), a number"),
        ("oven hood.flow > 3", 6, "expected the word needs; found 'hood.flow'"),
        ("oven needs hood.flow >", 23, "found the end"),
        ("oven needs hood.flow > 3 m / s s", 32, "found 's'"),
        ("oven needs hood.flow = 3", 22, "one of < <= > >= == !=; found '='"),
        ("oven needs (a.ok or b.ok", 25, "expected ), "),
        ("oven needs a.ok b.ok", 17, "the end; found 'b.ok'"),
        ("oven needs a.mode == 'auto", 22, "text in quotes"),
        ("oven needs hood.", 16, "found '.'"),
        ("", 1, "a signal"),
    ],
)
def test_what_does_not_parse_is_told_with_column_and_what_was_expected(
    text: str, column: int, expected: str
) -> None:
    with pytest.raises(ValueError, match=f"column {column}: ") as caught:
        parse_rule(text)
    assert expected in str(caught.value)


def test_a_rule_that_nobody_can_read_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 400"):
        parse_rule("oven needs " + "not " * 100 + "a.ok")
    deep = "oven needs " + "(" * 190 + "a.ok" + ")" * 190
    assert parse_rule(deep) == Rule("oven", Signal("a.ok"))


KNOWN = {
    "oven.t": Meaning("a number", "degC"),
    "hood.flow": Meaning("a number", "m/s"),
    "ratio": Meaning("a number", ""),
    "ok": Meaning("true or false"),
    "mode": Meaning("text"),
    "foreign": Meaning(),
}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oven.t < 45 K", "oven.t is in degC and 45 K is in K; nothing is converted"),
        ("1 < oven.t < 45 K", "oven.t is in degC and 45 K is in K"),
        ("oven.t > hood.flow", "oven.t is in degC and hood.flow is in m/s"),
        ("oven.t - hood.flow > 3", "nothing is converted"),
        ("oven.t - 3 < 45 K", "oven.t - 3 is in degC and 45 K"),
        ("2 * oven.t < 45 K", "2 * oven.t is in degC and 45 K"),
        ("-oven.t < 45 K", "-oven.t is in degC"),
        ("ratio < 5 %", "ratio is without units and 5 % is in %"),
        ("oven.t", "oven.t is a number, where true or false is wanted"),
        ("mode", "mode is text, where true or false is wanted"),
        ("not oven.t", "oven.t is a number, where true or false"),
        ("ok and mode", "mode is text, where true or false"),
        ("ok < 3", "ok is true or false, where a number is wanted"),
        ("mode > 'a'", "mode is text, where a number is wanted"),
        ("mode == 3", "3 is a number, where text is wanted"),
        ("ok + 1 > 0", "ok is true or false, where a number is wanted"),
    ],
)
def test_what_makes_no_sense_is_a_mistake(text: str, says: str) -> None:
    (said, *_) = mistakes(parse_expression(text), KNOWN)
    assert says in said


@pytest.mark.parametrize(
    "text",
    [
        "oven.t < 45 degC and hood.flow > 0.4",
        "0.1 m/s < hood.flow <= 0.4 m/s",
        "oven.t * hood.flow < 3 W",
        "oven.t / 2 < 45 degC",
        "mode == 'auto' or ok != false",
        "foreign or foreign > 3 bar",
        "ratio < 5",
    ],
)
def test_what_makes_sense_is_none(text: str) -> None:
    assert mistakes(parse_expression(text), KNOWN) == []
