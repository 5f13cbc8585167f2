"""A table of points that may be tried, when not every combination of values can be made."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

LARGEST = 200_000_000  # bytes of a table; larger things are candidate libraries (`sdl.library`)
DIGITS = 10  # significant digits in which a number must agree with the table's
Key = tuple[object, ...]


class Candidates(BaseModel):
    """A CSV file with a column for each parameter; other columns are not looked at."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    file: str
    """Relative to the campaign file."""

    sha256: str = ""
    """Of the file's bytes when the campaign began; a file that changed since is refused."""

    def resolved(self, folder: Path) -> Self:
        """Return the same with an absolute path and the digest of what is there now.

        :raises ValueError: the file cannot be read.
        """
        path = (folder / self.file).resolve()
        return self.model_copy(update={"file": str(path), "sha256": self.sha256 or _digest(path)})

    def points(self, parameters: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
        """Return the distinct rows as points of these parameters, in the file's order.

        :raises ValueError: the file is not there, has changed, or a row is no point; the message
            names the line.
        """
        return list(self._table(tuple(parameters), tuple(parameters.values())).values())

    def has(self, point: Mapping[str, Any]) -> bool:
        """Whether a point is one of the rows."""
        names = tuple(point)
        return _key(point, names) in self._keys(names)

    def _keys(self, names: tuple[str, ...]) -> frozenset[Key]:
        return _keys(self.file, self.sha256, names)

    def _table(self, names: tuple[str, ...], parameters: tuple[Any, ...]) -> dict[Key, Any]:
        rows: dict[Key, dict[str, Any]] = {}
        for line, texts in enumerate(_rows(self.file, self.sha256, names), 2):
            point = {}
            for name, text, parameter in zip(names, texts, parameters, strict=True):
                value = _typed(text)
                if hasattr(parameter, "choices"):
                    value = text
                if mistake := parameter.check(value):
                    raise ValueError(f"{Path(self.file).name}, line {line}: {name} {mistake}")
                point[name] = parameter.round(value)
            rows.setdefault(_key(point, names), point)
        if not rows:
            raise ValueError(f"{self.file} has no row")
        return rows


def _typed(text: str) -> float | int | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text else number


def _key(point: Mapping[str, Any], names: tuple[str, ...]) -> Key:
    return tuple(_normal(point[name]) for name in sorted(names))


def _normal(value: object) -> object:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, int | float) else value


@lru_cache(maxsize=8)
def _keys(file: str, sha256: str, names: tuple[str, ...]) -> frozenset[Key]:
    keys: set[Key] = set()
    for texts in _rows(file, sha256, names):
        row = dict(zip(names, texts, strict=True))
        keys.add(_key({name: _typed(text) for name, text in row.items()}, names))
        keys.add(_key(row, names))  # a choice may look like a number
    return frozenset(keys)


@lru_cache(maxsize=8)
def _rows(file: str, sha256: str, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    path = Path(file)
    if sha256 and _digest(path) != sha256:
        raise ValueError(
            f"{path.name} is not the file that the campaign began with (its content changed); "
            "put it back, or begin a new campaign"
        )
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        missing = [name for name in names if name not in (reader.fieldnames or ())]
        if missing:
            known = ", ".join(reader.fieldnames or ()) or "none"
            raise ValueError(f"{path.name} has no column {missing[0]!r}; its columns are: {known}")
        rows = []
        for number, row in enumerate(reader, 2):
            if any(row[name] is None or not row[name].strip() for name in names):
                raise ValueError(f"{path.name}, line {number}: a value is missing")
            rows.append(tuple(row[name].strip() for name in names))
        return rows


def _digest(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} is larger than {LARGEST // 10**6} MB; use a library instead")
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
