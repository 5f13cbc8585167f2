"""Files that people write: YAML read safely, and every mistake in it found at its line."""

import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sdl.errors import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)
Key = tuple[str | int, ...]

LARGEST = 1_000_000  # bytes; a lab is described in a few thousand

_NAME = r"[A-Za-z_]\w*"
_IN_WORDS = {  # what a pattern asks for, for people
    r"^[A-Za-z_][A-Za-z0-9_]*$": "a name: letters, digits and _, no digit first",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "letters, digits, '_', '.' and '-', a letter or digit first",
    rf"^{_NAME}(\.{_NAME})*$": "an instrument's name, or instrument.signal",
}


class Strict(BaseModel):
    """What all models of files share: no unknown key, no infinity, no change afterwards."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )


@dataclass(frozen=True)
class Document:
    """A YAML mapping, and where each of its keys stands."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Key, int] = field(repr=False)

    def problem(self, key: Key, message: str) -> Problem:
        return Problem(str(self.path), self.line(key), ".".join(map(str, key)), message)

    def line(self, key: Key) -> int | None:
        """The line (from 1) of a key, or of the nearest thing around it."""
        for end in range(len(key), -1, -1):
            if key[:end] in self.lines:
                return self.lines[key[:end]]
        return None

    def problems(
        self, error: ValidationError, under: Key = (), model: type[BaseModel] | None = None
    ) -> list[Problem]:
        """Say every mistake that pydantic found in the file's words.

        :param model: whose words they are, to say which keys are allowed.
        """
        found = []
        for entry in error.errors(include_url=False):
            named = entry["type"] in ("missing", "extra_forbidden")
            key = self._key(under + tuple(entry["loc"]), named)
            message = _message(cast("dict[str, Any]", entry))
            if model is not None and entry["type"] == "extra_forbidden":
                allowed = allowed_keys(model, entry["loc"])
                message += f"; allowed are: {', '.join(allowed)}" if allowed else ""
            found.append(self.problem(key, message))
        return list(dict.fromkeys(found))

    def _key(self, location: Key, named: bool) -> Key:
        # pydantic puts names of union members into its locations; the file knows no such key
        key: Key = ()
        for part in location[:-1] if named else location:
            if (*key, part) in self.lines:
                key = (*key, part)
        return (*key, location[-1]) if named else key


def read(path: Path) -> Document:
    """Read a YAML file whose top is a mapping.

    :raises ConfigError: it cannot be read, is no YAML, repeats a key, or is not a mapping.
    """
    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Key, int] = {}
        problems: list[Problem] = []
        if root is not None:
            _walk(root, (), lines, problems, path, [])
        if problems:
            raise ConfigError(*problems)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        message = f"not valid YAML: {error.problem or error.context}"
        if "expected ',' or" in message:
            message += "; text with any of ?:,[]{}# in it needs quotes there"
        raise ConfigError.at(path, "", message, line) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError.at(path, "", f"not valid YAML: {error}") from error
    if not isinstance(data, dict):
        what = "empty" if data is None else f"a {type(data).__name__}"
        message = f"expected keys and values (`key: value`) at the top, but the file is {what}"
        raise ConfigError.at(path, "", message, 1)
    return Document(path, data, lines)


def parse(document: Document, model: type[M]) -> M:
    """Return the file as `model`.

    :raises ConfigError: all that is wrong with it.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(*document.problems(error, model=model)) from error


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > LARGEST:
            raise ConfigError.at(path, "", f"larger than {LARGEST} bytes: is it the right file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError.at(path, "", "there is no such file") from None
    except IsADirectoryError:
        raise ConfigError.at(path, "", "is a folder; name the file in it") from None
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start}): is it the right file?"
        raise ConfigError.at(path, "", message) from None
    except OSError as error:
        raise ConfigError.at(path, "", f"cannot be read: {error.strerror}") from None


def _walk(
    node: yaml.Node,
    key: Key,
    lines: dict[Key, int],
    problems: list[Problem],
    path: Path,
    around: list[yaml.Node],
) -> None:
    lines.setdefault(key, node.start_mark.line + 1)
    if any(node is outer for outer in around):
        problems.append(Problem(str(path), lines[key], ".".join(map(str, key)), "contains itself"))
        return
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            label = name.value if isinstance(name.value, Hashable) else str(name.value)
            inner = (*key, str(label))
            line = name.start_mark.line + 1
            if inner in lines and name.value != "<<":
                first = f"is there twice (first in line {lines[inner]}); keep one"
                problems.append(Problem(str(path), line, ".".join(map(str, inner)), first))
                continue
            lines[inner] = line
            _walk(value, inner, lines, problems, path, [*around, node])
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*key, index), lines, problems, path, [*around, node])


def _message(entry: dict[str, Any]) -> str:
    given = entry.get("input")
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a known key here"
    if kind == "string_pattern_mismatch" and context.get("pattern") in _IN_WORDS:
        return f"should be {_IN_WORDS[context['pattern']]}, not {given!r}"
    text = str(entry["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = text.replace("Input should be", "should be")
    if "error" in context or isinstance(given, dict | list) or given is None:
        return text
    return f"{text}, not {given!r}"


def allowed_keys(model: type[BaseModel], location: Key) -> list[str]:
    """The keys that may stand where pydantic found an unknown one, for a message about it."""
    current: Any = model
    for part in location[:-1]:
        current = _inside(current, part)
    return sorted(current.model_fields) if _is_model(current) else []


def _inside(annotation: Any, part: str | int) -> Any:
    """The type of what stands under `part`: a key, an index, or the name of a union's member."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if _is_model(annotation):
        fields = annotation.model_fields
        return fields[part].annotation if part in fields else None
    if origin is typing.Annotated:
        return _inside(inner[0], part)
    if origin in (dict, Mapping) or origin in (list, tuple):
        return inner[-1] if origin in (dict, Mapping) else inner[0]
    if origin in (types.UnionType, typing.Union):
        return next((m for m in inner if _is_model(m) and _tag(m) == part), None)
    return None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(model: type[BaseModel]) -> Any:
    return model.model_fields["type"].default if "type" in model.model_fields else None
