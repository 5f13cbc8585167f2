"""What a step gave, as JSON and back: numbers, text, arrays with their type, and errors."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sdl.errors import ConfigError, InstrumentError, SdlError

_ARRAY = "__array__"


def to_json(value: Any) -> Any:
    """Return what the journal can hold; `from_json` makes equal values of it again.

    Arrays keep their type and shape, NumPy's scalars become Python's, tuples lists.
    """
    if isinstance(value, np.ndarray):
        data = value.ravel().tolist()
        return {_ARRAY: str(value.dtype), "shape": list(value.shape), "data": data}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            return np.array(value["data"], dtype=value[_ARRAY]).reshape(value["shape"])
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """An argument as the record shows it: what is no number, text or list of them, as its text."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(getattr(value, "name", value))


def kind_of(error: BaseException) -> str:
    """The type of an error as the record names it: "sdl.errors:FaultError"."""
    return f"{type(error).__module__}:{type(error).__qualname__}"


def error_again(kind: str | None, text: str) -> Exception:
    """Return an error like the one that was recorded, so that a plan takes the same branch.

    Its type is looked up among what is imported already; what is not there becomes an `SdlError`.
    """
    module, _, name = (kind or "").partition(":")
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return SdlError(f"{name or 'an error'}: {text}")
    if issubclass(found, InstrumentError):
        return found("", text)
    if issubclass(found, ConfigError):
        return found(text)
    error = found.__new__(found)
    error.args = (text,)
    return error
