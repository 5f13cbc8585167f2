"""Linear constraints between parameters, as text: `temperature + 2*residence_time <= 130`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

TOLERANCE = 1e-9  # relative; what arithmetic may add to a bound or a constraint
NONLINEAR = "parameters may be multiplied by numbers only"
Linear = tuple[dict[str, float], float]  # terms, constant

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<name>[^\W\d]\w*)|(?P<sign><=|>=|==|[-+*/()]))"
)
_EXAMPLE = "such as 'temperature + 2*residence_time <= 130'"


@dataclass(frozen=True)
class LinearConstraint:
    """`lower <= sum of terms[name] * value <= upper`; one limit is infinite, or both are equal."""

    text: str
    terms: Mapping[str, float] = field(hash=False)
    lower: float = -math.inf
    upper: float = math.inf

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read sums of numbers times parameters on both sides of one of <=, >= and ==.

        :raises ValueError: the text is no such constraint; the message says where and why.
        """
        terms, constant, relation = _ConstraintParser(text).constraint()
        if not terms:
            raise ValueError(f"{text!r} constrains no parameter; write one {_EXAMPLE}")
        bound = -constant + 0.0
        if not all(map(math.isfinite, (bound, *terms.values()))):
            raise ValueError(f"{text!r} has a number that is too large")
        lower = bound if relation in (">=", "==") else -math.inf
        upper = bound if relation in ("<=", "==") else math.inf
        return cls(text.strip(), terms, lower, upper)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.terms)

    @property
    def equality(self) -> bool:
        return self.lower == self.upper

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether a point keeps it, within the tolerance relative to its largest term."""
        parts = [coefficient * point[name] for name, coefficient in self.terms.items()]
        bound = self.upper if math.isfinite(self.upper) else self.lower
        slack = TOLERANCE * max(abs(bound), *map(abs, parts))
        return self.lower - slack <= math.fsum(parts) <= self.upper + slack

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "examples": [_EXAMPLE.removeprefix("such as ").strip("'")]}

    @classmethod
    def _validate(cls, value: object) -> "LinearConstraint":
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError(f"must be a text {_EXAMPLE}, not {value!r}")
        return cls.parse(value)


class _ConstraintParser:
    """Recursive descent over linear expressions; an expression is (terms, constant)."""

    def __init__(self, text: str) -> None:
        if len(text) > 2000:
            raise ValueError("a constraint has at most 2000 characters")
        self._text, self._end = text, 0
        self._kind, self._token = "", ""
        self._depth = 0
        self._next()

    def constraint(self) -> tuple[dict[str, float], float, str]:
        left = self._sum()
        relation = self._token
        if relation not in ("<=", ">=", "=="):
            raise self._error("expected <=, >= or ==")
        self._next()
        right = self._sum()
        if self._kind:
            raise self._error("expected nothing more (write two constraints for two limits)")
        terms, constant = _add(left, right, -1.0)
        return {name: c for name, c in terms.items() if c}, constant, relation

    def _sum(self) -> Linear:
        total = self._product()
        while self._token in ("+", "-"):
            sign = 1.0 if self._take() == "+" else -1.0
            total = _add(total, self._product(), sign)
        return total

    def _product(self) -> Linear:
        terms, constant = self._factor()
        while self._token in ("*", "/"):
            operator = self._take()
            other, number = self._factor()
            if other and (terms or operator == "/"):
                raise self._error(f"{NONLINEAR} (that is a nonlinear constraint)")
            if operator == "/":
                if number == 0:
                    raise self._error("division by 0")
                number = 1.0 / number
            if other:
                terms, constant, number = other, number, constant
            terms, constant = {n: c * number for n, c in terms.items()}, constant * number
        return terms, constant

    def _factor(self) -> Linear:
        kind, token = self._kind, self._token
        if kind == "number":
            return {}, float(self._take())
        if kind == "name":
            return {self._take(): 1.0}, 0.0
        if token in ("+", "-", "("):
            self._take()
            self._depth += 1
            if self._depth > 50:
                raise self._error("too many signs or parentheses in one another")
            inner = self._sum() if token == "(" else self._factor()
            self._depth -= 1
            if token == "(":
                if self._token != ")":
                    raise self._error("expected )")
                self._take()
            return _add(({}, 0.0), inner, -1.0 if token == "-" else 1.0)
        raise self._error("expected a number or a parameter")

    def _take(self) -> str:
        token = self._token
        self._next()
        return token

    def _next(self) -> None:
        if not self._text[self._end :].strip():
            self._kind = self._token = ""
            return
        match = _TOKEN.match(self._text, self._end)
        if match is None:
            self._token = self._text[self._end :].strip()[:20]
            raise self._error("allowed are numbers, parameters, + - * / ( ) and one of <= >= ==")
        self._kind, self._end = match.lastgroup or "", match.end()
        self._token = match[self._kind]

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{self._text!r}: at {self._token or 'the end'!r}: {what}")


def _add(left: Linear, right: Linear, sign: float) -> Linear:
    terms = dict(left[0])
    for name, coefficient in right[0].items():
        terms[name] = terms.get(name, 0.0) + sign * coefficient
    return terms, left[1] + sign * right[1]
