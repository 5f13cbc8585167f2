"""What an interlock's expression is worth now, and whether it can make sense at all.

Evaluation is all or nothing: what cannot be computed, whatever else is true, makes the whole
expression one that cannot be evaluated. `a or b` with an unreadable `b` is no `a`.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sdl.errors import UnsafeError
from sdl.safety.expression import (
    Binary,
    Comparison,
    Expression,
    Negative,
    Not,
    Number,
    Signal,
    Text,
    Truth,
)

Value = bool | float | str
Kind = Literal["true or false", "a number", "text"]

RELATIONS: Mapping[str, Callable[[Value, Value], bool]] = {
    "<": operator.lt,  # type: ignore[dict-item]
    "<=": operator.le,  # type: ignore[dict-item]
    ">": operator.gt,  # type: ignore[dict-item]
    ">=": operator.ge,  # type: ignore[dict-item]
    "==": operator.eq,
    "!=": operator.ne,
}
ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def holds(expression: Expression, values: Mapping[str, Value]) -> bool:
    """Whether it is true of the values of its signals.

    :raises UnsafeError: it cannot be evaluated.
    """
    return _truth(_evaluate(expression, values), expression)


def _evaluate(expression: Expression, values: Mapping[str, Value]) -> Value:
    match expression:
        case Number(value) | Truth(value) | Text(value):
            return value
        case Signal(path):
            value = values.get(path)
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                raise UnsafeError(f"{path} has no value")
            return value
        case Negative(inner):
            return -_number(_evaluate(inner, values), inner)
        case Not(inner):
            return not _truth(_evaluate(inner, values), inner)
        case Comparison(first, rest):
            return _compare(first, rest, values)
        case Binary(symbol, left, right):
            a, b = _evaluate(left, values), _evaluate(right, values)  # both, always
            if symbol == "and":
                return _truth(a, left) & _truth(b, right)
            if symbol == "or":
                return _truth(a, left) | _truth(b, right)
            return _compute(symbol, _number(a, left), _number(b, right), expression)


def _compare(
    first: Expression, rest: tuple[tuple[str, Expression], ...], values: Mapping[str, Value]
) -> bool:
    so, left, a = True, first, _evaluate(first, values)
    for relation, right in rest:
        b = _evaluate(right, values)
        if kind_of(a) != kind_of(b):
            raise UnsafeError(f"{left} is {kind_of(a)} and {right} is {kind_of(b)}")
        if relation not in ("==", "!="):
            _number(a, left)
        so &= RELATIONS[relation](a, b)
        left, a = right, b
    return so


def _compute(symbol: str, a: float, b: float, expression: Expression) -> float:
    try:
        result = ARITHMETIC[symbol](a, b)
    except ZeroDivisionError:
        raise UnsafeError(f"{expression} divides by zero") from None
    if not math.isfinite(result):
        raise UnsafeError(f"{expression} is too large")
    return result


def kind_of(value: Value) -> Kind:
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def _truth(value: Value, expression: Expression) -> bool:
    if not isinstance(value, bool):
        raise UnsafeError(f"{expression} should be true or false, but is {kind_of(value)}")
    return value


def _number(value: Value, expression: Expression) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsafeError(f"{expression} should be a number, but is {kind_of(value)}")
    return float(value)


@dataclass(frozen=True)
class Meaning:
    """What is known of an expression without its values; None: it is not known."""

    kind: Kind | None = None
    units: str | None = None
    """"" is a number without units."""


def mistakes(expression: Expression, known: Mapping[str, Meaning]) -> list[str]:
    """Say where it can make no sense: types that do not fit, units that differ.

    :param known: what each signal is; nothing is said of one that is not in it.
    """
    found: list[str] = []
    _want(_meaning(expression, known, found), "true or false", expression, found)
    return list(dict.fromkeys(found))


def _meaning(expression: Expression, known: Mapping[str, Meaning], found: list[str]) -> Meaning:
    match expression:
        case Number(_, units):
            return Meaning("a number", units)
        case Truth():
            return Meaning("true or false")
        case Text():
            return Meaning("text")
        case Signal(path):
            return known.get(path, Meaning())
        case Negative(inner):
            meaning = _meaning(inner, known, found)
            _want(meaning, "a number", inner, found)
            return Meaning("a number", meaning.units)
        case Not(inner):
            _want(_meaning(inner, known, found), "true or false", inner, found)
            return Meaning("true or false")
        case Comparison(first, rest):
            left, a = first, _meaning(first, known, found)
            for relation, right in rest:
                b = _meaning(right, known, found)
                if relation in ("==", "!="):
                    _want(b, a.kind, right, found)
                else:
                    _want(a, "a number", left, found)
                    _want(b, "a number", right, found)
                _same_units(left, a, right, b, found)
                left, a = right, b
            return Meaning("true or false")
        case Binary(symbol, left, right):
            return _of_two(symbol, left, right, known, found)


def _of_two(
    symbol: str,
    left: Expression,
    right: Expression,
    known: Mapping[str, Meaning],
    found: list[str],
) -> Meaning:
    a, b = _meaning(left, known, found), _meaning(right, known, found)
    wanted: Kind = "true or false" if symbol in ("and", "or") else "a number"
    _want(a, wanted, left, found)
    _want(b, wanted, right, found)
    if symbol in ("+", "-"):
        _same_units(left, a, right, b, found)
        return Meaning("a number", a.units if b.units is None else b.units)
    if isinstance(left, Number) and left.units is None:  # twice a length is a length
        return Meaning(wanted, b.units if symbol == "*" else None)
    if isinstance(right, Number) and right.units is None:
        return Meaning(wanted, a.units)
    return Meaning(wanted)  # the units of a product are nobody's own


def _want(meaning: Meaning, kind: Kind | None, of: Expression, found: list[str]) -> None:
    if meaning.kind is not None and kind is not None and meaning.kind != kind:
        found.append(f"{of} is {meaning.kind}, where {kind} is wanted")


def _same_units(
    left: Expression, a: Meaning, right: Expression, b: Meaning, found: list[str]
) -> None:
    if a.units is None or b.units is None or a.units == b.units:
        return
    found.append(f"{left} is {_in(a.units)} and {right} is {_in(b.units)}; nothing is converted")


def _in(units: str) -> str:
    return f"in {units}" if units else "without units"
