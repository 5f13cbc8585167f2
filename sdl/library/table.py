"""Reading the file of a candidate library, a batch of rows at a time."""

import csv
import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH = 16_384  # rows in memory at a time
_PARQUET = (".parquet", ".pq")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}

Batch = list[Sequence[Any]]
"""A sequence of values for each column asked for."""


@dataclass(frozen=True)
class Source:
    """A file, what it contained when it was first read, and the column that names its rows."""

    path: str
    sha256: str
    key: str


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits.

    :raises ValueError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=16)
def verified(path: str, sha256: str) -> str:
    """Return the file's digest, read once a process.

    :param sha256: what it must be; empty takes what is there.
    :raises ValueError: the file is not the one that it was.
    """
    found = digest(Path(path))
    if sha256 and found != sha256:
        raise ValueError(
            f"{Path(path).name} is not the file that the campaign began with (its content "
            "changed); put it back, or begin a new campaign"
        )
    return found


@functools.lru_cache(maxsize=16)
def header(source: Source) -> tuple[str, ...]:
    """Return the names of a file's columns, read once a process."""
    verified(source.path, source.sha256)
    return tuple(columns(Path(source.path)))


def present(path: Path, name: str, columns: Sequence[str]) -> str:
    """Return a column's name.

    :raises ValueError: there is no such column, or two.
    """
    if columns.count(name) > 1:
        raise ValueError(f"{path.name} has more than one column {name!r}; rename one")
    if name not in columns:
        shown = ", ".join(columns[:20]) + (", …" if len(columns) > 20 else "")
        raise ValueError(f"{path.name} has no column {name!r}; its columns are: {shown or 'none'}")
    return name


def columns(path: Path) -> list[str]:
    """Return the names of the file's columns."""
    if _suffix(path) in _PARQUET:
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    for header in _csv_rows(path):
        return header
    raise ValueError(f"{path.name} is empty")


def batches(path: Path, names: Sequence[str]) -> Iterator[Batch]:
    """Go through the rows of some columns; text is stripped, nothing else is checked.

    :raises ValueError: the file cannot be read, or a row has too many or too few cells.
    """
    there = columns(path)
    for name in names:
        present(path, name, there)
    if _suffix(path) in _PARQUET:
        yield from _parquet_batches(path, names)
    else:
        yield from _csv_batches(path, [there.index(name) for name in names], len(there))


def row(number: int) -> str:
    """Say which row is meant, counted as people do."""
    return f"row {number + 1} (the first below the header is 1)"


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _PARQUET and suffix not in _SEPARATORS:
        allowed = ", ".join([*_SEPARATORS, *_PARQUET])
        raise ValueError(f"{path.name}: a library's name must end in one of {allowed}")
    return suffix


def _csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows that are not blank, the header first."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            for cells in csv.reader(lines, delimiter=_SEPARATORS[_suffix(path)]):
                if any(cells):
                    yield [cell.strip() for cell in cells]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text: is it the right file?") from error
    except csv.Error as error:
        raise ValueError(f"{path.name} is no table that can be read: {error}") from error


def _csv_batches(path: Path, places: Sequence[int], width: int) -> Iterator[Batch]:
    rows = _csv_rows(path)
    next(rows)
    kept: list[list[str]] = []
    for number, cells in enumerate(rows):
        if len(cells) != width:
            raise ValueError(
                f"{path.name}, {row(number)}: {len(cells)} cells under {width} column names; "
                "text with commas in it needs quotes"
            )
        kept.append([cells[place] for place in places])
        if len(kept) == BATCH:
            yield list(zip(*kept, strict=True))
            kept = []
    if kept:
        yield list(zip(*kept, strict=True))


def _parquet(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"{path.name}: Parquet files are read by pyarrow, which is not installed: "
            "pip install 'sdl[parquet]', or make it a CSV file"
        ) from error
    try:
        return parquet.ParquetFile(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path.name} is no Parquet file: {error}") from error


def _parquet_batches(path: Path, names: Sequence[str]) -> Iterator[Batch]:
    import pyarrow

    try:
        with _parquet(path) as file:
            for batch in file.iter_batches(batch_size=BATCH, columns=list(names)):
                yield [_values(batch.column(name)) for name in names]
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def _values(column: Any) -> Sequence[Any]:
    """Return a column as an array where it is one of numbers, else as texts ("" where empty)."""
    import pyarrow.types as kind

    if kind.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, list) else str(value).strip()
