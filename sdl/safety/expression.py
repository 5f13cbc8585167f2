"""What an interlock says, as a tree; `str` of it can be parsed again and means the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Operator = Literal["or", "and", "+", "-", "*", "/"]
Relation = Literal["<", "<=", ">", ">=", "==", "!="]

RANK = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6}
NOT, COMPARISON, NEGATIVE, ATOM = 3, 4, 7, 8  # how tightly each binds; more is tighter


@dataclass(frozen=True)
class Number:
    """A number, not negative, with the units that were written behind it."""

    value: float
    units: str | None = None

    def __str__(self) -> str:
        number = repr(self.value).removesuffix(".0")
        return number if self.units is None else f"{number} {self.units}"


@dataclass(frozen=True)
class Truth:
    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True)
class Text:
    """Text in quotes; it holds at most one kind of quotes itself."""

    value: str

    def __str__(self) -> str:
        return f"'{self.value}'" if '"' in self.value else f'"{self.value}"'


@dataclass(frozen=True)
class Signal:
    """A live value: "hood.flow"."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Negative:
    inner: "Expression"

    def __str__(self) -> str:
        return f"-{_within(self.inner, ATOM)}"


@dataclass(frozen=True)
class Not:
    inner: "Expression"

    def __str__(self) -> str:
        return f"not {_within(self.inner, NOT)}"


@dataclass(frozen=True)
class Binary:
    operator: Operator
    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        rank = RANK[self.operator]
        return f"{_within(self.left, rank)} {self.operator} {_within(self.right, rank + 1)}"


@dataclass(frozen=True)
class Comparison:
    """`first < a <= b`: each neighbouring pair must be so."""

    first: "Expression"
    rest: "tuple[tuple[Relation, Expression], ...]"

    def __str__(self) -> str:
        rest = (f" {relation} {_within(e, COMPARISON + 1)}" for relation, e in self.rest)
        return _within(self.first, COMPARISON + 1) + "".join(rest)


Expression = Number | Truth | Text | Signal | Negative | Not | Binary | Comparison


@dataclass(frozen=True)
class Rule:
    """`target needs expression`."""

    target: str
    expression: Expression

    def __str__(self) -> str:
        return f"{self.target} needs {self.expression}"


def signals(expression: Expression) -> list[str]:
    """The paths of the signals in it, each once, in order."""
    return list(dict.fromkeys(_signals(expression)))


def _signals(expression: Expression) -> Iterator[str]:
    match expression:
        case Signal(path):
            yield path
        case Negative(inner) | Not(inner):
            yield from _signals(inner)
        case Binary(_, left, right):
            yield from _signals(left)
            yield from _signals(right)
        case Comparison(first, rest):
            yield from _signals(first)
            for _, other in rest:
                yield from _signals(other)
        case _:
            return


def _within(expression: Expression, least: int) -> str:
    """Write it where only what binds at least as tightly may stand without parentheses."""
    return str(expression) if _rank(expression) >= least else f"({expression})"


def _rank(expression: Expression) -> int:
    match expression:
        case Binary(operator):
            return RANK[operator]
        case Comparison():
            return COMPARISON
        case Not():
            return NOT
        case Negative():
            return NEGATIVE
        case _:
            return ATOM
