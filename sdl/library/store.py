"""What was read from a library, on disk: keys with an index, and features.

Each lives in a folder of the cache, `$XDG_CACHE_HOME/sdl/libraries` (by default `~/.cache`), named
by the digests of the library's content and of how it was read. Not beside the library: its folder
may be read-only, shared, or under version control, and one file may serve many campaigns. A folder
is written under another name, brought to the disk and renamed, so that it is whole or not there;
two processes that write the same one do it twice, and one of them wins. Deleting the cache costs
time only.

All arrays are mapped into memory, so that a process that looks a key up in 10^7 rows holds a few
pages of them. The index is the sorted 64-bit hashes of all keys (BLAKE2b) and their rows: 16 bytes
a row on disk, which a look-up searches by bisection before it compares the text itself.
"""

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl.library import fingerprint, table
from sdl.library.table import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1  # of what the folders contain; what another version wrote is not looked at


class Keys:
    """The keys of all rows: text by row, and row by text."""

    def __init__(self, folder: Path) -> None:
        self._text = _mapped(folder / "text.npy")
        self._ends = _mapped(folder / "ends.npy")
        self._hashes = _mapped(folder / "hashes.npy")
        self._order = _mapped(folder / "order.npy")

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, row: int) -> str:
        start = int(self._ends[row - 1]) if row > 0 else 0
        return self._text[start : int(self._ends[row])].tobytes().decode()

    def row(self, key: str) -> int | None:
        """Return the row that has this key, or None."""
        hashed = _hash(key)
        place = int(self._hashes.searchsorted(hashed))
        while place < len(self) and self._hashes[place] == hashed:
            row = int(self._order[place])
            if self[row] == key:
                return row
            place += 1  # two keys with one hash
        return None


class Matrix:
    """The features of all rows, on disk, one fixed width a row.

    They are read, not mapped: pages that were looked at would stay with the process, a run of them
    around each row, and 10^7 fingerprints are 2.5 GB.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "features.npy"
        mapped = _mapped(self._path)
        self.dtype, (self.rows, self.width) = mapped.dtype, mapped.shape
        self._offset = mapped.offset

    @property
    def packed(self) -> bool:
        """Whether rows are bits, eight to a byte; else they are numbers."""
        return self.dtype.kind == "u"

    def take(self, rows: "Sequence[int] | NDArray[np.integer]") -> "NDArray[Any]":
        """Return some rows, in this order.

        :raises IndexError: one of them is not there.
        """
        import numpy as np

        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.rows:
            raise IndexError(f"rows are 0 to {self.rows - 1}")
        taken = np.empty((len(wanted), self.width), self.dtype)
        with self._path.open("rb", buffering=0) as file:
            for place, row in enumerate(wanted.tolist()):
                file.seek(self._offset + row * taken.strides[0])
                _fill(file, _bytes(taken[place]), self._path)
        return taken

    def chunks(self, size: int) -> "Iterator[tuple[int, NDArray[Any]]]":
        """Go through all rows; each chunk is overwritten by the next."""
        import numpy as np

        buffer = np.empty((min(size, self.rows), self.width), self.dtype)
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._offset)
            for start in range(0, self.rows, size):
                chunk = buffer[: min(size, self.rows - start)]
                _fill(file, _bytes(chunk), self._path)
                yield start, chunk


@functools.lru_cache(maxsize=16)
def keys(source: Source) -> Keys:
    """Open the keys of a library, reading the file if nobody has before.

    :raises ValueError: see `sdl.library`.
    """
    digest = table.verified(source.path, source.sha256)
    return Keys(_folder({"keys": digest, "key": source.key}, lambda to: _write_keys(source, to)))


@functools.lru_cache(maxsize=16)
def matrix(source: Source, columns: tuple[str, ...], spec: tuple[int, int] | None) -> Matrix:
    """Open the features of a library, computing them if nobody has before.

    :param columns: what they are made of.
    :param spec: radius and bits of fingerprints; None where the columns are numbers.
    :raises ValueError: see `sdl.library`.
    """
    digest, rows = table.verified(source.path, source.sha256), len(keys(source))
    name = {"features": digest, "columns": columns, "spec": spec}
    found = Matrix(_folder(name, lambda to: _write_features(source, columns, spec, rows, to)))
    if found.rows != rows:
        raise ValueError(f"{Path(source.path).name} changed while it was read; try again")
    return found


def cache() -> Path:
    """Return the folder of all libraries' keys and features."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(home) if home else Path.home() / ".cache") / "sdl" / "libraries"


def _folder(name: dict[str, Any], write: Callable[[Path], None]) -> Path:
    """Return the folder of this name; if it is not there, have it written first."""
    text = json.dumps({**name, "version": VERSION}, sort_keys=True)
    folder = cache() / hashlib.sha256(text.encode()).hexdigest()[:40]
    if folder.is_dir():
        return folder
    try:
        cache().mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=cache()))
    except OSError as error:
        raise ValueError(
            f"{cache()} cannot be written ({error.strerror}): it keeps what was read from "
            "libraries; set XDG_CACHE_HOME to a folder that can"
        ) from error
    try:
        write(part)
        (part / "about.json").write_text(text)
        _to_disk(part)
        part.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster, with the same content
            raise ValueError(f"{part} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _to_disk(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _write_keys(source: Source, to: Path) -> None:
    import numpy as np

    path = Path(source.path)
    ends: list[NDArray[np.int64]] = []
    hashes: list[NDArray[np.uint64]] = []
    total = count = 0
    with (to / "text.bin").open("wb") as file:
        for (batch,) in table.batches(path, [source.key]):
            texts = bytearray()
            lengths = np.empty(len(batch), np.int64)
            for place, key in enumerate(_as_texts(path, source.key, batch, count)):
                encoded = key.encode()
                texts += encoded
                lengths[place] = len(encoded)
            file.write(texts)
            ends.append(total + lengths.cumsum())
            hashes.append(np.array([_hash(str(value)) for value in batch], np.uint64))
            total, count = total + len(texts), count + len(batch)
    if count < 2:
        raise ValueError(f"{path.name} has {count} rows; a library needs at least two")
    hashed = np.concatenate(hashes)
    order = hashed.argsort(kind="stable").astype(np.uint32 if count < 2**32 else np.uint64)
    _text_to_npy(to, total)
    np.save(to / "ends.npy", np.concatenate(ends))
    np.save(to / "hashes.npy", hashed[order])
    np.save(to / "order.npy", order)
    _distinct(path, source.key, Keys(to), hashed[order], order)


def _text_to_npy(folder: Path, size: int) -> None:
    import numpy as np

    with (folder / "text.npy").open("wb") as file, (folder / "text.bin").open("rb") as text:
        _header(file, (size,), np.dtype(np.uint8))
        shutil.copyfileobj(text, file, 1 << 20)
    (folder / "text.bin").unlink()


def _as_texts(path: Path, column: str, batch: Sequence[Any], first: int) -> Sequence[str]:
    """Return a batch of texts, none of them empty."""
    texts = [value if isinstance(value, str) else str(value) for value in batch]
    if not all(texts):
        raise ValueError(f"{path.name}, {table.row(first + texts.index(''))}: {column} is empty")
    return texts


def _distinct(
    path: Path, column: str, found: Keys, hashes: "NDArray[np.uint64]", order: "NDArray[Any]"
) -> None:
    """:raises ValueError: two rows have the same key."""
    import numpy as np

    for place in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
        key = found[int(order[place])]
        same = [int(row) for row in order[hashes == hashes[place]] if found[int(row)] == key]
        if len(same) > 1:
            raise ValueError(
                f"{path.name}: {column} {key!r} is in {table.row(same[0])} and in row "
                f"{same[1] + 1}; keys must be distinct"
            )


def _write_features(
    source: Source, columns: tuple[str, ...], spec: tuple[int, int] | None, rows: int, to: Path
) -> None:
    import numpy as np

    path = Path(source.path)
    if spec is not None:
        with (to / "features.npy").open("wb") as file:
            _header(file, (rows, spec[1] // 8), np.dtype(np.uint8))
            _write_fingerprints(path, columns[0], spec, file)
        return
    centre, scale = _moments(_numbers(path, columns))
    with (to / "features.npy").open("wb") as file:
        _header(file, (rows, len(centre)), np.dtype(np.float32))
        for block in _numbers(path, columns):
            file.write(((block - centre) / scale).astype(np.float32).tobytes())


def _write_fingerprints(path: Path, column: str, spec: tuple[int, int], file: Any) -> None:
    first = 0
    for (batch,) in table.batches(path, [column]):
        try:
            packed = fingerprint.pack(_as_texts(path, column, batch, first), *spec)
        except fingerprint.UnparsableError as error:
            where = table.row(first + error.place)
            raise ValueError(f"{path.name}, {where}: {column} {error}") from error
        file.write(packed.tobytes())
        first += len(batch)


def _moments(blocks: "Iterator[NDArray[Any]]") -> "tuple[NDArray[Any], NDArray[Any]]":
    """Return mean and standard deviation of each column (1 where it is constant).

    Merged batch by batch (Chan, Golub and LeVeque 1983), so that nothing cancels.
    """
    import numpy as np

    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        more, other = len(block), block.mean(0)
        shift = other - mean if count else other
        squares = squares + ((block - other) ** 2).sum(0)
        squares = squares + shift**2 * (count * more / (count + more))
        mean = mean + shift * (more / (count + more)) if count else other
        count += more
    sd = np.sqrt(squares / max(count, 1))
    return mean, np.where(sd > 1e-12 * np.abs(mean), sd, 1.0)


def _numbers(path: Path, columns: tuple[str, ...]) -> "Iterator[NDArray[Any]]":
    """Go through the rows of columns of numbers, as float64, one after the other.

    :raises ValueError: a cell is empty, no number, or not finite.
    """
    import numpy as np

    first = width = 0
    for batch in table.batches(path, columns):
        blocks = [
            _number_column(path, name, values, first)
            for name, values in zip(columns, batch, strict=True)
        ]
        block = np.concatenate(blocks, axis=1)
        if width not in (0, block.shape[1]):
            raise ValueError(f"{path.name}, {table.row(first)}: lists differ in length")
        width = block.shape[1]
        if np.abs(block).max(initial=0.0) > 1e150:
            raise ValueError(f"{path.name}: numbers above 1e150 cannot be standardised")
        yield block
        first += len(block)


def _number_column(path: Path, name: str, values: Sequence[Any], first: int) -> "NDArray[Any]":
    import numpy as np

    try:
        block = np.asarray(values).astype(np.float64)
    except ValueError:
        block = None
    if block is None or not np.isfinite(block).all():
        place, value = next((i, v) for i, v in enumerate(values) if not _numeric(v))
        what = "is empty" if value == "" else f"is no finite number: {value!r}"
        raise ValueError(f"{path.name}, {table.row(first + place)}: {name} {what}")
    return block.reshape(len(block), -1)


def _numeric(value: Any) -> bool:
    """Whether it is a finite number, or a list of them (an embedding)."""
    import numpy as np

    try:
        return bool(np.isfinite(np.asarray(value, dtype=np.float64)).all())
    except (TypeError, ValueError):
        return False


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _header(file: Any, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
    import numpy as np

    described = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, described)


def _mapped(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged; delete its folder: {error}") from error


def _bytes(array: "NDArray[Any]") -> memoryview:
    import numpy as np

    return array.view(np.uint8).reshape(-1).data


def _fill(file: Any, view: memoryview, path: Path) -> None:
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise ValueError(f"{path} is shorter than it was; delete its folder")
        done += count
