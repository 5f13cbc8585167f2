"""JSON as text, the same on both databases: NaN and infinities stay, int and float stay apart.

Stored as TEXT: PostgreSQL's JSONB takes no NaN and makes `1.0` and `1` one number.
"""

import json
from collections.abc import Mapping
from typing import Any

from sdl.errors import JournalError

_PLAIN = frozenset({type(None), bool, int, float, str})


class _NotJsonError(Exception):
    def __init__(self, path: tuple[str, ...], problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(problem)


def encode(value: object, what: str) -> str:
    """Return `value` as JSON text: mappings, lists, tuples (as lists), arrays (as nested lists).

    :param what: names the value in an error, e.g. `"document start"`.
    :raises JournalError: something in it is not JSON; says what and under which key.
    """
    return json.dumps(plain(value, what), separators=(",", ":"))


def plain(value: object, what: str) -> Any:
    """Return `value` with lists for tuples and arrays, as JSON has them.

    :raises JournalError: as `encode`.
    """
    try:
        return _plain(value, ())
    except _NotJsonError as error:
        where = f": {'.'.join(error.path)}" if error.path else ""
        raise JournalError(f"{what}{where}: {error.problem}; JSON cannot hold that") from None
    except RecursionError:
        raise JournalError(f"{what}: nested too deep, or within itself") from None


def decode(text: str | None) -> Any:
    """Return what `encode` was given; None for a column that holds nothing."""
    return None if text is None else json.loads(text)


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {_key(k, path): _plain(v, (*path, str(k))) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if set(map(type, value)) <= _PLAIN:  # a spectrum: thousands of floats
            return list(value)
        return [_plain(v, (*path, str(i))) for i, v in enumerate(value)]
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars, without importing NumPy here
        listed = value.tolist()
        if type(listed) in _PLAIN or isinstance(listed, list):
            return _plain(listed, path)
    raise _NotJsonError(path, f"{type(value).__name__} {_short(value)}")


def _key(key: object, path: tuple[str, ...]) -> str:
    if isinstance(key, str):
        return key
    raise _NotJsonError((*path, str(key)), f"the key is of type {type(key).__name__}, not text")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
