"""The words of interlocks: `heater.setpoint needs plc.flow_ok and hood.flow > 0.4 m/s`.

Units stand behind a number and have no blanks in them (`0.4 m/s`); a division has blanks or
parentheses (`a.flow / 2`).
"""

import math
import re
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError

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
)

LONGEST = 400  # characters of a rule; longer ones nobody reads

_NUMERAL = r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_PART = r"[A-Za-z%°µμΩ][\w%°µμΩ²³^]*"

GRAMMAR = r"""
rule: PATH "needs" expression
?expression: both | expression "or" both -> either
?both: denial | both "and" denial -> every
?denial: comparison | "not" denial -> opposite
?comparison: sum | sum (RELATION sum)+ -> compared
?sum: product | sum "+" product -> plus | sum "-" product -> minus
?product: factor | product "*" factor -> times | product "/" factor -> over
?factor: atom | "-" atom -> negative
?atom: QUANTITY -> number
     | "true" -> yes
     | "false" -> no
     | STRING -> text
     | PATH -> signal
     | "(" expression ")"

RELATION: "<=" | "<" | ">=" | ">" | "==" | "!="
PATH: /[A-Za-z_]\w*(\.[A-Za-z_]\w*)*/
QUANTITY: /NUMERAL(\s*(?!(and|or|not|needs)\b)UNITS)?/
STRING: /"[^"\n]*"|'[^'\n]*'/
%ignore /[ \t\r\n]+/
""".replace("NUMERAL", _NUMERAL).replace("UNITS", rf"{_PART}(\/{_PART})*")

WORDS = {  # what the parser expects, for people
    "PATH": "a signal (instrument.signal)",
    "QUANTITY": "a number",
    "STRING": "text in quotes",
    "TRUE": "true",
    "FALSE": "false",
    "NOT": "not",
    "LPAR": "(",
    "RPAR": ")",
    "MINUS": "-",
    "PLUS": "+",
    "STAR": "*",
    "SLASH": "/",
    "AND": "and",
    "OR": "or",
    "NEEDS": "the word needs",
    "RELATION": "one of < <= > >= == !=",
    "$END": "the end",
}


class _Tree(Transformer[Token, Any]):
    """Makes the tree while parsing, from the leaves up."""

    def rule(self, parts: list[Any]) -> Rule:
        return Rule(str(parts[0]), parts[1])

    def number(self, parts: list[Any]) -> Number:
        return _number(str(parts[0]))

    def yes(self, _: list[Any]) -> Truth:
        return Truth(True)

    def no(self, _: list[Any]) -> Truth:
        return Truth(False)

    def text(self, parts: list[Any]) -> Text:
        return Text(str(parts[0])[1:-1])

    def signal(self, parts: list[Any]) -> Signal:
        return Signal(str(parts[0]))

    def negative(self, parts: list[Any]) -> Negative:
        return Negative(parts[0])

    def opposite(self, parts: list[Any]) -> Not:
        return Not(parts[0])

    def compared(self, parts: list[Any]) -> Comparison:
        pairs = zip(parts[1::2], parts[2::2], strict=True)
        return Comparison(parts[0], tuple((str(r), e) for r, e in pairs))  # type: ignore[misc]

    def either(self, parts: list[Any]) -> Binary:
        return Binary("or", *parts)

    def every(self, parts: list[Any]) -> Binary:
        return Binary("and", *parts)

    def plus(self, parts: list[Any]) -> Binary:
        return Binary("+", *parts)

    def minus(self, parts: list[Any]) -> Binary:
        return Binary("-", *parts)

    def times(self, parts: list[Any]) -> Binary:
        return Binary("*", *parts)

    def over(self, parts: list[Any]) -> Binary:
        return Binary("/", *parts)


def _number(text: str) -> Number:
    numeral = re.match(_NUMERAL, text)
    assert numeral is not None  # as the lexer found it
    value = float(numeral[0])
    if value == math.inf:
        raise ValueError(f"{text} is too large a number")
    return Number(value, text[numeral.end() :].strip() or None)


@cache
def _parser() -> Lark:
    # units and numbers are told apart by the lexer, so a rule is parsed without looking back
    return Lark(GRAMMAR, parser="lalr", start=["rule", "expression"], transformer=_Tree())


@cache
def parse_rule(text: str) -> Rule:
    """:raises ValueError: it is no rule; the message names the column and what was expected."""
    return _parse(text, "rule")


def parse_expression(text: str) -> Expression:
    """:raises ValueError: it is no expression."""
    return _parse(text, "expression")


def _parse(text: str, start: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError(f"a rule of {len(text)} characters; at most {LONGEST} are allowed")
    try:
        return _parser().parse(text, start=start)
    except VisitError as error:
        raise ValueError(f"{text!r}: {error.orig_exc}") from error
    except UnexpectedInput as error:
        raise ValueError(_said(error, text)) from error


def _said(error: UnexpectedInput, text: str) -> str:
    expected: set[str] = set()
    column, found = len(text) + 1, "the end"
    if isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
        column, found = error.pos_in_stream + 1, repr(text[error.pos_in_stream])
    elif isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        if error.token.type != "$END":
            column, found = (error.token.start_pos or 0) + 1, repr(str(error.token))
    words = [said for name, said in WORDS.items() if name in expected]
    return f"{text!r}: column {column}: expected {', '.join(words)}; found {found}"
