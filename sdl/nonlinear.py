"""Nonlinear constraints between parameters, as text: `flow * residence_time**2 <= 130`."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sdl.linear import TOLERANCE

_FUNCTIONS = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "abs": abs,
    "min": min,
    "max": max,
}
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: math.pow(a, b),
}
_HELP = (
    f"allowed are numbers, parameters, + - * / ** ( ), {', '.join(_FUNCTIONS)} and one of <=, >="
)
LONGEST = 2000  # characters of a text


@dataclass(frozen=True)
class NonlinearConstraint:
    """`left <= right` or `left >= right`, of any expressions of numeric parameters.

    A point at which it has no value (a root of a negative number, a division by 0) breaks it.
    """

    text: str
    names: tuple[str, ...]
    _left: ast.expr = field(repr=False, compare=False)
    _right: ast.expr = field(repr=False, compare=False)
    _sign: float = field(repr=False, compare=False)  # -1 for >=

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a constraint.

        :raises ValueError: the text is no such constraint; the message says why.
        """
        if len(text) > LONGEST:
            raise ValueError(f"a constraint has at most {LONGEST} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{text!r} cannot be read: {_HELP}") from error
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
            raise ValueError(f"{text!r} should be one comparison: {_HELP}")
        (relation,) = tree.ops
        if not isinstance(relation, ast.LtE | ast.GtE):
            raise ValueError(
                f"{text!r}: a nonlinear constraint has <= or >=; an equation leaves nothing to try"
            )
        names: dict[str, None] = {}
        for side in (tree.left, tree.comparators[0]):
            _check(side, names, text)
        if not names:
            raise ValueError(f"{text!r} constrains no parameter")
        sign = 1.0 if isinstance(relation, ast.LtE) else -1.0
        return cls(text.strip(), tuple(names), tree.left, tree.comparators[0], sign)

    def excess(self, point: Mapping[str, Any]) -> float:
        """How far a point breaks it: above 0 where it does, infinite where it has no value."""
        try:
            left, right = _value(self._left, point), _value(self._right, point)
        except (ValueError, ArithmeticError, TypeError):
            return math.inf
        excess = self._sign * (left - right)
        slack = TOLERANCE * max(abs(left), abs(right), 1.0)
        return math.inf if math.isnan(excess) else excess - slack

    def holds(self, point: Mapping[str, Any]) -> bool:
        return self.excess(point) <= 0

    def __str__(self) -> str:
        return self.text


def _check(node: ast.expr, names: dict[str, None], text: str) -> None:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if not math.isfinite(value):
                raise ValueError(f"{text!r} has a number that is too large")
        case ast.BinOp(op=ast.Div(), right=ast.Constant(value=0)):
            raise ValueError(f"{text!r}: {ast.unparse(node)!r}: division by 0")
        case ast.Name(id=name):
            names[name] = None
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=inner):
            _check(inner, names, text)
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            _check(node.left, names, text)
            _check(node.right, names, text)
        case ast.Call(func=ast.Name(id=function), args=given, keywords=[]) if (
            function in _FUNCTIONS and given
        ):
            for one in given:
                _check(one, names, text)
        case _:
            raise ValueError(f"{text!r}: {ast.unparse(node)!r} is not understood: {_HELP}")


def _value(node: ast.expr, point: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=value):
            return float(value)  # pyright: ignore[reportArgumentType] (checked when parsed)
        case ast.Name(id=name):
            return float(point[name])
        case ast.UnaryOp(op=operator, operand=inner):
            return -_value(inner, point) if isinstance(operator, ast.USub) else _value(inner, point)
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATORS[type(operator)](_value(left, point), _value(right, point))
        case ast.Call(func=ast.Name(id=function), args=given):
            return float(_FUNCTIONS[function](*(_value(one, point) for one in given)))
    raise TypeError(f"{node!r} was not checked")
